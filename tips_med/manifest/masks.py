"""Masks and instance labels on the scan's own grid: from images, DICOM SEG and RTSTRUCT; placed exactly, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from skimage.draw import polygon2mask

from tips_med.errors import ReadError
from tips_med.geometry import grid_corners, spacing_mm, transform_points
from tips_med.manifest.rows import ManifestError
from tips_med.readers import read_scan
from tips_med.scan import Scan
from tips_med.shapes import Affine, Instances, Mask

_TOLERANCE = 0.05
"""Tolerance, as a share of a voxel, between the grids of mask and scan: headers round."""
_IMAGES = (".nii", ".nii.gz", ".nrrd", ".mha")
_WHOLE = 1e-3
"""Tolerance of whole numbers: scale factors of a header round."""
MAX_LABELS = 255
"""Most labels of a mask; an image has more values."""


def read_mask(path: str | Path, scan: Scan, part: str | None = None) -> Mask:
    """Reads a mask and brings it onto a scan's grid, without interpolation; see ``read_instances``.

    Returns:
        The mask, bool [k j i], on the scan's grid.
    """
    return read_instances(path, scan, part) > 0


def read_instances(path: str | Path, scan: Scan, part: str | None = None) -> Instances:
    """Reads a mask with the labels that it stores, and brings it onto a scan's grid, without interpolation.

    Args:
        path: Path of an image, a DICOM SEG or an RTSTRUCT. An image or SEG may have its axes turned or flipped, or
            cover a part of the scan, as long as its voxels are the scan's.
        scan: Scan whose grid is used.
        part: Part of the file. For an image, a label value or several (``2`` or ``1,3``), everything above 0 when None;
            for a 4-D NIfTI, ``first:N`` or ``last:N``, its index from 0 along that axis. For a SEG, number or label of
            a segment; for an RTSTRUCT, name of an ROI; None where there is only one.

    Returns:
        Labels, uint16 [k j i], on the scan's grid: 0 outside; inside the file's own values where
        ``stores_instances``, else 1.

    Raises:
        ManifestError: ``other-grid``, ``other-frame``, ``no-such-part``, ``several-parts``, ``outside``,
            ``mask-unreadable``, ``mask-kind``, or ``mask-values`` for an image that is no mask.
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


def stores_instances(path: str | Path, part: str | None = None) -> bool:
    """Whether the values of a mask tell the instances of its finding apart.

    Those of an image do, as in ReXGroundingCT: of all of it, or of one finding of a 4-D NIfTI. Values that ``part``
    names are classes (or votes of readers): they are not instances, and nor are segments and ROIs.

    Args:
        path: Path of the mask.
        part: Part of the file; see ``read_instances``.
    """
    image = str(path).lower().endswith(_IMAGES)
    return image and (part is None or part.partition(":")[0] in ("first", "last"))


def place_on(labels: np.ndarray, lps_from_kji: Affine, scan: Scan, path: Path) -> Instances:
    """Puts a mask whose voxels are some of the scan's at their place in it.

    Args:
        labels: Mask or labels [k j i] in their own axis order; 0 (or False) outside.
        lps_from_kji: Maps (k, j, i, 1) of ``labels`` to LPS in mm.
        scan: Scan whose grid is used.
        path: Path of the mask, for messages.

    Returns:
        Labels, uint16 [k j i], on the scan's grid.

    Raises:
        ManifestError: ``other-grid`` when its voxels are not the scan's.
    """
    index = np.linalg.inv(scan.lps_from_kji) @ lps_from_kji
    turn, start = np.rint(index[:3, :3]).astype(int), np.rint(index[:3, 3]).astype(int)
    exact = np.eye(4)
    exact[:3, :3], exact[:3, 3] = turn, start
    shape = (labels.shape[0], labels.shape[1], labels.shape[2])
    off = np.abs(grid_corners(exact, shape) - grid_corners(index, shape)).max()
    if off > _TOLERANCE or not np.array_equal(np.abs(turn).sum(0), [1, 1, 1]) or abs(np.linalg.det(turn)) < 0.5:
        raise ManifestError(
            f"lies on a grid of its own: {_difference(lps_from_kji, shape, scan, float(off))}",
            path=path,
            expected=f"the scan's {_grid(scan.shape, scan.spacing_mm)}",
            remedy="resample it onto the scan, or name the scan that it was drawn on",
            code="other-grid",
        )
    marked = np.argwhere(labels)
    inside = marked @ turn.T + start
    if len(inside) and (inside.min() < 0 or (inside >= scan.shape).any()):
        raise ManifestError("marks voxels outside the scan", path=path, code="other-grid")
    placed = np.zeros(scan.shape, np.uint16)
    placed[tuple(inside.T)] = labels[tuple(marked.T)]
    return placed


