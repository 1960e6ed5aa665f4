from __future__ import annotations

from dataclasses import replace

import numpy as np
import SimpleITK as sitk

from tests.followup.patients import LEFT, patient, study
from tests.phantom import rule_model
from tips_med.followup.matching import Match, match_findings
from tips_med.followup.quality import Quality
from tips_med.followup.registration import Registration
from tips_med.geometry import transform_points, voxel_volume_mm3
from tips_med.grounding import Grounding, Instance, ground

STILL = Registration(
    sitk.CompositeTransform([sitk.TranslationTransform(3)]),
    Quality(1.0, 1.0, 1.0, np.full((2, 1, 1, 1), np.nan), np.eye(4)),
)


def answer(*spheres: tuple[tuple[float, float, float], float]) -> Grounding:
    """An answer whose findings are spheres: centre in LPS, radius in mm."""
    made = ground(study(patient([])), "mass", rule_model())
    affine, labels = made.scan.lps_from_kji, np.zeros(made.scan.shape, np.uint8)
    points = transform_points(affine, np.indices(labels.shape).reshape(3, -1).T)
    instances = []
    for label, (centre, radius) in enumerate(spheres, start=1):
        inside = (np.linalg.norm(points - centre, axis=1) < radius).reshape(labels.shape)
        labels[inside] = label
        ml = int(inside.sum()) * voxel_volume_mm3(affine) / 1000
        instances.append(Instance(label, "left", "left lung", ml, 2 * radius, (0, 1), (), 40.0, 0.9, centre, centre))
    return replace(made, labels=labels, instances=tuple(instances))


def beside(mm: float) -> tuple[float, float, float]:
    return LEFT[0], LEFT[1], LEFT[2] + mm


def test_the_assignment_is_the_best_for_all_findings_together():
    """One by one, the first would take the partner of the second."""
    prior = answer((beside(0), 6.0), (beside(14), 6.0))
    current = answer((beside(9), 6.0), (beside(22), 6.0))
    assert [(one.prior, one.current) for one in match_findings(prior, current, STILL)] == [((1,), (1,)), ((2,), (2,))]


def test_findings_far_apart_are_two_and_near_ones_without_a_match_are_in_doubt():
    far, near = (match_findings(answer((beside(0), 5.0)), answer((beside(mm), 5.0)), STILL) for mm in (60.0, 22.0))
    assert far == [Match((), (1,), False), Match((1,), (), False)]
    assert near == [Match((), (1,), True), Match((1,), (), True)]


def test_parts_belong_to_what_they_came_from():
    whole, parts = answer((beside(0), 20.0)), answer((beside(-11), 7.0), (beside(11), 7.0))
    assert [(one.prior, one.current) for one in match_findings(whole, parts, STILL)] == [((1,), (1, 2))]
    assert [(one.prior, one.current) for one in match_findings(parts, whole, STILL)] == [((1, 2), (1,))]


def test_nothing_matches_nothing():
    assert match_findings(answer(), answer(), STILL) == []
    assert match_findings(answer(), answer((beside(0), 8.0)), STILL) == [Match((), (1,), False)]
