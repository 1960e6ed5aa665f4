"""Masks that clients send: base64 of a NIfTI file, gzipped or not, bounded before it is unpacked."""

from __future__ import annotations

import base64
import binascii
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from tips_med.geometry import lps_affine_kji
from tips_med.manifest.masks import place_on
from tips_med.scan import Scan
from tips_med.server.refusals import RequestError
from tips_med.shapes import Mask

_HEADER_BYTES = 1 << 16
_VOXEL_BYTES = 8
"""The most that a voxel of a mask takes."""

_UNREADABLE = (
    binascii.Error, zlib.error, ValueError, TypeError, OSError, ImageFileError, HeaderDataError, WrapStructError,
)  # fmt: skip


def sent_mask(text: str, scan: Scan) -> Mask:
    """Unpacks a mask.

    Args:
        text: Base64 of a NIfTI-1 file with a 3-D image, gzipped or not; above 0 is inside.
        scan: Scan whose grid the mask is on; its axes may be turned or flipped.

    Returns:
        The mask, bool [k j i], on the scan's grid.

    Raises:
        RequestError: ``bad-mask``.
        ManifestError: ``other-grid``.
    """
    most = scan.voxels.size * _VOXEL_BYTES + _HEADER_BYTES
    try:
        content = base64.b64decode(text, validate=True)
        if content[:2] == b"\x1f\x8b":
            unpacker = zlib.decompressobj(wbits=31)
            content = unpacker.decompress(content, most + 1)
            if not unpacker.eof and len(content) <= most:
                raise ValueError("it is cut short")
        if len(content) > most:
            raise ValueError("it is larger than a mask of this scan")
        image = nib.Nifti1Image.from_bytes(content)
        values = np.asarray(image.dataobj)
        affine = image.affine
        if values.ndim != 3 or affine is None or not np.isfinite(affine).all() or np.iscomplexobj(values):
            raise ValueError("it is no 3-D image")
        labels = np.nan_to_num(values.astype(np.float32)).transpose(2, 1, 0) > 0
    except _UNREADABLE as error:
        raise RequestError(
            422,
            "bad-mask",
            "the mask cannot be read",
            expected="base64 of a NIfTI file on the scan's grid",
        ) from error
    return place_on(labels, lps_affine_kji(affine), scan, Path("mask")) > 0