def _difference(lps_from_kji: Affine, shape: tuple[int, int, int], scan: Scan, off: float) -> str:
    """In what the grid of a mask differs from the scan's: voxels, else direction, else place."""
    own, scans = spacing_mm(lps_from_kji), np.array(scan.spacing_mm)
    own_axes, axes = lps_from_kji[:3, :3] / own, scan.lps_from_kji[:3, :3] / scans
    cosines = np.abs(axes.T @ own_axes)
    along = cosines.argmax(axis=0)  # the scan's axis that each axis of the mask follows
    if (np.abs(own / scans[along] - 1) * shape).max() > _TOLERANCE or len(set(along)) < 3:
        return _grid(shape, (float(own[0]), float(own[1]), float(own[2])))
    angle = float(np.rad2deg(np.arccos(np.clip(cosines.max(axis=0), -1, 1).min())))
    return f"turned by {angle:.2g} degrees" if angle > 0.1 else f"{off:.2g} voxels away from the scan's"


def _grid(shape: tuple[int, int, int], mm: tuple[float, float, float]) -> str:
    return f"{' x '.join(map(str, shape))} voxels of {' x '.join(f'{one:.4g}' for one in mm)} mm"


def _from_image(path: Path, scan: Scan, part: str | None) -> Instances:
    stacked = _shape_of_stack(path)
    if part is not None and part.partition(":")[0] in ("first", "last"):
        return _from_stacked(path, scan, part)
    if stacked is not None:
        raise ManifestError(
            f"has four axes, {' x '.join(map(str, stacked))}, " + ("and no part is named" if part is None else "part"),
            path=path,
            expected=_parts_of_stack(stacked, scan),
            code="several-parts",
        )
    try:
        image = read_scan(path)
    except ReadError as error:
        raise ManifestError(str(error.found), path=path, code="mask-unreadable") from error
    labels = _labels(image.voxels, path)
    if part is None:
        return place_on(labels, image.lps_from_kji, scan, path)
    try:
        wanted = [int(value) for value in part.split(",")]
    except ValueError as error:
        raise ManifestError(
            f"has no part {part!r}", path=path, expected="label values, as 2 or 1,3", code="no-such-part"
        ) from error
    return place_on(np.isin(labels, wanted), image.lps_from_kji, scan, path)


def _labels(values: np.ndarray, path: Path) -> Instances:
    """The values of an image as labels; what is no mask is refused."""
    finite = np.nan_to_num(values)
    low, high = float(finite.min()), float(finite.max())
    found, hint = f"holds values from {low:g} to {high:g}", "this looks like an image, not a mask"
    if low >= 0 and high <= np.iinfo(np.uint16).max:
        whole = np.rint(finite)
        if np.abs(finite - whole).max() > _WHOLE:
            found, hint = f"holds fractions from {low:g} to {high:g}", "cut a probability map at a threshold first"
        else:
            labels = whole.astype(np.uint16)
            count = int((np.bincount(labels.ravel())[1:] > 0).sum())
            if count <= MAX_LABELS:
                return labels
            found = f"holds {count} different values above 0"
    raise ManifestError(
        found,
        path=path,
        expected=f"0 outside and whole numbers inside, {MAX_LABELS} labels at most",
        remedy=hint,
        code="mask-values",
    )


