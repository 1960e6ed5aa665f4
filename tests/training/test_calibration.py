from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.manifest.files import write_nifti
from tests.phantom import MASS, body, rule_model
from tips_med.card import Calibration, ModelCard
from tips_med.errors import ConfigError
from tips_med.manifest import Row
from tips_med.synthesis.phantom import make_phantom
from tips_med.synthesis.scene import SceneSpec, make_scene
from tips_med.training.calibration import (
    Component,
    Observation,
    as_rows,
    calibrate_model,
    dice_of,
    f1_of,
    fit_all,
    fit_calibration,
    fit_threshold,
    kept_components,
    measure,
    observe,
    observe_manifest,
    read_observations,
    summary,
)
from tips_med.training.calibration import observing as calibration


def observations(evidence, there, finding="mass"):
    return [
        Observation(n, finding, None, bool(t), float(e), 1.0 * bool(t), 0.5, 0.6 if t else 0.0, bool(t))
        for n, (e, t) in enumerate(zip(evidence, there))
    ]


def plain(_: Observation) -> Calibration:
    return Calibration()


def test_a_fitted_probability_is_as_often_right_as_it_says(rng):
    """Evidence drawn from two normal distributions one apart: the true slope is 1, the true intercept 0."""
    there = np.arange(4000) % 2 == 0
    evidence = rng.normal(np.where(there, 0.5, -0.5), 1.0)
    fitted = fit_calibration(observations(evidence, there))
    assert fitted.slope == pytest.approx(1.0, abs=0.15)
    assert fitted.intercept == pytest.approx(0.0, abs=0.1)


def test_slope_and_intercept_are_those_of_the_evidence(rng):
    """Normal distributions two apart, around 3: the true slope is 2, and evidence of 3 says nothing."""
    there = np.arange(4000) % 2 == 0
    fitted = fit_calibration(observations(rng.normal(np.where(there, 4.0, 2.0), 1.0), there))
    assert fitted.slope == pytest.approx(2.0, abs=0.3)
    assert fitted.intercept == pytest.approx(-3 * fitted.slope, abs=0.2)


def test_how_often_a_finding_is_there_does_not_matter(rng):
    there = np.arange(4000) % 20 == 0
    evidence = rng.normal(np.where(there, 0.5, -0.5), 1.0)
    assert fit_calibration(observations(evidence, there)).intercept == pytest.approx(0.0, abs=0.25)


def test_a_slope_is_never_negative_and_one_class_alone_changes_nothing():
    assert fit_calibration(observations([3, 2, -2, -3], [0, 0, 1, 1])).slope > 0
    assert fit_calibration(observations([1, 2], [1, 1])) == Calibration()


def test_what_cannot_be_told_apart_is_unsure_and_not_absent(rng):
    there = np.arange(4000) % 2 == 0
    fitted = fit_calibration(observations(rng.normal(np.where(there, 0.2, -0.2), 1.0), there))
    assert fitted.absent_below < fitted.probability(0.0) < fitted.present_above


def test_separable_evidence_stays_finite():
    fitted = fit_calibration(observations([-5, -4, 4, 5], [0, 0, 1, 1]))
    assert np.isfinite([fitted.slope, fitted.intercept]).all()
    assert fitted.slope < 100


def test_a_summary_counts_by_finding():
    seen = [*observations([-3, 3, 2], [0, 1, 1]), *observations([1, -1], [0, 1], "nodule")]
    rows = summary(seen, plain)
    assert [row["finding"] for row in rows] == ["mass", "nodule"]
    assert (rows[0]["present"], rows[0]["absent"], rows[0]["auroc"]) == (2, 1, 1.0)
    assert rows[0]["sensitivity"] == rows[0]["specificity"] == 1.0
    assert rows[1]["auroc"] == 0.0
    assert summary(observations([1], [1]), plain)[0]["auroc"] is None
    assert len(as_rows(seen)) == 5


