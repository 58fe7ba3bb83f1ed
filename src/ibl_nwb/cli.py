"""The command ``ibl-nwb``: a thin face over the library."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from .errors import IBLNWBError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from .acquire import SessionSummary
    from .batch import BatchSummary
    from .conversion import ConversionSummary
    from .coverage import DatasetCoverage
    from .publish import ValidationReport
    from .session import ALFSession
    from .verify import VerificationReport

_PATH = click.Path(path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_STATUS_STYLES = {"converted": "green", "support": "cyan", "not converted": "yellow"}

_LEVEL_STYLES = {"error": "red", "violation": "yellow", "suggestion": "cyan"}

_VERIFY_STYLES = {"equal": "green", "different": "red", "missing": "red", "not verified": "yellow"}

_choice_options = [
    click.option("--include", multiple=True, metavar="NAME", help="Convert only this interface; can be repeated."),
    click.option("--exclude", multiple=True, metavar="NAME", help="Leave this interface out; can be repeated."),
    click.option(
        "--revision",
        metavar="R",
        help="Revision of the datasets: the last one not after R, or 'none' for files without a revision. "
        "[default: the newest]",
    ),
]
_session_options = [click.option("--alyx", type=_FILE, help="JSON of the session's Alyx record."), *_choice_options]
_stream_option = click.option(
    "--stream-raw",
    is_flag=True,
    help="Do not download raw recordings: read them from the server while they are converted.",
)
_metadata_options = [
    click.option("--metadata", type=_FILE, help="JSON or YAML with your own metadata; they win over all others."),
    click.option("--session-start-time", metavar="T", help="When the session started, e.g. 2023-05-18T14:30:00."),
    click.option("--timezone", metavar="TZ", help="Time zone of the rig, e.g. Europe/Lisbon. [default: the lab's]"),
]
_search_options = [
    click.option("--subject", help="Nickname of the subject."),
    click.option("--lab", help="Name of the lab."),
    click.option("--date-range", nargs=2, metavar="FROM TO", help="First and last day, YYYY-MM-DD."),
    click.option("--number", type=int, help="Number of the session on its day."),
    click.option("--project", "projects", help="Part of a project's name."),
    click.option("--task-protocol", help="Part of a task protocol's name."),
    click.option("--dataset", "datasets", multiple=True, help="Dataset the session must have, e.g. spikes.times.npy."),
]
_SEARCH_NAMES = ("subject", "lab", "date_range", "number", "projects", "task_protocol", "datasets")
_one_options = [
    click.option("--one-url", metavar="URL", help="Address of the Alyx database. [default: ALYX_URL, else ONE's]"),
    click.option("--cache-dir", type=_PATH, help="Folder of downloaded sessions. [default: ONE's for the database]"),
    click.option("--offline", is_flag=True, help="Use what is in the cache; send no request."),
]
_instance_option = click.option(
    "-i",
    "--dandi-instance",
    "instance",
    metavar="INSTANCE",
    default="dandi",
    show_default=True,
    help="Instance of the archive: dandi-sandbox, linc, ..., or an address.",
)


def _with_options(options: list[Any]) -> Any:
    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


class _Group(click.Group):
    """Command group that prints a user's mistake as one sentence and exits with the error's own code."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except IBLNWBError as error:
            if context.params.get("debug"):
                raise
            click.secho("Error: ", fg="red", bold=True, nl=False, err=True)
            click.echo(str(error), err=True)
            context.exit(error.exit_code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="ibl-nwb")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Convert International Brain Laboratory sessions to NWB.

    A SESSION is a folder such as lab/Subjects/subject/2023-05-18/001 that holds the session's ALF datasets; or, to
    have it downloaded, its eid in Alyx or subject/date/number.

    \b
    Try it:             ibl-nwb demo
    Find it:            ibl-nwb search --subject KS014
    See what is there:  ibl-nwb inspect SESSION
    Convert it:         ibl-nwb convert SESSION -o FOLDER --timezone Europe/Lisbon
    Edit it before:     ibl-nwb metadata SESSION -o session.json
                        ibl-nwb convert session.json -o FOLDER
    Compare it after:   ibl-nwb verify FILE.nwb SESSION
    Look at it:         ibl-nwb view FILE.nwb
    Share it:           ibl-nwb upload FOLDER --dandiset N
    All on one page:    ibl-nwb gui FOLDER -o OUTPUT

    User name and password for Alyx are taken from ONE's own settings, or from ALYX_LOGIN and ALYX_PWD.
    """
    # A terminated conversion cleans up after itself as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@main.command(short_help="List a session's datasets and what becomes of them.")
@click.argument("session", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--revision", metavar="R", help="Revision of the datasets, as in 'convert'.")
def inspect(session: Path, as_json: bool, revision: str | None) -> None:
    """List every dataset of SESSION, a folder or a document: converted by which interface, support, or why not."""
    from .coverage import inspect_session

    rows = inspect_session(_open_session(session, _revision(revision)))
    if as_json:
        click.echo(json.dumps([row.to_dict() for row in rows], indent=2))
    else:
        _print_coverage(session, rows)


@main.command(short_help="Find sessions in Alyx or in the cache.")
@_with_options(_search_options)
@_with_options(_one_options)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def search(one_url: str | None, cache_dir: Path | None, offline: bool, as_json: bool, **terms: Any) -> None:
    """Find sessions by any of the terms below; all that are given must fit."""
    from .acquire import connect, find_sessions

    found = find_sessions(connect(base_url=one_url, cache_dir=cache_dir, offline=offline), **_wanted(terms))
    if as_json:
        click.echo(json.dumps([summary.to_dict() for summary in found], indent=2))
    else:
        _print_sessions(found)


@main.command(short_help="Download what a conversion of a session reads.")
@click.argument("session")
@_with_options(_one_options)
@_with_options(_choice_options)
def download(session: str, include: tuple[str, ...], exclude: tuple[str, ...], **options: Any) -> None:
    """Bring the files of SESSION that its conversion reads into ONE's cache, sizes and MD5 sums checked."""
    from tqdm import tqdm

    from .acquire import open_source

    path, _ = open_source(
        session,
        one=_connect(options),
        interfaces=include or None,
        exclude=exclude or None,
        revision=_revision(options["revision"]),
        progress_bar_class=tqdm,
    )
    click.echo(f"Complete: {path}")


