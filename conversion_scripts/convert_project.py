"""Convert all sessions of a project, validate the files, and upload them: what a configuration file says, in one go.

    python conversion_scripts/convert_project.py conversion_scripts/brain_wide_map.yml OUTPUT_FOLDER

Stop it at any time, and give the same command to go on.
"""

import argparse
from pathlib import Path

import yaml

from ibl_nwb.acquire import connect, find_sessions
from ibl_nwb.batch import LineDisplay, convert_sessions
from ibl_nwb.publish import upload_folder, validate_files


def convert_project(
    configuration_path: str | Path, output_folder: str | Path, *, cache_dir: str | Path | None = None, **options
) -> bool:
    """Search, convert, validate and upload; whether all of it went well. ``options`` win over the file's "batch"."""
    configuration = yaml.safe_load(Path(configuration_path).read_text(encoding="utf-8"))
    one = connect(base_url=configuration.get("one_url"), cache_dir=cache_dir)
    sessions = find_sessions(one, **configuration["search"])
    print(f"{len(sessions)} sessions.")

    options = {**configuration.get("batch", {}), **options}
    summary = convert_sessions(sessions, output_folder, one=one, display=LineDisplay(), **options)
    print(f"{summary.describe()}. See {summary.folder / 'batch_summary.html'}")
    if options.get("dry_run"):
        return True
    if not summary.counts["done"]:
        return False

    report = validate_files([output_folder])
    print(f"{report.summary()}.")
    if "upload" not in configuration:
        return summary.ok and report.ok
    uploaded = upload_folder(output_folder, **configuration["upload"])
    print(f"{uploaded.describe()}.")
    return summary.ok and uploaded.ok


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configuration", type=Path, help="YAML such as brain_wide_map.yml")
    parser.add_argument("output_folder", type=Path)
    parser.add_argument("--cache-dir", help="folder to download to; the workers of a cluster have to see it, too")
    parser.add_argument("--scheduler", help="convert on the workers of this Dask scheduler")
    parser.add_argument("--cluster", help="convert on a cluster: file of dask_jobqueue")
    parser.add_argument("--dry-run", action="store_true", help="only search, and tell what would be done")
    arguments = parser.parse_args()
    given = {"scheduler": arguments.scheduler, "cluster": arguments.cluster, "dry_run": arguments.dry_run}
    ok = convert_project(arguments.configuration, arguments.output_folder, cache_dir=arguments.cache_dir, **given)
    raise SystemExit(0 if ok else 1)
