"""What is taught as an adapter is answered by it, and nothing else changes."""

from __future__ import annotations

import pytest
import torch

from tests.phantom import body
from tests.tiny import tiny_model, with_adapter
from tips_med.adapter import adapter_of
from tips_med.loading import open_model
from tips_med.model import GroundingModel, net_of_model
from tips_med.slabs import SlabStack, make_slabs
from tips_med.training.towers.adapter import TrainableAdapter


@pytest.fixture
def base(tmp_path) -> GroundingModel:
    return tiny_model(tmp_path)


def taught(base: GroundingModel, tmp_path, phrases, words=(), name="taught") -> GroundingModel:
    return with_adapter(base, tmp_path / name, phrases, words)


def slabs_of(base: GroundingModel) -> SlabStack:
    return make_slabs(body(), base.image.slab_spec)


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [("liver", 1), ("left kidney", 2), ("lesion", 0), ("lesion liver", 1), ("large liver lesion", 1), ("spleen", 2)],
)
def test_a_phrase_is_answered_by_the_last_adapter_that_was_taught_all_words_of_a_phrase_of_its(phrase, expected):
    assert adapter_of(phrase.split(), [("liver", "spleen"), ("kidney", "spleen")]) == expected


def test_what_was_known_stays_bit_for_bit(base, tmp_path):
    after = taught(base, tmp_path, ["liver"])
    before = base.image.encode(slabs_of(base)), base.text.embed(["nodule", "right lung"])
    features, texts = after.image.encode(slabs_of(base)), after.text.embed(["nodule", "right lung"])

    torch.testing.assert_close(features.patches, before[0].patches, rtol=0, atol=0)
    for old, new in zip(before[1], texts, strict=True):
        assert new.adapter == 0
        torch.testing.assert_close(new.pooled, old.pooled, rtol=0, atol=0)
        ours, theirs = after.scores(new.pooled, features), base.scores(old.pooled, before[0])
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_what_is_taught_is_answered_by_the_adapter(base, tmp_path):
    after = taught(base, tmp_path, ["liver"])
    (text,) = after.text.embed(["liver"])
    features = after.image.encode_several(slabs_of(base), (1,))[1]

    assert text.adapter == features.adapter == 1
    (old,) = base.text.embed(["liver"])
    assert not after.scores(text.pooled, features).allclose(base.scores(old.pooled, base.image.encode(slabs_of(base))))


def test_an_adapter_starts_as_what_answered_its_phrases(base):
    towers = TrainableAdapter(base, ["nodule"])
    pixels, offset = torch.rand(1, 5, base.image.slab_spec.channels, 32, 32), torch.zeros(1, 2)

    ours, theirs = towers.encode_images(pixels, offset), base.image.net(pixels, offset)
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other)
    learning = {name for name, one in towers.named_parameters() if one.requires_grad}
    assert learning
    assert all(name.startswith(("adapter.", "head.")) for name in learning)


def test_a_second_adapter_keeps_the_first_and_one_that_answers_nothing_more_is_dropped(base, tmp_path):
    first = taught(base, tmp_path, ["liver"], name="first")
    second = taught(first, tmp_path, ["spleen"], ["frobnication"], name="second")
    again = taught(second, tmp_path, ["liver"], name="again")

    assert [one.config.phrases for one in second.adapters] == [("liver",), ("spleen",)]
    assert [one.config.phrases for one in again.adapters] == [("spleen",), ("liver",)]
    theirs, ours = (one.image.encode_several(slabs_of(base), (0, 1))[1] for one in (first, second))
    (old,), (new,) = first.text.embed(["liver"]), second.text.embed(["liver"])
    torch.testing.assert_close(second.scores(new.pooled, ours), first.scores(old.pooled, theirs), rtol=0, atol=0)
    assert second.text.embed(["spleen frobnication"])[0].adapter == 2  # a word that only this one has


def test_the_plain_network_gives_the_same_scores(base, tmp_path):
    after = taught(base, tmp_path, ["liver"])
    phrases = ("liver", "nodule in the right lung")
    net = net_of_model(after, phrases)
    pixels, offset = torch.rand(2, base.image.slab_spec.channels, 4, 32, 48), torch.zeros(2, 2)

    with torch.inference_mode():
        found = net(pixels, offset)
        of_base = net_of_model(base, phrases[1:])(pixels, offset)
    torch.testing.assert_close(found[:, 1:], of_base)
    assert not found[:, :1].allclose(net_of_model(base, phrases[:1])(pixels, offset))
    assert net.fingerprint() != net_of_model(base).fingerprint()


def test_folders_and_cards_keep_adapters(base, tmp_path):
    after = taught(base, tmp_path, ["liver"])
    again = open_model(str(after.save_pretrained(tmp_path / "folder")), "cpu")

    assert again.adapters[0].config == after.adapters[0].config
    assert again.sha256 == after.sha256  # the same file, byte by byte
