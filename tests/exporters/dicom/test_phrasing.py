"""Results count images as the PACS does, and draw no word that was typed freely."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from tests.exporters.dicom.answers import answer, multiframe
from tests.readers.awkward.writing import make_series, write_series
from tips_med.deidentification import Deidentifier
from tips_med.exporters.dicom import make_results, read_source
from tips_med.exporters.dicom.key_image import draw
from tips_med.exporters.dicom.phrasing import answer_sentence, place
from tips_med.readers import read_scan


def comments(report: Dataset) -> list[str]:
    found = []

    def look(_: Dataset, element: object) -> None:
        if getattr(element, "keyword", "") == "TextValue":
            found.append(str(element.value))  # type: ignore[attr-defined]

    report.walk(look)
    return found


def numbered(folder: Path, numbers: list[int | None]) -> Path:
    slices = make_series(slices=len(numbers))
    return write_series(folder, [item.set(InstanceNumber=n) for item, n in zip(slices, numbers, strict=True)])


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (list(range(1, 13)), "images 3 to 5"),
        (list(range(112, 100, -1)), "images 108 to 110"),
        ([1] * 12, "slices 3 to 5 of 12, counted towards the head"),
        ([None] * 12, "slices 3 to 5 of 12, counted towards the head"),
    ],
)
def test_slices_are_named_by_instance_number_where_there_is_one(
    tmp_path: Path, numbers: list[int | None], said: str
) -> None:
    path = numbered(tmp_path / "series", numbers)
    grounding = answer(read_scan(path))
    source = read_source(path, grounding.scan)
    assert place(grounding, source, 2, 4) == said
    told = replace(grounding, sentence="Nodule: present, 1.2 ml, slices 2 to 4.")
    assert answer_sentence(told, source) == f"Nodule: present, 1.2 ml, {said}."
    first, last = grounding.instances[0].slices
    report = make_results(told, source).report
    assert any(place(grounding, source, first, last)[1:] in line for line in comments(report))


def test_frames_are_named_by_frame_number(tmp_path: Path) -> None:
    path = multiframe(tmp_path)
    grounding = answer(read_scan(path))
    source = read_source(path, grounding.scan)
    assert place(grounding, source, 0, 1) == "frames 11 to 12", "the first frame is at the head, and k counts upwards"
    assert place(grounding, source, 0, 0) == "frame 12"


def test_what_was_typed_is_not_drawn_and_goes_with_the_identity(tmp_path: Path) -> None:
    path = numbered(tmp_path / "series", list(range(1, 13)))
    scan = read_scan(path)
    typed, plain = "nodule in the left lung of Zplanted", "nodule in the left lung"
    assert np.array_equal(draw(answer(scan, typed), 3, "image 4"), draw(answer(scan, plain), 3, "image 4"))
    assert any(
        "Zplanted" in line for line in comments(make_results(answer(scan, typed), read_source(path, scan)).report)
    )
    private = Deidentifier(bytes(32))
    clean = private.scan(scan)
    told = replace(answer(clean, typed), sentence="Not understood: 'Zplanted'; answered without it. Nodule: present.")
    made = make_results(told, read_source(path, clean, private), heat="parametric").named.values()
    assert all("Zplanted" not in str(one) for one in made)