def test_what_is_told_apart_badly_is_refused_and_still_reported():
    """Masses are told apart, nodules not; effusions are, but were not to be answered."""
    card = ModelCard("toy", ("mass", "nodule", "pleural_effusion"))
    there = np.arange(30) % 2 == 0
    seen = [
        *observations(np.where(there, 3, -3), there),
        *observations(np.where(there, 0, 1), there, "nodule"),
        *observations(np.where(there, 3, -3), there, "pleural_effusion"),
    ]
    decided = calibrate_model(card, seen, 30, ("mass", "nodule"), min_auroc=0.8)
    assert decided.findings == ("mass",)
    assert set(decided.calibration) == {"mass", "lung"}
    answered = {row["finding"]: row["answered"] for row in decided.rows}
    assert answered == {"mass": True, "nodule": False, "pleural_effusion": False}
    mass = decided.rows[0]
    assert (mass["present"], mass["absent"]) == (15, 15)
    assert mass["sensitivity"] == mass["specificity"] == 1.0


def test_what_is_not_observed_keeps_its_calibration():
    """Who teaches a model one organ and calibrates it does not lose what all findings were calibrated to."""
    own = {"nodule": Calibration(slope=2.0), "mass@liver": Calibration(slope=3.0), "lung": Calibration(threshold=0.4)}
    card = ModelCard("toy", ("nodule", "mass"), ("lung", "liver"), calibration=own)
    there = np.arange(30) % 2 == 0
    real = [replace(one, patient=f"p{one.scene}") for one in observations(np.where(there, 3, -3), there, "liver")]
    decided = calibrate_model(card, real, 0)
    assert decided.findings == ("nodule", "mass")
    assert {term: one for term, one in decided.calibration.items() if term != "liver"} == own
    assert decided.calibration["liver"].evidence == "real"


def test_every_scan_is_judged_by_what_the_others_fit():
    """In the last third the evidence is 10 higher than elsewhere: what the others fit calls nothing absent there."""
    there = np.arange(30) % 2 == 0
    seen = observations(np.where(there, 3.0, -3.0) + 10 * (np.arange(30) >= 20), there)
    row = calibrate_model(ModelCard("toy", ("mass",)), seen, 30).rows[0]
    assert row["specificity"] == pytest.approx(2 / 3)
    assert calibrate_model(ModelCard("toy", ("mass",)), seen[:20], 20).rows[0]["specificity"] == 1.0


def test_a_map_is_measured_piece_by_piece_at_every_threshold():
    """A right piece, half of whose rim is doubtful, and a false one that is less sure."""
    heat, truth = np.full((8, 20, 30), 0.01, np.float32), np.zeros((8, 20, 30), bool)
    heat[2:6, 4:12, 4:12], heat[2:6, 4:12, 12:16], heat[2:6, 4:12, 22:26] = 0.95, 0.6, 0.7
    truth[2:6, 4:12, 4:12] = True
    seen = measure(0, "mass", None, heat, truth, np.zeros_like(truth), 0.01)
    assert (seen.hit, seen.truth_components) == (True, 1)
    assert [(p.threshold, round(p.ml, 2), round(p.in_truth_ml, 2)) for p in seen.components] == [
        *((threshold, *piece) for threshold in (0.2, 0.3, 0.4, 0.5) for piece in ((3.84, 2.56), (1.28, 0.0))),
        (0.65, 2.56, 2.56), (0.65, 1.28, 0.0), (0.8, 2.56, 2.56),
    ]  # fmt: skip
    nothing = measure(0, "mass", None, heat, truth & False, np.zeros_like(truth), 0.01)
    assert nothing.components == ()


