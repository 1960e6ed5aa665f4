"""Small pictures show the finding where it is, however the patient was scanned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.exporters.patient import DIRECTIONS, NODULE_LPS, make_grounding, make_scan
from tips_med.exporters.thumbnail import ThumbnailExporter, draw_thumbnail
from tips_med.exporters.views import body_box
from tips_med.grounding import Grounding


def blue(picture: np.ndarray) -> np.ndarray:
    """Rows and columns of the outline, [n 2]."""
    return np.argwhere((picture[..., 2] > 200) & (picture[..., 0] < 120))


@pytest.mark.parametrize("direction", list(DIRECTIONS))
def test_the_outline_is_about_the_nodule_in_any_orientation(direction):
    answer: Grounding = make_grounding(make_scan(direction))
    picture = draw_thumbnail(answer)
    assert picture.dtype == np.uint8
    assert max(picture.shape[:2]) == 256
    box = body_box(answer.scan)
    place = (NODULE_LPS - box.low) / (box.high - box.low)
    found = blue(picture).mean(axis=0) / picture.shape[:2]
    np.testing.assert_allclose(found, place[[1, 0]], atol=0.05)


def test_a_cross_marks_evidence_without_an_outline_and_nothing_marks_what_is_absent():
    answer = make_grounding()
    nothing = replace(answer, labels=np.zeros_like(answer.labels), instances=())
    for state, marked in (("unsure", True), ("absent", False)):
        picture = draw_thumbnail(replace(nothing, presence=replace(answer.presence, state=state)))
        orange = (picture[..., 0] > 200) & (picture[..., 2] < 80)
        assert orange.any() == marked
        assert not len(blue(picture))


def test_it_is_written_as_a_small_file(tmp_path):
    (path,) = ThumbnailExporter().export(make_grounding(make_scan("oblique")), tmp_path)
    assert path.stat().st_size < 20_000
    with Image.open(path) as picture:
        assert picture.format == "JPEG"
