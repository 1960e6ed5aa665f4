from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from tips_med.encoders.base import ImageFeatures
from tips_med.encoders.tips.scores import patch_cosines, patch_logits, patch_probabilities, zero_shot_head
from tips_med.encoders.tips.text import PHOTO_TEMPLATES, TipsTextTower
from tips_med.encoders.tips.weights import TipsTowers, load_tips
from tips_med.errors import ConfigError, QueryError


@pytest.fixture(scope="module")
def towers(tips_folder: Path) -> TipsTowers:
    return load_tips(tips_folder)


@pytest.fixture(scope="module")
def text(towers: TipsTowers) -> TipsTextTower:
    return towers.text


def test_templates_are_averaged_as_unit_vectors_and_made_one_again(text: TipsTextTower) -> None:
    found = text.embed(["left lung"])[0].pooled
    with torch.no_grad():
        sentences = [text.tokens([template.format("left lung")])[1][0] for template in text.templates]
    mean = torch.stack([sentence / sentence.norm() for sentence in sentences]).mean(0)
    torch.testing.assert_close(found[0], mean / mean.norm())
    assert len(text.templates) > 1


def test_a_phrase_has_an_embedding_for_every_word_whatever_its_pieces(text: TipsTextTower) -> None:
    phrase = "ground glass opacity, 5 mm"
    assert len(text.tokenizer(phrase)["input_ids"]) > 5
    found = text.embed([phrase, "lung"])
    assert found[0].words == ("ground", "glass", "opacity,", "5", "mm")
    assert [len(each.tokens) for each in found] == [5, 1]
    pieces = text.tokenizer.convert_ids_to_tokens(text.tokenizer(phrase)["input_ids"])
    starts = [n for n, piece in enumerate(pieces) if piece.startswith("\u2581")]
    with torch.no_grad():
        hidden = functional.normalize(text.tokens([phrase])[0][0], dim=-1)
    third = functional.normalize(hidden[starts[2] : starts[3]].mean(0), dim=-1)
    torch.testing.assert_close(found[0].tokens[2], third)


def test_a_phrase_too_long_to_be_read_whole_is_refused(text: TipsTextTower) -> None:
    with pytest.raises(QueryError, match="at most 64"):
        text.embed(["opacity " * 80])


def test_upper_case_is_no_different(text: TipsTextTower) -> None:
    upper, lower = text.embed(["Left LUNG", "left lung"])
    torch.testing.assert_close(upper.pooled, lower.pooled)
    torch.testing.assert_close(upper.tokens, lower.tokens)


def test_neither_company_nor_padding_changes_a_phrase(text: TipsTextTower) -> None:
    alone = text.tokens(["left lung"])[1]
    among = text.tokens(["left lung", "pleural effusion right lower lobe", "ground glass"])[1]
    torch.testing.assert_close(alone[0], among[0], rtol=0, atol=1e-5)


def test_a_row_over_64_tokens_does_not_unmask_the_others(text: TipsTextTower, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        hidden, among, lengths = text.tokens(["left lung", "opacity " * 80])
    assert hidden.shape[1] == 64
    assert int(lengths[1]) == 64
    torch.testing.assert_close(text.tokens(["left lung"])[1][0], among[0], rtol=0, atol=1e-5)
    assert "cut to the 64" in caplog.text
    assert "opacity" not in caplog.text


@pytest.mark.parametrize("phrase", ["", "  "])
def test_an_empty_phrase_is_refused(phrase: str, text: TipsTextTower) -> None:
    with pytest.raises(QueryError):
        text.embed([phrase])
    with pytest.raises(QueryError):
        text.tokens([phrase])


@pytest.mark.parametrize("templates", [(), ("a photo",), ("{} and {}",)])
def test_templates_need_one_place_for_the_phrase(templates: tuple[str, ...], tips_folder: Path) -> None:
    with pytest.raises(ConfigError):
        load_tips(tips_folder, text={"templates": templates})


def test_a_phrase_with_braces_stays_as_it_is(text: TipsTextTower) -> None:
    braces, plain = text.embed(["lung {0}", "lung"])
    assert braces.words == ("lung", "{0}")
    assert float((braces.pooled - plain.pooled).abs().max()) > 1e-3


def test_the_authors_templates_are_nine(tips_folder: Path) -> None:
    assert len(PHOTO_TEMPLATES) == 9
    assert load_tips(tips_folder, text={"templates": PHOTO_TEMPLATES}).text.embed(["lung"])[0].pooled.shape == (1, 32)


def features(seed: int) -> ImageFeatures:
    patches = functional.normalize(torch.randn(2, 3, 5, 32, generator=torch.Generator().manual_seed(seed)), dim=-1)
    return ImageFeatures(patches.half(), torch.eye(4, dtype=torch.float64).numpy())


def test_scores_are_cosines_over_the_temperature(towers: TipsTowers) -> None:
    image, texts = features(0), towers.text.embed(["left lung", "effusion"])
    found = patch_logits(image, texts, towers.temperature)
    assert found.shape == (2, 2, 3, 5)
    one = functional.cosine_similarity(image.patches[1, 2, 4].float(), texts[1].pooled[0], dim=0)
    assert float(found[1, 1, 2, 4]) == pytest.approx(float(one) / 0.00478, rel=1e-3)
    assert float(patch_cosines(image, texts).abs().max()) <= 1 + 1e-5
    shares = patch_probabilities(image, texts, towers.temperature).sum(0)
    torch.testing.assert_close(shares, torch.ones_like(shares))


@pytest.mark.parametrize("contrast", [None, "normal tissue"])
def test_the_zero_shot_head_gives_the_same_scores_through_the_alignment(
    contrast: str | None, towers: TipsTowers
) -> None:
    image, texts = features(1), towers.text.embed(["left lung", "effusion"])
    other = towers.text.embed([contrast])[0] if contrast else None
    head = zero_shot_head(32, towers.temperature, other, cosine_margin=0.1)
    with torch.no_grad():
        found = head.patch_scores(torch.cat([each.pooled for each in texts]), image.patches)
    against = patch_cosines(image, [other]) if other else 0.0
    expected = (patch_cosines(image, texts) - against - 0.1) / towers.temperature
    # Half-precision unit vectors are unit only to 1e-3, which the temperature makes 0.2.
    torch.testing.assert_close(found, expected, rtol=0, atol=0.4)
