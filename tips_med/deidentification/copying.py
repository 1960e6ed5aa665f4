"""A de-identified copy of a study's images, which de-identified results refer to."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from tips_med.deidentification.deidentifier import Deidentifier
from tips_med.errors import OutputError, ReadError
from tips_med.folders import new_folder
from tips_med.readers.sources import dicom_files

_MODALITIES = ("CT", "MR", "PT")
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True)
class Copied:
    """Counts of copied and omitted files.

    Attributes:
        images: Number of copied images.
        left_out: Number of files that were not copied: reports, screenshots, damaged files, and images with burned-in
            text.
    """

    images: int
    left_out: int


def copy_images(source: str | Path, out: Path, deidentifier: Deidentifier) -> Copied:
    """Copies CT, MR and PET images without the patient's identity; files are numbered, pixels are not touched.

    What is no image of a scan is left out, and so is an image whose header states burned-in text.

    Args:
        source: Folder, file, DICOMDIR or zip archive.
        out: New or empty folder; it appears when the copy is complete.
        deidentifier: De-identifier with the same key as the results that will refer to the copy.

    Raises:
        ReadError: There are no files, or one cannot be read.
        OutputError: ``nothing-to-copy``, or the folder cannot be written to.
    """
    images = left_out = 0
    with dicom_files(Path(source)) as files, new_folder(out) as folder:
        for path in files.paths:
            made = _image(path, deidentifier)
            if made is None:
                left_out += 1
                continue
            images += 1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about odd values that are the source's
                made.save_as(folder / f"{images:06d}.dcm", enforce_file_format=True)
        if not images:
            raise OutputError(
                f"none of {left_out} files is an image that can be copied",
                path=source,
                expected="CT, MR or PET images without burned-in text",
                code="nothing-to-copy",
            )
    return Copied(images, left_out)


def _image(path: Path, deidentifier: Deidentifier) -> Dataset | None:
    """A file's data set without identity; None for what is left out."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path)
            if not _is_image(dataset):
                return None
            deidentifier.header(dataset)
            return dataset
    except OSError as error:
        raise ReadError(f"cannot be read ({error.strerror or error})", path=path) from error
    except Exception:  # pydicom raises whatever damaged bytes lead it to; what cannot be parsed cannot be cleaned
        return None


def _is_image(dataset: Dataset) -> bool:
    return (
        dataset.get("Modality") in _MODALITIES
        and "PixelData" in dataset
        and not str(dataset.get("SOPClassUID", "")).startswith(_SECONDARY_CAPTURE)
        and dataset.get("BurnedInAnnotation", "NO") != "YES"
        and "SCREEN SAVE" not in [str(kind).upper() for kind in dataset.get("ImageType") or []]
    )
