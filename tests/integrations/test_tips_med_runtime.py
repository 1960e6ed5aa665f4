"""The runtime without PyTorch answers as tips_med does, or refuses."""

from __future__ import annotations

import importlib.util
import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.conftest import ORIENTATIONS, placed_scan
from tests.integrations.wheels import INTEGRATIONS, build_wheel, files_of, held, metadata, run_from
from tests.phantom import body
from tests.test_adapter import taught
from tests.tiny import tiny_nets
from tips_med.card import Calibration, ModelCard
from tips_med.encoders import compact
from tips_med.encoders.base import quantized
from tips_med.geometry import ras_affine_ijk
from tips_med.graphs import write_graphs
from tips_med.graphs.description import language_of
from tips_med.grounding import encode, ground
from tips_med.model import GroundingModel, load_model
from tips_med.model_files import save_model
from tips_med.query import load_lexicon
from tips_med.readers import read_scan
from tips_med.resampling import resample
from tips_med.sample import sample_path
from tips_med.scan import Scan
from tips_med.slabs import SlabSpec, stack_channels

runtime = pytest.importorskip("tips_med_runtime", reason="needs tips-med[test]")

NAME = "tips-med-runtime"
CARD = ModelCard(
    "tiny",
    ("nodule", "mass", "lesion", "pleural_effusion"),
    ("lung", "hemithorax"),
    calibration={"nodule": Calibration(absent_below=0.45, present_above=0.5), "lung": Calibration()},
)
QUESTIONS = ("nodule", "lesion in the left lung", "right lung", "pleural effusion, both sides", "nodule in the RUL")
SHIPPED = (
    "mass in the left lung",
    "mass in the right lung",
    "ground-glass opacity left lung",
    "pleural effusion",
    "left lung",
    "lesion",
    "nodule in the right upper lobe",
    "emphysema in both lungs",
)


@pytest.fixture(autouse=True)
def _in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without bfloat16, which tips_med takes where it is quicker, only the implementations differ."""
    monkeypatch.setattr(compact, "has_fast_bfloat16", lambda device: False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> GroundingModel:
    """A model with an adapter that answers effusions."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    save_model(folder / "tiny.safetensors", *tiny_nets(), CARD)
    later = taught(load_model(folder / "tiny.safetensors"), folder, ["pleural effusion"])
    return replace(later, card=CARD)


@pytest.fixture(scope="module")
def folder(model: GroundingModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxscript", reason="needs tips-med[onnx]")
    return write_graphs(model, tmp_path_factory.mktemp("exported") / "onnx", "onnx")


@pytest.fixture(scope="module")
def copies() -> ModuleType:
    spec = importlib.util.spec_from_file_location("copies", INTEGRATIONS / NAME / "copies.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def own(scan: Scan, modality: str = "CT") -> object:
    """A scan of tips_med as one of the runtime."""
    return runtime.Scan(scan.voxels, scan.lps_from_kji, modality, "HU")


def test_copies_are_what_they_were_copied_from(copies):
    for name in copies.COPIES:
        assert (copies.TARGET / name).read_text("utf-8") == copies.copied(name), f"run {NAME}/copies.py: {name}"


def test_parts_that_are_not_copies_do_the_same(rng):
    from tips_med_runtime import networks, study

    spec = SlabSpec(neighbours=2)
    volume = rng.normal(-300, 400, (9, 16, 24)).astype(np.float32)
    expected = stack_channels(torch.from_numpy(volume), spec).numpy()
    np.testing.assert_allclose(study.stack_channels(volume, spec, 3, 9), expected[3:9], atol=1e-6)
    fine = rng.normal(size=(3, 8, 16, 5)).astype(np.float32)
    for found, wanted in zip(networks.quantized(fine), quantized(torch.from_numpy(fine)), strict=True):
        np.testing.assert_array_equal(found, wanted.numpy())


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_resampling_is_that_of_tips_med(name):
    from tips_med_runtime.resampling import resample as without_itk

    scan = placed_scan(ORIENTATIONS[name], (12, 25, 22))
    scan.voxels[4, 3:9] = np.nan
    grid = np.diag([3.0, 2.0, 2.0, 1.0])[[2, 1, 0, 3]]
    grid[:3, 3] = scan.lps_from_kji[:3] @ [*(np.array(scan.shape) / 2), 1] - (10, 10, 15)
    found, expected = (one(scan.voxels, scan.lps_from_kji, grid, (10, 11, 12)) for one in (without_itk, resample))
    assert np.isfinite(expected).mean() > 0.3
    both = np.isfinite(found) & np.isfinite(expected)
    assert both.sum() >= 0.97 * np.isfinite(expected).sum()
    assert np.abs(found - expected)[both].max() < (3.0 if name == "oblique" else 1e-6)  # of values that span 400


def test_it_answers_as_tips_med_does(model, folder):
    """Random weights: maps of noise, in which the last decimal moves nothing but the last decimal."""
    scan = body()
    asked = runtime.Runtime(folder, block=5, threads=1)
    theirs, ours = encode(scan, model), asked.encode(own(scan))
    np.testing.assert_allclose(ours.lps_from_cell, theirs.features.lps_from_fine)
    np.testing.assert_array_equal(ours.body.inside, theirs.body.inside)
    assert asked.identity == model.identity
    for question in QUESTIONS:
        expected, answer = ground(theirs, question, model), asked.ask(ours, question)
        np.testing.assert_allclose(answer.heat, expected.heat, atol=2e-3)
        np.testing.assert_allclose(answer.lps_from_heat, expected.lps_from_heat)
        assert answer.presence.reasons == expected.presence.reasons
        assert answer.presence.score == pytest.approx(expected.presence.score, abs=2e-3)
        assert answer.presence.calibrated == expected.presence.calibrated
        assert (answer.query.side, bool(answer.presence.sides)) == (expected.query.side, bool(expected.presence.sides))
    assert set(ours.features) == {0, 1}  # the adapter was asked for the effusion


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("no nodule", "unknown-words"),
        ("nodule without effusion", "unknown-words"),
        ("5 mm nodule", "unknown-words"),
        ("possible nodule", "unknown-words"),
        ("spiculated nodule", "unknown-words"),
        ("nodule?!", "unknown-words"),
        ("noduel", "unknown-words"),
        ("nodule (-)", "unknown-words"),
        ("nodule -", "unknown-words"),
        ("mass, nodule", "several-findings"),
        ("mass in the left lung, right", "contradiction"),
        ("nodule in the right lingula", "contradiction"),
        ("left", "nothing-to-find"),
        ("", "nothing-to-find"),
        ("nodule " * 60, "too-long"),
    ],
)
def test_what_it_does_not_understand_is_refused(folder, text, code):
    with pytest.raises(runtime.QueryError) as refused:
        runtime.Runtime(folder).parse(text)
    assert refused.value.code == code


