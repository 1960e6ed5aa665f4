"""Every step from a file to an answer, as MONAI transforms of single images.

``MakeSlabs`` is ``ToSlabGrid``, ``FindBody`` and ``StackSlabs`` in one; ``EncodeStudy`` is all of it, and encodes. All
take what MONAI's own transforms give, and give what these take. Underneath are the functions that ``tips_med.encode``
and ``tips_med.ground`` are made of, so the numbers are the same, bit for bit.

Inside MONAI's ``Compose`` a refusal arrives as the ``__cause__`` of a RuntimeError, as every error does there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import Transform
from monai.utils.enums import TraceKeys

from tips_med.body import find_body, unknown_body
from tips_med.encoders.base import Progress
from tips_med.encoders.study import EncodedStudy
from tips_med.geometry import KJI_FROM_IJK, RAS_FROM_LPS, nearest_body_axes, transform_points
from tips_med.grounding.answer import Grounding
from tips_med.grounding.encoding import Adapters
from tips_med.grounding.ground import encode, ground
from tips_med.grounding.modality import with_stated_modality
from tips_med.model import GroundingModel
from tips_med.query import Query
from tips_med.readers import read_scan
from tips_med.resampling import resample
from tips_med.scan import Scan
from tips_med.shapes import Affine
from tips_med.slabs import SlabSpec, body_crop, bridge_gaps, make_slabs, stack_channels, working_grid
from tips_med.transforms.boxes import Boxes
from tips_med.transforms.tensors import (
    BODY,
    EXCHANGED,
    axial,
    lps_of,
    mirrored_body,
    placed,
    right_angled,
    scan_of_tensor,
    shape_of,
    tensor_of_body,
    tensor_of_scan,
    tensors_of_slabs,
    triple,
    with_place,
)

Values = Literal["measured", "cover", "label"]
"""How an image is resampled: ``measured`` linearly, after smoothing where the new grid is coarser, NaN where nothing
was measured; ``cover`` the same for masks: the share of a cell that is covered, 0 to 1; ``label`` by the nearest
value, 0 outside."""


class LoadScan(Transform):
    """Reads one volume, rightly placed in the patient or not at all; see ``tips_med.read_scan``.

    Unlike MONAI's ``LoadImage`` it tries no other reader when the strict one refuses.

    Args:
        series: Series Instance UID to read, where the path holds several series.
        phase: Number of the volume to read, from 1, where the series holds several.
        fill_gaps: Leave missing slices empty (NaN) instead of refusing.
        untilt: Resample a tilted stack instead of refusing.
        modality: DICOM modality code, where the file states none (NIfTI): ``CT``.
    """

    def __init__(
        self,
        *,
        series: str | None = None,
        phase: int | None = None,
        fill_gaps: bool = False,
        untilt: bool = False,
        modality: str | None = None,
    ) -> None:
        self.series, self.phase, self.fill_gaps, self.untilt = series, phase, fill_gaps, untilt
        self.modality = modality

    def __call__(self, data: str | Path) -> MetaTensor:
        """A path -> [1 i j k] float32 with an affine to RAS in mm; NaN where nothing was measured.

        Raises:
            ReadError: Whatever cannot be read without guessing; ``code`` names the reason.
            ModalityError: The file states another modality.
        """
        scan = read_scan(data, series=self.series, phase=self.phase, fill_gaps=self.fill_gaps, untilt=self.untilt)
        return tensor_of_scan(with_stated_modality(scan, self.modality), filename_or_obj=str(data))


class ToSlabGrid(InvertibleTransform):
    """Brings a volume onto the axial grid of an encoder, along the patient's own axes: [1 i j k] -> [1 slab y x].

    Whatever the scan's orientation, slabs run to the head, y to the back, x to the patient's left, and the affine maps
    (slab, y, x) to RAS. ``inverse`` resamples on the scan's own grid.

    Args:
        spec: Specification of slabs; that of the shipped model when None.
        values: Method of resampling, also of ``inverse``: ``measured``, ``cover`` or ``label``.
    """

    def __init__(self, spec: SlabSpec | None = None, values: Values = "measured") -> None:
        self.spec = spec or SlabSpec()
        self.values: Values = values

    def __call__(self, data: torch.Tensor, like: torch.Tensor | None = None) -> MetaTensor:
        """A volume on the slab grid that covers it, or on that of another one.

        Args:
            data: Image, [1 i j k]; masks may have several channels.
            like: Image on a slab grid, for masks that belong to it.

        Returns:
            The image [channel slab y x]: float32, or the dtype of labels.

        Raises:
            ReadError: ``extent`` when the header makes it larger than any body; as ``scan_of_tensor``.
        """
        data = with_place(data)
        before = lps_of(data)
        if like is None:
            affine, shape = working_grid(_outline(data), self.spec)
        else:
            canonical, affine, _ = axial(like)
            shape = shape_of(canonical)
        # In the order of a scan's axes, for smoothing along one after the other rounds differently in another order.
        turned = data.as_tensor().permute(0, 3, 2, 1)
        made = placed(_resampled(turned, before @ KJI_FROM_IJK, affine, shape, self.values), affine, data)
        extra = {"affine": (RAS_FROM_LPS @ before).tolist(), "mode": "bilinear"}
        return self.push_transform(made, orig_size=shape_of(data), extra_info=extra)

    def inverse(self, data: torch.Tensor) -> MetaTensor:
        """Back on the grid that it came from; NaN where the slab grid does not reach, or 0 in masks and labels.

        MONAI's ``Invertd`` uses the nearest value unless ``nearest_interp=False`` is set.
        """
        data = with_place(data)
        applied = self.pop_transform(data)
        extra = applied[TraceKeys.EXTRA_INFO]
        target = RAS_FROM_LPS @ np.array(extra["affine"], np.float64)
        values = self.values
        if extra["mode"] == "nearest" or not data.is_floating_point():
            values = "label"
        shape = triple(applied[TraceKeys.ORIG_SIZE])
        return placed(_resampled(data.as_tensor(), lps_of(data), target, shape, values), target, data)


def _outline(image: torch.Tensor) -> Scan:
    """A scan of the same extent, without its values."""
    lps_from_kji = right_angled(lps_of(image)) @ KJI_FROM_IJK
    return Scan(np.broadcast_to(np.float32(0), shape_of(image)[::-1]), lps_from_kji, "OT", "")


def _resampled(
    data: torch.Tensor, lps_from_own: Affine, lps_from_out: Affine, shape: tuple[int, int, int], values: Values
) -> torch.Tensor:
    """[channel, three axes] on another grid, channel by channel."""
    parts = []
    for channel in data.detach().cpu().numpy():
        channel = np.ascontiguousarray(channel)
        if values == "label":
            out = resample(channel, lps_from_own, lps_from_out, shape, linear=False).astype(channel.dtype, copy=False)
        else:
            out = resample(channel.astype(np.float32, copy=False), lps_from_own, lps_from_out, shape)
        parts.append(np.nan_to_num(out).clip(0, 1) if values == "cover" else out)
    return torch.from_numpy(np.stack(parts)) if len(parts) > 1 else torch.from_numpy(parts[0])[None]


class FindBody(Transform):
    """Finds the body by density and shape alone: [1 slab y x] in Hounsfield units -> a mask, bool, on the same grid.

    The mask's ``meta`` holds the midline, the middle of the body and the edges that cut it, as places in the patient.
    Without Hounsfield units (``meta["unit"]``) the body is all that was seen, without a midline.
    """

    def __call__(self, data: torch.Tensor) -> MetaTensor:
        """The body in an image on a slab grid.

        Args:
            data: Image from ``ToSlabGrid``: NaN where nothing was measured.

        Raises:
            ReadError: ``not-axial`` when it is on another grid.
        """
        data = with_place(data)
        canonical, lps, turn = axial(data)
        volume = canonical[0].detach().cpu().numpy()
        steps = (float(lps[2, 0]), float(lps[1, 1]), float(lps[0, 2]))
        origin = (float(lps[1, 3]), float(lps[0, 3]))
        seen = np.isfinite(volume)
        if data.meta.get("unit") == "HU":
            body = find_body(bridge_gaps(volume, steps[0]), seen, steps, origin)
        else:
            body = unknown_body(seen, steps, origin)
        found = tensor_of_body(body, lps, data)
        return placed(turn.undo(found.as_tensor()), lps_of(data), found)


class StackSlabs(Transform):
    """Makes an encoder's input: windows and neighbours of each slab as channels, [1 slab y x] -> [channel slab y x].

    Short gaps between slabs are bridged, the rest of what was not measured has the value of air.

    Args:
        spec: Specification of slabs; that of the shipped model when None. Its spacing is replaced by the image's.
    """

    def __init__(self, spec: SlabSpec | None = None) -> None:
        self.spec = spec or SlabSpec()

    def __call__(self, data: torch.Tensor) -> MetaTensor:
        """Values from ``ToSlabGrid`` -> float32 in [0, 1]; the affine still maps (slab, y, x) to RAS.

        Raises:
            ReadError: ``not-axial`` when it is on another grid.
        """
        data = with_place(data)
        canonical, lps, _ = axial(data)
        volume = canonical[0].detach().cpu().numpy()
        filled = torch.from_numpy(bridge_gaps(volume, self.spec.spacing_mm[0]))
        return placed(stack_channels(filled, self.spec).permute(1, 0, 2, 3), lps, data)


class MakeSlabs(Transform):
    """A volume -> an encoder's input: [1 i j k] -> [channel slab y x], float32 in [0, 1].

    The axes after the channels are slab (to the head), y (to the back) and x (to the patient's left), whatever the
    scan's orientation, and the affine maps (slab, y, x) to RAS in mm. The pixels are those of
    ``tips_med.slabs.make_slabs``, with channel and slab exchanged. ``MakeSlabsd`` also gives what was seen, and the
    body.

    Args:
        spec: Specification of slabs; that of the shipped model when None.
    """

    def __init__(self, spec: SlabSpec | None = None) -> None:
        self.spec = spec or SlabSpec()

    def __call__(self, data: torch.Tensor) -> MetaTensor:
        """Slabs of a volume.

        Raises:
            ReadError: ``extent`` when the header makes it larger than any body; as ``scan_of_tensor``.
        """
        return self.all(data)[0]

    def all(self, data: torch.Tensor) -> tuple[MetaTensor, MetaTensor, MetaTensor]:
        """Pixels, what was seen (bool [1 slab y x]) and the body (see ``FindBody``)."""
        data = with_place(data)
        return tensors_of_slabs(make_slabs(scan_of_tensor(data), self.spec), data)


class CropToBody(Boxes):
    """Leaves out the air around the body, in whole patches; invertible, see ``Boxes``.

    Args:
        patch: Pixels along an edge of a patch.
        margin: Number of pixels to keep around the body, 0 or more.
    """

    def __init__(self, patch: int = 8, margin: int = 8) -> None:
        self.patch, self.margin = patch, margin

    def __call__(self, data: torch.Tensor, body: torch.Tensor) -> MetaTensor:
        """Rows and columns from the first to the last that holds a two-thousandth of the body.

        Args:
            data: Image, [channel slab y x].
            body: Mask of the body on the same grid, bool [1 slab y x].
        """
        slab, y, x = shape_of(data)
        box = body_crop(with_place(body).as_tensor()[0].bool().numpy(), self.patch, self.margin)
        rows, columns = box or (slice(0, y), slice(0, x))
        return self.cut(
            data, (0, rows.start, columns.start), (slab, rows.stop - rows.start, columns.stop - columns.start)
        )

    def inverse(self, data: torch.Tensor) -> MetaTensor:
        """With the air again: NaN in numbers, 0 in masks."""
        return self.put_back(data)


class FlipSides(InvertibleTransform):
    """Exchanges the patient's left and right: the mirror image about a sagittal plane, on any grid.

    This is not MONAI's ``Flip``, which turns the array and its affine, so that every finding stays where it is in the
    patient. Here what lay on the left lies on the right afterwards, in oblique and in mirrored scans, too: the array is
    flipped along the axis that runs nearest to left-right, and the affine is the mirrored one. On grids along the
    patient's axes that is the affine as it was. Nothing is resampled. ``inverse`` undoes it.

    Args:
        about_mm: x of the plane, LPS in mm; through the middle of the image's grid when None.
    """

    def __init__(self, about_mm: float | None = None) -> None:
        self.about_mm = about_mm

    def __call__(self, data: torch.Tensor, about_mm: float | None = None) -> MetaTensor:
        """The mirror image.

        Args:
            data: Image, [channel, three axes in any order].
            about_mm: x of the plane, LPS in mm, instead of the transform's own.
        """
        data = with_place(data)
        lps = lps_of(data)
        shape = shape_of(data)
        axis = [body_axis for body_axis, _ in nearest_body_axes(lps)].index(0)
        middle = float(transform_points(lps, (np.array(shape) - 1) / 2)[0, 0])
        about = next(mm for mm in (about_mm, self.about_mm, middle) if mm is not None)
        mirror, turn = np.eye(4), np.eye(4)
        mirror[0, 0], mirror[0, 3] = -1, 2 * about
        turn[axis, axis], turn[axis, 3] = -1, shape[axis] - 1
        mirrored = mirror @ lps @ turn
        if np.allclose(mirrored, lps, rtol=0, atol=1e-9):
            mirrored = lps
        made = placed(torch.flip(data.as_tensor(), [1 + axis]), mirrored, data, **_exchanged(data, about))
        extra = {"axis": axis, "about_mm": about, "affine": (RAS_FROM_LPS @ lps).tolist()}
        return self.push_transform(made, extra_info=extra)

    def inverse(self, data: torch.Tensor) -> MetaTensor:
        """The image as it was."""
        return self.undo(data, self.pop_transform(data)[TraceKeys.EXTRA_INFO])

    def undo(self, data: torch.Tensor, extra: Mapping[str, Any]) -> MetaTensor:
        """What ``inverse`` does, with what was remembered of the way here."""
        data = with_place(data)
        before = RAS_FROM_LPS @ np.array(extra["affine"], np.float64)
        turned = torch.flip(data.as_tensor(), [1 + extra["axis"]])
        return placed(turned, before, data, **_exchanged(data, extra["about_mm"]))


def _exchanged(image: MetaTensor, about_mm: float) -> dict[str, Any]:
    """The changes in ``meta`` when sides are exchanged, once more or back."""
    changed: dict[str, Any] = {EXCHANGED: not image.meta.get(EXCHANGED, False)}
    if BODY in image.meta:
        changed[BODY] = mirrored_body(image.meta[BODY], about_mm)
    return changed


class EncodeStudy(Transform):
    """Encodes a volume: all that costs, before any question is known. The features are those of ``tips_med.encode``.

    Args:
        model: Model; the shipped one when None.
        modality: DICOM modality code, where the file states none (NIfTI): ``CT``.
        progress: Called with (slabs done, total slabs).
        adapters: Adapters whose features are made, too, see ``tips_med.encode``: ``all`` where studies are cached, so
            that no copy of one has to make them.
    """

    def __init__(
        self,
        model: GroundingModel | None = None,
        modality: str | None = None,
        progress: Progress | None = None,
        adapters: Adapters = (),
    ) -> None:
        self.model, self.modality, self.progress = model, modality, progress
        self.adapters: Adapters = adapters

    def __call__(self, data: torch.Tensor) -> EncodedStudy:
        """[1 i j k], from any reader -> an encoded study, whose scan is that volume.

        Raises:
            ModalityError: The model was not trained on scans of this kind.
            ReadError: The volume is larger than any body; as ``scan_of_tensor``.
        """
        return encode(scan_of_tensor(data, self.modality), self.model, self.progress, self.adapters)


class GroundPhrase(Transform):
    """Answers a query. The answer is that of ``tips_med.ground``.

    Args:
        model: Model that encoded the study; the shipped one when None.
    """

    def __init__(self, model: GroundingModel | None = None) -> None:
        self.model = model

    def __call__(self, data: EncodedStudy, phrase: str | Query) -> Grounding:
        """The answer; ``mask_of_answer`` and ``heat_of_answer`` make images of it.

        Raises:
            QueryError: Nothing in the query is understood, or the model was not trained to find it.
            WeightsError: The study was encoded by another model.
        """
        return ground(data, phrase, self.model)


def mask_of_answer(answer: Grounding) -> MetaTensor:
    """The mask of an answer: uint8 [1 i j k], on the scan's own grid, with the scan's affine."""
    scan = answer.scan
    like = tensor_of_scan(scan)
    labels = torch.from_numpy(np.ascontiguousarray(answer.mask.astype(np.uint8).transpose(2, 1, 0)))[None]
    return placed(labels, scan.lps_from_kji @ KJI_FROM_IJK, like)


def heat_of_answer(answer: Grounding) -> MetaTensor:
    """The scores: float32 [1 slab y x], NaN where nothing was measured, with an affine from (slab, y, x) to RAS."""
    return placed(torch.from_numpy(answer.heat)[None], answer.lps_from_heat)
