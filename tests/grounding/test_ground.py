from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import axial_affine
from tests.phantom import HAZE, MASS, body, rule_model
from tips_med.card import Calibration
from tips_med.encoders.study import EncodedStudy
from tips_med.errors import ModalityError, QueryError, ReadError, WeightsError
from tips_med.geometry import transform_points
from tips_med.grounding import encode, ground
from tips_med.grounding.maps import MAX_CACHED_MAPS, study_thorax
from tips_med.grounding.modality import ensure_known_modality, looks_like_hounsfield, with_stated_modality
from tips_med.grounding.thorax import thorax_of_arrays
from tips_med.scan import Scan

LEFT_LOW = ((65.0, 10.0, -70.0), 15.0, MASS)
RIGHT_HIGH = ((-60.0, -5.0, 60.0), 12.0, MASS)
MODEL = rule_model()


@pytest.fixture(scope="module")
def study() -> EncodedStudy:
    return encode(body([LEFT_LOW, RIGHT_HIGH]), MODEL)


def value_near(scan: Scan, point_lps: tuple[float, ...]) -> float:
    k, j, i = np.rint(transform_points(np.linalg.inv(scan.lps_from_kji), np.array(point_lps))[0]).astype(int)
    return float(scan.voxels[k, j, i])


def test_a_mass_is_found_measured_and_placed(study):
    answer = ground(study, "mass in the left lung", MODEL)
    assert answer.presence.state == "present"
    (mass,) = answer.instances
    assert (mass.side, mass.region) == ("left", "lower third of the left lung")
    assert mass.volume_ml == pytest.approx(4 / 3 * np.pi * 15**3 / 1000, rel=0.15)
    assert mass.long_axis_mm == pytest.approx(30, abs=5)
    assert mass.mean_hu == pytest.approx(MASS, abs=60)  # its rim is half lung
    np.testing.assert_allclose(mass.centroid_lps, LEFT_LOW[0], atol=2)
    assert value_near(study.scan, answer.peak_lps) == MASS
    assert mass.instance_uids == study.scan.provenance.instance_uids[mass.slices[0] : mass.slices[1] + 1]
    assert "lower third of the left lung" in answer.sentence


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("mass", ["upper third of the right lung", "lower third of the left lung"]),
        ("mass left lung", ["lower third of the left lung"]),
        ("mass right lung", ["upper third of the right lung"]),
        ("mass in the lower third of the left lung", ["lower third of the left lung"]),
        ("mass in the upper third of the left lung", []),
        ("mass in the left upper lobe", []),
        ("RUL mass", ["upper third of the right lung"]),
    ],
)
def test_side_and_height_are_checked_and_not_only_said(study, query, found):
    answer = ground(study, query, MODEL)
    assert sorted(instance.region for instance in answer.instances) == sorted(found)
    assert answer.presence.state == ("present" if found else "absent")


def test_what_is_not_there_is_absent_and_marks_nothing(study):
    answer = ground(study, "ground-glass opacity", MODEL)
    assert answer.presence.state == "absent"
    assert not answer.mask.any()
    assert answer.instances == ()
    assert "not found" in answer.sentence


@pytest.mark.parametrize(("query", "holds"), [("no mass", False), ("no ground-glass opacity", True)])
def test_a_negated_query_reports_whether_its_statement_holds(study, query, holds):
    answer = ground(study, query, MODEL)
    assert answer.presence.holds is holds
    assert ("does not hold" in answer.sentence) is not holds


def test_every_word_understood_lights_up_its_own_places(study):
    answer = ground(study, "mass in the left lung", MODEL)
    assert list(answer.token_heat) == ["mass", "left", "lung"]
    x = transform_points(answer.lps_from_heat, np.argwhere(answer.token_heat["left"] > 0.5))[:, 0]
    assert (x > 0).all()
    both = transform_points(answer.lps_from_heat, np.argwhere(answer.token_heat["lung"] > 0.5))[:, 0]
    assert both.min() < -20 < 20 < both.max()


