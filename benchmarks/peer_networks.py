"""Networks that MONAI provides, with the sizes and sliding windows under which they were published.

Sources, as read in November 2026, on github.com:

- SegResNetDS: the network of MONAI's Auto3DSeg template (Project-MONAI/research-contributions,
  auto3dseg/algorithm_templates/segresnet/configs/hyper_parameters.yaml), which the whole-body models of Slicer's
  MONAIAuto3DSeg are trained from; 105 classes, windows of 96^3 and an overlap of 0.25, as MONAI's whole-body bundle
  runs at 1.5 and 3 mm (Project-MONAI/model-zoo, models/wholeBody_ct_segmentation/configs/inference.json). The
  template's own window, 224 x 224 x 144 with an overlap of 0.625 at inference, costs more.
- TotalSegmentator, fast: nnU-Net's plain U-Net at 3 mm with a patch of 112 x 112 x 128 (slices, rows, columns) and 118
  classes (msahamed/total_segmentaor_optimization, docs/fast_model_pipeline.md: Dataset297), steps of half a patch, no
  mirroring, cubic resampling (wasserth/TotalSegmentator, totalsegmentator/nnunet.py and python_api.py). The plans
  themselves were not at hand: features (32 to 320) and strides are those that nnU-Net's planner gives such a patch
  (MIC-DKFZ/nnUNet: edges are halved while 8 or more). MONAI's DynUNet is that architecture.
- VISTA3D: ``vista3d132`` at 1.5 mm, foreground cropped, windows of 128^3 with an overlap of 0.3, asked for one class
  (Project-MONAI/model-zoo, models/vista3d/configs/inference.json).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from monai.networks.nets.dynunet import DynUNet
from monai.networks.nets.segresnet_ds import SegResNetDS
from monai.networks.nets.vista3d import vista3d132
from torch import Tensor, nn


@dataclass(frozen=True)
class Peer:
    """A network and how it is run.

    Attributes:
        name: Name in the table.
        spacing_mm: Edge of its voxels.
        window: Window in voxels, along x, y and z.
        overlap: Part of a window that its neighbour covers, too.
        make: Makes the network, with random weights.
        crop: Whether it crops what is not above zero, with a margin of 10 voxels, before it looks.
        cubic: Whether it resamples by cubic splines; linearly otherwise.
        classes: Number of maps that it gives.
    """

    name: str
    spacing_mm: float
    window: tuple[int, int, int]
    overlap: float
    make: Callable[[], nn.Module]
    crop: bool
    cubic: bool
    classes: int


class _Vista(nn.Module):
    """VISTA3D, asked for one class."""

    def __init__(self) -> None:
        super().__init__()
        self.net = vista3d132(in_channels=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x, class_vector=torch.tensor([[3]]), transpose=True)


def _segresnet_ds() -> nn.Module:
    return SegResNetDS(
        init_filters=32, blocks_down=(1, 2, 2, 4, 4), norm="INSTANCE", in_channels=1, out_channels=105, dsdepth=4
    )


def _totalsegmentator_fast() -> nn.Module:
    strides = [1, 2, 2, 2, 2, (2, 1, 1)]  # x has 128 voxels, and is halved once more
    return DynUNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=118,
        kernel_size=[3] * len(strides),
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=(32, 64, 128, 256, 320, 320),
    )


PEERS = (
    Peer("SegResNetDS, 3 mm", 3.0, (96, 96, 96), 0.25, _segresnet_ds, True, False, 105),
    Peer("SegResNetDS, 1.5 mm", 1.5, (96, 96, 96), 0.25, _segresnet_ds, True, False, 105),
    Peer(
        "U-Net of TotalSegmentator's fast mode, 3 mm",
        3.0,
        (128, 112, 112),
        0.5,
        _totalsegmentator_fast,
        False,
        True,
        118,
    ),
    Peer("VISTA3D, 1.5 mm", 1.5, (128, 128, 128), 0.3, _Vista, True, False, 1),
)


def windows(shape: Sequence[int], window: Sequence[int], overlap: float) -> list[tuple[slice, ...]]:
    """The windows of a sliding inference, as MONAI's ``sliding_window_inference`` lays them.

    Args:
        shape: Shape of the volume; it is padded to a window where it is smaller.
        window: Shape of a window.
        overlap: Part of a window that its neighbour covers, too, 0 to below 1.
    """
    starts = []
    for size, edge in zip(shape, window):
        step = max(1, int(edge * (1 - overlap)))
        count = 1 if size <= edge else math.ceil((size - edge) / step) + 1
        starts.append([min(n * step, max(0, size - edge)) for n in range(count)])
    return [
        tuple(slice(start, start + edge) for start, edge in zip((x, y, z), window))
        for x in starts[0]
        for y in starts[1]
        for z in starts[2]
    ]
