from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from tests.followup.patients import GRIDS, LEFT, RIGHT, mass, motion, moved, patient, study
from tests.phantom import rule_model
from tips_med.errors import QueryError
from tips_med.followup import Comparison, Registration, VolumeNoise, compare
from tips_med.followup.quality import Quality
from tips_med.scan import Scan

EXACT = VolumeNoise(0.08, 2.0, 0.1, 100.0)
"""The rule sees cells of 3 mm."""


def known(good: bool = True) -> Registration:
    """The true registration: what is tested here is what is made of it."""
    quality = Quality(1.0 if good else 0.1, 1.0, 1.0, np.full((2, 1, 1, 1), np.nan), np.eye(4))
    return Registration(motion(), quality)


def compared(prior: Scan, current: Scan, query: str = "mass", good: bool = True) -> Comparison:
    return compare(study(prior), study(current), query, rule_model(), known(good), EXACT)


def statuses(made: Comparison) -> dict[str, str]:
    return {change.region.rpartition("of the ")[2]: change.status for change in made.changes}


@pytest.mark.parametrize("on", list(GRIDS))
@pytest.mark.parametrize(
    ("before", "after", "status"),
    [(12.0, 16.0, "grown"), (16.0, 12.0, "shrunk"), (14.0, 14.0, "stable"), (0.0, 14.0, "new"), (14.0, 0.0, "gone")],
)
def test_what_happens_to_a_mass_is_told_on_any_grid(before, after, status, on):
    """The other mass stays: a comparison must not mix the two up."""
    first, then = ([mass(RIGHT, 14.0), *([mass(LEFT, radius)] if radius else [])] for radius in (before, after))
    made = compared(patient(first), moved(patient(then), motion(), on))
    assert statuses(made) == {"left lung": status, "right lung": "stable"}
    change = next(one for one in made.changes if one.status == status and "left" in one.region)
    np.testing.assert_allclose(change.prior_lps, LEFT, atol=2.5)
    there = motion().GetInverse().TransformPoint(LEFT)
    np.testing.assert_allclose(change.current_lps, there, atol=2.5)
    if change.volume is not None:
        # The rule outlines a little less of what was blurred by moving it, as the mass that stayed shows.
        ratios = {one.status: one.volume.current_ml / one.volume.prior_ml for one in made.changes if one.volume}
        if status != "stable":
            assert ratios[status] / ratios["stable"] == pytest.approx((after / before) ** 3, rel=0.15)
        assert change.distance_mm < 2.5
        low, high = change.volume.change_percent_limits
        assert low < change.volume.change_percent < high


def test_nothing_is_new_or_gone_where_the_other_scan_does_not_reach():
    whole = patient([mass(LEFT, 14.0), mass(RIGHT, 14.0)])
    current = moved(whole, motion(), "axial")
    part = current.voxels.copy()
    part[:60] = np.nan  # the lower part, with the left mass
    made = compared(whole, replace(current, voxels=part))
    lost = next(one for one in made.changes if not one.current)
    assert lost.status == "unsure"
    assert "not-seen-in-current" in lost.reasons
    backwards = compare(
        study(replace(current, voxels=part)),
        study(whole),
        "mass",
        rule_model(),
        Registration(motion().GetInverse(), known().quality),
        EXACT,
    )
    extra = next(one for one in backwards.changes if not one.prior)
    assert extra.status == "unsure"
    assert "not-seen-in-prior" in extra.reasons


def test_nothing_is_said_where_the_registration_is_poor():
    scan = patient([mass(LEFT, 14.0)])
    made = compared(scan, moved(patient([mass(LEFT, 20.0)]), motion(), "axial"), good=False)
    assert [one.status for one in made.changes] == ["unsure"]
    assert made.changes[0].reasons == ("poor-registration",)
    assert any("could not be registered well" in note for note in made.notes)


def test_tissue_that_looks_the_same_is_neither_new_nor_gone():
    """What the model outlines in one scan only may still be there in the other one."""
    scan = patient([mass(LEFT, 14.0), (RIGHT, 14.0, 60.0)])
    softer = (RIGHT, 14.0, 27.0)  # just below what the rule takes for a mass
    made = compared(scan, moved(patient([mass(LEFT, 14.0), softer]), motion(), "axial"))
    lost = next(one for one in made.changes if not one.current)
    assert lost.status == "unsure"
    assert lost.reasons == ("looks-alike",)