def test_an_unknown_word_is_said_first(study):
    answer = ground(study, "frobnicated mass in the left lung", MODEL)
    assert answer.query.unknown_words == ("frobnicated",)
    assert answer.sentence.startswith("Not understood: 'frobnicated'")


@pytest.mark.parametrize("turned_deg", [0.0, 25.0])
@pytest.mark.parametrize("axes", ["axial", "sagittal", "coronal", "mirrored"])
def test_the_answer_is_the_same_however_the_patient_was_scanned(axes, turned_deg):
    shape = (110, 120, 112)
    affine = axial_affine((3.0, 2.6, 3.4), turned_deg)
    affine = {
        "axial": affine,
        "sagittal": affine[:, [2, 0, 1, 3]],
        "coronal": affine[:, [1, 0, 2, 3]],
        "mirrored": affine @ np.diag([1.0, 1, -1, 1]),
    }[axes]
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    answer = ground(encode(body([LEFT_LOW], affine, shape), MODEL), "mass left lung", MODEL)
    (mass,) = answer.instances
    assert mass.region == "lower third of the left lung"
    np.testing.assert_allclose(mass.centroid_lps, LEFT_LOW[0], atol=3)
    assert mass.volume_ml == pytest.approx(4 / 3 * np.pi * 15**3 / 1000, rel=0.25)
    inside = transform_points(affine, np.argwhere(answer.mask))
    assert (np.linalg.norm(inside - LEFT_LOW[0], axis=1) < 22).all()


def test_what_was_not_seen_is_nan_and_not_nought():
    scan = body([LEFT_LOW])
    half = Scan(np.where(np.arange(80)[:, None, None] < 40, np.nan, scan.voxels), scan.lps_from_kji, "CT", "HU")
    answer = ground(encode(half, MODEL), "mass", MODEL)
    points = transform_points(answer.lps_from_heat, np.argwhere(np.isfinite(answer.heat)))
    assert points[:, 2].min() > -3
    assert np.isfinite(answer.heat).mean() > 0.4


def test_a_saved_study_gives_the_same_answer(study, tmp_path):
    again = EncodedStudy.load(study.save(tmp_path / "study.safetensors"))
    ours, theirs = ground(study, "mass", MODEL), ground(again, "mass", MODEL)
    assert theirs.instances == ours.instances
    np.testing.assert_array_equal(theirs.heat, ours.heat)
    np.testing.assert_array_equal(again.scan.voxels, study.scan.voxels)
    assert again.scan.provenance == study.scan.provenance


def test_a_scan_without_lungs_cannot_be_judged():
    scan = body()
    solid = Scan(np.where(scan.voxels < -800, 10, scan.voxels).astype(np.float32), scan.lps_from_kji, "CT", "HU")
    answer = ground(encode(solid, MODEL), "mass", MODEL)
    assert answer.presence.state == "unsure"
    assert "no lung is seen" in answer.sentence


def test_a_scan_of_another_modality_is_refused():
    scan = dataclasses.replace(body(), modality="MR", unit="")
    with pytest.raises(ModalityError, match="the scan is MR; expected CT"):
        encode(scan, MODEL)


def test_a_file_that_does_not_say_what_it_is_passes_for_ct_only_when_it_looks_like_ct():
    scan = dataclasses.replace(body(), modality="OT", unit="")
    study = encode(scan, MODEL)
    assert study.scan.modality == "CT"
    assert "taken for CT" in study.scan.provenance.notes[-1]
    shifted = dataclasses.replace(scan, voxels=scan.voxels + 1024)
    with pytest.raises(ModalityError, match="do not look like Hounsfield"):
        encode(shifted, MODEL)


def test_a_study_is_only_asked_by_the_weights_that_encoded_it(study):
    other = dataclasses.replace(MODEL, sha256="f" * 64)
    with pytest.raises(WeightsError, match="encode the scan again|Encode the scan again"):
        ground(study, "mass", other)