def test_maps_are_cut_where_dice_and_pieces_are_best():
    """A high threshold is best for the mask, and false pieces have an evidence of 2, true ones of 3."""
    pieces = (
        Component(0.5, 6.0, 4.0, 2.0), Component(0.5, 3.0, 1.0, 0.5), Component(0.5, 2.0, 1.0, 0.0),
        Component(0.8, 6.0, 2.0, 2.0), Component(0.8, 3.0, 0.5, 0.5), Component(0.8, 2.0, 0.5, 0.0),
    )  # fmt: skip
    seen = [Observation(n, "mass", None, True, 6.0, 2.5, 6.0, 0.5, True, 2, pieces) for n in range(6)]
    assert fit_threshold(seen) == (0.8, 2.5)
    assert fit_threshold(seen[:5]) == (Calibration.threshold, None)  # too few to go by
    row = summary(seen, lambda _: Calibration(threshold=0.8, min_secondary_logit=2.5))[0]
    assert row["answered_dice"] == row["answered_f1"] == 1.0
    missed = summary(seen, lambda _: Calibration(intercept=-20.0))[0]
    assert missed["answered_dice"] == missed["answered_f1"] == 0.0


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


def pieces(*given: tuple[float, float, float, float]) -> tuple[Component, ...]:
    return tuple(Component(*one) for one in given)


def seen_with(*given, truth_ml=2.0, truth_components=2, evidence=3.0, **more) -> Observation:
    return Observation(
        0, "mass", None, True, evidence, truth_ml, 3.0, 0.4, True, truth_components, pieces(*given), **more
    )


def test_the_surest_piece_is_kept_and_others_from_an_evidence_on():
    seen = seen_with((0.5, 3.0, 1.0, 1.0), (0.5, 2.0, 1.0, 0.5), (0.5, 1.0, 1.0, 0.0), (0.8, 3.0, 0.5, 0.5))
    assert [one.evidence for one in kept_components(seen, 0.5, None)] == [3.0, 2.0, 1.0]
    assert [one.evidence for one in kept_components(seen, 0.5, 2.0)] == [3.0, 2.0]
    assert [one.evidence for one in kept_components(seen, 0.5, 9.0)] == [3.0]
    assert [one.ml for one in kept_components(seen, 0.8, None)] == [0.5]
    assert kept_components(seen, 0.65, None) == []


def test_dice_and_f1_of_pieces():
    seen = seen_with((0.5, 3.0, 1.0, 1.0), (0.5, 2.0, 1.0, 0.5), (0.5, 1.0, 1.0, 0.4))
    every = list(seen.components)
    assert dice_of(seen, every) == pytest.approx(2 * 1.9 / (3 + 2))
    assert dice_of(seen, []) == 0.0
    assert f1_of(seen, every) == pytest.approx(2 * 2 / (3 + 2)), "a piece is right when half of it is"
    assert f1_of(replace(seen, truth_components=1), every) == pytest.approx(2 / 4), "one is not found twice"
    nothing = replace(seen, truth_ml=0.0, truth_components=0)
    assert dice_of(nothing, []) == f1_of(nothing, []) == 1.0


def test_maps_are_cut_by_what_is_outlined_and_there():
    good = seen_with((0.5, 6.0, 4.0, 2.0), (0.8, 6.0, 2.0, 2.0), truth_components=1)
    assert fit_threshold([good] * 6) == (0.8, None), "of equal choices the first, which keeps all"
    for left_out in (replace(good, there=False), replace(good, outlined=False), replace(good, components=())):
        assert fit_threshold([good] * 5 + [left_out])[0] == (
            0.8 if left_out.components == () else Calibration.threshold
        )
    assert fit_threshold([replace(good, components=())] * 6) == (Calibration.threshold, Calibration.min_secondary_logit)


def test_a_real_outline_weighs_as_much_as_ten_painted_ones():
    """Ten painted scans are best cut at 0.8, and the real one at 0.3."""
    painted = seen_with((0.3, 6.0, 2.3, 2.0), (0.8, 6.0, 2.0, 2.0), truth_components=1)
    real = seen_with((0.3, 6.0, 2.0, 2.0), (0.8, 6.0, 0.5, 0.5), truth_components=1, patient="p1")
    assert fit_threshold([painted] * 10)[0] == 0.8
    assert fit_threshold([*[painted] * 10, real])[0] == 0.3
    assert fit_threshold([*[painted] * 10, replace(real, patient="")])[0] == 0.8


