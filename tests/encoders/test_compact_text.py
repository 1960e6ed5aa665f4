from __future__ import annotations

import pytest
import torch

from tests.tiny import tiny_nets
from tips_med.encoders.compact_text import CompactTextTower
from tips_med.errors import QueryError


@pytest.fixture(scope="module")
def tower() -> CompactTextTower:
    return CompactTextTower(tiny_nets()[1])


def test_every_word_has_an_embedding_and_the_phrase_has_one(tower):
    (features,) = tower.embed(["mass in the left lung"])
    assert features.words == ("mass", "in", "the", "left", "lung")
    assert features.tokens.shape == (5, 16)
    assert features.pooled.shape == (1, 16)


def test_a_phrase_means_the_same_whatever_stands_beside_it(tower):
    alone = tower.embed(["left lung"])[0]
    beside = tower.embed(["left lung", "ground glass opacity in the right upper lobe"])[0]
    torch.testing.assert_close(beside.pooled, alone.pooled, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(beside.tokens, alone.tokens, atol=1e-5, rtol=1e-4)


def test_sides_are_not_the_same_thing(tower):
    left, right = tower.embed(["left lung", "right lung"])
    assert not torch.allclose(left.pooled, right.pooled, atol=1e-3)


@pytest.mark.parametrize(
    ("phrase", "message"),
    [("zorp lung", "lacks 'zorp'"), ("", "empty phrase"), (" ".join(["lung"] * 40), "40 words")],
)
def test_what_it_cannot_read_it_refuses(tower, phrase, message):
    with pytest.raises(QueryError, match=message):
        tower.embed([phrase])