def test_what_the_model_was_not_trained_to_find_is_refused_and_not_guessed(study):
    with pytest.raises(QueryError, match="is for honeycombing; expected what the model 'rule' was trained to find"):
        ground(study, "honeycombing", MODEL)


def test_two_findings_that_touch_the_haze_are_two_instances():
    spheres = [((65.0, 10.0, -40.0), 14.0, HAZE), ((55.0, 10.0, 45.0), 14.0, HAZE)]
    answer = ground(encode(body(spheres), MODEL), "GGO left lung", MODEL)
    assert len(answer.instances) == 2
    assert set(np.unique(answer.labels)) == {0, 1, 2}
    assert answer.instances[0].score >= answer.instances[1].score


def with_a_faint_right_mass(study: EncodedStudy, logit: float) -> EncodedStudy:
    """The same study, its right mass no surer than this."""
    fine = study.features.fine.clone()
    x = study.features.lps_from_fine[0, 2] * np.arange(fine.shape[2]) + study.features.lps_from_fine[0, 3]
    fine[:, :, x < 0, 2] *= (logit + 4) / 12  # the rule's logits run from -4 to 8
    return dataclasses.replace(study, features=dataclasses.replace(study.features, fine=fine), cache={})


@pytest.mark.parametrize(("logit", "sides"), [(-0.3, ["left"]), (0.3, ["left", "right"])])
def test_beside_a_finding_that_is_there_only_what_is_more_likely_than_not_is_outlined(study, logit, sides):
    card = dataclasses.replace(MODEL.card, calibration={"mass": Calibration(threshold=0.3)})
    answer = ground(with_a_faint_right_mass(study, logit), "mass", dataclasses.replace(MODEL, card=card))
    assert answer.presence.state == "present"
    assert [instance.side for instance in answer.instances] == sides


@pytest.mark.parametrize(
    ("values", "looks"),
    [
        ([-1000, 40], True),
        ([-1000, 1000], False),  # air and bone, and no tissue
        ([0, 40], False),  # tissue, and no air
        ([-1000, 40, 5000], False),
        ([-4000, -1000, 40], False),
        ([np.nan], False),
    ],
)
def test_ct_holds_air_and_tissue_and_nothing_beyond_its_range(values, looks):
    voxels = np.resize(np.array(values, np.float32), 8 * 33 * 33).reshape(8, 33, 33)
    assert looks_like_hounsfield(Scan(voxels, np.eye(4), "OT", "")) is looks


def test_both_sides_are_looked_at_one_by_one(study):
    answer = ground(study, "bilateral masses", MODEL)
    assert answer.presence.state == "present"
    assert {side: one.state for side, one in answer.presence.sides.items()} == {"right": "present", "left": "present"}
    assert [instance.side for instance in answer.instances] == ["left", "right"]


@pytest.mark.parametrize(
    ("query", "state", "holds"), [("bilateral masses", "absent", None), ("no bilateral masses", "present", False)]
)
def test_what_is_on_one_side_only_is_outlined_there(study, query, state, holds):
    answer = ground(with_a_faint_right_mass(study, -4.0), query, MODEL)
    assert (answer.presence.state, answer.presence.holds) == (state, holds)
    assert {side: one.state for side, one in answer.presence.sides.items()} == {"right": "absent", "left": "present"}
    assert [instance.side for instance in answer.instances] == ["left"]


def test_a_size_chooses_and_says_what_else_is_there(study):
    answer = ground(study, "30 mm mass", MODEL)
    assert (answer.presence.state, [instance.side for instance in answer.instances]) == ("present", ["left", "right"])
    answer = ground(study, "80 mm mass", MODEL)
    assert (answer.presence.state, answer.presence.reasons[0]) == ("unsure", "size-mismatch")
    assert answer.instances == ()
    assert not answer.labels.any()
    assert "Of another size than requested: 2 of" in answer.sentence


