"""Copies a scan's DICOM images without the patient's identity."""

from __future__ import annotations

from pathlib import Path

from tips_med.deidentification import Deidentifier, copy_images


def deidentify(scan: str, out: Path, deidentify_key: Path | None = None) -> str:
    """Copies a scan's DICOM images without the patient's identity (DICOM PS3.15 basic profile); pixels stay.

    Args:
        scan: A DICOM folder, a DICOM file, a DICOMDIR or a zip archive.
        out: Path of a new or empty folder; it appears when everything is there.
        deidentify_key: File with the secret that maps the UIDs, made if missing; results of ground and encode with the
            same one refer to this copy. A fresh secret if left out.

    Returns:
        What was copied, in words.
    """
    copied = copy_images(scan, out, Deidentifier.from_file(deidentify_key))
    left_out = f", {copied.left_out} files left out" if copied.left_out else ""
    return f"{copied.images} images copied to {out}{left_out}"
