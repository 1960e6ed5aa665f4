"""What the shipped weights say about a patient whom they were not trained on, whole and with parts taken away.

A stub that knows the truth cannot show that a side is told rightly: these ask the network itself. The scan is the
bundled one. It has a mass of 31 ml in the back of the left lung (centroid in ``MASS_LPS``), and no effusion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from tips_med.encoders.study import EncodedStudy
from tips_med.errors import QueryError
from tips_med.geometry import transform_points
from tips_med.grounding import Grounding, encode, ground, what
from tips_med.grounding.ground import assess, default_model, parse_query
from tips_med.grounding.maps import study_thorax
from tips_med.readers import read_scan
from tips_med.sample import sample_path
from tips_med.scan import Scan

pytestmark = pytest.mark.shipped

MASS_LPS = np.array([52.3, -85.8, 277.4])


@cache
def whole() -> Scan:
    return replace(read_scan(sample_path()), modality="CT", unit="HU")


def box(low: tuple[float, ...] = (-np.inf,) * 3, high: tuple[float, ...] = (np.inf,) * 3) -> Scan:
    """The part of the scan between two points in LPS mm."""
    scan, parts = whole(), []
    for axis, way in enumerate((2, 1, 0)):
        place = scan.lps_from_kji[way, 3] + scan.lps_from_kji[way, axis] * np.arange(scan.shape[axis])
        inside = np.flatnonzero((place >= low[way]) & (place <= high[way]))
        parts.append(slice(int(inside[0]), int(inside[-1]) + 1))
    affine = scan.lps_from_kji.copy()
    affine[:3, 3] = transform_points(scan.lps_from_kji, np.array([part.start for part in parts]))[0]
    return replace(scan, voxels=np.ascontiguousarray(scan.voxels[tuple(parts)]), lps_from_kji=affine)


def middle_x() -> float:
    return float(np.median(study("whole").body.midline.x_mm))


def without_slices(every: int) -> Scan:
    voxels = whole().voxels.copy()
    voxels[::every] = np.nan
    return replace(whole(), voxels=voxels)


def flipped(axes: tuple[int, ...]) -> Scan:
    """The same patient, stored with array axes that run the other way."""
    affine, voxels = whole().lps_from_kji.copy(), whole().voxels
    for axis in axes:
        affine[:3, 3] += (voxels.shape[axis] - 1) * affine[:3, axis]
        affine[:3, axis] *= -1
        voxels = np.flip(voxels, axis)
    return replace(whole(), voxels=np.ascontiguousarray(voxels), lps_from_kji=affine)


def on_a_couch() -> Scan:
    """In a wide field of view, on a couch of carbon fibre around foam."""
    scan = whole()
    voxels = np.pad(np.nan_to_num(scan.voxels, nan=-1024), ((0, 0), (0, 60), (20, 20)), constant_values=-1000)
    rows = scan.shape[1] + np.arange(5, 45)
    voxels[:, rows, 10:-10] = -920
    voxels[:, [rows[0], rows[-1]], 10:-10] = -150
    affine = scan.lps_from_kji.copy()
    affine[:3, 3] -= 20 * affine[:3, 2]
    return replace(scan, voxels=voxels, lps_from_kji=affine)


SCANS: dict[str, Callable[[], Scan]] = {
    "whole": whole,
    "left half": lambda: box(low=(middle_x(), -np.inf, -np.inf)),
    "right half": lambda: box(high=(middle_x(), np.inf, np.inf)),
    "left lung": lambda: box(low=(middle_x() + 15, -np.inf, -np.inf)),
    "upper half": lambda: box(low=(-np.inf, -np.inf, 265.0)),
    "every second slice": lambda: without_slices(2),
    "every third slice": lambda: without_slices(3),
    "prone": lambda: flipped((1, 2)),
    "feet first": lambda: flipped((0,)),
    "couch": on_a_couch,
    "water": lambda: replace(whole(), voxels=np.zeros((40, 100, 100), np.float32)),
    "air": lambda: replace(whole(), voxels=np.full((40, 100, 100), -1000, np.float32)),
}


@cache
def study(name: str) -> EncodedStudy:
    return encode(SCANS[name]())


def ask(name: str, query: str) -> Grounding:
    return ground(study(name), query)


@pytest.mark.parametrize(
    "name", ["whole", "left half", "left lung", "upper half", "every second slice", "every third slice", "prone",
             "feet first", "couch"],
)  # fmt: skip
def test_the_mass_is_on_the_left_however_much_of_the_patient_is_shown(name):
    answer = ask(name, "mass")
    assert answer.presence.state != "absent"
    assert np.linalg.norm(np.array(answer.peak_lps) - MASS_LPS) < 30
    assert answer.instances[0].side == "left"
    assert ask(name, "mass in the right lung").presence.state != "present"


@pytest.mark.parametrize(("name", "side"), [("left half", "right"), ("left lung", "right"), ("right half", "left")])
@pytest.mark.parametrize("finding", ["pleural effusion", "mass", "nodule", "pneumothorax"])
def test_nothing_is_excluded_on_a_side_that_is_not_in_the_scan(name, side, finding):
    answer = ask(name, f"no {finding} in the {side} lung" if finding in ("mass", "nodule") else f"no {side} {finding}")
    assert answer.presence.state == "unsure"
    assert answer.presence.holds is None
    assert "outside-field-of-view" in answer.presence.reasons
    assert "not in the scan" in answer.sentence
    assert ask(name, f"no {finding}").presence.holds is not True


@pytest.mark.parametrize(("name", "shown", "other"), [("left half", "left", "right"), ("right half", "right", "left")])
def test_half_a_chest_holds_one_lung_and_it_is_the_right_one(name, shown, other):
    assert ask(name, f"{shown} lung").presence.state == "present"
    assert ask(name, f"{other} lung").presence.state == "unsure"
    thorax = study_thorax(study(name), default_model())
    assert thorax.sides_known
    assert thorax.parts[0 if other == "right" else 1].assessed_fraction < 0.2


@pytest.mark.parametrize("name", ["every second slice", "every third slice"])
def test_missing_slices_exclude_nothing(name):
    answer = ask(name, "no pneumothorax")
    assert answer.presence.holds is None
    assert "gap" in answer.presence.reasons


def test_a_scan_that_ends_within_the_lungs_names_no_third():
    answer = ask("upper half", "mass")
    assert answer.instances[0].region == "left lung"
    assert "height-unknown" in ask("upper half", "mass in the left lower third").presence.reasons


@pytest.mark.parametrize("name", ["whole", "prone", "feet first", "couch"])
def test_a_finding_has_the_lobe_in_which_it_lies(name):
    """The haze of the right apex is far from any fissure; the mass is near one, so that both lobes are named."""
    (haze,) = ask(name, "ground-glass opacity in the right lung").instances[:1]
    assert (haze.lobes, haze.side) == (("right upper lobe",), "right")
    assert ask(name, "mass").instances[0].lobes == ("left upper lobe", "left lower lobe")
    assert "(right upper lobe by estimate)" in ask(name, "ground-glass opacity in the right lung").sentence
    here = what(study(name), haze.peak_lps)
    assert here.lobes == ("right upper lobe",) and "right upper lobe by estimate" in here.sentence


def test_where_a_lung_is_cut_no_lobe_is_named():
    assert ask("upper half", "mass").instances[0].lobes == ()
    assert ask("whole", "left lung").instances[0].lobes == ()


def test_nothing_under_the_table_is_an_answer():
    """The air in a couch was once taken for three litres of lung."""
    for side in ("left", "right"):
        here, there = (ask(name, f"{side} lung").instances[0].volume_ml for name in ("whole", "couch"))
        assert there == pytest.approx(here, rel=0.05)
    assert ask("couch", "pneumothorax").presence.state == ask("whole", "pneumothorax").presence.state


@pytest.mark.parametrize("name", ["water", "air"])
def test_where_there_is_no_patient_nothing_is_claimed(name):
    for query in ("left lung", "mass", "no mass", "left pleural effusion"):
        answer = ask(name, query)
        assert answer.presence.state == "unsure"
        assert answer.presence.holds is None


def test_a_place_that_the_weights_were_never_taught_is_declined():
    for query in ("lesion in the liver", "liver lesion", "mass in the left kidney", "nodule in the thyroid"):
        with pytest.raises(QueryError, match="is for a") as refused:
            ask("whole", query)
        assert refused.value.code in ("place-not-trained", "not-trained")
    chest = ask("whole", "no mass in the chest")
    assert chest.presence.holds is not True, "the chest holds more than lungs and pleura"


def test_a_size_chooses_among_what_is_there_and_says_what_else_is():
    assert ask("whole", "50 mm mass").presence.state == ask("whole", "mass").presence.state
    small = ask("whole", "3 mm mass")
    assert small.presence.state == "unsure"
    assert "size-mismatch" in small.presence.reasons
    assert "Of another size than requested" in small.sentence


def test_both_sides_are_answered_one_by_one():
    answer = ask("whole", "bilateral masses")
    assert set(answer.presence.sides) == {"right", "left"}
    assert answer.presence.state != "present"
    assert "By side" in answer.sentence


def probability(query: str) -> float:
    return assess(study("whole"), parse_query(query, default_model()), default_model()).decision.probability or 0.0


@pytest.mark.parametrize("finding", default_model().card.findings)
def test_answers_about_a_part_agree_with_those_about_the_whole(finding):
    """Asked without a side an answer is never less sure than with one, and a third never surer than its lung."""
    name = next(term.name for term in __import__("tips_med").Lexicon.load("chest_ct").terms if term.id == finding)
    anywhere = probability(name)
    sides = [probability(f"{name} in the {side} lung") for side in ("left", "right")]
    assert max(sides) == pytest.approx(anywhere, abs=1e-6)
    for side, whole_lung in zip(("left", "right"), sides):
        thirds = [
            probability(f"{name} in the {third} third of the {side} lung") for third in ("upper", "middle", "lower")
        ]
        assert max(thirds) <= whole_lung + 1e-6
    plain, negated = ask("whole", name).presence, ask("whole", f"no {name}").presence
    assert plain.probability == negated.probability
    assert negated.holds is {"present": False, "absent": True, "unsure": None}[plain.state]


@pytest.mark.parametrize(("side", "lobes"), [("right", ("upper", "middle", "lower")), ("left", ("upper", "lower"))])
def test_the_lobes_that_are_outlined_add_up_to_the_lung(side, lobes):
    lung = ask("whole", f"{side} lung")
    parts = [ask("whole", f"{side} {lobe} lobe") for lobe in lobes]
    assert all("lobe-by-estimate" in part.presence.reasons for part in parts)
    outlined = np.sum([part.mask for part in parts], axis=0)
    volumes = [sum(one.volume_ml for one in part.instances) for part in parts]
    # The scan's own grid is finer than the one that lobes are estimated on: voxels between two of them may be in both.
    assert sum(volumes) == pytest.approx(sum(one.volume_ml for one in lung.instances), rel=0.05)
    assert (outlined > 1).sum() < 0.02 * lung.mask.sum()
    assert min(volumes) > 0.05 * sum(volumes)


def test_a_lobe_is_estimated_where_its_lung_is_whole_and_taken_by_height_where_it_is_cut():
    index = transform_points(np.linalg.inv(whole().lps_from_kji), MASS_LPS)[0]
    at = tuple(np.rint(index).astype(int))
    assert ask("whole", "left lower lobe").mask[at]
    assert not ask("whole", "left upper lobe").mask[at]
    reasons = ask("upper half", "mass in the left lower lobe").presence.reasons
    assert "height-by-estimate" in reasons
    assert "lobe-by-estimate" not in reasons


def test_a_mass_is_a_lesion():
    for side in ("left", "right"):
        kinds = [probability(f"{kind} in the {side} lung") for kind in ("mass", "nodule")]
        assert probability(f"lesion in the {side} lung") >= max(kinds) - 1e-6


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mass in the left lung", "left lung tumor"),
        ("masses in the right and left lung", "mass in both lungs"),
        ("possible mass", "mass"),
        ("pleural effusion on the right", "right-sided hydrothorax"),
        ("GGO LLL", "ground-glass attenuation in the left lower lobe"),
    ],
)
def test_wordings_of_one_meaning_have_one_answer(one, other):
    first, second = ask("whole", one), ask("whole", other)
    assert first.presence.probability == pytest.approx(second.presence.probability)
    assert first.presence.state == second.presence.state


def test_operating_points_of_the_shipped_weights_are_in_order():
    for term, calibration in default_model().card.calibration.items():
        if not calibration.points:
            assert term in default_model().card.structures
            continue
        low, plain, high = (calibration.points[name] for name in ("sensitive", "balanced", "specific"))
        assert low.present_above <= plain.present_above <= high.present_above, term
        assert low.absent_below <= plain.absent_below <= high.absent_below, term
        assert (plain.absent_below, plain.present_above) == (calibration.absent_below, calibration.present_above)
        assert (plain.real.there.total > 0) == (calibration.evidence == "real")


def test_an_operating_point_moves_decisions_and_no_map():
    model = default_model()
    answers = [ground(study("whole"), "mass in the left lung", model.at(name)) for name in ("sensitive", "specific")]
    assert answers[0].probability == answers[1].probability
    np.testing.assert_array_equal(answers[0].heat, answers[1].heat)
    assert answers[0].model.endswith("sensitive)")
    assert answers[1].model.endswith("specific)")


def test_a_finding_that_was_only_painted_says_so():
    answer = ground(study("whole"), "pneumothorax")
    assert "painted-only" in answer.presence.reasons
    assert "not known: its thresholds were fitted on painted ones alone" in answer.sentence
    assert "painted-only" not in ground(study("whole"), "mass in the left lung").presence.reasons


def test_the_place_of_the_mass_is_called_a_mass_or_a_lesion():
    for name in ("whole", "prone", "feet first"):
        found = what(study(name), ask(name, "mass").peak_lps)
        assert [fit.term.id for fit in found.findings[:2]] == ["mass", "lesion"]
        assert found.findings[0].state == "likely"
        assert found.side == "left"
        mirrored = what(study(name), (2 * middle_x() - MASS_LPS[0], *MASS_LPS[1:]))
        assert {fit.state for fit in mirrored.findings} == {"unlikely"}, "nothing is there on the other side"
    assert what(study("left half"), ask("left half", "mass").peak_lps).findings[0].term.id in ("mass", "lesion")
