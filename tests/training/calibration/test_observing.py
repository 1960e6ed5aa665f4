from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.manifest.files import write_nifti
from tests.phantom import MASS, body, rule_model
from tests.training.calibration.observed import observations, seen_with
from tips_med.errors import ConfigError
from tips_med.manifest import Row
from tips_med.synthesis.phantom import make_phantom
from tips_med.synthesis.scene import SceneSpec, make_scene
from tips_med.training.calibration import (
    THRESHOLDS,
    as_rows,
    measure,
    observe,
    observe_manifest,
    read_observations,
)
from tips_med.training.calibration import observing as calibration


def test_a_map_is_measured_piece_by_piece_at_every_threshold():
    """A right piece, half of whose rim is doubtful, and a false one that is less sure."""
    heat, truth = np.full((8, 20, 30), 0.01, np.float32), np.zeros((8, 20, 30), bool)
    heat[2:6, 4:12, 4:12], heat[2:6, 4:12, 12:16], heat[2:6, 4:12, 22:26] = 0.95, 0.6, 0.7
    truth[2:6, 4:12, 4:12] = True
    seen = measure(0, "mass", None, heat, truth, np.zeros_like(truth), 0.01)
    assert (seen.hit, seen.truth_components) == (True, 1)
    assert [(p.threshold, round(p.ml, 2), round(p.in_truth_ml, 2)) for p in seen.components] == [
        *((threshold, *piece) for threshold in (0.3, 0.4, 0.5) for piece in ((3.84, 2.56), (1.28, 0.0))),
        (0.65, 2.56, 2.56), (0.65, 1.28, 0.0), (0.8, 2.56, 2.56),
    ]  # fmt: skip
    nothing = measure(0, "mass", None, heat, truth & False, np.zeros_like(truth), 0.01)
    assert nothing.components == ()


def test_numbers_of_a_map_are_those_of_its_truth():
    """4 x 8 x 8 cells are there; the map marks half of them, and as many beside them."""
    heat, truth = np.full((8, 20, 30), 0.01, np.float32), np.zeros((8, 20, 30), bool)
    truth[2:6, 4:12, 4:12] = True
    heat[2:6, 4:12, 8:16] = 0.9
    seen = measure(7, "mass", "left", heat, truth, np.zeros_like(truth), 0.01)
    assert (seen.scene, seen.finding, seen.side, seen.there, seen.patient) == (7, "mass", "left", True, "")
    assert (seen.truth_ml, seen.mask_ml, seen.dice) == pytest.approx((2.56, 2.56, 0.5))
    assert seen.evidence == pytest.approx(np.log(9), abs=1e-3)
    assert measure(0, "mass", None, heat, np.roll(truth, 14, 2), np.zeros_like(truth), 0.01).hit is False


def test_what_nobody_knows_marks_nothing():
    heat, nothing = np.full((8, 20, 30), 0.01, np.float32), np.zeros((8, 20, 30), bool)
    heat[2:6, 4:12, 4:12] = 0.9
    seen = measure(0, "mass", None, heat, nothing, heat > 0.5, 0.01)
    assert (seen.mask_ml, seen.there, seen.dice) == (0.0, False, 1.0)
    assert seen.evidence < 0


@pytest.mark.parametrize(("ml", "there"), [(0.03, True), (0.0299, False)])
def test_less_than_a_nodule_of_four_millimetres_is_not_there(ml, there):
    truth = np.zeros((4, 5, 6), bool)
    truth[1, 2, 3] = True
    seen = measure(0, "nodule", None, np.full(truth.shape, 0.1, np.float32), truth, np.zeros_like(truth), ml)
    assert (seen.there, seen.truth_components) == (there, int(there))


def test_observations_are_read_back_as_they_were_written(tmp_path):
    seen = [seen_with((0.5, 3.0, 1.0, 1.0)), *observations([1.0], [0])]
    path = tmp_path / "seen.json"
    path.write_text(json.dumps({"scans": 7, "observations": as_rows(seen)}))
    assert read_observations(path) == (7, seen)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_observations(tmp_path / "none.json")
    for content in ("no json", "{}", '{"scans": 1, "observations": [{"pieces": []}]}'):
        path.write_text(content)
        with pytest.raises(ConfigError, match="holds no observations"):
            read_observations(path)


