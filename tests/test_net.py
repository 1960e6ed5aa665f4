"""The networks as one module give what the towers give."""

from __future__ import annotations

import pytest
import torch

from tests.tiny import CONFIG, tiny_nets
from tips_med.card import ModelCard
from tips_med.errors import ConfigError, QueryError
from tips_med.model import load_model, model_of_net, net_of_model
from tips_med.model_files import save_model
from tips_med.net import GroundingNet, dict_of_config

PHRASES = ("mass", "left lung")


@pytest.fixture
def model(tmp_path):
    save_model(tmp_path / "toy.safetensors", *tiny_nets(), ModelCard("toy", ("mass",)))
    return load_model(tmp_path / "toy.safetensors")


@pytest.fixture
def pixels():
    return torch.rand(2, CONFIG.slabs.channels, 3, 32, 48)


def test_a_channel_for_each_phrase_as_the_towers_score_it(model, pixels):
    net = net_of_model(model, PHRASES)
    offset = torch.tensor([[-30.0, -40.0], [-10.0, 5.0]])
    with torch.no_grad():
        logits = net(pixels, offset)
        patches, fine = model.image.net(pixels.transpose(1, 2), offset)
        text = torch.cat([one.pooled for one in model.text.embed(PHRASES)])
        expected = model.head.fine_scores(text.expand(2, -1, -1), patches, fine)
    assert logits.shape == (2, 2, 3, 32, 48)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_other_phrases_for_all_or_for_each_image(model, pixels):
    net = net_of_model(model, PHRASES)
    with torch.no_grad():
        one = net(pixels, words=net.indices(["left lung"]))
        each = net(pixels, words=torch.stack([net.indices(PHRASES), net.indices(PHRASES).flip(0)]))
        usual = net(pixels)
    torch.testing.assert_close(one[:, 0], usual[:, 1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(each[0], usual[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(each[1], usual[1].flip(0), rtol=1e-4, atol=1e-5)


def test_without_a_place_the_middle_of_the_image_is_the_middle_of_the_body(model, pixels):
    net = net_of_model(model, PHRASES)
    _, row_mm, column_mm = CONFIG.slabs.spacing_mm
    middle = torch.tensor([[-31 / 2 * row_mm, -47 / 2 * column_mm]]).expand(2, 2)
    with torch.no_grad():
        torch.testing.assert_close(net(pixels), net(pixels, middle))


def test_its_sizes_come_back_from_json_and_its_state_is_that_of_the_file(model, pixels):
    net = net_of_model(model, PHRASES)
    again = GroundingNet(dict_of_config(net.image.config), dict_of_config(net.text.config), PHRASES)
    again.load_state_dict(net.state_dict())
    assert again.image.config == CONFIG
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(pixels), net(pixels))
    assert not [key for key in net.state_dict() if key.split(".")[0] not in ("image", "text", "head")]
    around = model_of_net(again, model.card, "0" * 64)
    assert around.text.embed(["mass"])[0].pooled.allclose(model.text.embed(["mass"])[0].pooled)


@pytest.mark.parametrize("shape", [(1, 3, 2, 32, 32), (1, 6, 2, 30, 32), (6, 2, 32, 32)])
def test_pixels_of_another_shape_are_refused(model, shape):
    with pytest.raises(ConfigError, match="multiples of 16"):
        net_of_model(model, PHRASES)(torch.zeros(shape))


def test_unknown_words_and_sizes_are_refused(model):
    with pytest.raises(QueryError, match="lacks 'zorp'"):
        net_of_model(model, ("zorp",))
    with pytest.raises(ConfigError, match="not understood"):
        GroundingNet({"slabs": {}}, dict_of_config(model.text.net.config))
