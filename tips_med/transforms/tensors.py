"""Scans and slabs as MONAI's MetaTensors, and back: exact both ways.

=========  =======================  ==============================================================
what       here                     as a MetaTensor
=========  =======================  ==============================================================
scan       voxels [k j i]           [1 i j k], affine from (i, j, k) to RAS in mm, as MONAI's readers give
slabs      pixels [slab channel y x]  [channel slab y x], affine from (slab, y, x) to RAS in mm
mask       [slab y x]               [1 slab y x], the same
=========  =======================  ==============================================================

A scan and its tensor share their memory. What was not measured is NaN in both. The rest of a scan is in
``meta`` as numbers and texts, which MONAI's collation takes: ``modality``, ``unit`` and ``provenance``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.utils.enums import MetaKeys, SpaceKeys

from tips_med.body import CUT_EDGES, Body, Edge, Midline
from tips_med.body.midline import Source
from tips_med.errors import ReadError
from tips_med.geometry import KJI_FROM_IJK, RAS_FROM_LPS, axis_directions, nearest_body_axes, same_grid, spacing_mm
from tips_med.grounding.modality import with_stated_modality
from tips_med.readers.monai_reader import meta_of_scan, provenance_of_text
from tips_med.scan import Provenance, Scan
from tips_med.shapes import Affine
from tips_med.slabs import SlabSpec, SlabStack

BODY = "body"
"""Where ``meta`` of a body mask keeps its midline, its middle and what cuts it: places in the patient, as text."""

EXCHANGED = "sides_exchanged"
"""Set in ``meta`` of an image whose left and right were exchanged: it is of no patient any more."""

SHEAR = 1e-3
"""The largest cosine between two axes that is still a right angle."""


def with_place(image: torch.Tensor) -> MetaTensor:
    """The image, if it knows its place in a patient.

    Args:
        image: Image, [channel, three axes].

    Raises:
        ReadError: ``no-place`` without a 4 x 4 affine, or for a batch; ``pending`` when spatial transforms wait to be
            applied (MONAI's lazy ones), so that array and affine do not belong together.
    """
    if not isinstance(image, MetaTensor) or image.ndim != 4 or image.affine.shape != (4, 4):
        raise ReadError(
            f"a {type(image).__name__} of shape {tuple(image.shape)} has no place in a patient",
            expected="a MetaTensor [channel and three axes] with a 4 x 4 affine",
            remedy="load it with LoadScan, or with MONAI's LoadImage and EnsureChannelFirst",
            code="no-place",
        )
    if image.pending_operations:
        raise ReadError(
            f"{len(image.pending_operations)} spatial transforms wait to be applied",
            remedy="apply them first (lazy=False)",
            code="pending",
        )
    return image


def lps_of(image: torch.Tensor) -> Affine:
    """The affine of an image: from its own indices, in their order, to LPS in mm.

    Args:
        image: Image, [channel, three axes in any order].

    Raises:
        ReadError: As ``with_place``.
    """
    image = with_place(image)
    affine = image.affine.numpy().astype(np.float64)
    return affine if image.meta.get(MetaKeys.SPACE) == SpaceKeys.LPS else RAS_FROM_LPS @ affine


def placed(data: torch.Tensor, lps_from_index: Affine, like: MetaTensor | None = None, **meta: Any) -> MetaTensor:
    """A MetaTensor at a place in the patient.

    Args:
        data: Data, [channel, three axes].
        lps_from_index: Maps indices of the three axes to LPS in mm.
        like: Image whose ``meta`` and applied operations are continued.
        **meta: Further entries of ``meta``.
    """
    known = dict(like.meta) if like is not None else {}
    known |= meta
    known[MetaKeys.AFFINE] = torch.from_numpy(RAS_FROM_LPS @ lps_from_index)
    known[MetaKeys.SPACE] = SpaceKeys.RAS
    applied = list(like.applied_operations) if like is not None else []
    return MetaTensor(data, meta=known, applied_operations=applied)


def tensor_of_scan(scan: Scan, **meta: Any) -> MetaTensor:
    """A scan as MONAI has images: [1 i j k] float32, with an affine to RAS in mm. The voxels are not copied.

    Args:
        scan: Scan, NaN where nothing was measured.
        **meta: Further entries of ``meta``.
    """
    array = scan.voxels.transpose(2, 1, 0)
    if not array.flags.writeable or min(array.strides) < 0:
        array = array.copy()
    known = meta_of_scan(scan) | {MetaKeys.ORIGINAL_CHANNEL_DIM: 0} | meta
    return MetaTensor(torch.from_numpy(array)[None], meta=known)


def scan_of_tensor(image: torch.Tensor, modality: str | None = None) -> Scan:
    """A volume of MONAI's as a scan; the affine decides where it lies, whatever was done to it before.

    An image that lies where its file has it keeps its provenance. One that was turned, cut or resampled keeps the UIDs
    of its series, but not those of its slices; one whose sides were exchanged is of no patient.

    Args:
        image: Image, [1 i j k], in any orientation, from any reader. NaN where nothing was measured. Values that an
            intensity transform scaled are no Hounsfield units any more, which only ``meta["unit"]`` can state.
        modality: DICOM modality code, where the file states none (NIfTI): ``CT`` makes the values Hounsfield units.

    Raises:
        ReadError: ``no-place`` or ``pending``, see ``with_place``; ``channels`` when it has several; ``sheared`` when
            its axes are not at right angles.
        ModalityError: The file states another modality.
    """
    image = with_place(image)
    lps_from_kji = right_angled(lps_of(image)) @ KJI_FROM_IJK
    if image.shape[0] != 1:
        raise ReadError(
            f"the image has {image.shape[0]} channels",
            expected="one",
            remedy="choose one of them, or average them",
            code="channels",
        )
    voxels = image.as_tensor()[0].detach().to("cpu", torch.float32).numpy().transpose(2, 1, 0)
    voxels = np.ascontiguousarray(voxels)
    known = image.meta
    scan = Scan(
        voxels,
        lps_from_kji,
        str(known.get("modality", "OT")),
        str(known.get("unit", "")),
        _provenance(image, lps_from_kji, (voxels.shape[0], voxels.shape[1], voxels.shape[2])),
    )
    return with_stated_modality(scan, modality)


def right_angled(lps_from_index: Affine) -> Affine:
    """The affine, if its axes are at right angles.

    Raises:
        ReadError: ``sheared`` when they are not.
    """
    directions = axis_directions(lps_from_index)
    cosine = float(np.abs(directions.T @ directions - np.eye(3)).max())
    if not cosine <= SHEAR:
        raise ReadError(
            f"the axes of the image are not at right angles (cosine {cosine:.3g})",
            expected="an image that was turned, mirrored or scaled, but not sheared",
            remedy="resample it, or leave the shear out",
            code="sheared",
        )
    return lps_from_index


def _provenance(image: MetaTensor, lps_from_kji: Affine, shape: tuple[int, int, int]) -> Provenance:
    text = image.meta.get("provenance")
    if text is None or image.meta.get(EXCHANGED):
        return Provenance("array")
    source = provenance_of_text(str(text))
    original = image.meta.get(MetaKeys.ORIGINAL_AFFINE)
    size = image.meta.get(MetaKeys.SPATIAL_SHAPE)
    if original is not None and size is not None and tuple(int(n) for n in size) == shape[::-1]:
        before = RAS_FROM_LPS @ np.asarray(original, np.float64) @ KJI_FROM_IJK
        if same_grid(before, lps_from_kji, shape, 1e-3):
            return source
    return replace(source, instance_uids=(), frame_numbers=(), instance_numbers=())


@dataclass(frozen=True)
class Turn:
    """How the axes of an image become (slab, y, x): to the head, to the back, to the patient's left.

    Attributes:
        order: Index of the axis that becomes slab, y and x.
        flipped: Whether each of these axes is then reversed.
    """

    order: tuple[int, int, int]
    flipped: tuple[int, ...]

    def apply(self, data: torch.Tensor) -> torch.Tensor:
        """[channel, its axes] -> [channel slab y x]."""
        if self.order != (0, 1, 2):
            data = data.permute(0, *(1 + axis for axis in self.order))
        return torch.flip(data, [1 + axis for axis in self.flipped]) if self.flipped else data

    def undo(self, data: torch.Tensor) -> torch.Tensor:
        """[channel slab y x] -> [channel, its axes]."""
        if self.flipped:
            data = torch.flip(data, [1 + axis for axis in self.flipped])
        if self.order != (0, 1, 2):
            data = data.permute(0, *(1 + int(axis) for axis in np.argsort(self.order)))
        return data


def axial(image: torch.Tensor) -> tuple[torch.Tensor, Affine, Turn]:
    """An image on a slab grid, with its axes as the encoders have them, whatever MONAI's transforms made of them.

    Args:
        image: Image along the patient's own axes, in any order and direction.

    Returns:
        The data [channel slab y x], a view where nothing needs to be flipped; its lps_from_pixel; how it was turned.

    Raises:
        ReadError: ``not-axial`` when its axes are oblique.
    """
    image = with_place(image)
    lps = lps_of(image)
    pairs = nearest_body_axes(lps)
    places = [body_axis for body_axis, _ in pairs]
    order = (places.index(2), places.index(1), places.index(0))
    flipped = tuple(n for n, axis in enumerate(order) if pairs[axis][1] < 0)
    turn = Turn(order, flipped)
    data = turn.apply(image.as_tensor())
    lps = lps[:, [*order, 3]]
    for axis in flipped:
        back = np.eye(4)
        back[axis, axis], back[axis, 3] = -1, data.shape[1 + axis] - 1
        lps = lps @ back
    steps = spacing_mm(lps)
    if np.abs(lps[:3, :3] - np.diag(steps)[::-1]).max() > 1e-6 * steps.max():
        raise ReadError(
            "the axes of the image are not the patient's",
            expected="slabs on an axial grid",
            remedy="cut it into slabs first (ToSlabGrid)",
            code="not-axial",
        )
    return data, lps, turn


def tensors_of_slabs(slabs: SlabStack, like: MetaTensor | None = None) -> tuple[MetaTensor, MetaTensor, MetaTensor]:
    """Pixels [channel slab y x], where the scan was seen [1 slab y x] and where the body is [1 slab y x].

    Args:
        slabs: Slabs of a scan; the pixels are not copied.
        like: Image whose ``meta`` and applied operations are continued.
    """
    pixels = placed(slabs.pixels.permute(1, 0, 2, 3), slabs.lps_from_pixel, like)
    seen = placed(slabs.seen[None], slabs.lps_from_pixel, like)
    return pixels, seen, tensor_of_body(slabs.body, slabs.lps_from_pixel, like)


def slabs_of_tensors(pixels: torch.Tensor, seen: torch.Tensor, body: torch.Tensor, spec: SlabSpec) -> SlabStack:
    """The slabs that an image tower takes.

    Args:
        pixels: Pixels from ``StackSlabs`` or ``MakeSlabs``, [channel slab y x]; turned axes are turned back.
        seen: Mask of measured cells, bool [1 slab y x], on the same grid.
        body: Mask of the body from ``FindBody``, on the same grid.
        spec: Specification of slabs of the tower.

    Raises:
        ReadError: ``grid`` when the three lie on different grids, or were not made with ``spec``; ``not-axial``.
    """
    data, lps, _ = axial(pixels)
    where, lps_of_seen, _ = axial(seen)
    inside, lps_of_body, _ = axial(body)
    shape = tuple(data.shape[1:])
    slab, y, x = shape
    alike = all(same_grid(lps, other, (slab, y, x), 1e-3) for other in (lps_of_seen, lps_of_body))
    if not alike or tuple(where.shape[1:]) != shape or tuple(inside.shape[1:]) != shape:
        raise ReadError(
            "slabs, field of view and body lie on different grids",
            remedy="give all three to every spatial transform",
            code="grid",
        )
    steps = tuple(float(step) for step in spacing_mm(lps))
    if data.shape[0] != spec.channels or not np.allclose(steps, spec.spacing_mm, rtol=1e-6):
        raise ReadError(
            f"slabs of {data.shape[0]} channels every {' x '.join(f'{step:g}' for step in steps)} mm",
            expected=f"{spec.channels} channels every {' x '.join(f'{step:g}' for step in spec.spacing_mm)} mm",
            remedy="cut them with the slab_spec of the model's image tower",
            code="grid",
        )
    return SlabStack(data.permute(1, 0, 2, 3), where[0].bool(), lps, spec, body_of_tensor(body))


def tensor_of_body(body: Body, lps_from_pixel: Affine, like: MetaTensor | None = None) -> MetaTensor:
    """A body as a mask, bool [1 slab y x]; its midline and all else that is known of it lie in ``meta``."""
    z_mm = lps_from_pixel[2, 3] + lps_from_pixel[2, 0] * np.arange(len(body.inside))
    about: dict[str, Any] = {
        "z_mm": z_mm.tolist(),
        "x_mm": body.midline.x_mm.tolist(),
        "back_mm": float(body.midline.back_mm),
        "within_mm": float(body.midline.within_mm),
        "source": body.midline.source,
        "middle_mm": [float(mm) for mm in body.middle_mm],
        "cut": {edge: [int(is_cut) for is_cut in body.cut[edge]] for edge in CUT_EDGES},
    }
    # As text, for lists of different lengths cannot be collated.
    return placed(torch.from_numpy(body.inside.copy())[None], lps_from_pixel, like, **{BODY: json.dumps(about)})


def body_of_tensor(mask: torch.Tensor) -> Body:
    """The body of a mask that ``tensor_of_body`` made, after any transforms that keep its place in the patient right.

    Raises:
        ReadError: ``no-body`` for any other mask; ``not-axial``.
    """
    mask = with_place(mask)
    if BODY not in mask.meta:
        raise ReadError(
            "the mask has no midline",
            expected="a body that FindBody or MakeSlabs found",
            remedy="find the body first",
            code="no-body",
        )
    data, lps, _ = axial(mask)
    about = json.loads(mask.meta[BODY])
    known_mm = np.array(about["z_mm"], np.float64)
    z_mm = lps[2, 3] + lps[2, 0] * np.arange(data.shape[1])
    # Slabs may have been left out, or added: each has what is known of the nearest one.
    nearest = np.abs(z_mm[:, None] - known_mm).argmin(axis=1)
    y_mm, x_mm = (float(mm) for mm in about["middle_mm"])
    midline = Midline(
        np.array(about["x_mm"], np.float64)[nearest],
        float(about["back_mm"]),
        float(about["within_mm"]),
        cast(Source, about["source"]),
    )
    cut: dict[Edge, np.ndarray] = {edge: np.array(about["cut"][edge], bool)[nearest] for edge in CUT_EDGES}
    return Body(data[0].bool().numpy(), midline, cut, (y_mm, x_mm))


def mirrored_body(text: str, about_mm: float) -> str:
    """The entries of a body in ``meta``, for its mirror image about the plane x = ``about_mm`` (LPS)."""
    about = json.loads(text)
    about["x_mm"] = [2 * about_mm - x for x in about["x_mm"]]
    y, x = about["middle_mm"]
    about["middle_mm"] = [y, 2 * about_mm - x]
    about["cut"]["right"], about["cut"]["left"] = about["cut"]["left"], about["cut"]["right"]
    return json.dumps(about)


def shape_of(data: torch.Tensor) -> tuple[int, int, int]:
    """The three spatial axes of [channel, three axes]."""
    a, b, c = (int(n) for n in data.shape[1:])
    return a, b, c


def triple(values: Sequence[int] | Sequence[float]) -> tuple[int, int, int]:
    """Three whole numbers."""
    a, b, c = (int(value) for value in values)
    return a, b, c
