"""Which series are asked what."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving.node.pieces import study
from tips_med.serving.node.rules import Rule, SeriesFacts, plan, series_in

SERIES = SeriesFacts("1.2", "CT", "CHEST", "Thorax 1.0 Br40", 1.0, 200)


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (Rule(["a"]), True),
        (Rule(["a"], modality="MR"), False),
        (Rule(["a"], body_part="chest"), True),
        (Rule(["a"], body_part="ABD*"), False),
        (Rule(["a"], description="*br40*"), True),
        (Rule(["a"], description="thorax"), False),
        (Rule(["a"], max_thickness_mm=1.0), True),
        (Rule(["a"], max_thickness_mm=0.9), False),
        (Rule(["a"], min_images=201), False),
    ],
)
def test_a_rule_fits_when_all_that_it_says_fits(rule: Rule, fits: bool) -> None:
    assert rule.fits(SERIES) == fits


def test_a_series_that_does_not_state_its_thickness_fits_no_limit() -> None:
    assert not Rule(["a"], max_thickness_mm=5).fits(SeriesFacts("1", "CT", "", "", None, 9))


def test_queries_of_all_rules_that_fit_are_asked_once() -> None:
    rules = [Rule(["a", "b"]), Rule(["b", "c"], modality="CT"), Rule(["d"], modality="MR")]
    assert plan(rules, [SERIES]) == [("1.2", ["a", "b", "c"])]


def test_series_are_counted_and_damaged_files_passed_over(tmp_path: Path) -> None:
    for n, image in enumerate(study(1, slices=4, BodyPartExamined="CHEST")):
        image.save_as(tmp_path / f"{n}.dcm", enforce_file_format=True)
    (tmp_path / "bad.dcm").write_bytes(b"DICM" * 40)
    (series,) = series_in(tmp_path)
    assert (series.images, series.modality, series.body_part, series.thickness_mm) == (4, "CT", "CHEST", 2.5)
