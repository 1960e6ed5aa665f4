"""Masks on the scan's own grid: from images, DICOM SEG and RTSTRUCT; placed exactly, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from skimage.draw import polygon2mask

from tips_med.errors import ReadError
from tips_med.geometry import grid_corners, transform_points
from tips_med.manifest.rows import ManifestError
from tips_med.readers import read_scan
from tips_med.scan import Scan
from tips_med.shapes import Affine, Mask

_TOLERANCE = 0.05
"""Tolerance, as a share of a voxel, between the grids of mask and scan: headers round."""
_IMAGES = (".nii", ".nii.gz", ".nrrd", ".mha")


def read_mask(path: str | Path, scan: Scan, part: str | None = None) -> Mask:
    """Reads a mask and brings it onto a scan's grid, without interpolation.

    Args:
        path: Path of an image, a DICOM SEG or an RTSTRUCT. An image or SEG may have its axes turned or flipped, or
            cover a part of the scan, as long as its voxels are the scan's.
        scan: Scan whose grid is used.
        part: Part of the file. For an image, a label value or several (``2`` or ``1,3``), everything above 0 when None;
            for a 4-D NIfTI, ``first:N`` or ``last:N``, its index from 0 along that axis. For a SEG, number or label of
            a segment; for an RTSTRUCT, name of an ROI; None where there is only one.

    Returns:
        The mask, bool [k j i], on the scan's grid.

    Raises:
        ManifestError: ``other-grid``, ``other-frame``, ``no-such-part``, ``several-parts``, ``outside``,
            ``mask-unreadable`` or ``mask-kind``.
    """
    path = Path(path)
    if path.name.lower().endswith(_IMAGES):
        return _from_image(path, scan, part)
    try:
        header = pydicom.dcmread(path)
    except (OSError, InvalidDicomError, EOFError, AttributeError, ValueError) as error:
        raise ManifestError(f"cannot be read ({error})", path=path, code="mask-unreadable") from error
    kind = header.get("Modality", "")
    if kind not in ("SEG", "RTSTRUCT"):
        raise ManifestError(
            f"is DICOM of modality {kind or 'unknown'}", path=path, expected="SEG or RTSTRUCT", code="mask-kind"
        )
    return _from_seg(header, path, scan, part) if kind == "SEG" else _from_rtstruct(header, path, scan, part)


def place_on(voxels: np.ndarray, lps_from_kji: Affine, scan: Scan, path: Path) -> Mask:
    """Puts a mask whose voxels are some of the scan's at their place in it.

    Args:
        voxels: Mask, bool [k j i] in its own axis order.
        lps_from_kji: Maps (k, j, i, 1) of ``voxels`` to LPS in mm.
        scan: Scan whose grid is used.
        path: Path of the mask, for messages.

    Raises:
        ManifestError: ``other-grid`` when its voxels are not the scan's.
    """
    index = np.linalg.inv(scan.lps_from_kji) @ lps_from_kji
    turn, start = np.rint(index[:3, :3]).astype(int), np.rint(index[:3, 3]).astype(int)
    exact = np.eye(4)
    exact[:3, :3], exact[:3, 3] = turn, start
    shape = (voxels.shape[0], voxels.shape[1], voxels.shape[2])
    off = np.abs(grid_corners(exact, shape) - grid_corners(index, shape)).max()
    if off > _TOLERANCE or not np.array_equal(np.abs(turn).sum(0), [1, 1, 1]) or abs(np.linalg.det(turn)) < 0.5:
        raise ManifestError(
            f"lies on a grid of its own, {off:.2g} voxels away from the scan's",
            path=path,
            expected=f"the scan's {' x '.join(map(str, scan.shape))} voxels",
            remedy="resample it onto the scan, or name the scan that it was drawn on",
            code="other-grid",
        )
    inside = np.argwhere(voxels) @ turn.T + start
    if len(inside) and (inside.min() < 0 or (inside >= scan.shape).any()):
        raise ManifestError("marks voxels outside the scan", path=path, code="other-grid")
    mask = np.zeros(scan.shape, bool)
    mask[tuple(inside.T)] = True
    return mask


def _from_image(path: Path, scan: Scan, part: str | None) -> Mask:
    if part is not None and part.partition(":")[0] in ("first", "last"):
        return _from_stacked(path, scan, part)
    try:
        image = read_scan(path)
    except ReadError as error:
        raise ManifestError(str(error.found), path=path, code="mask-unreadable") from error
    values = np.nan_to_num(image.voxels)
    if part is None:
        return place_on(values > 0, image.lps_from_kji, scan, path)
    try:
        wanted = [int(value) for value in part.split(",")]
    except ValueError as error:
        raise ManifestError(
            f"has no part {part!r}", path=path, expected="label values, as 2 or 1,3", code="no-such-part"
        ) from error
    return place_on(np.isin(np.rint(values).astype(np.int64), wanted), image.lps_from_kji, scan, path)


def _from_stacked(path: Path, scan: Scan, part: str) -> Mask:
    """A finding of a 4-D NIfTI, as ReXGroundingCT stacks them.

    NIfTI's affine is of the first three axes. Where findings are the first axis it cannot be the volume's, so the
    voxels are the scan's in its own order, and only their number is checked.
    """
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    axis, _, number = part.partition(":")
    try:
        image = nib.load(path)
        shape = image.shape  # type: ignore[attr-defined]
        if len(shape) != 4 or not number.isdigit() or int(number) >= shape[0 if axis == "first" else 3]:
            raise ManifestError(f"of shape {shape} has no part {part!r}", path=path, code="no-such-part")
        data = image.dataobj  # type: ignore[attr-defined]
        one = np.asarray(data[int(number)] if axis == "first" else data[..., int(number)])
    except (OSError, EOFError, ImageFileError) as error:
        raise ManifestError(f"cannot be read ({error})", path=path, code="mask-unreadable") from error
    mask = np.ascontiguousarray(one.T > 0)
    if mask.shape != scan.shape or scan.provenance.format == "dicom":
        raise ManifestError(
            f"has findings of shape {mask.shape}",
            path=path,
            expected=f"{scan.shape}, in the order of the NIfTI scan that it was drawn on",
            code="other-grid",
        )
    return mask


def _from_seg(header: pydicom.Dataset, path: Path, scan: Scan, part: str | None) -> Mask:
    import highdicom as hd

    try:
        seg = hd.seg.Segmentation.from_dataset(header, copy=False)
        names = {int(n): str(seg.get_segment_description(n).segment_label) for n in seg.segment_numbers}
    except (AttributeError, ValueError, TypeError, KeyError) as error:
        raise ManifestError(f"is no usable SEG ({error})", path=path, code="mask-unreadable") from error
    _check_frame(seg.get("FrameOfReferenceUID"), path, scan)
    wanted = [n for n, name in names.items() if part is None or part in (str(n), name)]
    _only_one(wanted, part, [f"{n} ({name})" for n, name in names.items()], path, "segment")
    try:
        volume = seg.get_volume(segment_numbers=wanted, combine_segments=True, skip_overlap_checks=True)
    except (RuntimeError, ValueError) as error:
        raise ManifestError(f"is no volume ({error})", path=path, code="other-grid") from error
    return place_on(np.asarray(volume.array) > 0, np.asarray(volume.affine, np.float64), scan, path)


def _from_rtstruct(header: pydicom.Dataset, path: Path, scan: Scan, part: str | None) -> Mask:
    names = {int(roi.ROINumber): str(roi.get("ROIName", "")) for roi in header.get("StructureSetROISequence", [])}
    frames = {roi.get("ReferencedFrameOfReferenceUID") for roi in header.get("StructureSetROISequence", [])}
    for frame in frames:
        _check_frame(frame, path, scan)
    wanted = [n for n, name in names.items() if part is None or part == name]
    _only_one(wanted, part, list(names.values()), path, "ROI")
    kji_from_lps = np.linalg.inv(scan.lps_from_kji)
    mask = np.zeros(scan.shape, bool)
    for roi in header.get("ROIContourSequence", []):
        if int(roi.ReferencedROINumber) != wanted[0]:
            continue
        for contour in roi.get("ContourSequence", []):
            if contour.get("ContourGeometricType") != "CLOSED_PLANAR":
                continue
            points = np.array(contour.ContourData, np.float64).reshape(-1, 3)
            _draw(mask, transform_points(kji_from_lps, points), path)
    return mask


def _draw(mask: Mask, kji: np.ndarray, path: Path) -> None:
    """Fills one contour; a contour inside another one cuts a hole (PS3.3 C.8.8.6.1, exclusive or)."""
    if np.ptp(kji[:, 0]) > 0.5:
        raise ManifestError("has contours across the scan's slices", path=path, code="other-grid")
    k = int(np.rint(kji[:, 0].mean()))
    low, high = kji[:, 1:].min(axis=0), kji[:, 1:].max(axis=0)
    if not 0 <= k < mask.shape[0] or (low < -1).any() or (high > mask.shape[1:]).any():
        raise ManifestError("has contours outside the scan", path=path, code="outside")
    mask[k] ^= polygon2mask(mask.shape[1:], kji[:, 1:])


def _check_frame(frame: object, path: Path, scan: Scan) -> None:
    own = scan.provenance.frame_of_reference_uid
    if own is not None and frame is not None and str(frame) != own:
        raise ManifestError(
            "is of another frame of reference than the scan",
            path=path,
            expected=own,
            remedy="name the series that it was drawn on",
            code="other-frame",
        )


def _only_one(wanted: list[int], part: str | None, known: list[str], path: Path, what: str) -> None:
    if len(wanted) == 1:
        return
    if wanted:
        raise ManifestError(
            f"holds {len(wanted)} {what}s",
            path=path,
            expected="part to name one",
            remedy=f"choose of {', '.join(known)}",
            code="several-parts",
        )
    raise ManifestError(f"has no {what} {part!r}", path=path, expected=", ".join(known), code="no-such-part")
