from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tiny import tiny_nets
from tips_med.card import ModelCard
from tips_med.encoders.base import TextFeatures, TextTower
from tips_med.encoders.compact import CompactImageTower
from tips_med.geometry import LEFT, RIGHT
from tips_med.model import GroundingModel
from tips_med.synthesis.anatomy import Anatomy
from tips_med.training import outlines

SHAPE = (12, 60, 90)


@pytest.fixture
def seen(monkeypatch):
    """What the model sees of a padded volume: a map of each lung, set by the test."""
    maps = {"right": np.zeros((12, 64, 96), np.float32), "left": np.zeros((12, 64, 96), np.float32)}
    monkeypatch.setattr(outlines, "study_of", lambda scene, model, adapters=(): scene)
    monkeypatch.setattr(
        outlines, "probability_map", lambda scene, text, model: maps["left" if text.pooled.item() else "right"]
    )
    return maps


class TwoPhrases(TextTower):
    """Embeds the side that a phrase begins with: right as 0, left as 1."""

    name = "two phrases"

    def embed(self, phrases):
        sides = [["right", "left"].index(phrase.split()[0]) for phrase in phrases]
        return [TextFeatures(torch.zeros(1, 1), torch.full((1, 1), float(side)), ("lung",)) for side in sides]


@pytest.fixture
def model():
    image, _, head = tiny_nets()
    return GroundingModel(CompactImageTower(image), TwoPhrases(), head, ModelCard("toy", ()), "0" * 64)


def body() -> Anatomy:
    nothing = np.zeros(SHAPE, np.uint8)
    return Anatomy("toy", nothing.astype(np.int16), None, nothing, (), nothing > 0, (2.5, 2.0, 2.0))


def test_each_lung_is_its_largest_piece_and_bowel_gas_is_none(seen, model):
    seen["right"][2:10, 10:40, 5:35] = 0.9
    seen["left"][2:10, 10:40, 50:85] = 0.9
    seen["left"][0:2, 50:54, 50:54] = 0.9
    lungs = outlines.outline_lungs(body(), model)
    assert lungs.shape == SHAPE
    assert (lungs == RIGHT).sum() == 8 * 30 * 30
    assert (lungs == LEFT).sum() == 8 * 30 * 35


def test_where_both_are_likely_the_likelier_wins(seen, model):
    seen["right"][2:10, 10:40, 5:60] = 0.6
    seen["left"][2:10, 10:40, 40:85] = 0.9
    lungs = outlines.outline_lungs(body(), model)
    assert (lungs[5, 20, 5:40] == RIGHT).all()
    assert (lungs[5, 20, 40:85] == LEFT).all()


def test_a_scan_without_a_lung_has_none(seen, model):
    seen["right"][0:2, 5:10, 5:10] = 0.9
    assert outlines.outline_lungs(body(), model) is None
