"""Boxes as training targets: (x0, y0, x1, y1) as shares of a crop's width and height, 0 to 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def corners(centre_size: Tensor) -> Tensor:
    """(centre x, centre y, width, height) -> (x0, y0, x1, y1), [... 4]."""
    centre, size = centre_size[..., :2], centre_size[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def generalized_iou(boxes: Tensor, truth: Tensor) -> Tensor:
    """Generalized intersection over union of pairs, -1 to 1 (Rezatofighi 2019, arXiv:1902.09630).

    Args:
        boxes: Boxes, [... 4].
        truth: Boxes, the same shape.
    """
    low, high = torch.maximum(boxes[..., :2], truth[..., :2]), torch.minimum(boxes[..., 2:], truth[..., 2:])
    both = (high - low).clamp(min=0).prod(-1)
    union = _area(boxes) + _area(truth) - both
    hull_low, hull_high = torch.minimum(boxes[..., :2], truth[..., :2]), torch.maximum(boxes[..., 2:], truth[..., 2:])
    hull = (hull_high - hull_low).clamp(min=0).prod(-1).clamp(min=1e-9)
    return both / union.clamp(min=1e-9) - (hull - union) / hull


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def box_loss(boxes: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """L1 and 1 - GIoU, each the mean over the boxes whose truth is not NaN; 0 where there is none.

    Args:
        boxes: Predicted boxes, [... 4].
        truth: True boxes, NaN where there is none, the same shape.
    """
    there = truth[..., 0].isfinite()
    if not there.any():
        return boxes.sum() * 0, boxes.sum() * 0
    own, true = boxes[there], truth[there]
    return (own - true).abs().sum(-1).mean(), (1 - generalized_iou(own, true)).mean()


def drawn(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes as maps, 0 to 1: a half at their edges, nearly 1 within, most in the middle; [... 4] -> [... y x].

    A map cut at half of its height gives the box back, and its highest place is the box's centre.
    """
    distance = _from_centre(boxes, size)
    return (1.5 - 2 * distance).clamp(0, 1) * (1 - 0.01 * distance).clamp(min=0)


def filled(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes as masks, 1 for pixels whose centre lies inside; [... 4] -> [... y x], 0 where the box is NaN."""
    return (_from_centre(boxes.nan_to_num(-9.0), size) < 0.5).float()


def _from_centre(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """How far pixels lie from the centres of boxes, in widths or heights, whichever is more: 0.5 at their edges."""
    rows, columns = size
    y = (torch.arange(rows, device=boxes.device) + 0.5) / rows
    x = (torch.arange(columns, device=boxes.device) + 0.5) / columns
    x0, y0, x1, y1 = (boxes[..., n, None] for n in range(4))
    across = (x - (x0 + x1) / 2).abs() / (x1 - x0).clamp(min=1 / columns)
    down = (y - (y0 + y1) / 2).abs() / (y1 - y0).clamp(min=1 / rows)
    return torch.maximum(across[..., None, :], down[..., :, None])


class BoxHead(nn.Module):
    """A box from an embedding: two layers and a sigmoid, as X-VLM's and DETR's.

    Args:
        width: Size of the embedding.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, 4))
        # A box of a quarter of each side, in the middle.
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.bias.copy_(torch.tensor([0.0, 0.0, -1.1, -1.1]))

    def forward(self, x: Tensor) -> Tensor:
        """[... width] -> [... 4], corners."""
        return corners(self.layers(x).sigmoid())


def cells_inside(box: Tensor, grid: tuple[int, int]) -> Tensor:
    """How much of each cell a box covers, 0 to 1: [... 4] -> [... row col]; 0 where the box is NaN."""
    rows, columns = grid
    x0, y0, x1, y1 = (box[..., n, None].nan_to_num(-1.0) for n in range(4))
    x = torch.arange(columns, device=box.device) / columns
    y = torch.arange(rows, device=box.device) / rows
    wide = (torch.minimum(x + 1 / columns, x1) - torch.maximum(x, x0)).clamp(min=0) * columns
    high = (torch.minimum(y + 1 / rows, y1) - torch.maximum(y, y0)).clamp(min=0) * rows
    return high[..., :, None] * wide[..., None, :]
