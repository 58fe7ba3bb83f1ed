"""Write the tables of the documentation that follow from declarations in the code.

    python docs/make_tables.py

A test fails when they are out of date.
"""

from pathlib import Path

from ibl_nwb.alyx import NWB_FIELD_RULES, alyx_field_destinations
from ibl_nwb.coverage import describe_dataset
from ibl_nwb.dataset_types import DATASET_TYPES
from ibl_nwb.interfaces import interface_list

DOCS = Path(__file__).parent


def describe_datasets() -> str:
    """Every dataset that an interface reads, from the interfaces' declarations."""
    lines = [
        "# ALF datasets that are read",
        "",
        "Made by `python docs/make_tables.py` from the declarations in `ibl_nwb/interfaces`. Names are without",
        "namespace; of several in one row the first that a session has is read. *Support* datasets help to interpret",
        "others and are not stored themselves.",
        "",
    ]
    for interface in interface_list:
        lines += [
            f"## {interface.__name__}",
            "",
            "| dataset | in | |",
            "|---|---|---|",
            *(
                f"| {' or '.join(f'`{name}`' for name in declared.names)} "
                f"| {_collections(interface, declared.collections)} | {_role(declared)} |"
                for declared in interface.datasets
            ),
            "",
        ]
    lines += [
        "## What becomes of each dataset type",
        "",
        "Types of Alyx, and of files that are older or newer than its table of types, with an example of each name. In",
        "brackets: without which other datasets the interface does not read it. `ibl-nwb inspect` says what becomes of",
        "the files of a session, and why.",
        "",
        "| type | file | |",
        "|---|---|---|",
        *(f"| `{name}` | `{path}` | {_fate(path)} |" for name, paths in DATASET_TYPES.items() for path in paths),
        "",
    ]
    return "\n".join(lines)


def describe_alyx_fields() -> str:
    """Where every field of Alyx goes, both ways round."""
    lines = [
        "# Alyx fields and where they go",
        "",
        "Made by `python docs/make_tables.py` from the mapping in `ibl_nwb/alyx`. The whole record, but for what",
        "changes from day to day, is also kept value by value in `analysis/AlyxRecord` of the NWB file.",
        "",
        "## From NWB's side",
        "",
        "| NWB | from | how |",
        "|---|---|---|",
        *(
            f"| `{rule.nwb_field}` | {', '.join(f'`{field}`' for field in rule.alyx_fields)} | {rule.sentence} |"
            for rule in NWB_FIELD_RULES
        ),
        "",
        "## From Alyx's side",
        "",
        "| Alyx | goes to |",
        "|---|---|",
        *(f"| `{field}` | {destination} |" for field, destination in alyx_field_destinations().items()),
        "",
    ]
    return "\n".join(lines)


def _collections(interface, collections):
    if collections == ("{collection}",):
        collections = interface.collections
    return ", ".join(f"`{collection}`" if collection else "the session's root" for collection in collections)


def _role(declared):
    return ", ".join(word for word, is_so in (("required", declared.required), ("support", declared.support)) if is_so)


def _fate(path):
    readers, reason = describe_dataset(path)
    sentences = []
    for support, words in ((False, "converted by"), (True, "support for")):
        names = [_reader(reader) for reader in readers if reader.support == support]
        if names:
            sentences.append(f"{words} {', '.join(names)}")
    if reason:
        sentences.append(f"{'otherwise left out:' if readers else 'not converted:'} {reason}")
    return "; ".join(sentences)


def _reader(reader):
    beside = f" (beside {', '.join(f'`{names}`' for names in reader.beside)})" if reader.beside else ""
    return f"{reader.interface.removesuffix('Interface')}{beside}"


if __name__ == "__main__":
    (DOCS / "datasets.md").write_text(describe_datasets(), encoding="utf-8")
    (DOCS / "alyx-fields.md").write_text(describe_alyx_fields(), encoding="utf-8")