def test_thresholds_leave_one_in_twenty_and_three_in_twenty_on_the_wrong_side(rng):
    there = np.arange(4000) % 2 == 0
    evidence = rng.normal(np.where(there, 0.8, -0.8), 1.0)
    fitted = fit_calibration(observations(evidence, there))
    probability = np.array([fitted.probability(e) for e in evidence])
    assert (probability[there] < fitted.absent_below).mean() == pytest.approx(0.05, abs=0.01)
    assert (probability[~there] >= fitted.present_above).mean() == pytest.approx(0.15, abs=0.01)


def test_thresholds_of_what_is_told_apart_well_meet_at_a_half():
    fitted = fit_calibration(observations(np.tile([-4.0, 4.0], 50), np.tile([0, 1], 50)))
    assert fitted.absent_below == fitted.present_above == 0.5


def test_a_real_scan_weighs_as_much_as_ten_painted_ones():
    painted = observations([-3.0, -1.0, 1.0, 3.0] * 10, [0, 0, 1, 1] * 10)
    real = [replace(one, patient="p") for one in observations([2.0, 4.0, 6.0, 8.0], [0, 0, 1, 1])]
    tenfold = fit_calibration(painted + 10 * observations([2.0, 4.0, 6.0, 8.0], [0, 0, 1, 1]))
    assert fit_calibration(painted + real).intercept == pytest.approx(tenfold.intercept, abs=0.1)
    assert fit_calibration(painted + real).intercept < fit_calibration(painted).intercept - 0.5


def test_a_calibration_needs_both_kinds_and_a_structure_none():
    card = ModelCard("toy", ("mass", "nodule"), structures=("lung", "liver"))
    fitted = fit_all(card, observations([3, -3], [1, 0]) + observations([3], [1], "nodule"))
    assert set(fitted) == {"mass", "lung", "liver"}
    assert fitted["lung"] == Calibration()


def test_a_summary_says_what_was_called_what_and_how_much_is_marked_wrongly():
    seen = observations([3.0, 0.0, -3.0, 3.0, 0.0, -3.0], [1, 1, 1, 0, 0, 0])
    seen[1] = replace(seen[1], outlined=False)
    (row,) = summary(seen, plain)
    assert row["there_called"] == row["not_there_called"] == {"present": 1, "unsure": 1, "absent": 1}
    assert (row["sensitivity"], row["specificity"]) == pytest.approx((2 / 3, 1 / 3))
    assert (row["outlined"], row["dice"], row["hit"]) == (2, pytest.approx(0.6), 1.0)
    assert (row["false_ml_median"], row["false_ml_mean"]) == pytest.approx((0.5, 1 / 3))
    assert row["auroc"] == pytest.approx(0.5)
    (nothing,) = summary(observations([3.0], [1]), plain)
    assert (nothing["specificity"], nothing["false_ml_median"], nothing["false_ml_mean"]) == (None, None, None)
    assert summary(observations([-3.0], [0]), plain)[0]["dice"] is None


def test_real_patients_are_judged_without_themselves_and_reported_apart():
    there = np.arange(30) % 2 == 0
    painted = observations(np.where(there, 3.0, -3.0), there)
    real = [
        replace(one, patient=f"p{one.scene // 2}")
        for one in observations([13.0, 7.0, 13.0, 7.0, 3.0, -3.0], [1, 0, 1, 0, 1, 0])
    ]
    decided = calibrate_model(ModelCard("toy", ("mass",)), painted + real, 30)
    (row,), (real_row,) = decided.rows, decided.real_rows
    assert (row["present"], row["absent"]) == (15, 15)
    assert (real_row["present"], real_row["absent"]) == (3, 3)
    assert real_row["sensitivity"] == 1.0
    only_real = calibrate_model(ModelCard("toy", ("mass",)), real, 0)
    assert (only_real.rows, only_real.findings) == ([], ("mass",))


def test_what_nobody_asked_about_is_kept_unless_findings_are_named():
    card = ModelCard("toy", ("mass", "nodule"))
    seen = observations([3, -3], [1, 0])
    assert calibrate_model(card, seen, 2).findings == ("mass", "nodule")
    assert calibrate_model(card, seen, 2, ("mass",)).findings == ("mass",)


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