def test_what_it_understands_means_what_tips_med_takes_it_for(folder):
    """Each form of each term with each side and place: the same finding, structure, side and heights, or a refusal."""
    lexicon, language = load_lexicon("chest_ct"), runtime.Runtime(folder).language
    raw = json.loads((folder / "model.json").read_text("utf-8"))["language"]
    forms = [form for kind in ("findings", "structures") for one in raw[kind] for form in one["forms"]]
    sides = ["", *(form for forms in raw["sides"].values() for form in forms), "rt", "LUL"]
    places = ["", "lung", *(form for one in raw["locations"] for form in one["forms"])]
    checked = 0
    for number, (form, side, place) in enumerate(itertools.product(forms, sides, places)):
        if number % 41:  # some of all, in which every form, side and place is
            continue
        text = f"{form} in the {side} {place}"
        try:
            found = language.parse(text)
        except runtime.QueryError:
            continue
        expected = lexicon.parse(text)
        assert (found.finding and found.finding.id) == (expected.finding and expected.finding.id), text
        assert found.side == expected.side, text
        assert {one.id for one in found.locations} == {one.id for one in expected.locations}, text
        if found.finding is None:
            assert found.structure.id == expected.structure.id, text
        assert not expected.unknown_words and not expected.negated and not expected.attributes, text
        checked += 1
    assert checked > 100


def test_scans_that_it_must_not_take_are_refused(folder, rng):
    asked, scan = runtime.Runtime(folder), body()
    with pytest.raises(runtime.ModalityError, match="the scan is MR"):
        asked.encode(own(scan, "MR"))
    noise = runtime.Scan(rng.random(scan.shape, np.float32), scan.lps_from_kji, "OT", "")
    with pytest.raises(runtime.ModalityError, match="Hounsfield"):
        asked.encode(noise)
    sheared = scan.lps_from_kji.copy()
    sheared[0, 1] += 0.3
    with pytest.raises(runtime.ReadError, match="perpendicular"):
        asked.encode(runtime.Scan(scan.voxels, sheared, "CT", "HU"))


