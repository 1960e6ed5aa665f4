"""The strict reader as a MONAI ``ImageReader``: ``LoadImaged(keys, reader=ScanReader())``.

MONAI's ``LoadImage`` catches whatever ``ImageReader.read`` raises and goes on to its own readers, which would load a
tilted or uneven series in silence. So a refusal travels as a value, and is raised by ``get_data``, which MONAI calls
outside of that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from monai.config.type_definitions import PathLike as MonaiPath
from monai.data.image_reader import ImageReader
from monai.utils.enums import MetaKeys, SpaceKeys

from tips_med.errors import ReadError, TipsMedError
from tips_med.geometry import ras_affine_ijk
from tips_med.notes import Note
from tips_med.readers.reading import read_scan
from tips_med.readers.sources import image_format
from tips_med.scan import Provenance, Scan


@dataclass(frozen=True)
class Refusal:
    """Why a path could not be read; ``ScanReader.get_data`` raises it.

    Attributes:
        error: Error that ``read_scan`` raised.
    """

    error: TipsMedError


class ScanReader(ImageReader):
    """Reads with ``read_scan``; gives data [i j k] and an affine from (i, j, k) to RAS in mm, as MONAI's readers do.

    Padding and gaps are NaN: follow with a transform that fills them if the network cannot take NaN.

    Args:
        phase: Number of the volume to read, from 1; see ``read_scan``.
        fill_gaps: Leave missing slices empty (NaN) instead of refusing.
        untilt: Resample a tilted stack instead of refusing.
        series: Series Instance UID, or None for the only one.
    """

    def __init__(
        self, *, series: str | None = None, phase: int | None = None, fill_gaps: bool = False, untilt: bool = False
    ) -> None:
        super().__init__()
        self._options: dict[str, Any] = {"series": series, "phase": phase, "fill_gaps": fill_gaps, "untilt": untilt}

    def verify_suffix(self, filename: Sequence[MonaiPath] | MonaiPath) -> bool:
        """Whether the path is one that this reader may try: a folder, a zip, DICOM, NIfTI, NRRD or MetaImage."""
        names = [filename] if isinstance(filename, (str, PathLike)) else list(filename)
        paths = [Path(str(name)) for name in names]
        return all(
            path.is_dir() or image_format(path) is not None or path.suffix.lower() in ("", ".dcm", ".zip", ".ima")
            for path in paths
        )

    def read(self, data: Sequence[MonaiPath] | MonaiPath, **kwargs: Any) -> Scan | Refusal:
        """Reads one volume, or returns the refusal: MONAI must not try another reader then."""
        names = [data] if isinstance(data, (str, PathLike)) else list(data)
        if len(names) != 1:
            return Refusal(
                ReadError(
                    f"{len(names)} paths were given",
                    expected="one",
                    remedy="name the folder of a series",
                    code="several-paths",
                )
            )
        try:
            return read_scan(str(names[0]), **{**self._options, **kwargs})
        except TipsMedError as error:
            return Refusal(error)

    def get_data(self, img: Scan | Refusal) -> tuple[np.ndarray, dict[str, Any]]:
        """The array [i j k] and its metadata.

        Raises:
            ReadError: As ``read_scan``; ``several-paths`` when more than one path was given.
        """
        if isinstance(img, Refusal):
            raise img.error
        return img.voxels.transpose(2, 1, 0), meta_of_scan(img)


def meta_of_scan(scan: Scan) -> dict[str, Any]:
    """The MONAI metadata of a scan [i j k]: its affine to RAS in mm, and its source.

    Numbers and texts only: MONAI's collation takes no lists of different lengths.
    """
    ras_from_ijk = ras_affine_ijk(scan.lps_from_kji)
    return {
        MetaKeys.AFFINE: ras_from_ijk,
        MetaKeys.ORIGINAL_AFFINE: ras_from_ijk.copy(),
        MetaKeys.SPACE: SpaceKeys.RAS,
        MetaKeys.SPATIAL_SHAPE: np.array(scan.shape[::-1]),
        MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),
        "modality": scan.modality,
        "unit": scan.unit,
        "notes": "\n".join(scan.provenance.notes),
        "provenance": text_of_provenance(scan.provenance),
    }


def text_of_provenance(provenance: Provenance) -> str:
    """A provenance as JSON; its structured notes stay structured, so that they can lose identity later."""
    notes = [
        {"template": note.template, "code": note.code, "values": note.values} if isinstance(note, Note) else str(note)
        for note in provenance.notes
    ]
    return json.dumps(asdict(provenance) | {"notes": notes}, default=str)


def provenance_of_text(text: str) -> Provenance:
    """What ``text_of_provenance`` wrote."""
    known = json.loads(text)
    notes = [
        Note(note["template"], code=note["code"], **note["values"]) if isinstance(note, dict) else note
        for note in known.pop("notes")
    ]
    lists = {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
    return Provenance(**known | lists, notes=tuple(notes))