@pytest.mark.parametrize(("left_hu", "status"), [(-250.0, "unsure"), (-700.0, "gone")])
def test_what_keeps_most_of_its_contrast_is_not_gone(left_hu, status):
    """Thick slices blur a small finding until it is no longer outlined."""
    scan = patient([mass(LEFT, 14.0), (RIGHT, 14.0, 60.0)])
    made = compared(scan, moved(patient([mass(LEFT, 14.0), (RIGHT, 14.0, left_hu)]), motion(), "axial"))
    lost = next(one for one in made.changes if not one.current)
    assert lost.status == status
    assert lost.reasons == (("looks-alike",) if status == "unsure" else ())


def test_an_outline_that_takes_in_more_of_the_same_tissue_is_no_growth():
    """The rim is there in both scans, and is outlined in one of them only."""
    soft, dense, inner = (LEFT, 22.0, -20.0), (LEFT, 22.0, 60.0), mass(LEFT, 10.0)  # the rule takes the dense one
    made = compared(patient([dense, inner]), moved(patient([soft, inner]), motion(), "axial"))
    change = next(one for one in made.changes if one.prior and one.current)
    assert change.volume is not None and not change.volume.within_noise
    assert (change.status, change.reasons) == ("unsure", ("looks-alike",))


def test_slices_of_another_thickness_are_told():
    scan = patient([mass(LEFT, 14.0)], "axial")
    thick = replace(scan, voxels=scan.voxels[::2], lps_from_kji=scan.lps_from_kji @ np.diag([2.0, 1, 1, 1]))
    still = Registration(sitk.Euler3DTransform(), known().quality)
    made = compare(study(scan), study(thick), "mass", rule_model(), still)
    assert any("distance between slices differs (3 and 6 mm)" in note for note in made.notes)
    assert compare(study(scan), study(scan), "mass", rule_model(), still).noise.floor < made.noise.floor


def test_noise_that_hides_a_doubling_does_not_hide_it_as_stable():
    coarse = VolumeNoise(0.5, 0.0, 0.1, 100.0)
    scan, later = patient([mass(LEFT, 12.0)]), moved(patient([mass(LEFT, 16.0)]), motion(), "axial")
    made = compare(study(scan), study(later), "mass", rule_model(), known(), coarse)
    assert [(one.status, one.reasons) for one in made.changes] == [("unsure", ("within-noise",))]
    made = compare(study(scan), study(moved(scan, motion(), "axial")), "mass", rule_model(), known(), coarse)
    assert [one.status for one in made.changes] == ["stable"]


def test_a_mass_that_splits_is_one_mass():
    parts = [mass((LEFT[0], LEFT[1], LEFT[2] + shift), 11.0) for shift in (-15.0, 15.0)]
    made = compared(patient([mass(LEFT, 26.0)]), moved(patient(parts), motion(), "axial"))
    assert [one.status for one in made.changes] == ["shrunk"]
    assert len(made.changes[0].current) == 2
    back = compare(
        study(moved(patient(parts), motion(), "axial")),
        study(patient([mass(LEFT, 26.0)])),
        "mass",
        rule_model(),
        Registration(motion().GetInverse(), known().quality),
        EXACT,
    )
    assert [one.status for one in back.changes] == ["grown"]
    assert len(back.changes[0].prior) == 2


def test_a_negated_query_is_about_the_same_finding():
    first, then = patient([]), moved(patient([mass(LEFT, 14.0)]), motion(), "axial")
    made = compared(first, then, "no mass")
    assert statuses(made) == {"left lung": "new"}
    assert (made.prior.presence.holds, made.current.presence.holds) == (True, False)
    assert "held in the prior scan and did not hold in the current one" in made.sentence
    nothing = compared(first, moved(first, motion(), "axial"), "no mass")
    assert nothing.changes == ()
    assert "not found in either scan" in nothing.sentence


def test_a_size_is_left_out_and_said_to_be():
    made = compared(patient([mass(LEFT, 12.0)]), moved(patient([mass(LEFT, 18.0)]), motion(), "axial"), "24 mm mass")
    assert statuses(made) == {"left lung": "grown"}
    assert any("size" in note for note in made.notes)


def test_the_same_scan_twice_is_told():
    scan = patient([mass(LEFT, 14.0)])
    still = Registration(sitk.CompositeTransform([sitk.TranslationTransform(3)]), known().quality)
    made = compare(study(scan), study(scan), "mass", rule_model(), still)
    assert [one.status for one in made.changes] == ["stable"]
    assert made.changes[0].volume.change_ml == 0
    assert any("same scan" in note for note in made.notes)


def test_only_findings_are_compared():
    scan = study(patient([]))
    with pytest.raises(QueryError, match="only findings are compared") as refused:
        compare(scan, scan, "left lung", rule_model(), known())
    assert refused.value.code == "no-finding"