def drawn(rng, patients=0):
    """Evidence of 200 scans, half of them with a mass; some of them real."""
    there = np.arange(200) % 2 == 0
    made = observations(rng.normal(np.where(there, 1.0, -1.0), 1.5), there)
    return [replace(one, patient=f"p{n}" if n < patients else "") for n, one in enumerate(made)]


def test_a_more_sensitive_point_misses_less_and_a_more_specific_one_claims_less(rng):
    points = fit_calibration(drawn(rng)).points
    low, plain, high = (points[name] for name in ("sensitive", "balanced", "specific"))
    assert low.present_above < plain.present_above < high.present_above
    assert low.absent_below < plain.absent_below < high.absent_below
    assert all(one.absent_below <= one.present_above for one in points.values())


def test_points_are_measured_on_scans_that_they_were_not_fitted_on(rng):
    seen = drawn(rng, patients=40)
    card = ModelCard("toy", ("mass",), structures=())
    points = calibrate_model(card, seen, 200).calibration["mass"].points
    real, painted = points["balanced"].real, points["balanced"].painted
    assert (real.there.total, real.not_there.total) == (20, 20)
    assert (painted.there.total, painted.not_there.total) == (80, 80)
    shares = [points[name].real.sensitivity for name in ("sensitive", "balanced", "specific")]
    assert shares == sorted(shares, reverse=True)


def test_a_patient_is_not_judged_by_its_own_scan(rng):
    """One patient with evidence like no other: a fit that had seen it would call it present."""
    plain = drawn(rng)
    odd = [replace(one, scene=900 + n, patient="odd", there=True, evidence=-1.0) for n, one in enumerate(plain[:4])]
    with_odd = calibrate_model(ModelCard("toy", ("mass",), structures=()), [*plain, *odd], 200).calibration["mass"]
    alone = fit_calibration(plain).at("balanced")
    expected = "absent" if alone.probability(-1.0) < alone.absent_below else "unsure"
    assert getattr(with_odd.points["balanced"].real.there, expected) == 4


def test_a_kept_calibration_answers_as_before_and_gains_its_points(rng):
    own = Calibration(slope=1.7, intercept=-0.4, absent_below=0.31, present_above=0.57, threshold=0.65)
    card = ModelCard("toy", ("mass",), structures=(), calibration={"mass": own})
    kept = calibrate_model(card, drawn(rng, patients=20), 200, keep=True).calibration["mass"]
    assert replace(kept, points={}) == own
    assert (kept.at("balanced").absent_below, kept.at("balanced").present_above) == (0.31, 0.57)
    assert kept.at("sensitive").present_above <= 0.57 <= kept.at("specific").present_above


def test_the_reliability_curve_counts_every_answer_once(rng):
    report = calibrate_model(ModelCard("toy", ("mass",), structures=()), drawn(rng, patients=60), 200)
    assert set(report.by_patient) == {f"p{n}" for n in range(60)}
    assert sum(sum(one["balanced"]["there"].values()) for one in report.by_patient.values()) == 30
    for scans, count in (("real", 60), ("painted", 140)):
        assert sum(row["count"] for row in report.reliability[scans]) == count
    rows = [row for row in report.reliability["painted"] if row["count"] >= 20]
    assert all(abs(row["mean_probability"] - row["observed"]) < 0.2 for row in rows)


def test_what_is_seen_elsewhere_is_calibrated_by_itself(rng):
    """A lesion in the liver has its own sigmoid, and that of lesions in the lung does not move."""
    lung = [replace(one, finding="lesion") for one in drawn(rng)]
    liver = [replace(one, finding="lesion@liver", evidence=one.evidence - 4) for one in drawn(rng)]
    card = ModelCard("toy", ("lesion",), structures=(), places={"lesion": ("lung", "liver")})
    report = calibrate_model(card, [*lung, *liver], 200)
    assert report.findings == ("lesion",)
    assert report.calibration["lesion"] == calibrate_model(card, lung, 200).calibration["lesion"]
    assert report.calibration["lesion@liver"].intercept > report.calibration["lesion"].intercept + 1
