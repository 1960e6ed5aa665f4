"""What image files of all formats have in common: their errors, and the checks of their affine."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tips_med.errors import ReadError
from tips_med.geometry import spacing_mm
from tips_med.scan import Provenance, Scan
from tips_med.shapes import Affine

MAX_VOXELS = 1 << 31
_GZIP_RATIO = 1040
"""Deflate cannot shrink more than this: a header that promises more than so many bytes a byte is damaged."""


TINY_MM = 0.01
"""Voxels smaller than this on all sides are no patient's: the unit is in doubt."""


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Errors of other libraries as ``ReadError``, which names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ReadError:
        raise
    except (EOFError, zlib.error) as error:
        raise ReadError("is cut short or damaged", path=path, code="truncated-file", remedy="copy it again") from error
    except Exception as error:  # nibabel and SimpleITK raise whatever the damaged bytes lead them to
        detail = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {detail[-1][:160]}" if detail else type(error).__name__
        raise ReadError(f"cannot be read ({reason})", path=path, code="damaged-file") from error


def volume_index(path: Path, shape: tuple[int, ...], phase: int | None) -> tuple[int, ...]:
    """Indices along the axes past the third of the volume that ``phase`` names."""
    count = int(np.prod(shape[3:])) if len(shape) > 3 else 1
    if len(shape) < 3 or min(shape) < 1:
        raise ReadError(f"has the shape {shape}", path=path, expected="three axes", code="not-a-volume")
    if count > 1 and phase is None:
        raise ReadError(
            f"holds {count} volumes",
            path=path,
            expected="one volume",
            remedy="choose one with --phase N (phase=N)",
            code="several-phases",
        )
    if phase is not None and not 1 <= phase <= count:
        raise ReadError(
            f"holds {count} volume(s), there is no number {phase}",
            path=path,
            expected=f"a number from 1 to {count}",
            code="no-such-phase",
        )
    return tuple(int(n) for n in np.unravel_index((phase or 1) - 1, shape[3:] or (1,), order="F"))[: len(shape) - 3]


def check_room(path: Path, shape: tuple[int, ...], item_bytes: int, offset: int, packed: bool) -> None:
    """Refuses a header that claims more voxels than there may be, or than its file can hold.

    Raises:
        ReadError: ``too-large``, ``truncated-file``.
    """
    wanted = item_bytes * int(np.prod(np.array(shape, dtype=object)))
    if int(np.prod(np.array(shape[:3], dtype=object))) > MAX_VOXELS:
        raise ReadError(f"claims {shape} voxels", path=path, expected=f"{MAX_VOXELS} at most", code="too-large")
    there = path.stat().st_size
    if (packed and wanted + offset > there * _GZIP_RATIO) or (not packed and there < wanted + offset):
        raise ReadError(
            f"is cut short: {there} bytes cannot hold {shape} values of {item_bytes} bytes",
            path=path,
            remedy="copy the file again",
            code="truncated-file",
        )


def tiny_voxels(affine: np.ndarray) -> list[str]:
    """A note on voxels that are far too small for a patient, as in a file in metres without its unit."""
    if spacing_mm(affine).max() >= TINY_MM:
        return []
    size = " x ".join(f"{x:.4g}" for x in spacing_mm(affine))
    return [f"Voxels of {size} mm are far too small for a patient: if the file is in metres, set its unit of length."]


def check_affine(path: Path, affine: np.ndarray) -> None:
    """Refuses an affine that cannot be of a patient.

    Raises:
        ReadError: ``bad-affine``.
    """
    spacing = spacing_mm(affine) if np.isfinite(affine).all() else np.zeros(3)
    volume = abs(np.linalg.det(affine[:3, :3])) if spacing.all() else 0.0
    if not spacing.all() or volume < 1e-2 * np.prod(spacing) or spacing.max() > 1e3 or spacing.min() < 1e-4:
        raise ReadError(
            "its affine is singular, or its spacing lies outside 1e-4 to 1e3 mm",
            path=path,
            expected="millimetres",
            code="bad-affine",
            remedy="check the affine and the unit of length (xyzt_units) in its header",
        )
    if np.abs(affine[:3, 3]).max() > 1e6:
        raise ReadError(
            "its affine places it a kilometre away", path=path, code="bad-affine", remedy="check the header"
        )


def scan_of(path: Path, voxels: np.ndarray, lps_from_kji: Affine, kind: str, notes: list[str]) -> Scan:
    """A scan of an image file, whose modality and unit are not known yet; infinite values become NaN."""
    if np.isinf(voxels).any():
        voxels[np.isinf(voxels)] = np.nan
        notes.append("Infinite values were set to NaN.")
    return Scan(voxels, lps_from_kji, "OT", "", Provenance(kind, notes=tuple(notes)))
