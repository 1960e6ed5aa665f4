"""The pipelines that make the weights, at toy size: they run, resume, and give a model that answers."""

from __future__ import annotations

import dataclasses
import importlib

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.phantom import AFFINE, body
from tests.synthesis.invented_lungs import write_lung_shape
from tests.tiny import CONFIG
from tips_med import cli
from tips_med.card import ModelCard
from tips_med.errors import ConfigError
from tips_med.geometry import ras_affine_ijk
from tips_med.model import load_model
from tips_med.slabs import SlabSpec, stack_channels
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.pack import read_packed, write_pack
from tips_med.synthesis.scene import SceneSpec, make_scene
from tips_med.training.optimizer import OptimizerConfig

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")

pretraining = importlib.import_module(cli.pipeline("pretrain").__module__)
COARSE = dataclasses.replace(CONFIG, slabs=SlabSpec(spacing_mm=(8.0, 5.0, 5.0)))
CARD = ModelCard("toy", ("mass", "ground_glass_opacity"))


@pytest.fixture
def data(tmp_path):
    scan = body()
    affine = ras_affine_ijk(AFFINE)
    x = np.arange(scan.shape[2]) * AFFINE[0, 2] + AFFINE[0, 3]
    lungs = np.where(scan.voxels == -850, np.where(x < 0, 1, 2), 0).astype(np.uint8)
    for name in ("one", "two"):
        nib.save(nib.Nifti1Image(scan.voxels.T.astype(np.int16), affine), tmp_path / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(lungs.T, affine), tmp_path / f"{name}-lungs.nii.gz")
    return tmp_path


def train(data, steps: int, out: str = "run", image=COARSE, start=None, scans=None, **more):
    cases = [pretraining.TrainingCase(name, f"{name}.nii.gz", lungs=f"{name}-lungs.nii.gz") for name in ("one", "two")]
    return pretraining.pretrain(
        scans or data,
        data / out,
        cases,
        CARD,
        image=image,
        start=start,
        scenes=SceneSpec(shape=(3, 48, 64)),
        optimizer=OptimizerConfig(steps=steps, warmup=1),
        held_out=["two"],
        batch=1,
        questions=3,
        workers=0,
        threads=1,
        every=2,
        **more,
    )


def test_training_gives_a_model_that_says_what_it_was_trained_on(data):
    model = load_model(train(data, 2))
    assert model.card.findings == CARD.findings
    assert model.card.trained["anatomies"] == ["one"]
    assert model.card.trained["steps"] == 2


def test_training_goes_on_where_it_stopped(data):
    first = load_model(train(data, 2))
    assert same_weights(load_model(train(data, 2)), first)  # it had ended: nothing is left to do
    model = load_model(train(data, 4))
    assert model.card.trained["steps"] == 4
    assert not torch.equal(model.image.net.stem.weight, first.image.net.stem.weight)


def test_a_training_that_is_stopped_in_time_ends_as_if_it_had_never_been(data, caplog):
    whole = load_model(train(data, 3, "whole"))
    with caplog.at_level("INFO"):
        for done in (1, 2, 3):
            model = load_model(train(data, 3, max_minutes=1e-6))
            assert model.card.trained["steps"] == done
    assert same_weights(model, whole)
    assert "stopped in time, after step 1 of 3" in caplog.text
    assert "scenes a second, waiting for scenes" in caplog.text
    logs = sorted(file.parent.name for file in data.glob("run/log/*/metrics.csv"))
    assert logs[:2] == ["from-step-0", "from-step-1"]  # none takes the place of an earlier one


