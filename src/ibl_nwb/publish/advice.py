"""What to do about the findings that IBL sessions can have, by the name of the check."""

_SUBJECT = 'convert with the Alyx record of the session (--alyx), or give it with --metadata: "Subject": '
_NAMES = "take the names that 'ibl-nwb batch' gives: sub-X/sub-X_ses-Y[_desc-Z][_modalities].nwb"
_VIDEOS = "convert again with --videos copy (the default of 'ibl-nwb batch')"
_KNOWN = "nothing: known of IBL's data, see docs/nwb-mapping.md"
_DAMAGED = "the file is damaged or incomplete: convert the session again"
_TRUTH = "look at the source: values are written as they are in ALF; tell the lab if they are wrong there"

#: One sentence, or part of one, for each check of which we know what to do.
ADVICE: dict[str, str] = {
    "check_subject_exists": f"{_SUBJECT}{{...}}",
    "check_subject_id_exists": f'{_SUBJECT}{{"subject_id": "KS014"}}',
    "check_subject_id_no_slashes": f'{_SUBJECT}{{"subject_id": ...}} without a slash',
    "check_subject_sex": f'{_SUBJECT}{{"sex": "M"}}; or "F", "O", "U" for unknown',
    "check_subject_species_exists": f'{_SUBJECT}{{"species": "Mus musculus"}}',
    "check_subject_species_form": f'{_SUBJECT}{{"species": "Mus musculus"}}, the Latin name',
    "check_subject_age": f'{_SUBJECT}{{"date_of_birth": "2023-01-31"}} or {{"age": "P90D"}}',
    "check_subject_proper_age_range": f'{_SUBJECT}{{"age": "P90D/P100D"}}, the lower one first',
    "check_subject_weight": f'{_SUBJECT}{{"weight": "0.023 kg"}}',
    "check_session_id_no_slashes": 'give it with --metadata: "NWBFile": {"session_id": ...} without a slash',
    "check_session_start_time_future_date": "correct it with --session-start-time, or --timezone",
    "check_session_start_time_old_date": "correct it with --session-start-time, or --timezone",
    "check_experimenter_exists": 'give them with --metadata: "NWBFile": {"experimenter": ["Doe, Jane"]}',
    "check_experimenter_form": 'write them with --metadata as "Doe, Jane"',
    "check_experiment_description": 'give it with --metadata: "NWBFile": {"experiment_description": ...}',
    "check_institution": 'give it with --metadata: "NWBFile": {"institution": ...}',
    "check_keywords": 'give them with --metadata: "NWBFile": {"keywords": [...]}',
    "check_image_series_external_file_valid": _VIDEOS,
    "check_image_series_external_file_relative": _VIDEOS,
    "check_electrodes_location_allen_ccf": "nothing, without histology the place is unknown; else convert with it",
    "check_processing_module_name": _KNOWN,
    "check_single_row": _KNOWN,
    "check_col_not_nan": _KNOWN,
    "check_negative_spike_times": _TRUTH,
    "check_ascending_spike_times": _TRUTH,
    "check_timestamps_ascending": _TRUTH,
    "check_timestamps_without_nans": _TRUTH,
    "check_time_intervals_stop_after_start": _TRUTH,
    "DANDI.NON_DANDI_FILENAME": _NAMES,
    "DANDI.NON_DANDI_FOLDERNAME": _NAMES,
    "DANDI.METADATA_MISMATCH_SUBJECT": _NAMES,
    "IBL.VIDEO_MISSING": _VIDEOS,
    "IBL.VIDEO_ELSEWHERE": _VIDEOS,
    "IBL.NOT_A_ZARR_NAME": "rename the folder: DANDI takes Zarr whose name ends in .zarr, such as .nwb.zarr",
    "IBL.UNREADABLE": _DAMAGED,
    "pynwb.GENERIC": _DAMAGED,
    "zarr.cannot_open": _DAMAGED,
}
