"""Rules: which queries for which series."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving.node.pieces import study
from tips_med.serving.node.rules import Rule, SeriesFacts, plan_queries, series_in

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
    assert plan_queries(rules, [SERIES]) == [("1.2", ["a", "b", "c"])]


def test_series_are_counted_and_damaged_files_passed_over(tmp_path: Path) -> None:
    for n, image in enumerate(study(1, slices=4, BodyPartExamined="CHEST")):
        image.save_as(tmp_path / f"{n}.dcm", enforce_file_format=True)
    (tmp_path / "bad.dcm").write_bytes(b"DICM" * 40)
    (series,) = series_in(tmp_path)
    assert (series.images, series.modality, series.body_part, series.thickness_mm) == (4, "CT", "CHEST", 2.5)


def saved(folder: Path, number: int, slices: int = 3, **elements: object) -> None:
    for n, image in enumerate(study(number, slices, **elements)):
        image.save_as(folder / f"{number}-{n}.dcm", enforce_file_format=True)


def test_each_series_is_described_by_its_own_headers(tmp_path: Path) -> None:
    saved(tmp_path, 1, BodyPartExamined="CHEST", SliceThickness=1.25)
    saved(tmp_path, 2, slices=2, Modality="MR", SliceThickness=None)
    first, second = series_in(tmp_path)
    assert (first.series_uid, second.series_uid) == tuple(study(n)[0].SeriesInstanceUID for n in (1, 2))
    assert (first.body_part, first.thickness_mm, first.images) == ("CHEST", 1.25, 3)
    assert first.description == study(1)[0].SeriesDescription
    assert (second.modality, second.thickness_mm, second.images) == ("MR", None, 2)


def test_what_a_header_does_not_say_is_empty_and_frames_count_as_images(tmp_path: Path) -> None:
    (image,) = study(1, slices=1)
    for keyword in ("Modality", "SeriesDescription", "SliceThickness"):
        delattr(image, keyword)
    image.NumberOfFrames = 40
    image.save_as(tmp_path / "1.dcm", enforce_file_format=True)
    assert series_in(tmp_path) == [SeriesFacts(image.SeriesInstanceUID, "", "", "", None, 40)]


def test_series_that_no_rule_fits_are_not_planned() -> None:
    other = SeriesFacts("1.3", "MR", "", "", None, 200)
    assert plan_queries([Rule(["a"], modality="CT")], [other, SERIES]) == [("1.2", ["a"])]
    assert plan_queries([], [SERIES]) == []


def test_two_images_are_enough_unless_a_rule_says_otherwise() -> None:
    facts = SeriesFacts("1", "CT", "", "", None, 2)
    assert Rule(["a"]).fits(facts)
    assert not Rule(["a"], min_images=3).fits(facts)