def test_a_pack_takes_the_place_of_the_scans(data):
    first = load_model(train(data, 2))
    prepared = [Anatomy.load(data / "run" / "anatomies" / f"{name}.safetensors") for name in ("one", "two")]
    write_pack(data / "both.zip", prepared)
    write_pack(data / "trained.zip", prepared[:1])
    for pack in ("both", "trained"):  # of what is held out, a pack may have nothing
        again = load_model(train(data, 2, f"of-{pack}", scans=data / f"{pack}.zip", seen_by_reader="nowhere.csv"))
        assert same_weights(again, first)
    write_pack(data / "held-out.zip", prepared[1:])
    with pytest.raises(ConfigError, match="the pack lacks one"):
        train(data, 2, "lacking", scans=data / "held-out.zip")
    other = dataclasses.replace(COARSE, slabs=SlabSpec())
    with pytest.raises(ConfigError, match=r"grid of \(8.0, 5.0, 5.0\) mm"):
        train(data, 2, "other-grid", scans=data / "both.zip", image=other)


def test_scenes_of_a_rounded_pack_are_nearly_those_of_the_scans(data):
    train(data, 1)
    body = Anatomy.load(data / "run" / "anatomies" / "one.safetensors")
    write_pack(data / "pack.zip", [body], rounded_hu=4)
    for seed in range(4):
        rounded, exact = (
            make_scene(one, SceneSpec(shape=(3, 48, 64)), np.random.default_rng(seed))
            for one in (read_packed(data / "pack.zip", "one"), body)
        )
        assert np.abs(rounded.volume_hu - exact.volume_hu).max() <= 4
        assert [one.finding for one in rounded.findings] == [one.finding for one in exact.findings]
        assert all(np.array_equal(one.mask, other.mask) for one, other in zip(rounded.findings, exact.findings))


def test_torsos_around_real_lungs_are_painted_into_as_well(data, caplog):
    write_lung_shape(data / "shapes" / "one")
    more = {"lung_shapes": "shapes", "lung_bodies": 2, "lung_share": 1.0}
    model = load_model(train(data, 1, **more))
    assert model.card.trained["anatomies"] == ["one", "lungs-one-0", "lungs-one-1"]
    prepared = [
        Anatomy.load(data / "run" / "anatomies" / f"{name}.safetensors")
        for name in ("one", "lungs-one-0", "lungs-one-1")
    ]
    write_pack(data / "pack.zip", prepared)
    again = load_model(train(data, 1, "of-pack", scans=data / "pack.zip", **more))
    assert again.card.trained["anatomies"] == model.card.trained["anatomies"]
    assert same_weights(again, model)
    with caplog.at_level("INFO"):  # where nobody has them, nothing changes
        without = load_model(train(data, 1, "without", **{**more, "lung_shapes": "nowhere"}))
    assert without.card.trained["anatomies"] == ["one"]
    assert "no shapes of lungs in nowhere" in caplog.text


def test_phantoms_are_painted_into_as_well(data):
    model = load_model(train(data, 1, phantoms=1, phantom_share=1.0, question_weights={"mass": 2.0}))
    assert model.card.trained["anatomies"] == ["one", "phantom-0"]


def test_training_starts_from_earlier_weights_of_the_same_sizes(data):
    first = train(data, 2)
    model = load_model(train(data, 1, "further", start=first))
    assert model.card.trained["start"]["weights_sha256"] == load_model(first).sha256
    assert model.card.trained["start"]["steps"] == 2
    wider = dataclasses.replace(COARSE, patch_width=16)
    with pytest.raises(ConfigError, match="other sizes"):
        train(data, 1, "wider", image=wider, start=first)


def test_words_keep_what_was_learned_of_them_in_another_vocabulary(data):
    first = load_model(train(data, 1))
    words = first.text.net.config.vocabulary
    other = dataclasses.replace(first.text.net.config, vocabulary=("newword", *reversed(words[5:])))
    task = pretraining.AlignmentTask(COARSE, other, OptimizerConfig())
    pretraining.begin_with(task, first)
    task.eval()
    with torch.no_grad():
        for phrase in (words[7], f"{words[9]} {words[-1]}"):
            before, after = (net(net.indices([phrase])) for net in (first.text.net, task.text))
            assert all(torch.equal(one, two) for one, two in zip(before, after))
    assert torch.isfinite(task.text(task.text.indices(["newword"]))[1]).all()