def test_rows_of_a_manifest_are_asked_of_their_scans(tmp_path):
    """A mass on the left, outlined; the other rows say what is not there, what nobody knows and what was not taught."""
    scan = body([((65.0, 10.0, -70.0), 15.0, MASS)])
    place = write_nifti(tmp_path / "ct.nii.gz", scan.voxels.astype(np.int16), scan.lps_from_kji)
    mask = write_nifti(tmp_path / "mass.nii.gz", (scan.voxels == MASS).astype(np.uint8), scan.lps_from_kji)
    rows = [
        Row(place, "mass in the left lung", mask, patient="p1", line=2),
        Row(place, "mass in the right lung", label="absent", patient="p1", line=3),
        Row(place, "no ground-glass opacity", patient="p1", line=4),
        Row(place, "mass", label="unknown", patient="p1", line=5),
        Row(place, "honeycombing", patient="p1", line=6),
        Row(place, "mass", patient="p1", line=7),
    ]
    told = []
    seen = list(observe_manifest(rule_model(), rows, lambda done, total: told.append((done, total))))
    assert [(one.scene, one.finding, one.side, one.there, one.outlined) for one in seen] == [
        (2, "mass", "left", True, True),
        (3, "mass", "right", False, False),
        (4, "ground_glass_opacity", None, False, False),
        (7, "mass", None, True, False),
    ]
    assert {one.patient for one in seen} == {"p1"}
    assert [one.evidence > 0 for one in seen] == [True, False, False, True]
    outlined = seen[0]
    assert outlined.truth_ml == pytest.approx(4 / 3 * np.pi * 15**3 / 1000, rel=0.1)
    assert outlined.mask_ml == pytest.approx(outlined.truth_ml, rel=0.5)
    assert outlined.dice > 0.8 and outlined.hit and outlined.truth_components == 1
    assert told == [(1, 1)]


def test_what_nobody_knows_of_a_real_scan_is_not_judged(tmp_path):
    """Half of a mass is outlined, and nobody knows about the rest: ignored, it is no false part of the map."""
    scan = body([((65.0, 10.0, -70.0), 15.0, MASS)])
    place = write_nifti(tmp_path / "ct.nii.gz", scan.voxels.astype(np.int16), scan.lps_from_kji)
    whole = scan.voxels == MASS
    half = whole.copy()
    half[: int(np.flatnonzero(whole.any(axis=(1, 2))).mean())] = False
    mask = write_nifti(tmp_path / "half.nii.gz", half.astype(np.uint8), scan.lps_from_kji)
    ignore = write_nifti(tmp_path / "rest.nii.gz", (whole & ~half).astype(np.uint8), scan.lps_from_kji)
    row = Row(place, "mass in the left lung", mask, patient="p1", line=2)
    as_outlined, as_known = observe_manifest(rule_model(), [row, replace(row, ignore=ignore, line=3)])
    assert as_known.truth_ml == pytest.approx(as_outlined.truth_ml, rel=0.15)
    assert as_known.dice > as_outlined.dice + 0.1
    assert as_known.dices[THRESHOLDS.index(0.5)] == pytest.approx(as_known.dice, abs=0.1), "on a finer grid"
    assert len(as_known.dices) == len(THRESHOLDS)


def test_nothing_is_encoded_for_rows_that_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "encode", lambda scan, model: pytest.fail("was encoded"))
    rows = [Row(tmp_path / "ct.nii.gz", phrase) for phrase in ("xyzzy", "honeycombing")]
    assert list(observe_manifest(rule_model(), rows)) == []


def test_painted_scans_are_asked_about_what_is_there_on_every_side(monkeypatch):
    """A map that is sure of exactly what was painted on the asked side makes every answer right."""
    scenes, asked = [], []

    def paint(anatomy, spec, rng, first):
        scenes.append(make_scene(anatomy, spec, rng, "mass"))
        return scenes[-1]

    def look(study, query, model):
        asked.append((query.finding.id, query.side))
        assert study.scan.unit == "HU"
        np.testing.assert_allclose(np.diag(study.scan.lps_from_kji[:3, 2::-1]), scenes[-1].spacing_mm[::-1])
        np.testing.assert_allclose(study.scan.lps_from_kji[1::-1, 3], scenes[-1].offset_mm)
        return SimpleNamespace(
            heat=np.where(scenes[-1].where(query.finding.id, query.side), 0.95, 0.05).astype(np.float32)
        )

    monkeypatch.setattr(calibration, "make_scene", paint)
    monkeypatch.setattr(calibration, "assess", look)
    body_of = make_phantom(1, (10.0, 8.0, 8.0))
    spec = SceneSpec(shape=None, weights={"mass": 1.0}, max_findings=1)
    seen = list(observe(rule_model(), [body_of], spec, range(1), seed=3))
    assert [(one.finding, one.side) for one in seen] == asked
    assert [side for finding, side in asked if finding == "mass"] == [None, "left", "right"]
    assert len([side for finding, side in asked if finding == "pleural_effusion"]) == 1
    whole, left, right = (one for one in seen if one.finding == "mass")
    assert whole.there and left.there is not right.there
    assert whole.truth_ml == pytest.approx(left.truth_ml + right.truth_ml)
    assert whole.truth_ml == pytest.approx(scenes[0].where("mass").sum() * 10 * 8 * 8 / 1000)
    assert [one.dice for one in (whole, left, right)] == [1.0, 1.0, 1.0]