@pytest.mark.parametrize(
    ("query", "sides"), [("left lung", ["left"]), ("right lung", ["right"]), ("lungs", ["left", "right"])]
)
def test_a_lung_is_outlined_on_its_own_side(study, query, sides):
    answer = ground(study, query, MODEL)
    assert answer.presence.state == "present"
    assert sorted(instance.side for instance in answer.instances) == sides
    x = transform_points(study.scan.lps_from_kji, np.argwhere(answer.labels))[:, 0]
    assert {"left" if one > 0 else "right" for one in x} == set(sides)
    volume_ml = 4 / 3 * np.pi * 45 * 65 * 105 / 1000
    assert [instance.volume_ml for instance in answer.instances] == pytest.approx([volume_ml] * len(sides), rel=0.1)


def test_a_region_wider_than_what_was_taught_is_never_called_free(study):
    free = ground(study, "ground-glass opacity in the chest", MODEL).presence
    assert (free.state, free.reasons) == ("unsure", ("wider-than-trained",))
    assert ground(study, "mass in the chest", MODEL).presence.state == "present"


@pytest.mark.parametrize(
    ("query", "notes"),
    [
        ("mass in the left lung", ()),
        ("possible mass in the left lung", ("hedge-ignored",)),
        ("mass in the left lower lobe", ("lobe-by-estimate",)),
        ("calcified mass", ("attribute-unchecked",)),
        ("mass in the left hilum", ("location-unchecked",)),
    ],
)
def test_what_of_a_query_is_not_answered_is_noted(study, query, notes):
    assert ground(study, query, MODEL).presence.reasons == notes


def test_a_model_that_knows_no_lungs_answers_for_the_half_of_the_body(study):
    model = dataclasses.replace(MODEL, card=dataclasses.replace(MODEL.card, structures=()))
    left, right, any_side = (ground(study, query, model) for query in ("left-sided mass", "right-sided mass", "mass"))
    for answer, x in ((left, LEFT_LOW[0][0]), (right, RIGHT_HIGH[0][0])):
        assert answer.presence.state == "present"
        (mass,) = answer.instances
        assert mass.centroid_lps[0] == pytest.approx(x, abs=3)
        assert (mass.side, mass.region) == (None, "")
    assert len(any_side.instances) == 2
    free = ground(study, "ground-glass opacity", model).presence
    assert (free.state, free.reasons, free.assessed_fraction) == ("unsure", ("extent-unknown",), 0.0)


def test_without_a_midline_no_half_of_the_body_is_named(study):
    model = dataclasses.replace(MODEL, card=dataclasses.replace(MODEL.card, structures=()))
    midline = dataclasses.replace(study.body.midline, source="none", within_mm=np.inf)
    nowhere = dataclasses.replace(study, body=dataclasses.replace(study.body, midline=midline), cache={})
    presence = ground(nowhere, "left-sided mass", model).presence
    assert (presence.state, presence.reasons) == ("unsure", ("side-unknown",))


def test_without_a_calibration_there_is_a_score_and_an_outline(study):
    model = dataclasses.replace(MODEL, card=dataclasses.replace(MODEL.card, calibration={}))
    answer = ground(study, "mass", model)
    assert (answer.presence.state, answer.presence.probability) == ("unsure", None)
    assert answer.probability == answer.presence.score > 0.9
    assert len(answer.instances) == 2


def test_an_unsure_answer_outlines_what_may_be_there(study):
    card = dataclasses.replace(MODEL.card, calibration={"mass": Calibration(threshold=0.3)})
    faint = with_a_faint_right_mass(study, -0.3)
    answer = ground(faint, "mass in the right lung", dataclasses.replace(MODEL, card=card))
    assert answer.presence.state == "unsure"
    assert [instance.side for instance in answer.instances] == ["right"]
    assert answer.probability == pytest.approx(1 / (1 + np.exp(0.3)), abs=0.02)


