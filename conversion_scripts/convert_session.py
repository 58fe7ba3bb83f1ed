"""Convert one session folder to an NWB file: change the lines below, or call ``session_to_nwb`` from your own script.

python conversion_scripts/convert_session.py SESSION OUTPUT_FOLDER --timezone Europe/Lisbon
"""

import argparse
from pathlib import Path

from tqdm import tqdm

from ibl_nwb import convert_document, make_document


def session_to_nwb(
    session_path: str | Path,
    output_folder: str | Path,
    *,
    alyx: str | Path | None = None,
    timezone: str | None = None,
    stub_test: bool = False,
) -> Path:
    """Convert everything a session folder holds, and keep the document that fixes the conversion."""
    document = make_document(
        session_path,
        alyx=alyx,
        timezone=timezone,
        metadata={"NWBFile": {"keywords": ["International Brain Laboratory", "decision making"]}},
    )
    document.conversion_options = {"Wheel": {"write_velocity": True}} if "Wheel" in document.source_data else {}
    summary = convert_document(document, output_folder, stub_test=stub_test, overwrite=True, progress_bar_class=tqdm)
    document.write_json(summary.nwbfile_path.with_suffix(".json"))
    return summary.nwbfile_path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("session_path")
    parser.add_argument("output_folder")
    parser.add_argument("--alyx", help="JSON of the session's Alyx record")
    parser.add_argument("--timezone", help="time zone of the rig, e.g. Europe/Lisbon")
    parser.add_argument("--stub", action="store_true", help="write a small part of everything")
    arguments = parser.parse_args()
    nwbfile_path = session_to_nwb(
        arguments.session_path,
        arguments.output_folder,
        alyx=arguments.alyx,
        timezone=arguments.timezone,
        stub_test=arguments.stub,
    )
    print(f"Wrote {nwbfile_path}")
