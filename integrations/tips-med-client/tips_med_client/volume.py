"""Volumes with their place in the patient, and the NIfTI-1 files that the server sends and takes."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass

import numpy as np

_TYPES: dict[int, str] = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
"""NIfTI-1 data types (https://nifti.nimh.nih.gov/nifti-1/)."""
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
"""RAS to LPS, and back."""
_HEADER = 352


@dataclass(frozen=True)
class Volume:
    """An array at its place in the patient.

    Attributes:
        voxels: Values, [k j i].
        lps_from_kji: Maps (k, j, i, 1), voxel centres, to LPS in mm.
    """

    voxels: np.ndarray
    lps_from_kji: np.ndarray

    @property
    def ras_from_ijk(self) -> np.ndarray:
        """The affine that nibabel and 3D Slicer use: maps (i, j, k, 1) to RAS in mm."""
        return _FLIP @ self.lps_from_kji[:, [2, 1, 0, 3]]


def read_nifti(content: bytes) -> Volume:
    """A volume from the bytes of a ``.nii`` or ``.nii.gz`` file that the server wrote.

    Raises:
        ValueError: It is no NIfTI-1 file with three axes and an sform.
    """
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    if len(content) < _HEADER or content[344:348] != b"n+1\0" or struct.unpack_from("<i", content)[0] != 348:
        raise ValueError("not a little-endian NIfTI-1 file")
    axes, i, j, k = struct.unpack_from("<4h", content, 40)
    (kind,) = struct.unpack_from("<h", content, 70)
    (offset,) = struct.unpack_from("<f", content, 108)
    (sform,) = struct.unpack_from("<h", content, 254)
    if axes != 3 or kind not in _TYPES or sform < 1:
        raise ValueError(f"a NIfTI file of {axes} axes, data type {kind}, sform {sform}")
    ras = np.eye(4)
    ras[:3] = np.array(struct.unpack_from("<12f", content, 280)).reshape(3, 4)
    dtype = np.dtype("<" + _TYPES[kind])
    voxels = np.frombuffer(content, dtype, i * j * k, int(offset)).reshape(k, j, i)
    return Volume(voxels, (_FLIP @ ras)[:, [2, 1, 0, 3]])


def write_nifti(volume: Volume) -> bytes:
    """The bytes of a ``.nii.gz`` file, to be sent as a mask.

    Raises:
        ValueError: The values are of a type that NIfTI-1 does not have.
    """
    voxels = np.ascontiguousarray(volume.voxels)
    codes = {name: code for code, name in _TYPES.items()}
    name = voxels.dtype.kind + str(voxels.dtype.itemsize)
    if voxels.dtype == bool:
        voxels, name = voxels.astype(np.uint8), "u1"
    if name not in codes or voxels.ndim != 3:
        raise ValueError(f"an array of {voxels.dtype} with {voxels.ndim} axes")
    ras = volume.ras_from_ijk
    header = bytearray(_HEADER)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *voxels.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, codes[name], 8 * voxels.dtype.itemsize)
    struct.pack_into("<8f", header, 76, 1.0, *np.linalg.norm(ras[:3, :3], axis=0), 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, _HEADER, 1.0, 0.0)
    header[123] = 2  # millimetres
    struct.pack_into("<2h", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, *ras[:3].ravel())
    header[344:348] = b"n+1\0"
    content = bytes(header) + voxels.astype("<" + name, copy=False).tobytes()
    return gzip.compress(content, 1, mtime=0)  # no time: the same voxels are the same study
