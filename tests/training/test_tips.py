"""TIPS towers go the same way through training as the compact ones."""

from __future__ import annotations

from dataclasses import replace

import lightning
import pytest
import torch

from pipelines.train import train
from tests.training.small import TRAINER, data, write_studies
from tests.training.test_finetune import LEXICON, logged, pytestmark  # noqa: F401 (the same warnings)
from tips_med.cli import main
from tips_med.encoders.tips import FineTuning
from tips_med.errors import ConfigError, OutputError, WeightsError
from tips_med.loading import TUNED, open_model
from tips_med.training.finetune import FinetuneConfig, FinetuneTask
from tips_med.training.fitting import fit_task, step_of
from tips_med.training.manifest_data import ManifestData
from tips_med.training.towers import Tuning

SHAPE = (2, 56, 56)  # of pixels of 0.9 mm, four by four patches


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_studies(tmp_path_factory.mktemp("studies"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def made(folder, manifest, cache, tuning=None, steps=8, **config):
    """A model, its task and its data, from the start."""
    model = open_model(f"tips:{folder}", "cpu")
    chosen = FinetuneConfig(steps=steps, warmup=1, learning_rate=3e-3, **config)
    torch.manual_seed(0)
    task = FinetuneTask.from_model(model, LEXICON, chosen, tuning)
    return model, task, ManifestData(data(manifest, shape=SHAPE), model, LEXICON, cache, steps)


def one_step(task, module):
    """The loss of one batch, with gradients; without Lightning's Trainer."""
    module.prepare_data()
    task.log = lambda *_, **__: None
    return task.train().training_step(next(iter(module.train_dataloader())), 0)


def test_training_begins_with_what_tips_says_zero_shot(tips_folder, manifest, cache):
    model, task, module = made(tips_folder, manifest, cache)
    module.prepare_data()
    batch = next(iter(module.train_dataloader()))
    with torch.no_grad():
        patches, fine = task.towers.encode_images(batch.pixels, batch.offset_mm)
        words, phrases = task.towers.encode_phrases(batch.phrases)
        logits = task.towers.head.fine_scores(phrases, patches[0], fine[0])
    zero_shot = open_model(f"tips:{tips_folder}", "cpu")
    found = zero_shot.text.embed(batch.phrases)
    torch.testing.assert_close(phrases, torch.cat([one.pooled for one in found]))
    for ours, theirs in zip(words, found):
        torch.testing.assert_close(ours[: len(theirs.words)], theirs.tokens)
    coarse = zero_shot.head.patch_scores(phrases, zero_shot.image.embed_slabs(batch.pixels[0]))
    assert logits.shape == (len(batch.phrases), *SHAPE)
    centres = logits[..., 6:8, 6:8].mean((-1, -2))  # of the first patch of 14 x 14
    torch.testing.assert_close(centres, coarse[..., 0, 0], rtol=0.05, atol=0.5)


@pytest.mark.parametrize(
    ("tuning", "learns"),
    [
        (Tuning(FineTuning("freeze"), FineTuning("freeze")), {"head"}),
        (Tuning(), {"head", "image"}),
        (Tuning(FineTuning("full", last_blocks=1), FineTuning("lora", rank=2)), {"head", "image", "text"}),
        (Tuning(FineTuning("full"), FineTuning("full")), {"head", "image", "text"}),
    ],
    ids=["freeze", "as it is", "last block and lora", "full"],
)
def test_what_learns_is_what_was_chosen_and_nothing_waits_for_a_gradient(tuning, learns, tips_folder, manifest, cache):
    _, task, module = made(tips_folder, manifest, cache, tuning)
    one_step(task, module).backward()
    learning = {name: value for name, value in task.named_parameters() if value.requires_grad}
    assert {name.split(".")[1] for name in learning} == learns
    assert not [name for name, value in learning.items() if value.grad is None]  # DDP would wait for it for ever
    frozen = [value for name, value in task.named_parameters() if name not in learning]
    assert all(value.grad is None for value in frozen)


def test_checkpointing_changes_no_gradient(tips_folder, manifest, cache):
    found = []
    for checkpointing in (False, True):
        tuning = Tuning(FineTuning("full"))
        _, task, module = made(tips_folder, manifest, cache, tuning, checkpointing=checkpointing)
        one_step(task, module).backward()
        assert task.towers.image.is_gradient_checkpointing == checkpointing
        found.append([value.grad for value in task.towers.image.parameters() if value.grad is not None])
    for plain, again in zip(*found):
        torch.testing.assert_close(again, plain)


def test_lora_on_a_manifest_ends_in_a_folder_that_answers(tips_folder, manifest, tmp_path, capsys):
    out = tmp_path / "out"
    config = FinetuneConfig(steps=40, warmup=2, learning_rate=1e-2)
    path = train(
        data(manifest, batch=2, shape=SHAPE, negative_prob=0.0), out, f"tips:{tips_folder}", name="ours",
        optimizer=config, licence="CC0-1.0", trainer=TRAINER, check_scans=0,
    )  # fmt: skip
    losses = logged(out, "loss")
    assert losses[-1] < 0.7 * losses[0]
    model = open_model(str(path), "cpu")
    assert (model.card.name, model.card.findings, model.card.licence) == ("ours", ("mass",), "CC0-1.0")
    assert len(model.card.trained["manifest_sha256"]) == 64
    before = open_model(f"tips:{tips_folder}", "cpu")
    assert model.sha256 != before.sha256
    assert model.image.slab_spec == before.image.slab_spec
    scan = manifest.parent / "2" / "ct.nii.gz"
    assert main(["ground", str(scan), "mass", "--model", str(path), "--out", str(tmp_path / "answer")]) == 0
    assert "ours" in (tmp_path / "answer" / "report.json").read_text()
    assert main(["ground", str(scan), "fracture", "--model", f"tips:{path}", "--out", str(tmp_path / "answer")]) == 2
    assert "was trained to find: mass" in " ".join(capsys.readouterr().err.split())
    # And the same command again finds it done, and writes the same model in its place.
    again = train(
        data(manifest, batch=2, shape=SHAPE, negative_prob=0.0), out, f"tips:{tips_folder}", name="ours",
        optimizer=config, licence="CC0-1.0", trainer=TRAINER, check_scans=0,
    )  # fmt: skip
    assert again == path
    torch.testing.assert_close(open_model(str(again), "cpu").head.state_dict(), model.head.state_dict())
    torch.testing.assert_close(open_model(str(again), "cpu").image.net.state_dict(), model.image.net.state_dict())


class PowerCut(lightning.Callback):
    def on_train_batch_end(self, trainer, *_) -> None:
        if trainer.global_step == 5:
            raise RuntimeError("power cut")


def test_a_run_that_was_cut_short_goes_on_to_the_same_weights(tips_folder, manifest, cache, tmp_path):
    def run(out, *callbacks):
        _, task, module = made(tips_folder, manifest, cache)
        module.start = step_of(out)
        fit_task(task, module, out, replace(TRAINER, ema=0.5), callbacks)
        return task.state_dict()

    whole = run(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "cut", PowerCut())
    assert step_of(tmp_path / "cut") == 4
    for name, value in run(tmp_path / "cut").items():
        torch.testing.assert_close(value, whole[name], msg=name)


def test_a_tuned_folder_that_was_mixed_up_or_damaged_is_named_in_a_line(tips_folder, manifest, cache, tmp_path):
    model, task, _ = made(tips_folder, manifest, cache)
    path = task.towers.save(tmp_path, model.card)
    assert open_model(str(path), "cpu").card == model.card
    head = (path / TUNED).read_bytes()
    (path / TUNED).write_bytes(head[:-50])
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        open_model(str(path), "cpu")
    (path / TUNED).write_bytes(head)
    other = made(tips_folder, manifest, cache, Tuning(FineTuning("full")))[1]
    with torch.no_grad():
        other.towers.image.layernorm.weight.add_(1)
    mixed = other.towers.save(tmp_path / "other", model.card)
    (mixed / TUNED).write_bytes(head)
    with pytest.raises(WeightsError, match="keep the folder together|Keep the folder together"):
        open_model(str(mixed), "cpu")


def test_a_folder_of_something_else_is_not_replaced(tips_folder, manifest, cache, tmp_path):
    model, task, _ = made(tips_folder, manifest, cache)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="something else"):
        task.towers.save(tmp_path, model.card)
    assert (tmp_path / "model" / "thesis.txt").read_text() == "mine"


def test_crops_that_make_no_whole_patches_are_refused_with_a_shape_that_does(tips_folder, manifest, cache, tmp_path):
    _, task, module = made(tips_folder, manifest, cache)
    module.spec = replace(module.spec, shape=(2, 60, 56))
    with pytest.raises(ConfigError, match=r"\[4, 56, 56\]"):
        fit_task(task, module, tmp_path, TRAINER)


def test_a_wrong_folder_is_one_line_for_train_too(manifest, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    chosen = ["--data.manifest", str(manifest), "--out", str(tmp_path / "out")]
    assert main(["train", "--model", f"tips:{tmp_path / 'empty'}", *chosen]) == 2
    error = capsys.readouterr().err
    assert "the folder of a TIPS model" in " ".join(error.split())
    assert "Traceback" not in error
