"""Write the tables of the documentation that follow from declarations in the code.

    python docs/make_tables.py

A test fails when they are out of date.
"""

from pathlib import Path

from ibl_nwb.alyx import NWB_FIELD_RULES, alyx_field_destinations
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


if __name__ == "__main__":
    (DOCS / "datasets.md").write_text(describe_datasets(), encoding="utf-8")
    (DOCS / "alyx-fields.md").write_text(describe_alyx_fields(), encoding="utf-8")
