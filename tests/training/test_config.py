from __future__ import annotations

import jsonargparse
import pytest

from tips_med.cli import build_parser
from tips_med.configs import config_path


def parsed(*arguments: str) -> jsonargparse.Namespace:
    return build_parser(arguments[0]).parse_args(list(arguments))[arguments[0]]


def test_the_shipped_configuration_is_exactly_arguments_of_train():
    config = str(config_path("", "chest_ct_finetune"))
    chosen = parsed("train", "--config", config, "--data.manifest", "m.csv", "--out", "runs")
    assert tuple(chosen.data.shape) == (8, 128, 160)
    assert str(chosen.data.manifest) == "m.csv"
    assert chosen.optimizer.steps == 1000
    assert chosen.trainer.checkpoint_every == 50


def test_the_configuration_of_tips_towers_is_one_of_train_too():
    config = str(config_path("", "chest_ct_tips_finetune"))
    chosen = parsed("train", "--config", config, "--model", "tips:x", "--data.manifest", "m.csv", "--out", "runs")
    assert (chosen.tuning.image.mode, chosen.tuning.image.last_blocks) == ("lora", 4)
    assert chosen.tuning.text.mode == "freeze"
    assert tuple(chosen.data.shape) == (4, 448, 448)
    assert chosen.optimizer.checkpointing


def test_a_teacher_is_chosen_by_a_folder():
    chosen = parsed("train", "--data.manifest", "m.csv", "--data.teacher", "teacher", "--out", "runs")
    assert str(chosen.data.teacher) == "teacher"
    chosen = parsed("embed", "m.csv", "--model", "tips:x", "--out", "teacher")
    assert (chosen.path, chosen.model, chosen.split) == ("m.csv", "tips:x", "train")


def test_more_of_monais_transforms_are_named_in_a_configuration(tmp_path):
    config = tmp_path / "more.yaml"
    config.write_text(
        "data:\n  manifest: m.csv\n  transforms:\n"
        "  - {class_path: monai.transforms.RandGaussianNoised, init_args: {keys: [image], prob: 0.3, std: 20.0}}\n"
    )
    parser = build_parser("train")
    chosen = parser.instantiate(parser.parse_args(["train", "--config", str(config), "--out", "runs"]))["train"]
    (noise,) = chosen.data.transforms
    assert type(noise).__name__ == "RandGaussianNoised"
    assert (noise.keys, noise.prob) == (("image",), 0.3)


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_manifest_is_asked_for(command, capsys):
    with pytest.raises(SystemExit):
        parsed(command, "--out", "runs")
    assert "manifest" in capsys.readouterr().err