def test_a_folder_that_was_changed_is_refused(folder, tmp_path):
    changed = tmp_path / "changed"
    shutil.copytree(folder, changed)
    with (changed / "head.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(runtime.WeightsError, match="not the graph that was exported"):
        runtime.Runtime(changed)
    (changed / "head.onnx").unlink()
    with pytest.raises(runtime.WeightsError, match="no such file"):
        runtime.Runtime(changed)
    (changed / "model.json").write_text('{"format": "tips_med-pt2-1", "graphs": {}, "adapters": []}')
    with pytest.raises(runtime.WeightsError, match="tips_med-pt2-1"):
        runtime.Runtime(changed)
    with pytest.raises(runtime.WeightsError, match=r"holds no model\.json"):
        runtime.Runtime(tmp_path)


def test_nifti_files_are_placed_as_tips_med_places_them(any_scan, tmp_path):
    file = tmp_path / "scan.nii.gz"
    nib.Nifti1Image(any_scan.voxels.T, ras_affine_ijk(any_scan.lps_from_kji)).to_filename(file)
    ours, theirs = runtime.read_nifti(file), read_scan(file)
    np.testing.assert_allclose(ours.lps_from_kji, theirs.lps_from_kji, atol=1e-4)
    np.testing.assert_array_equal(ours.voxels, theirs.voxels)
    with pytest.raises(runtime.ReadError, match="cannot be read"):
        runtime.read_nifti(tmp_path / "none.nii")


def test_words_of_the_shipped_model_are_all_in_its_description():
    model = load_model()
    told = language_of(model)
    assert [one["id"] for one in told["findings"]] == list(model.card.findings)
    assert told["abbreviations"]["ggo"] == "ground glass opacity"
    assert {"left", "right", "both"} == set(told["sides"])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(NAME, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    assert held(wheel) == files_of(NAME, "tips_med_runtime")
    about = metadata(wheel)
    assert about["Version"] == runtime.__version__ and about["License-Expression"] == "Apache-2.0"
    needed = [name.split(">")[0] for name in about.get_all("Requires-Dist", []) if "extra" not in name]
    assert needed == ["numpy", "onnxruntime", "scipy"]


def test_it_needs_neither_torch_nor_tips_med(wheel, folder, tmp_path):
    scan = body()
    np.savez(tmp_path / "scan.npz", voxels=scan.voxels, affine=scan.lps_from_kji)
    code = f"""
import numpy as np, sys
from tips_med_runtime import Runtime, Scan
scan = np.load("scan.npz")
asked = Runtime({str(folder)!r}, threads=1)
answer = asked.ask(asked.encode(Scan(scan["voxels"], scan["affine"], "CT", "HU")), "nodule in the left lung")
assert answer.heat_on_scan().shape == answer.mask.shape == scan["voxels"].shape
print(answer.state, answer)
loaded = {{name.partition(".")[0] for name in sys.modules if sys.modules[name] is not None}}
print(sorted(loaded & {{"torch", "tips_med", "SimpleITK", "nibabel", "monai", "pickle5"}}))
"""
    said = run_from([wheel], code, ("torch", "tips_med", "nibabel", "SimpleITK", "monai"), tmp_path)
    state, nothing = said.splitlines()
    assert state.startswith(("present", "absent", "unsure")) and "Traceback" not in said
    assert nothing == "[]"


def mirrored(scan: Scan) -> Scan:
    """The same patient, whose rows run to the front and columns to the right."""
    affine = scan.lps_from_kji @ np.diag([1.0, -1, -1, 1])
    affine[:3, 3] += scan.lps_from_kji[:3, 1:3] @ (np.array(scan.shape[1:]) - 1)
    return replace(scan, voxels=np.ascontiguousarray(scan.voxels[:, ::-1, ::-1]), lps_from_kji=affine)


def oblique(scan: Scan, degrees: float = 8.0) -> Scan:
    """The patient turned about the long axis of the body."""
    angle, turn, middle = np.deg2rad(degrees), np.eye(4), np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    middle[:3, 3] = scan.lps_from_kji[:3] @ [*((np.array(scan.shape) - 1) / 2), 1]
    return replace(scan, lps_from_kji=middle @ turn @ np.linalg.inv(middle) @ scan.lps_from_kji)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    pytest.importorskip("onnxscript", reason="needs tips-med[onnx]")
    folder = write_graphs(load_model(), tmp_path_factory.mktemp("shipped") / "onnx", "onnx")
    return runtime.Runtime(folder)


@pytest.mark.shipped
@pytest.mark.parametrize("altered", [None, mirrored, oblique])
def test_the_bundled_scan_gets_the_answers_of_tips_med(shipped, altered):
    scan = replace(read_scan(sample_path()), modality="CT", unit="HU")
    if altered is not None:  # of the slices with the mass, to be quick
        origin = scan.lps_from_kji @ [60, 0, 0, 1]
        affine = np.column_stack([scan.lps_from_kji[:, :3], origin])
        scan = altered(replace(scan, voxels=np.ascontiguousarray(scan.voxels[60:100]), lps_from_kji=affine))
    exact = altered is not oblique  # there SimpleITK smooths in another way than scipy
    theirs, ours = encode(scan), shipped.encode(own(scan))
    for question in SHIPPED:
        expected, answer = ground(theirs, question), shipped.ask(ours, question)
        assert np.nanmean(np.abs(answer.heat - expected.heat)) < (1e-5 if exact else 2e-4), question
        assert answer.presence.score == pytest.approx(expected.presence.score, abs=0.001 if exact else 0.01), question
        assert answer.state == expected.presence.state, question
        assert answer.presence.reasons == expected.presence.reasons, question
        assert [one.side for one in answer.instances[:1]] == [one.side for one in expected.instances[:1]], question
        overlap = 2 * (answer.mask & expected.mask).sum() / max(1, answer.mask.sum() + expected.mask.sum())
        if expected.mask.sum() > 200:
            assert overlap > (0.999 if exact else 0.97), question