def _shape_of_stack(path: Path) -> tuple[int, ...] | None:
    """The shape of a NIfTI of four axes, each longer than 1 but the first; None for any other file."""
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return None
    try:
        shape = tuple(int(n) for n in nib.load(path).shape)  # type: ignore[attr-defined]
    except (OSError, EOFError, ImageFileError):
        return None  # the strict reader reports the reason
    return shape if len(shape) == 4 and shape[3] > 1 else None


def _parts_of_stack(shape: tuple[int, ...], scan: Scan) -> str:
    """What ``part`` may be, for a stack of masks of this shape."""
    first, last = f"first:0 to first:{shape[0] - 1}", f"last:0 to last:{shape[3] - 1}"
    voxels = scan.shape[::-1]
    if shape[1:] == voxels and shape[:3] != voxels:
        return f"part to name one finding: {first}"
    if shape[:3] == voxels and shape[1:] != voxels:
        return f"part to name one finding: {last}"
    return f"part to name one finding: {first} along the first axis, as in ReXGroundingCT, or {last} along the last"


def _from_stacked(path: Path, scan: Scan, part: str) -> Instances:
    """A finding of a 4-D NIfTI, as ReXGroundingCT stacks them; its values are the instances.

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
            expected = _parts_of_stack(shape, scan) if len(shape) == 4 else None
            raise ManifestError(
                f"of shape {shape} has no part {part!r}", path=path, expected=expected, code="no-such-part"
            )
        data = image.dataobj  # type: ignore[attr-defined]
        one = np.asarray(data[int(number)] if axis == "first" else data[..., int(number)])
    except (OSError, EOFError, ImageFileError) as error:
        raise ManifestError(f"cannot be read ({error})", path=path, code="mask-unreadable") from error
    labels = _labels(np.ascontiguousarray(one.T), path)
    if labels.shape != scan.shape or scan.provenance.format == "dicom":
        raise ManifestError(
            f"has findings of shape {labels.shape}",
            path=path,
            expected=f"{scan.shape}, in the order of the NIfTI scan that it was drawn on",
            code="other-grid",
        )
    return labels


def _from_seg(header: pydicom.Dataset, path: Path, scan: Scan, part: str | None) -> Instances:
    import highdicom as hd

    try:
        seg = hd.seg.Segmentation.from_dataset(header, copy=False)
        names = {int(n): str(seg.get_segment_description(n).segment_label) for n in seg.segment_numbers}
    except (AttributeError, ValueError, TypeError, KeyError) as error:
        raise ManifestError(f"is no usable SEG ({error})", path=path, code="mask-unreadable") from error
    if seg.segmentation_type == hd.seg.SegmentationTypeValues.FRACTIONAL:
        raise ManifestError(
            "is a fractional SEG (probabilities)",
            path=path,
            expected="a binary or a label map SEG",
            remedy="cut it at a threshold first",
            code="mask-values",
        )
    _check_frame(seg.get("FrameOfReferenceUID"), path, scan)
    wanted = [n for n, name in names.items() if part is None or part in (str(n), name)]
    _only_one(wanted, part, [f"{n} ({name})" for n, name in names.items()], path, "segment")
    try:
        volume = seg.get_volume(segment_numbers=wanted, combine_segments=True, skip_overlap_checks=True)
    except (RuntimeError, ValueError) as error:
        raise ManifestError(f"is no volume ({error})", path=path, code="other-grid") from error
    return place_on(np.asarray(volume.array) > 0, np.asarray(volume.affine, np.float64), scan, path)


def _from_rtstruct(header: pydicom.Dataset, path: Path, scan: Scan, part: str | None) -> Instances:
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
    return mask.astype(np.uint16)


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
