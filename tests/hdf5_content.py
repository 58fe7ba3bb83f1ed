"""All that an HDF5 file holds, to compare two of them."""

import h5py
import numpy as np

#: What differs between two conversions of the same document. Which specifications of extensions are kept in a file
#: depends on what its process has imported for other files, and NeuroConv notes how the process was started.
OF_THE_MAKING = ("file_create_date", "object_id", ".specloc", "specifications", "general/source_script")


def read_all(path):
    """Every dataset and attribute of an HDF5 file, but for what differs between two conversions."""
    found = {}
    with h5py.File(path) as file:

        def plain(value):
            if isinstance(value, h5py.Reference):
                return file[value].name
            if isinstance(value, np.ndarray) and value.dtype == object:
                return [plain(one) for one in value.ravel()]
            if isinstance(value, np.ndarray | np.generic):
                return value.tolist() if value.dtype.hasobject else value.tobytes()  # so that NaN equals NaN
            return value

        def note(name, node):
            for key, value in node.attrs.items():
                found[f"{name}@{key}"] = plain(value)
            if isinstance(node, h5py.Dataset):
                found[name] = (str(node.dtype), node.shape, plain(node[()]))

        note("/", file)
        file.visititems(note)
    return {key: value for key, value in found.items() if not any(part in key for part in OF_THE_MAKING)}
