"""The documentation says what the code does: commands, tables and links."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "benchmarks/README.md",
]


def load_make_tables():
    spec = importlib.util.spec_from_file_location("make_tables", ROOT / "docs/make_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("page", "function"), [("datasets", "describe_datasets"), ("alyx-fields", "describe_alyx_fields")]
)
def test_tables_are_up_to_date(page, function):
    expected = getattr(load_make_tables(), function)()
    assert (ROOT / f"docs/{page}.md").read_text(encoding="utf-8") == expected, "run: python docs/make_tables.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_readme_begins_with_the_two_commands():
    commands = re.findall(
        r"^(pip install .*?)\s*(?:#.*)?$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert commands == ["pip install . && ibl-nwb demo", 'pip install ".[test]" && pytest']


def test_worked_example_is_the_family_itself():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    interfaces = ROOT / "src/ibl_nwb/interfaces"
    module, line = re.findall(r"```python\n(.*?)\n```", text, re.DOTALL)
    (metadata,) = re.findall(r"```yaml\n(.*?)\n```", text, re.DOTALL)
    assert module == (interfaces / "extra_rewards.py").read_text(encoding="utf-8").rstrip()
    assert metadata == (interfaces / "metadata/extra_rewards.yaml").read_text(encoding="utf-8").rstrip()
    assert f"{line}\n" in (interfaces / "__init__.py").read_text(encoding="utf-8")
