"""Which kind of scan it is, and whether a model was trained on that kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tips_med.errors import ModalityError
from tips_med.model import GroundingModel
from tips_med.scan import Scan


def ensure_known_modality(scan: Scan, model: GroundingModel) -> Scan:
    """The scan, if it is of a kind that the model was trained on.

    A NIfTI file does not state its modality. If its values look like Hounsfield units it is taken for CT, with a note.

    Raises:
        ModalityError: The scan is of another modality, or states none and does not look like CT.
    """
    return ensure_modality(scan, model.image.modalities, f", which the model {model.card.name!r} was trained on")


def ensure_modality(scan: Scan, known: Sequence[str], why: str = "") -> Scan:
    """The scan, if it is of one of these modalities; see ``ensure_known_modality``.

    Args:
        scan: Scan, as read.
        known: DICOM modality codes; any modality is allowed when empty.
        why: Reason, for the message, after the codes.

    Raises:
        ModalityError: The scan is of another modality, or states none and does not look like CT.
    """
    if scan.modality == "CT" and "CT" in known and scan.unit not in ("HU", ""):
        raise ModalityError(
            f"the values of this CT are in {scan.unit}",
            expected="Hounsfield units (HU)",
            remedy="choose the series of the plain CT images",
            code="unit",
        )
    if not known or scan.modality in known:
        return scan
    expected = f"{' or '.join(known)}{why}"
    if scan.modality != "OT":
        raise ModalityError(
            f"the scan is {scan.modality}", expected=expected, remedy="choose a model for this modality (--model)"
        )
    if "CT" not in known or not looks_like_hounsfield(scan):
        raise ModalityError(
            f"the file does not state its modality, and its values do not look like Hounsfield units ({_range(scan)})",
            expected=expected,
            remedy="if it is CT in Hounsfield units, set --modality CT (modality='CT'); otherwise rescale it, "
            "or read the DICOM series instead",
        )
    note = "The file does not state its modality; its values look like Hounsfield units, so it is taken for CT."
    return replace(scan, modality="CT", unit="HU", provenance=scan.provenance.noting(note))


def with_stated_modality(scan: Scan, modality: str | None) -> Scan:
    """The scan with the modality that the user states, where its file states none.

    Args:
        scan: Scan, as read.
        modality: DICOM modality code, such as ``CT``; None to leave it to the file.

    Raises:
        ModalityError: The file states another modality.
    """
    if modality is None or scan.modality == modality:
        return scan
    if scan.modality != "OT":
        raise ModalityError(
            f"the file states the modality {scan.modality}, not {modality}",
            expected="the modality that the file states",
            remedy="leave --modality out",
        )
    note = f"The file does not state its modality; it was taken for {modality}, as requested."
    return replace(
        scan, modality=modality, unit="HU" if modality == "CT" else "", provenance=scan.provenance.noting(note)
    )


def looks_like_hounsfield(scan: Scan) -> bool:
    """True when a scan holds air near -1000 and soft tissue near 0 to 100, as every CT of a body does."""
    measured = np.flatnonzero(np.isfinite(scan.voxels[:, ::8, ::8]).any(axis=(1, 2)))
    values = scan.voxels[measured[:: max(1, len(measured) // 16)], ::4, ::4]
    values = values[np.isfinite(values)]
    if not values.size:
        return False
    air, tissue = (values < -800).mean(), ((values > -200) & (values < 200)).mean()
    return bool(
        air > 0.01 and tissue > 0.05 and np.percentile(values, 99.9) < 4096 and np.percentile(values, 0.1) > -3100
    )


def _range(scan: Scan) -> str:
    finite = scan.voxels[np.isfinite(scan.voxels)]
    return f"from {finite.min():.0f} to {finite.max():.0f}" if finite.size else "none was measured"
