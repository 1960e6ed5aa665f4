"""Ask in reverse: what the place of an answer is called, however the patient was scanned."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.phantom import AFFINE, HAZE, MASS, SHAPE, body, rule_model
from tips_med.card import Calibration
from tips_med.encoders.study import EncodedStudy
from tips_med.errors import QueryError, WeightsError
from tips_med.geometry import transform_points
from tips_med.grounding import Fit, Identification, encode, ground, what

MASS_AT, HAZE_AT, PLAIN_AT = (65.0, 10.0, -40.0), (-60.0, -5.0, 40.0), (-60.0, 5.0, -50.0)
SPHERES = [(MASS_AT, 15.0, MASS), (HAZE_AT, 14.0, HAZE)]
RULE = rule_model()
# By rule an effusion looks like lung: it is left out.
MODEL = dataclasses.replace(RULE, card=dataclasses.replace(RULE.card, findings=("mass", "ground_glass_opacity")))


def turned(degrees: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, :3] = (
        Rotation.from_euler("xyz", [degrees, -degrees / 2, degrees / 3], degrees=True).as_matrix() @ (affine[:3, :3])
    )
    affine[:3, 3] = -affine[:3, :3] @ (np.array(SHAPE) - 1) / 2
    return affine


def mirrored() -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, 1:3] *= -1
    affine[:3, 3] = -affine[:3, :3] @ (np.array(SHAPE) - 1) / 2
    return affine


GRIDS = {"axial": AFFINE, "oblique": turned(16), "mirrored": mirrored()}


@pytest.fixture(scope="module", params=GRIDS)
def study(request) -> EncodedStudy:
    return encode(body(SPHERES, GRIDS[request.param]), MODEL)


@pytest.fixture(scope="module")
def axial() -> EncodedStudy:
    return encode(body(SPHERES), MODEL)


def states(found: Identification) -> dict[str, str]:
    return {fit.term.id: fit.state for fit in found.findings}


def sphere(study: EncodedStudy, centre: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    points = transform_points(study.scan.lps_from_kji, np.argwhere(np.ones(study.scan.shape, bool)))
    return (np.linalg.norm(points - centre, axis=1) < radius_mm).reshape(study.scan.shape)


@pytest.mark.parametrize(
    ("place", "name", "side"), [(MASS_AT, "mass", "left"), (HAZE_AT, "ground_glass_opacity", "right")]
)
def test_a_place_is_called_what_it_is(study, place, name, side):
    found = what(study, place, MODEL)
    assert found.findings[0].term.id == name
    assert found.findings[0].marked_fraction == 1
    assert [fit.term.id for fit in found.findings if fit.state == "likely"] == [name]
    assert found.side == side
    assert side in found.sentence
    assert found.measured_fraction == 1
    assert found.mean_hu == pytest.approx(MASS if name == "mass" else HAZE)


def test_lung_without_anything_is_only_lung(study):
    found = what(study, PLAIN_AT, MODEL)
    assert set(states(found).values()) == {"unlikely"}
    assert [(fit.term.id, fit.state) for fit in found.structures] == [("lung", "likely")]
    assert "none of the findings" in found.sentence


def test_a_region_is_called_what_fills_it(study):
    found = what(study, sphere(study, MASS_AT, 12), MODEL)
    assert found.findings[0].term.id == "mass"
    assert found.findings[0].marked_fraction > 0.9
    assert np.linalg.norm(np.array(found.at_lps) - MASS_AT) < 2
    around = what(study, sphere(study, MASS_AT, 30), MODEL).findings[0]
    assert around.term.id == "mass"
    assert around.probability == pytest.approx(found.findings[0].probability, abs=1e-3)
    assert around.marked_fraction < 0.3, "most of this region is something else"


def test_forwards_and_backwards_agree(axial):
    instance = ground(axial, "mass", MODEL).instances[0]
    for place in (instance.peak_lps, instance.centroid_lps, (MASS_AT[0] + 9, *MASS_AT[1:])):
        assert what(axial, place, MODEL).findings[0].probability == pytest.approx(instance.score)


def test_each_term_has_its_own_calibration(axial):
    def fits(**calibration: Calibration) -> tuple[Fit, ...]:
        card = dataclasses.replace(MODEL.card, calibration=calibration)
        return what(axial, MASS_AT, dataclasses.replace(MODEL, card=card)).findings

    first, second = fits(mass=Calibration(1.0, -20.0), ground_glass_opacity=Calibration(1.0, 20.0))
    assert (first.term.id, first.state) == ("ground_glass_opacity", "likely")
    assert (second.term.id, second.state) == ("mass", "unlikely")
    assert second.score > first.score
    haze, mass = fits(ground_glass_opacity=Calibration())
    assert haze.term.id == "ground_glass_opacity", "a score is not ranked among probabilities"
    assert (mass.state, mass.probability, mass.marked_fraction) == ("uncalibrated", None, 1)


def test_what_was_not_taught_in_a_place_is_not_compared(axial):
    found = what(axial, (0.0, 80.0, -112.0), MODEL)
    assert found.findings == ()
    assert {term.id for term in found.omitted} == set(MODEL.card.findings)
    assert found.reasons == ("outside-chest",)
    assert "no finding is named" in found.sentence
    assert len(found.unknown) > 50
    assert not {term.id for term in found.unknown} & set(MODEL.card.findings)


def test_nothing_is_named_outside_the_body_or_where_nothing_was_measured(axial):
    outside = what(axial, (-148.0, -95.0, 0.0), MODEL)
    assert outside.findings == outside.structures == ()
    assert outside.reasons == ("outside-body",)
    voxels = body(SPHERES).voxels.copy()
    voxels[:20] = np.nan
    gap = what(encode(dataclasses.replace(axial.scan, voxels=voxels), MODEL), (60.0, 0.0, -110.0), MODEL)
    assert gap.findings == gap.structures == ()
    assert gap.reasons == ("not-measured",)
    assert math.isnan(gap.mean_hu)
    assert gap.measured_fraction == 0


def test_a_region_that_was_half_measured_is_told_as_such(axial):
    voxels = body(SPHERES).voxels.copy()
    height = axial.scan.lps_from_kji[2, 3] + 3.0 * np.arange(SHAPE[0])
    voxels[height < MASS_AT[2]] = np.nan
    cut = encode(dataclasses.replace(axial.scan, voxels=voxels), MODEL)
    found = what(cut, sphere(axial, MASS_AT, 12), MODEL)
    assert found.findings[0].term.id == "mass"
    assert 0.3 < found.measured_fraction < 0.7


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ((0.0, 0.0, 500.0), "outside-scan"),
        ((0.0, 0.0), "bad-region"),
        ((0.0, 0.0, math.nan), "bad-region"),
        (np.zeros(SHAPE, bool), "empty-region"),
        (np.ones((3, 4, 5), bool), "bad-region"),
    ],
)
def test_no_place_is_refused(axial, place, code):
    with pytest.raises(QueryError) as refused:
        what(axial, place, MODEL)
    assert refused.value.code == code


def test_a_study_of_another_model_is_refused(axial):
    with pytest.raises(WeightsError):
        what(dataclasses.replace(axial, weights_sha256="1" * 64), MASS_AT, MODEL)
