"""TaskSettingsInterface and ExperimentDescriptionInterface: every value of the documents, as rows of a table."""

import json

import pytest
import yaml
from family_checks import check_valid, convert
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin
from pynwb import read_nwb
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, REAL, needs_real_data

from ibl_nwb.errors import DatasetMissingError, DatasetUnreadableError
from ibl_nwb.interfaces.experiment_description import ExperimentDescriptionInterface
from ibl_nwb.interfaces.task_settings import TaskSettingsInterface
from ibl_nwb.session import ALFSession

SETTINGS = {
    "PYBPOD_PROTOCOL": "_iblrig_tasks_ephysChoiceWorld",
    "STIM_POSITIONS": [-35, 35],
    "REWARD": {"amount/µl": 1.5, "types~": [], "calibration": {}},
    "IS_MOCK": False,
    "SUBJECT_WEIGHT": None,
    "GAIN": 0.1 + 0.2,
}
DESCRIPTION = {
    "devices": {"cameras": {"left": {"collection": "raw_video_data", "sync_label": None}}},
    "tasks": [{"ephysChoiceWorld": {"collection": "raw_behavior_data"}}],
    "version": "1.0.0",
}


def make_documents(path, *, passive=True):
    collections = ("raw_behavior_data", "raw_passive_data") if passive else ("raw_behavior_data",)
    for collection in collections:
        (path / collection).mkdir(parents=True)
        text = json.dumps({**SETTINGS, "COLLECTION": collection}, indent=1)
        (path / collection / "_iblrig_taskSettings.raw.json").write_text(text, encoding="utf-8")
    (path / "_ibl_experiment.description.yaml").write_text(yaml.safe_dump(DESCRIPTION))
    return path


def assert_holds(table, document):
    """Every row is the value at its JSON Pointer, and there are as many rows as values."""
    rows = list(zip(table["field"].data[:], table["value"].data[:], strict=True))
    for pointer, value in rows:
        place = document
        for key in pointer.split("/")[1:]:
            key = key.replace("~1", "/").replace("~0", "~")
            place = place[int(key)] if isinstance(place, list) else place[key]
        assert json.loads(value) == place
        assert type(json.loads(value)) is type(place)
    assert len(rows) == count_values(document) == len({pointer for pointer, _ in rows})


def count_values(content):
    parts = content.values() if isinstance(content, dict) else content
    return sum(map(count_values, parts)) if isinstance(content, (dict, list)) and content else 1


class TestTaskSettingsWithNeuroConvsMixins(DataInterfaceTestMixin):
    data_interface_cls = TaskSettingsInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, tmp_path_factory):
        cls.interface_kwargs = {"session_path": str(make_documents(tmp_path_factory.mktemp("settings")))}

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        assert_holds(nwbfile.analysis["TaskSettings"], {**SETTINGS, "COLLECTION": "raw_behavior_data"})
        nwbfile.read_io.close()


class TestExperimentDescriptionWithNeuroConvsMixins(DataInterfaceTestMixin):
    data_interface_cls = ExperimentDescriptionInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, tmp_path_factory):
        cls.interface_kwargs = {"session_path": str(make_documents(tmp_path_factory.mktemp("description")))}

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        assert_holds(nwbfile.analysis["ExperimentDescription"], DESCRIPTION)
        nwbfile.read_io.close()


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_all_documents_beside_a_foreign_interface(tmp_path, backend):
    session_path = make_documents(tmp_path / "session")
    session = ALFSession(session_path)
    instances = {
        interface.get_instance_name(session, instance): (interface, {"session_path": str(session_path), **instance})
        for interface in (TaskSettingsInterface, ExperimentDescriptionInterface)
        for instance in interface.get_instances(session)
    }
    assert list(instances) == ["TaskSettings", "TaskSettingsRawPassiveData", "ExperimentDescription"]
    path = tmp_path / "x.nwb"
    nwbfile = convert(instances, path, backend=backend, runs=2)
    assert_holds(nwbfile.analysis["TaskSettingsRawPassiveData"], {**SETTINGS, "COLLECTION": "raw_passive_data"})
    assert_holds(nwbfile.analysis["ExperimentDescription"], DESCRIPTION)
    nwbfile.read_io.close()
    if backend == "hdf5":
        check_valid(path)


def test_users_name_is_written(tmp_path):
    nwbfile = mock_NWBFile()
    metadata = {"TaskSettings": {"task_settings": {"name": "Rig"}}}
    TaskSettingsInterface(make_documents(tmp_path)).add_to_nwbfile(nwbfile, metadata)
    assert set(nwbfile.analysis) == {"Rig"}


@pytest.mark.parametrize("text", ["", "{'a': 1"])
def test_settings_that_are_no_json(tmp_path, text):
    (make_documents(tmp_path) / "raw_behavior_data/_iblrig_taskSettings.raw.json").write_text(text)
    with pytest.raises(DatasetUnreadableError, match="taskSettings"):
        TaskSettingsInterface(tmp_path).add_to_nwbfile(mock_NWBFile())


@pytest.mark.parametrize("text", ["", "a: [1"])
def test_description_that_is_no_yaml(tmp_path, text):
    (make_documents(tmp_path) / "_ibl_experiment.description.yaml").write_text(text)
    with pytest.raises(DatasetUnreadableError, match="description"):
        ExperimentDescriptionInterface(tmp_path).add_to_nwbfile(mock_NWBFile())


def test_nothing_there(tmp_path):
    make_documents(tmp_path, passive=False)
    (tmp_path / "_ibl_experiment.description.yaml").unlink()
    with pytest.raises(DatasetMissingError, match="nothing for ExperimentDescriptionInterface"):
        ExperimentDescriptionInterface(tmp_path)


@needs_real_data
def test_real_settings():
    paths = sorted(REAL.rglob("*_taskSettings.raw.json"))
    assert paths
    for path in paths:
        nwbfile = mock_NWBFile()
        TaskSettingsInterface(path.parents[1], collection=path.parent.name).add_to_nwbfile(nwbfile)
        (table,) = nwbfile.analysis.values()
        assert_holds(table, json.loads(path.read_text(encoding="utf-8")))


@needs_real_data
def test_real_descriptions(tmp_path):
    paths = [*(REAL / "experiment_description").glob("*.yaml"), CHIMERA / "_ibl_experiment.description.yaml"]
    assert len(paths) > 1
    for number, path in enumerate(paths):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "_ibl_experiment.description.yaml").write_bytes(path.read_bytes())
        nwbfile = mock_NWBFile()
        ExperimentDescriptionInterface(folder).add_to_nwbfile(nwbfile)
        expected = json.loads(json.dumps(yaml.safe_load(path.read_text()), default=str))
        assert_holds(nwbfile.analysis["ExperimentDescription"], expected)