@main.command(short_help="Collect a session's metadata into a JSON document to edit.")
@click.argument("session", type=_PATH)
@click.option("-o", "--output", type=_PATH, required=True, help="The JSON file to write.")
@_with_options([*_session_options, *_metadata_options, *_one_options, _stream_option])
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
def metadata(session: Path, output: Path, overwrite: bool, **options: Any) -> None:
    """Collect everything that decides the conversion of SESSION into one JSON document, to edit and convert."""
    from .document import blanks_for_dandi
    from .writing import check_output

    check_output(output, overwrite=overwrite)
    document = _make_document(session, options)
    document.write_json(output)
    click.echo(f"Wrote {output}: {len(document.source_data)} interfaces ({', '.join(document.source_data)}).")
    if document.metadata["NWBFile"]["session_start_time"] is None:
        click.echo("Before it can be converted, fill in: NWBFile.session_start_time, or give --timezone.")
    _print_blanks(blanks_for_dandi(document.metadata))


@main.command(short_help="Convert a session, or its JSON document, to NWB.")
@click.argument("session_or_json", type=_PATH)
@click.option("-o", "--output", type=_PATH, default=Path(), help="NWB file, or folder to write it to. [default: here]")
@_with_options([*_metadata_options, *_session_options, *_one_options, _stream_option])
@click.option("--stub", is_flag=True, help="Write a small part of everything, to try the conversion.")
@click.option("--start", metavar="S", type=float, help="Cut raw recordings: from this second of the session on.")
@click.option("--stop", metavar="S", type=float, help="Cut raw recordings: before this second of the session.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@click.option("--backend", type=click.Choice(["hdf5", "zarr"]), default="hdf5", show_default=True, help="File format.")
@click.option(
    "--videos",
    type=click.Choice(["copy", "link", "leave"]),
    default="leave",
    show_default=True,
    help="Copy video files beside the NWB file, link them there, or leave them where they are.",
)
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Threads for raw recordings. [default: one for each processor]"
)
@click.option(
    "--memory",
    metavar="MB",
    type=click.IntRange(min=1),
    help="Memory for raw recordings at most. [default: a quarter of what is free]",
)
@click.option("--resume", is_flag=True, help="Go on with a conversion that was killed; keep what is there if it fails.")
def convert(
    session_or_json: Path,
    output: Path,
    stub: bool,
    start: float | None,
    stop: float | None,
    overwrite: bool,
    backend: Any,
    videos: Any,
    jobs: int | None,
    memory: int | None,
    resume: bool,
    **options: Any,
) -> None:
    """Convert a session folder, or the JSON document that 'ibl-nwb metadata' made of it, to an NWB file."""
    from tqdm import tqdm

    from .conversion import convert_document
    from .snippets import check_bounds

    check_bounds(start, stop)
    document = _make_document(session_or_json, options)
    summary = convert_document(
        document,
        output,
        stub_test=stub,
        start_s=start,
        stop_s=stop,
        overwrite=overwrite,
        backend=backend,
        videos=videos,
        jobs=jobs,
        memory_mb=memory,
        resume=resume,
        progress_bar_class=tqdm,
    )
    _print_summary(summary)