def test_an_absent_answer_still_says_where_the_evidence_is_strongest(study):
    faint = with_a_faint_right_mass(study, -2.0)
    answer = ground(faint, "mass in the right lung", MODEL)
    assert (answer.presence.state, answer.instances) == ("absent", ())
    np.testing.assert_allclose(answer.peak_lps, RIGHT_HIGH[0], atol=9)


def test_outside_the_asked_region_the_map_is_nought(study):
    answer = ground(study, "mass in the left lung", MODEL)
    x = transform_points(answer.lps_from_heat, np.argwhere(answer.heat > 0.5))[:, 0]
    assert x.min() > 0
    assert np.nanmax(answer.heat) > 0.9


def test_a_place_that_the_model_was_not_taught_is_refused(study):
    with pytest.raises(
        QueryError, match="is for a mass in the liver; expected a place in which the model 'rule'"
    ) as refused:
        ground(study, "mass in the liver", MODEL)
    assert refused.value.code == "place-not-trained"
    taught = dataclasses.replace(MODEL, card=dataclasses.replace(MODEL.card, places={"mass": ("liver",)}))
    assert {one.side for one in ground(study, "mass in the liver", taught).instances} == {None}, (
        "it is outside the chest"
    )


def test_a_map_of_words_needs_its_study(study):
    copy = dataclasses.replace(study, cache={})
    words = ground(copy, "mass in the left lung", MODEL).token_heat
    assert np.nanmax(words["mass"]) > 0.9 and len(words) == 3
    with pytest.raises(KeyError):
        words["right"]
    del copy
    assert np.nanmax(words["mass"]) > 0.9, "made before"
    with pytest.raises(ReadError, match="its study was dropped") as refused:
        words["lung"]
    assert refused.value.code == "study-gone"


def test_only_a_few_maps_are_kept_with_a_study(study):
    copy = dataclasses.replace(study, cache={})
    for query in ("mass", "ground-glass opacity", "pleural effusion", "left lung", "right lung", "lungs"):
        ground(copy, query, MODEL)
    assert len(copy.cache["maps"]) == MAX_CACHED_MAPS


def test_a_ct_in_another_unit_is_refused():
    with pytest.raises(ModalityError, match="the values of this CT are in mgml") as refused:
        ensure_known_modality(dataclasses.replace(body(), unit="mgml"), MODEL)
    assert refused.value.code == "unit"


def test_a_stated_modality_is_taken_where_the_file_says_none():
    scan = dataclasses.replace(body(), modality="OT", unit="")
    assert with_stated_modality(scan, None) is scan
    ct, mr = with_stated_modality(scan, "CT"), with_stated_modality(scan, "MR")
    assert (ct.modality, ct.unit, mr.modality, mr.unit) == ("CT", "HU", "MR", "")
    assert "taken for CT, as requested" in ct.provenance.notes[-1]
    assert with_stated_modality(ct, "CT") is ct
    with pytest.raises(ModalityError, match="states the modality CT, not MR"):
        with_stated_modality(ct, "MR")


def test_the_lungs_that_were_found_travel_with_the_study(study, tmp_path):
    found = study_thorax(study, MODEL)
    loaded = EncodedStudy.load(study.save(tmp_path / "study.safetensors"))
    again = thorax_of_arrays(loaded.kept)
    assert again is not None
    np.testing.assert_array_equal(again.lungs, found.lungs)
    np.testing.assert_array_equal(again.side, found.side)
    np.testing.assert_array_equal(again.height, found.height)
    assert (again.parts, again.sides_known, again.step_mm) == (found.parts, found.sides_known, found.step_mm)
    without = {name: array for name, array in loaded.kept.items() if name != "thorax_step_mm"}
    assert thorax_of_arrays(without) is None, "one of an earlier version is found again"


def test_a_study_of_an_earlier_version_is_named_as_one(tmp_path):
    file = tmp_path / "old.safetensors"
    save_file({"x": torch.zeros(1)}, file, {"format": "tips_med-study-2"})
    with pytest.raises(ReadError, match="(?i)another version.*encode the scan again"):
        EncodedStudy.load(file)