def same_weights(one, other) -> bool:
    """Not by the files' hashes: safetensors writes what is said of the weights in any order."""
    first, second = ((m.image.net.state_dict() | m.head.state_dict(), m.text.net.state_dict()) for m in (one, other))
    return all(torch.equal(a[key], b[key]) for a, b in zip(first, second) for key in a) and (
        one.card.trained == other.card.trained
    )


def test_what_earlier_weights_did_not_have_changes_nothing_at_first(data):
    first = load_model(train(data, 2))
    slabs = dataclasses.replace(COARSE.slabs, neighbours=3)
    larger = dataclasses.replace(COARSE, slabs=slabs, blocks=tuple(n + 1 for n in COARSE.blocks))
    task = pretraining.AlignmentTask(larger, first.text.net.config, OptimizerConfig())
    pretraining.begin_with(task, first)
    volume = torch.randn(9, 32, 48) * 300 - 400
    offset = torch.zeros(1, 2)
    with torch.no_grad():
        seen = first.image.net(stack_channels(volume, COARSE.slabs)[None], offset)
        same = task.image(stack_channels(volume, slabs)[None], offset)
    for before, after in zip(seen, same):
        torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_calibration_is_fitted_on_bodies_that_were_held_out(data):
    weights = train(data, 2)
    calibrate = cli.pipeline("calibrate")
    out = data / "calibrated.safetensors"
    calibrate(str(weights), out, anatomies=data / "run" / "anatomies", held_out=["two"], scenes=3, phantoms=1)
    card = load_model(out).card
    assert set(card.calibration) <= {"mass", "ground_glass_opacity", "lung"}
    assert (data / "calibrated.json").is_file()
    # A calibration that is kept tells whose it is, until another one is fitted.
    kept = calibrate(str(out), data / "kept.safetensors", observations=data / "calibrated.json", keep=True)
    assert load_model(kept).card.trained["calibration_kept_from"] == load_model(out).sha256
    anew = calibrate(str(kept), data / "anew.safetensors", observations=data / "calibrated.json")
    assert "calibration_kept_from" not in load_model(anew).card.trained
    # What was seen once can be decided on anew: the same, or with fewer answers.
    given = (str(weights), data / "again.safetensors")
    again = calibrate(*given, observations=data / "calibrated.json", findings=("mass",))
    assert load_model(again).card.calibration.get("mass") == card.calibration.get("mass")
    (data / "other.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds no observations"):
        calibrate(*given, observations=data / "other.json")


def test_a_model_may_be_kept_from_answering_what_it_was_trained_on_and_no_more(data):
    weights = train(data, 2)
    calibrate = cli.pipeline("calibrate")
    given = (str(weights), data / "calibrated.safetensors")
    painted = {"anatomies": data / "run" / "anatomies", "held_out": ["two"], "scenes": 3}
    assert load_model(calibrate(*given, **painted, findings=("mass",))).card.findings == ("mass",)
    with pytest.raises(ConfigError, match="nodule"):
        calibrate(*given, **painted, findings=("nodule",))
    with pytest.raises(ConfigError, match="nothing to calibrate on"):
        calibrate(*given)


def test_a_case_that_is_held_out_must_be_one_of_the_cases(data):
    with pytest.raises(ConfigError, match="nobody"):
        pretraining.pretrain(data, data / "run", [], CARD, held_out=["nobody"])


def test_a_model_refuses_what_it_cannot_tell_apart(data):
    """After two steps it can tell nothing apart."""
    weights = train(data, 2)
    calibrate = cli.pipeline("calibrate")
    given = (str(weights), data / "calibrated.safetensors")
    with pytest.raises(ConfigError, match="no finding reaches an AUROC of 1.1"):
        calibrate(*given, anatomies=data / "run" / "anatomies", held_out=["two"], scenes=3, min_auroc=1.1)
