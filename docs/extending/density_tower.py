"""An image tower that learns nothing: it separates bone from fat by Hounsfield units alone; with its text tower."""

from __future__ import annotations

import torch
from torch.nn.functional import avg_pool2d

import tips_med
from tips_med.alignment import AlignmentHead
from tips_med.card import ModelCard
from tips_med.encoders.base import ImageFeatures, ImageTower, Progress, TextFeatures, TextTower
from tips_med.geometry import index_from_block
from tips_med.model import GroundingModel
from tips_med.sample import sample_path
from tips_med.slabs import SlabSpec, SlabStack

RANGES_HU = {"fat": (-150.0, -50.0), "bone": (250.0, 3000.0)}


class DensityTower(ImageTower):
    """A patch is embedded as the share of its voxels in each range."""

    name = "density"
    modalities = ("CT",)
    slab_spec = SlabSpec(spacing_mm=(5.0, 2.0, 2.0), windows_hu=((-1000.0, 3000.0),), neighbours=0, patch=4)

    def encode(self, slabs: SlabStack, progress: Progress | None = None) -> ImageFeatures:
        """Encodes all slabs; ``pixels`` [slab channel y x] are scaled to 0 to 1."""
        hu = slabs.pixels * 4000 - 1000
        inside = torch.cat([((hu >= low) & (hu < high)).float() for low, high in RANGES_HU.values()], dim=1)
        patches = avg_pool2d(inside, 4).permute(0, 2, 3, 1)
        return ImageFeatures(patches, slabs.lps_from_pixel @ index_from_block((1, 4, 4)))


class DensityText(TextTower):
    """A word is embedded as the range that it names."""

    name = "density"

    def embed(self, phrases: list[str]) -> list[TextFeatures]:
        """One embedding a word, [token embedding], and their sum for the phrase."""
        words = [tuple(phrase.split()) for phrase in phrases]
        tokens = [torch.tensor([[word == name for name in RANGES_HU] for word in one]).float() for one in words]
        return [TextFeatures(each, each.sum(0, keepdim=True), one) for each, one in zip(tokens, words)]


head = AlignmentHead(2, 2, 1).requires_grad_(False)  # a score is a product of text and patch, plus a bias
head.to_patch.weight.copy_(12 * torch.eye(2))
head.bias.weight.zero_()
card = ModelCard("density", findings=(), structures=("fat", "bone"))
model = GroundingModel(DensityTower(), DensityText(), head, card, "0" * 64)


def open_density(argument: str, device: torch.device) -> GroundingModel:
    """What an entry point of the group ``tips_med.encoders`` names: ``--model density:``."""
    return model


if __name__ == "__main__":
    print(tips_med.ground(tips_med.encode(tips_med.read_scan(sample_path()), model), "bone", model).sentence)