@main.command(short_help="Compare a written file with its source, value by value.")
@click.argument("file", type=_PATH)
@click.argument("session_or_json", type=_PATH, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--all", "show_all", is_flag=True, help="List what is equal, too.")
@click.option("--sample", type=float, metavar="FRACTION", help="Compare only this part of raw recordings, e.g. 0.01.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the choice of --sample.")
@click.option("--revision", metavar="R", help="Revision that was converted, as in 'convert'.")
@click.option("--alyx", type=_FILE, help="JSON of the Alyx record that was converted with. [default: the document's]")
@click.pass_context
def verify(
    context: click.Context, file: Path, session_or_json: Path | None, as_json: bool, show_all: bool, **options: Any
) -> None:
    """Compare every dataset in FILE with SESSION_OR_JSON, the session folder or document that it was made from.

    Without it the session is looked for near the file. The exit code is 1 if anything is different or missing.
    """
    from .verify import verify as verify_file

    options["revision"] = _revision(options["revision"])
    report = verify_file(file, session_or_json, **options)
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        _print_verification(report, show_all)
    context.exit(0 if report.ok else 1)


@main.command(short_help="Convert many sessions; stop and go on at any time.")
@click.argument("sessions", nargs=-1, metavar="[SESSIONS.txt | SESSION]...")
@click.option("-o", "--output", type=_PATH, required=True, help="Folder of the files and of the state of the batch.")
@_with_options(_search_options)
@click.option("--split", is_flag=True, help="Two files for each session: desc-raw and desc-processed.")
@click.option("--metadata", type=_FILE, help="JSON or YAML with metadata of your own, for every session.")
@click.option("--timezone", metavar="TZ", help="Time zone of the rigs, e.g. Europe/Lisbon. [default: each lab's]")
@_with_options(_choice_options)
@click.option("--backend", type=click.Choice(["hdf5", "zarr"]), default="hdf5", show_default=True, help="File format.")
@click.option(
    "--videos",
    type=click.Choice(["copy", "link", "leave"]),
    default="copy",
    show_default=True,
    help="Copy video files beside the NWB files, link them there, or leave them where they are.",
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Sessions at a time.")
@click.option("--jobs", type=click.IntRange(min=1), help="Threads of each. [default: the processors, shared]")
@click.option(
    "--memory",
    "memory_mb",
    metavar="MB",
    type=click.IntRange(min=1),
    help="Memory for raw recordings at most, shared by the workers. [default: a quarter of what is free]",
)
@click.option("--scheduler", metavar="ADDRESS", help="Convert on the workers of this Dask scheduler, tcp://...")
@click.option("--cluster", type=_FILE, help="Convert on a cluster: file of dask_jobqueue; --workers is its jobs.")
@click.option("--time-limit", "time_limit_s", metavar="S", type=float, help="Most seconds for a session, once fetched.")
@click.option("--retry-failed", is_flag=True, help="Try those again that failed before.")
@click.option("--overwrite", is_flag=True, help="Convert all again; replace files that are not of this batch.")
@click.option("--keep-cache", is_flag=True, help="Keep what is downloaded. [default: remove it after each session]")
@click.option("--verify/--no-verify", default=True, show_default=True, help="Compare each file with its source.")
@click.option("--sample", type=float, metavar="FRACTION", help="Compare only this part of raw recordings, e.g. 0.01.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@_with_options([*_one_options, _stream_option])
@click.option("--upload", "dandiset", metavar="N", help="Upload the folder to this Dandiset afterwards, as 'upload'.")
@_instance_option
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.pass_context
def batch(
    context: click.Context,
    sessions: tuple[str, ...],
    output: Path,
    as_json: bool,
    dandiset: str | None,
    instance: str,
    **options: Any,
) -> None:
    """Convert many sessions: folders, documents, eids, references, lists of these, or what a search finds.

    A list is a text file with one session on each line. Search terms are those of 'ibl-nwb search'. What is done is not
    done again: run the same command to go on. The exit code is 1 if any session failed, 130 after Ctrl-C.
    """
    from .batch import LineDisplay, TableDisplay, convert_sessions

    if options["scheduler"] and context.get_parameter_source("workers") is ParameterSource.COMMANDLINE:
        raise UsageError(
            "--workers has no meaning with --scheduler: its workers convert as many sessions at a time as they have "
            "threads. Start more with 'dask worker --nthreads 1 ADDRESS'."
        )
    terms = {name: options.pop(name) for name in _SEARCH_NAMES}
    connection = {name: options.pop(name) for name in ("one_url", "cache_dir", "offline")}
    options["revision"] = _revision(options["revision"])
    named, one = _name_sessions(sessions, terms, connection)
    if dandiset is not None and as_json:
        raise UsageError("--json and --upload do not go together. Run 'ibl-nwb upload FOLDER --json' afterwards.")
    if dandiset is not None:
        from .publish import check_access

        check_access(dandiset, instance)
    if not as_json:
        options["display"] = TableDisplay() if sys.stdout.isatty() else LineDisplay()
    try:
        summary = convert_sessions(named, output, one=one, **options)
    except KeyboardInterrupt:
        click.echo("Stopped. What was at work is queued again; give the same command to go on.", err=True)
        context.exit(128 + signal.SIGINT)
    if as_json:
        click.echo(json.dumps(summary.to_dict(), indent=2))
    elif options["dry_run"]:
        _print_plan(summary)
    else:
        click.echo(f"{summary.describe()}. See {summary.folder / 'batch_summary.html'}")
    ok = summary.ok or options["dry_run"]
    if dandiset is not None and not options["dry_run"] and summary.counts["done"]:
        ok = _upload(output, dandiset, instance) and ok
    context.exit(0 if ok else 1)


@main.command(short_help="Check files as DANDI will, before they go there.")
@click.argument("paths", nargs=-1, required=True, type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def validate(context: click.Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Validate NWB files, and all in folders: NWB Inspector as DANDI sets it, pynwb's validator, dandi's own checks.

    No network is needed. The exit code is 1 if DANDI would refuse any of them; best practice is only listed.
    """
    from tqdm import tqdm

    from .publish import validate_files

    report = validate_files(paths, progress_bar_class=tqdm)
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        _print_findings(report)
    context.exit(0 if report.ok else 1)


@main.command(short_help="Upload a folder of NWB files to DANDI.")
@click.argument("folder", type=_PATH)
@click.option("--dandiset", metavar="N", required=True, help="Number of the Dandiset, e.g. 000409.")
@_instance_option
@click.option("--overwrite", is_flag=True, help="Replace what is there and different, though it is not older.")
@click.option("--jobs", type=click.IntRange(min=1), help="Parts of a file at a time. [default: dandi's own, 5]")
@click.option("--dry-run", is_flag=True, help="Validate, look at what is there, and only tell what would be uploaded.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def upload(
    context: click.Context, folder: Path, dandiset: str, instance: str, as_json: bool, dry_run: bool, **options: Any
) -> None:
    """Upload the NWB files in FOLDER, and their videos, to the draft of a Dandiset.

    Each file is validated first, and compared with the server's checksum after. What is there is not sent again: give
    the same command to go on. The API key is taken from dandi's environment variable (DANDI_API_KEY,
    DANDI_SANDBOX_API_KEY) or keyring. The exit code is 1 if any file is not there at the end, 130 after Ctrl-C.
    """
    ok = _upload(folder, dandiset, instance, as_json=as_json, dry_run=dry_run, **options)
    context.exit(0 if ok else 1)


@main.command(short_help="Look at a file: make a report of the session in it.")
@click.argument("file", type=_PATH)
@click.option(
    "--save",
    metavar="REPORT",
    type=_PATH,
    help="Write the report here, .html, .pdf or .png. [default: a temporary page, opened in the browser]",
)
@click.option("--theme", type=click.Choice(["light", "dark"]), default="light", show_default=True, help="Background.")
@click.option("--overwrite", is_flag=True, help="Replace the report if it exists.")
def view(file: Path, save: Path | None, theme: Any, overwrite: bool) -> None:
    """Make a report of the session in FILE: its facts, and a figure of every kind of data that is in it.

    Raw recordings are read in snippets only, so that a large file takes no longer than a small one.
    """
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise UsageError('This needs matplotlib, which is not installed. Install it: pip install "ibl-nwb[view]"')
    from .view import save_report

    target = save or Path(tempfile.mkdtemp(prefix="ibl-nwb-view-")) / f"{file.stem}.html"
    report = save_report(file, target, theme=theme, overwrite=overwrite)
    click.echo(f"Wrote {report.path}: {len(report.figures)} figures.")
    for sentence in report.missing:
        click.echo(sentence)
    if save is None:
        click.launch(report.path.resolve().as_uri())


@main.command(short_help="Open a page in the browser for all of this.")
@click.argument("folder", type=_PATH, required=False)
@click.option("-o", "--output", type=_PATH, default=Path(), help="Folder of documents and NWB files. [default: here]")
@_with_options(_one_options)
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the page. [default: any that is free]")
@click.option("--no-browser", is_flag=True, help="Only print the address of the page.")
def gui(folder: Path | None, output: Path, port: int | None, no_browser: bool, **options: Any) -> None:
    """Find sessions, edit their metadata, convert, check and look at them, on a page in the browser.

    FOLDER is searched for sessions; by default the cache folder if one is given, else the current one. The page is
    there for this machine only, and sees no file outside FOLDER and OUTPUT.
    """
    from .gui.launching import check_panel, open_server

    check_panel()
    from .gui.services import GuiServices
    from .gui.workspace import Workspace

    sessions_folder = folder or options["cache_dir"] or Path()
    if not sessions_folder.is_dir():
        raise UsageError(f"There is no folder '{sessions_folder}'. Give one that holds sessions.")
    connection = {"base_url": options["one_url"], "cache_dir": options["cache_dir"], "offline": options["offline"]}
    services = GuiServices(Workspace(sessions_folder.resolve(), output.resolve()), one_options=connection)
    open_server(services, open_browser=not no_browser, port=port or 0)


@main.command(short_help="Make and convert an example session.")
@click.option(
    "-o", "--output", type=_PATH, default=Path("ibl_nwb_demo"), show_default=True, help="Folder to write everything to."
)
def demo(output: Path) -> None:
    """Make an example session, show what it holds, and convert it."""
    from tqdm import tqdm

    from .alyx import AlyxRecord
    from .conversion import convert_document, make_document
    from .coverage import inspect_session
    from .session import ALFSession
    from .testing import example_alyx_answers, make_example_session

    click.echo("Making an example session ...")
    session_path = make_example_session(output)
    alyx_path = output / "alyx_record.json"
    AlyxRecord.from_rest(**example_alyx_answers(session_path)).write_json(alyx_path)
    _print_counts(inspect_session(ALFSession(session_path)))
    document = make_document(session_path, alyx=alyx_path)
    document.write_json(output / "session.json")
    summary = convert_document(document, output, overwrite=True, progress_bar_class=tqdm)
    _print_summary(summary)
    click.echo("\nThe same by hand:")
    click.echo(f"  ibl-nwb inspect {session_path}")
    click.echo(f"  ibl-nwb convert {session_path} --alyx {alyx_path} -o my_session.nwb")
    click.echo(f"Read it:\n  python -c \"from pynwb import read_nwb; print(read_nwb('{summary.nwbfile_path}'))\"")


def _wanted(terms: dict[str, Any]) -> dict[str, Any]:
    """The terms to search by that were given."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in terms.items() if value}


def _open_session(source: Path, revision: str | None) -> ALFSession:
    """A session folder, or that of a document with what is on servers."""
    from .document import ConversionDocument
    from .session import ALFSession

    if source.suffix != ".json":
        return ALFSession(source, revision=revision)
    document = ConversionDocument.read_json(source)
    return ALFSession(document.session.session_path, revision=revision, data_urls=document.data_urls)


def _make_document(source: Path, options: dict[str, Any]) -> Any:
    from .conversion import edit_document, make_document
    from .document import ConversionDocument

    one = None
    if not source.exists() and not source.is_absolute() and source.suffix != ".json":
        from .acquire import parse_reference

        parse_reference(str(source))  # refuses what names no session before anything is sent
        click.echo(f"No folder '{source}' here: looking for that session in Alyx.", err=True)
        one = _connect(options)
    options = {name: value for name, value in options.items() if name not in ("one_url", "cache_dir", "offline")}
    if source.suffix != ".json":
        from tqdm import tqdm

        revision = _revision(options.pop("revision"))
        return make_document(source, one=one, revision=revision, progress_bar_class=tqdm, **options)
    decided = ("alyx", "include", "exclude", "revision", "stream_raw")
    fixed = [f"--{name.replace('_', '-')}" for name in decided if options[name]]
    if fixed:
        raise UsageError(
            f"{', '.join(fixed)} cannot be given with a document; it is fixed in '{source}'. Edit it there."
        )
    editable = {name: options[name] for name in ("metadata", "session_start_time", "timezone")}
    return edit_document(ConversionDocument.read_json(source), **editable)


def _name_sessions(given: tuple[str, ...], terms: dict[str, Any], connection: dict[str, Any]) -> tuple[list[Any], Any]:
    """The sessions that were given or are found, and ONE if anything needs it."""
    from .batch import read_session_list

    named: list[Any] = []
    for session in given:
        named += read_session_list(session) if Path(session).suffix == ".txt" else [session]
    wanted = _wanted(terms)
    if not named and not wanted:
        raise UsageError("Which sessions? Give folders, eids, references, a list SESSIONS.txt, or terms to search by.")
    paths = [Path(name).expanduser() for name in named]
    references = [path for path in paths if path.suffix != ".json" and not path.is_absolute() and not path.exists()]
    try:
        one = _connect(connection) if wanted or references else None
    except IBLNWBError as error:
        if not references:
            raise
        raise type(error)(f"'{references[0]}' is no folder here, so it has to be looked up in Alyx. {error}") from error
    if wanted:
        from .acquire import find_sessions

        named += find_sessions(one, **wanted)
    return named, one


def _connect(options: dict[str, Any]) -> Any:
    from .acquire import connect

    return connect(base_url=options["one_url"], cache_dir=options["cache_dir"], offline=options["offline"])


def _revision(given: str | None) -> str | None:
    from .session import UNREVISED

    return UNREVISED if given == "none" else given


def _console() -> Console:
    from rich.console import Console

    # A table that goes to a file or a pipe is not cut to the width of a terminal that is not there.
    return Console(width=None if sys.stdout.isatty() else 200, highlight=False, soft_wrap=False)


def _print_coverage(session: Path, rows: list[DatasetCoverage]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"Datasets of {escape(str(session))}", title_justify="left", header_style="bold")
    table.add_column("Dataset", overflow="fold")
    table.add_column("Size", justify="right", no_wrap=True)
    table.add_column("Status", no_wrap=True)
    table.add_column("By, or why not", overflow="fold")
    for row in rows:
        style = _STATUS_STYLES[row.status]
        by = ", ".join(row.interfaces) or row.reason
        table.add_row(escape(row.relative_path), format_size(row.size), f"[{style}]{row.status}[/]", escape(by))
    _console().print(table)
    _print_counts(rows)


def _print_sessions(found: list[SessionSummary]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(header_style="bold")
    for column in ("eid", "Lab", "Subject", "Date", "No."):
        table.add_column(column, no_wrap=True)
    table.add_column("Task protocol", overflow="fold")
    table.add_column("Projects", overflow="fold")
    for row in found:
        texts = (
            row.eid or "",
            row.lab,
            row.subject,
            row.date,
            str(row.number),
            row.task_protocol,
            ", ".join(row.projects),
        )
        table.add_row(*map(escape, texts))
    if found:
        _console().print(table)
    click.echo(f"{len(found)} sessions." if len(found) != 1 else "1 session.")


def _print_counts(rows: list[DatasetCoverage]) -> None:
    counts = ", ".join(f"{sum(row.status == status for row in rows)} {status}" for status in _STATUS_STYLES)
    click.echo(f"{len(rows)} files: {counts}.")


def _print_verification(report: VerificationReport, show_all: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(header_style="bold")
    for column in ("Dataset", "Object in the file", "Status", "Why"):
        table.add_column(column, overflow="fold")
    for row in (row for row in report if show_all or row.status != "equal"):
        first, style = row.first_difference, _VERIFY_STYLES[row.status]
        where = "" if first is None else f"first at {list(first.index)}: {first.found} instead of {first.expected}"
        why = "; ".join(filter(None, (row.reason, where)))
        table.add_row(escape(row.dataset), escape(row.object), f"[{style}]{row.status}[/]", escape(why))
    if table.row_count:
        _console().print(table)
    click.echo(f"{len(report.rows)} comparisons with {report.session_path}: {report.summary()}.")


def _print_findings(report: ValidationReport) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(header_style="bold")
    for column in ("Level", "Check", "What", "Where", "Files", "What to do"):
        table.add_column(column, overflow="fold")
    for group in report.groups():
        first, style = group.first, _LEVEL_STYLES[group.first.level]
        more = f" (and {len(group.findings) - 1} more)" if len(group.findings) > 1 else ""
        where = f"{first.path.name} {first.location}".strip()
        texts = (first.check, first.message + more, where, str(group.n_files), first.advice)
        table.add_row(f"[{style}]{first.level}[/]", *map(escape, texts))
    if table.row_count:
        _console().print(table)
    for note in report.notes:
        click.echo(note)
    click.echo(f"{report.summary()}.")


def _upload(folder: Path, dandiset: str, instance: str, *, as_json: bool = False, **options: Any) -> bool:
    from tqdm import tqdm

    from .publish import UploadRecord, upload_folder

    def tell(record: UploadRecord) -> None:
        why = f": {record.error}" if record.error else ""
        tqdm.write(f"{record.state}: {record.path}{why}")

    shown = {} if as_json else {"progress_bar_class": tqdm, "on_record": tell}
    try:
        report = upload_folder(folder, dandiset, instance=instance, **shown, **options)
    except KeyboardInterrupt:
        click.echo("Stopped. Give the same command to go on.", err=True)
        sys.exit(128 + signal.SIGINT)
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        click.echo(f"{report.describe()}.")
    return report.ok


def _print_summary(summary: ConversionSummary) -> None:
    from rich.table import Table

    table = Table(header_style="bold")
    for column, justify in (("Interface", "left"), ("Files", "right"), ("Read", "right"), ("Notes", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for row in summary.interfaces:
        table.add_row(row.name, str(row.n_datasets), format_size(row.n_bytes), " ".join(row.notes))
    console = _console()
    console.print(table)
    console.print(
        f"Wrote {summary.nwbfile_path} ({format_size(summary.size)}) in {summary.seconds:.1f} s.", soft_wrap=True
    )
    for note in summary.notes:
        click.echo(note)
    _print_blanks(summary.missing_for_dandi)


def _print_plan(summary: BatchSummary) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(header_style="bold")
    for column in ("Session", "Product", "State", "Why"):
        table.add_column(column, overflow="fold")
    for record in summary.records:
        would = "to convert" if record.state in ("queued", "running") else record.state
        table.add_row(escape(record.session or record.source), record.product, would, escape(record.error or ""))
    _console().print(table)
    click.echo(f"{summary.describe()}. Nothing was done.")


def _print_blanks(blanks: list[str]) -> None:
    if blanks:
        click.echo(f"DANDI will ask for: {', '.join(blanks)}. Add them with --metadata or --alyx.")


def format_size(n_bytes: float) -> str:
    """Number of bytes as people read it, e.g. ``1.5 MB`` (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
