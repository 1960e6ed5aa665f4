"""Lists the content of a path, and which series would be read."""

from __future__ import annotations

from tips_med.readers import Inspection, inspect_path


def inspect(path: str, json: bool = False) -> Inspection:
    """Lists series, sizes, spacings, orientations and problems, and which series would be read and why.

    Args:
        path: Folder, DICOM file, a DICOMDIR, a zip archive, or a NIfTI, NRRD or MHA file.
        json: Print JSON instead of a table (command line only).
    """
    del json  # what is found does not depend on how it is shown
    return inspect_path(path)
