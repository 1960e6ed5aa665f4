"""List what a path holds, and which series would be read."""

from __future__ import annotations

from tips_med.readers import Inspection, inspect_path


def inspect(path: str, json: bool = False) -> Inspection:
    """Lists series, sizes, spacings, orientations and problems, and says which series would be read and why.

    Args:
        path: A folder, a DICOM file, a DICOMDIR, a zip archive, or a NIfTI, NRRD or MHA file.
        json: On the command line, print JSON instead of a table.
    """
    del json  # what is found does not depend on how it is shown
    return inspect_path(path)
