"""The notebooks in docs/notebooks run as they stand, and what is printed in them is what they print.

``IBL_NWB_WRITE_NOTEBOOKS=1 pytest tests/test_notebooks.py`` writes them with what they print and show now.
"""

import os
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbclient is not installed (ibl-nwb[test])")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (ibl-nwb[test])")
pytest.importorskip("ipykernel", reason="ipykernel is not installed (ibl-nwb[test])")

pytest_plugins = ["acquire_fixtures"]

NOTEBOOKS = Path(__file__).resolve().parents[1] / "docs/notebooks"
NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))


def read(name):
    return nbformat.read(NOTEBOOKS / name, as_version=4)


def printed(notebook):
    """What each cell prints or gives as text; that of a figure or widget is where the object is in memory."""
    texts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream" and output.name == "stdout":
                texts.append(output.text)
            elif set(output.get("data", {})) == {"text/plain"}:
                texts.append(output.data["text/plain"])
    return texts


def run(name, folder):
    """A notebook with what its cells print and show, executed by a kernel of its own."""
    notebook = read(name)
    nbclient.NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": folder}}
    ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when each cell ran
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop("text/html", None)
    if os.environ.get("IBL_NWB_WRITE_NOTEBOOKS"):
        notebook.metadata.pop("widgets", None)
        notebook.metadata.language_info = {"name": "python"}
        nbformat.write(notebook, NOTEBOOKS / name)
    return notebook


def test_there_are_notebooks():
    assert len(NAMES) == 4


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("from_one.ipynb", "look.ipynb")])
def test_notebook_prints_what_stands_in_it(name, tmp_path):
    expected = printed(read(name))
    assert printed(run(name, tmp_path)) == expected


def test_session_from_one(server, tmp_path, monkeypatch):
    monkeypatch.setenv("ALYX_URL", server.url)
    expected = printed(read("from_one.ipynb"))
    assert printed(run("from_one.ipynb", tmp_path)) == expected


def test_look_at_the_result(tmp_path):
    pytest.importorskip("pynapple")
    expected = printed(read("look.ipynb"))
    found = printed(run("look.ipynb", tmp_path))
    assert found[:2] == expected[:2]  # the rest depends on whether nwbwidgets is installed


@pytest.mark.parametrize("name", NAMES)
def test_stored_outputs_are_small_and_say_nothing_of_a_machine(name):
    text = (NOTEBOOKS / name).read_text(encoding="utf-8")
    assert len(text) < 250_000
    assert not re.search(r"/tmp|/root|/home|127\.0\.0\.1|Traceback|stderr", text)
    code = [cell for cell in read(name).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert any(cell.outputs for cell in code)
