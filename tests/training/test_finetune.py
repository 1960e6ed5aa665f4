from __future__ import annotations

import csv
import resource
import signal
import subprocess
import sys
from pathlib import Path

import lightning
import pytest
import torch

from pipelines.train import train
from tests.tiny import tiny_nets
from tests.training.small import RECIPE, TRAINER, data, tiny_model, tiny_weights, write_studies
from tips_med.errors import OutputError
from tips_med.models import open_model
from tips_med.query import Lexicon
from tips_med.training.finetune import FinetuneRecipe, FinetuneTask, with_words
from tips_med.training.fitting import fit, step_of
from tips_med.training.manifest_data import ManifestData

LEXICON = Lexicon.load("chest_ct")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory .* exists and is not empty"),
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
    for (name, ours), theirs in zip(task.image.state_dict().items(), model.image.net.state_dict().values()):
        torch.testing.assert_close(ours, theirs, msg=name)


def test_new_words_do_not_change_what_was_known():
    _, words, _ = tiny_nets()
    larger = with_words(words.eval(), ("mass", "frobnication")).eval()
    assert larger.config.vocabulary == (*words.config.vocabulary, "frobnication")
    phrase = ["mass in the left lung"]
    torch.testing.assert_close(larger(larger.indices(phrase)), words(words.indices(phrase)))
    assert larger.indices(["frobnication"]).item() == len(larger.config.vocabulary)
    assert with_words(words, ("mass",)) is words


def test_training_learns_a_new_term_and_gives_one_file_that_answers(tmp_path):
    manifest = write_studies(tmp_path / "studies")
    out = tmp_path / "out"
    recipe = FinetuneRecipe(steps=60, warmup=5, learning_rate=3e-3)
    path = train(
        data(manifest, batch=2), out, str(tiny_weights(tmp_path / "tiny.safetensors")), name="ours", recipe=recipe,
        trainer=TRAINER,
    )  # fmt: skip
    model = open_model(str(path))
    assert model.card.name == "ours"
    assert model.card.findings == ("nodule", "mass")  # of an effusion no row says where it is
    assert model.card.licence == "CC0-1.0"
    assert model.card.trained["fine_tuned_from"] == open_model(str(tmp_path / "tiny.safetensors")).sha256
    assert len(model.card.trained["manifest_sha256"]) == 64
    assert not list(out.glob("*.pkl"))
    dice = logged(out, "val_dice")
    assert max(dice[-3:]) > max(0.3, dice[0])
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
            fit(task, module, tmp_path / "out", TRAINER, [FullDisk()])
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


def test_two_processes_learn_what_one_with_twice_the_batch_does(folder):
    done = script(folder, folder / "two", 2, 1, 0)
    assert done.returncode == 0, done.stderr
    start = FinetuneTask.from_model(open_model(str(folder / "tiny.safetensors")), LEXICON).state_dict()
    moved = 0.0
    for name, value in weights(folder / "one").items():
        # The softmax does not see the biases of keys: their gradient is rounding, which Adam makes into steps.
        if not name.endswith(("qkv.bias", "in_proj_bias")):
            torch.testing.assert_close(weights(folder / "two")[name], value, rtol=1e-4, atol=1e-5, msg=name)
        moved = max(moved, float((value - start[name]).abs().max()))
    assert moved > 1e-3  # and something was learned
