from __future__ import annotations

import csv
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch

from pipelines.train import train
from tests.manifest.files import write_nifti
from tests.tiny import tiny_nets
from tests.training.small import RECIPE, TRAINER, affine, chest, data, tiny_model, tiny_weights, write_studies
from tips_med.encoders.tips import FineTuning
from tips_med.errors import ConfigError, OutputError, TipsMedError
from tips_med.loading import open_model
from tips_med.manifest import Row, read_manifest, write_manifest
from tips_med.query import Lexicon
from tips_med.training.finetune import FinetuneConfig, FinetuneTask
from tips_med.training.fitting import fit_task, step_of
from tips_med.training.manifest_data import ManifestData
from tips_med.training.towers import Tuning
from tips_med.training.towers.compact import with_words

LEXICON = Lexicon.load("chest_ct")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*experiment logs directory .* exists"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of loggers
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def logged(out: Path, name: str) -> list[float]:
    with (out / "log" / "from-step-0" / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def test_a_model_that_is_trained_starts_as_it_was(tmp_path):
    model = tiny_model(tmp_path)
    task = FinetuneTask.from_model(model, LEXICON)
    for (name, ours), theirs in zip(task.towers.image.state_dict().items(), model.image.net.state_dict().values()):
        torch.testing.assert_close(ours, theirs, msg=name)


def test_new_words_do_not_change_what_was_known():
    _, words, _ = tiny_nets()
    larger = with_words(words.eval(), ("mass", "frobnication")).eval()
    assert larger.config.vocabulary == (*words.config.vocabulary, "frobnication")
    phrase = ["mass in the left lung"]
    torch.testing.assert_close(larger(larger.indices(phrase)), words(words.indices(phrase)))
    assert larger.indices(["frobnication"]).item() == len(larger.config.vocabulary)
    assert with_words(words, ("mass",)) is words


def test_training_learns_a_new_term_and_gives_one_file_that_answers(tmp_path, caplog):
    caplog.set_level("INFO")
    manifest = write_studies(tmp_path / "studies")
    out = tmp_path / "out"
    config = FinetuneConfig(steps=60, warmup=5, learning_rate=3e-3)
    path = train(
        data(manifest, batch=2), out, str(tiny_weights(tmp_path / "tiny.safetensors")), name="ours", optimizer=config,
        trainer=TRAINER, check_scans=0,
    )  # fmt: skip
    model = open_model(str(path))
    assert model.card.name == "ours"
    assert model.card.findings == ("nodule", "mass")  # of an effusion no row says where it is
    assert model.card.licence == "CC0-1.0"
    assert model.card.trained["fine_tuned_from"] == open_model(str(tmp_path / "tiny.safetensors")).sha256
    assert len(model.card.trained["manifest_sha256"]) == 64
    assert not list(out.glob("*.pkl"))
    assert "step 60 of 60: loss 0." in caplog.text
    assert "validation Dice of mass" in caplog.text
    losses = logged(out, "loss")
    assert losses[-1] < 0.7 * losses[0]


class FullDisk(lightning.Callback):
    """No file may grow past a few bytes from the second checkpoint on."""

    def on_train_batch_end(self, trainer, *_) -> None:
        if trainer.global_step == 3:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (32768, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    model = tiny_model(tmp_path)
    module = ManifestData(data(write_studies(tmp_path)), model, LEXICON, tmp_path / "cache", RECIPE.steps)
    task = FinetuneTask.from_model(model, LEXICON, RECIPE)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(OutputError, match="make room|Make room"):
            fit_task(task, module, tmp_path / "out", TRAINER, [FullDisk()])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert step_of(tmp_path / "out") == 2


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"damaged")
    with pytest.raises(OutputError, match="damaged checkpoint"):
        step_of(tmp_path)


def script(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.training.fitting_script", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])


def weights(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "weights.pt", weights_only=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("scripts")
    write_studies(made)
    tiny_weights(made / "tiny.safetensors")
    done = script(made, made / "one", 1, 2, 0)
    assert done.returncode == 0, done.stderr
    return made


def test_a_killed_run_goes_on_to_the_same_weights(folder):
    killed = script(folder, folder / "killed", 1, 2, 5)
    assert killed.returncode == -signal.SIGKILL
    assert step_of(folder / "killed") == 4
    done = script(folder, folder / "killed", 1, 2, 0)
    assert done.returncode == 0, done.stderr
    for name, value in weights(folder / "one").items():
        torch.testing.assert_close(weights(folder / "killed")[name], value, msg=name)


def assert_learned_the_same(one: Path, other: Path, start: dict[str, torch.Tensor]) -> None:
    moved = 0.0
    for name, value in weights(one).items():
        # The softmax does not see the biases of keys: their gradient is rounding, which Adam makes into steps.
        if not name.endswith(("qkv.bias", "in_proj_bias")):
            torch.testing.assert_close(weights(other)[name], value, rtol=1e-4, atol=1e-4, msg=name)
        moved = max(moved, float((value - start[name]).abs().max()))
    assert moved > 1e-3  # and something was learned


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_with_twice_the_batch_does(folder, strategy):
    out = folder / strategy
    done = script(folder, out, 2, 1, 0, strategy)
    assert done.returncode == 0, done.stderr
    start = FinetuneTask.from_model(open_model(str(folder / "tiny.safetensors")), LEXICON).state_dict()
    assert_learned_the_same(folder / "one", out, start)
    assert (int((out / "sharded.txt").read_text()) > 0) == (strategy == "fsdp")
    assert open_model(str(out / "model.safetensors")).card.name == "tiny"  # whole weights, from sharded ones, too
    assert step_of(out) == RECIPE.steps


def test_what_does_not_go_with_sharding_is_named_before_anything_is_trained(tmp_path):
    model = tiny_model(tmp_path)
    module = ManifestData(data(write_studies(tmp_path)), model, LEXICON, tmp_path / "cache", RECIPE.steps)
    task = FinetuneTask.from_model(model, LEXICON, RECIPE)
    with pytest.raises(ConfigError, match="--trainer.ema 0"):
        fit_task(task, module, tmp_path, replace(TRAINER, strategy="fsdp", ema=0.9))
    with pytest.raises(ConfigError, match="--trainer.devices"):
        fit_task(task, module, tmp_path, replace(TRAINER, strategy="fsdp", devices="auto"))
    module.spec = data(module.spec.manifest, shape=(4, 30, 48))
    with pytest.raises(ConfigError, match="multiples of 16"):
        fit_task(task, module, tmp_path, TRAINER)
    with pytest.raises(ConfigError, match="'full' or 'freeze'"):
        FinetuneTask.from_model(model, LEXICON, RECIPE, Tuning(image=FineTuning("lora")))


def test_a_frozen_image_tower_stays_as_it_was(tmp_path):
    model = tiny_model(tmp_path)
    module = ManifestData(data(write_studies(tmp_path)), model, LEXICON, tmp_path / "cache", 2)
    config = replace(RECIPE, steps=2)
    task = FinetuneTask.from_model(model, LEXICON, config, Tuning(image=FineTuning("freeze")))
    fit_task(task, module, tmp_path / "out", TRAINER)
    for name, value in model.image.net.state_dict().items():
        torch.testing.assert_close(task.towers.image.state_dict()[name], value, rtol=0, atol=0, msg=name)
    assert any(not torch.equal(a, b) for a, b in zip(task.towers.text.parameters(), model.text.net.parameters()))


def test_averaged_weights_are_the_ones_that_stay(tmp_path):
    """With a decay near 1 the average stays near what the first step made, however far training went."""
    model = tiny_model(tmp_path)
    moved = {}
    for ema in (0.0, 0.999):
        module = ManifestData(data(write_studies(tmp_path)), model, LEXICON, tmp_path / "cache", RECIPE.steps)
        torch.manual_seed(0)
        task = FinetuneTask.from_model(model, LEXICON, RECIPE)
        before = task.towers.head.to_patch.weight.detach().clone()
        fit_task(task, module, tmp_path / f"ema-{ema}", replace(TRAINER, ema=ema))
        moved[ema] = (task.towers.head.to_patch.weight - before).abs().max().item()
    assert 0 < moved[0.999] < 0.6 * moved[0.0]


def test_training_stops_early_when_the_dice_does_not_rise(tmp_path):
    model = tiny_model(tmp_path)
    config = replace(RECIPE, steps=40, learning_rate=0.0)  # nothing is learned, so nothing gets better
    module = ManifestData(data(write_studies(tmp_path)), model, LEXICON, tmp_path / "cache", config.steps)
    task = FinetuneTask.from_model(model, LEXICON, config)
    fitted = fit_task(task, module, tmp_path / "out", replace(TRAINER, patience=2))
    assert fitted.trainer.global_step == 3 * TRAINER.validate_every


def test_logs_are_csv_and_tensorboard_with_pictures(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    model = tiny_model(tmp_path)
    module = ManifestData(data(write_studies(tmp_path)), model, LEXICON, tmp_path / "cache", 3)
    fit_task(FinetuneTask.from_model(model, LEXICON, replace(RECIPE, steps=3)), module, tmp_path, TRAINER)
    assert logged(tmp_path, "val_dice")
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard" / "from-step-0"))
    events.Reload()
    assert "val_dice" in events.Tags()["scalars"]
    assert events.Tags()["images"] == ["scan, answer, truth: mass in the left lung"]
    picture = events.Images(events.Tags()["images"][0])[0]
    assert picture.width == 3 * 48


def test_a_mask_on_another_grid_and_an_empty_one_are_left_out_and_told_at_the_end(tmp_path, caplog):
    caplog.set_level("INFO")
    manifest = write_studies(tmp_path / "studies")
    rows = read_manifest(manifest)
    _, mass = chest()
    other = write_nifti(tmp_path / "studies" / "other.nii.gz", mass[:, ::2], affine() @ np.diag([1.0, 2.0, 1.0, 1.0]))
    empty = write_nifti(tmp_path / "studies" / "empty.nii.gz", 0 * mass, affine())
    rows += [Row(rows[0].scan, "nodule", other, patient="0"), Row(rows[0].scan, "cavity", empty, patient="0")]
    write_manifest(rows, manifest)
    trained = train(
        data(manifest), tmp_path / "out", str(tiny_weights(tmp_path / "tiny.safetensors")),
        optimizer=replace(RECIPE, steps=2), trainer=TRAINER, check_scans=0,
    )  # fmt: skip
    assert open_model(str(trained)).card.findings == ("nodule", "mass")
    told = [record.getMessage() for record in caplog.records if record.name == "pipelines.train"]
    assert [line for line in told if "other-grid" in line]
    assert [line for line in told if "mask-and-label" in line]
    assert "2 row(s) were left out" in told
    assert "tips-med calibrate --model" in told[-1]
    with pytest.raises(TipsMedError):
        train(
            data(manifest, strict=True), tmp_path / "strict", str(tmp_path / "tiny.safetensors"),
            optimizer=replace(RECIPE, steps=2), trainer=TRAINER, check_scans=0,
        )  # fmt: skip
