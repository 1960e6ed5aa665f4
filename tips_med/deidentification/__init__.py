"""De-identification by the basic profile of DICOM PS3.15 Annex E."""

from tips_med.deidentification.copying import Copied, copy_images
from tips_med.deidentification.deidentifier import Deidentifier

__all__ = ["Copied", "Deidentifier", "copy_images"]
