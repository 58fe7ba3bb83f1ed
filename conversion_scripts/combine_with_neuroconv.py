"""Two interfaces of ``ibl_nwb`` beside two of NeuroConv itself, in an ``NWBConverter`` and in a ``ConverterPipe``.

The foreign ones here are a table of intervals in a CSV file and the pose of another camera in a DeepLabCut CSV file;
put your own in their place.

    python conversion_scripts/combine_with_neuroconv.py SESSION INTERVALS.csv POSE.csv OUTPUT_FOLDER
"""

import argparse
from datetime import datetime
from pathlib import Path

from neuroconv import ConverterPipe, NWBConverter
from neuroconv.datainterfaces import CsvTimeIntervalsInterface, DeepLabCutInterface

from ibl_nwb import TrialsInterface, WheelInterface

#: The CSV file holds no times.
TOP_CAMERA_RATE_HZ = 60.0


class CombinedConverter(NWBConverter):
    """IBL's wheel and trials, and two data sources of the lab's own."""

    data_interface_classes = {
        "Wheel": WheelInterface,
        "Trials": TrialsInterface,
        "Intervals": CsvTimeIntervalsInterface,
        "TopCamera": DeepLabCutInterface,
    }


def with_nwbconverter(session_path: Path, intervals_path: Path, pose_path: Path, nwbfile_path: Path) -> None:
    """Combine by declaring the classes: schemas and metadata of all interfaces are merged."""
    converter = CombinedConverter(
        source_data={
            "Wheel": {"session_path": str(session_path)},
            "Trials": {"session_path": str(session_path)},
            "Intervals": {"file_path": str(intervals_path)},
            "TopCamera": {"file_path": str(pose_path), "sampling_frequency": TOP_CAMERA_RATE_HZ},
        }
    )
    write(converter, nwbfile_path)


def with_converter_pipe(session_path: Path, intervals_path: Path, pose_path: Path, nwbfile_path: Path) -> None:
    """Combine objects that are there already, for instance when each needs settings of its own."""
    pipe = ConverterPipe(
        {
            "Wheel": WheelInterface(session_path),
            "Trials": TrialsInterface(session_path),
            "Intervals": CsvTimeIntervalsInterface(file_path=intervals_path),
            "TopCamera": DeepLabCutInterface(file_path=pose_path, sampling_frequency=TOP_CAMERA_RATE_HZ),
        }
    )
    write(pipe, nwbfile_path)


def write(converter: NWBConverter, nwbfile_path: Path) -> None:
    """Fill in what no interface knows, then convert."""
    metadata = converter.get_metadata()
    metadata["NWBFile"]["session_start_time"] = datetime.fromisoformat("2023-05-18T12:00:00+01:00")
    metadata["NWBFile"]["session_description"] = "Choice task with a second camera."
    # NeuroConv's interface would call its table "trials" too.
    metadata["TimeIntervals"]["trials"].update(table_name="arena_lights", table_description="When the lights were on.")
    metadata["Wheel"]["wheel"]["WheelPosition"]["description"] = "Position of the wheel, in this lab's words."
    converter.run_conversion(
        nwbfile_path=nwbfile_path,
        metadata=metadata,
        conversion_options={"Wheel": {"write_velocity": True}},
        overwrite=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("session_path", "intervals_path", "pose_path", "output_folder"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    sources = (arguments.session_path, arguments.intervals_path, arguments.pose_path)
    arguments.output_folder.mkdir(parents=True, exist_ok=True)
    with_nwbconverter(*sources, arguments.output_folder / "nwbconverter.nwb")
    with_converter_pipe(*sources, arguments.output_folder / "converter_pipe.nwb")
