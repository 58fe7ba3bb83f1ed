"""A file under its final name is always a complete one."""

import os
import signal
import subprocess
import sys

import pytest

from ibl_nwb.errors import OutputExistsError, OutputNotWritableError
from ibl_nwb.writing import atomic_output, check_output


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_when_the_block_ends(tmp_path):
    with atomic_output(tmp_path / "a.nwb") as part:
        part.write_text("all of it")
        assert not (tmp_path / "a.nwb").exists()
    assert (tmp_path / "a.nwb").read_text() == "all of it"
    assert names(tmp_path) == ["a.nwb"]


def test_folder_appears_when_the_block_ends(tmp_path):
    with atomic_output(tmp_path / "a.nwb.zarr") as part:
        part.mkdir()
        (part / "chunk").write_text("all of it")
    assert names(tmp_path) == ["a.nwb.zarr"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_exception_leaves_nothing(tmp_path, error):
    with pytest.raises(error), atomic_output(tmp_path / "a.nwb") as part:
        part.write_text("half of")
        raise error
    assert names(tmp_path) == []


def test_exception_keeps_what_was_to_be_replaced(tmp_path):
    (tmp_path / "a.nwb").write_text("old")
    with pytest.raises(ValueError), atomic_output(tmp_path / "a.nwb", overwrite=True) as part:  # noqa: PT011
        part.write_text("half of")
        raise ValueError
    assert (tmp_path / "a.nwb").read_text() == "old"
    assert names(tmp_path) == ["a.nwb"]


def test_existing_file_is_kept_unless_overwritten(tmp_path):
    (tmp_path / "a.nwb").write_text("old")
    with pytest.raises(OutputExistsError, match="--overwrite"), atomic_output(tmp_path / "a.nwb"):
        pytest.fail("the block must not run")
    with atomic_output(tmp_path / "a.nwb", overwrite=True) as part:
        part.write_text("new")
    assert (tmp_path / "a.nwb").read_text() == "new"


def test_existing_folder_is_replaced_whole(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "old").touch()
    with atomic_output(tmp_path / "a.zarr", overwrite=True) as part:
        part.mkdir()
        (part / "new").touch()
    assert names(tmp_path / "a.zarr") == ["new"]
    assert names(tmp_path) == ["a.zarr"]


def test_file_that_appeared_meanwhile_is_kept(tmp_path):
    with pytest.raises(OutputExistsError, match="appeared"), atomic_output(tmp_path / "a.nwb") as part:
        part.write_text("mine")
        (tmp_path / "a.nwb").write_text("theirs")
    assert (tmp_path / "a.nwb").read_text() == "theirs"
    assert names(tmp_path) == ["a.nwb"]


def test_killed_process_leaves_no_final_name_and_the_next_run_tidies_up(tmp_path):
    script = (
        "import sys, time, pathlib; from ibl_nwb.writing import atomic_output\n"
        "with atomic_output(pathlib.Path(sys.argv[1])) as part:\n"
        "    part.write_text('half of'); print('started', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, tmp_path / "a.nwb"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "a.nwb").exists()
    assert len(names(tmp_path)) == 1
    with atomic_output(tmp_path / "a.nwb") as part:
        part.write_text("all of it")
    assert names(tmp_path) == ["a.nwb"]


def test_part_of_a_running_process_is_left_alone(tmp_path):
    script = (
        "import sys, time, pathlib; from ibl_nwb.writing import atomic_output\n"
        "with atomic_output(pathlib.Path(sys.argv[1])) as part:\n"
        "    part.write_text('theirs'); print('started', flush=True); sys.stdin.readline()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path / "a.nwb"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "started\n"
    with atomic_output(tmp_path / "b.nwb") as part:
        part.write_text("mine")
    with pytest.raises(RuntimeError), atomic_output(tmp_path / "a.nwb"):
        raise RuntimeError
    process.communicate("\n")
    assert (tmp_path / "a.nwb").read_text() == "theirs"
    assert names(tmp_path) == ["a.nwb", "b.nwb"]


def unwritable_folder(tmp_path):
    folder = tmp_path / "read_only"
    folder.mkdir()
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):  # root may write anywhere but to the kernel's own file systems
        return next((path for path in map(type(tmp_path), ("/sys", "/proc")) if path.is_dir()), None)
    return folder


def test_folder_that_cannot_be_written_to(tmp_path):
    folder = unwritable_folder(tmp_path)
    if folder is None:
        pytest.skip("this user may write everywhere")
    with pytest.raises(OutputNotWritableError, match="Cannot write to the folder.*-o"):
        check_output(folder / "a.nwb", overwrite=False)


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputNotWritableError, match="Not a directory|File exists"):
        check_output(tmp_path / "file" / "a.nwb", overwrite=False)
