"""Convert a session that is named by its id in Alyx: download what the conversion reads, then convert it.

ALYX_LOGIN=... ALYX_PWD=... python conversion_scripts/convert_eid.py EID OUTPUT_FOLDER --one-url https://alyx.mylab.org
"""

import argparse
from pathlib import Path

from tqdm import tqdm

from ibl_nwb import convert_document, make_document
from ibl_nwb.acquire import connect


def eid_to_nwb(
    eid: str, output_folder: str | Path, *, one_url: str | None = None, cache_dir: str | Path | None = None
) -> Path:
    """Download everything but the raw recordings and videos, and convert it."""
    one = connect(base_url=one_url, cache_dir=cache_dir)
    document = make_document(eid, one=one, exclude=["RawEphys", "NIDQ", "Video"], progress_bar_class=tqdm)
    return convert_document(document, output_folder, overwrite=True, progress_bar_class=tqdm).nwbfile_path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("eid")
    parser.add_argument("output_folder")
    parser.add_argument("--one-url", help="address of the Alyx database")
    parser.add_argument("--cache-dir", help="folder to download to")
    arguments = parser.parse_args()
    path = eid_to_nwb(arguments.eid, arguments.output_folder, one_url=arguments.one_url, cache_dir=arguments.cache_dir)
    print(f"Wrote {path}")
