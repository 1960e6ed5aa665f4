"""The figure shows the right place, the right way round, for any scan and any query."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from tests.exporters.patient import NODULE_LPS, make_grounding, make_scan, with_text
from tips_med.errors import MissingExtraError, OutputError
from tips_med.exporters.figure import FOOTER, draw_figure, printable, token_limits, write_figure
from tips_med.scan import Scan


def words(figure: Figure) -> list[str]:
    """Everything that is written in a figure."""
    return [found.get_text() for found in figure.findobj(Text) if found.get_text()]


def titles(figure: Figure) -> list[str]:
    """The captions of the panels."""
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


def test_nodule_is_where_it_is_in_every_orientation(any_scan: Scan) -> None:
    figure = draw_figure(make_grounding(any_scan))
    axes = figure.axes[0]
    picture = np.asarray(axes.images[0].get_array())
    left, right, bottom, top = axes.images[0].get_extent()
    assert left < right, "x runs to the patient's left, so the patient's right is on the left of the picture"
    assert bottom > top, "y runs to the back, downwards"
    rows, columns = picture.shape
    column = round((NODULE_LPS[0] - left) / (right - left) * columns - 0.5)
    row = round((NODULE_LPS[1] - top) / (bottom - top) * rows - 0.5)
    assert picture[row, column] > -100
    assert picture[row, columns - 1 - column] < -700, "the other lung has no nodule there"
    heat = np.asarray(axes.images[1].get_array())
    peak = np.unravel_index(np.argmax(heat), heat.shape)
    x, y = left + (peak[1] + 0.5) / columns * (right - left), top + (peak[0] + 0.5) / rows * (bottom - top)
    assert np.hypot(x - NODULE_LPS[0], y - NODULE_LPS[1]) < 5


def test_coronal_view_has_the_head_on_top(any_scan: Scan) -> None:
    figure = draw_figure(make_grounding(any_scan))
    axes = next(a for a in figure.axes if a.get_title(loc="left").startswith("Coronal"))
    picture = np.asarray(axes.images[0].get_array())
    left, right, bottom, top = axes.images[0].get_extent()
    assert top > bottom
    row = round((top - NODULE_LPS[2]) / (top - bottom) * picture.shape[0] - 0.5)
    column = round((NODULE_LPS[0] - left) / (right - left) * picture.shape[1] - 0.5)
    assert picture[row, column] > -100
    assert picture[picture.shape[0] - 1 - row, column] < -700
    letters = [t.get_text() for t in axes.texts]
    assert letters[:4] == ["R", "L", "S", "I"]


@pytest.mark.parametrize("direction", ["axial", "oblique"])
def test_a_millimetre_is_as_long_across_as_down(direction: str) -> None:
    figure = draw_figure(make_grounding(make_scan(direction)))
    for axes in figure.axes:
        if axes.images and axes.get_title(loc="left"):
            left, right, bottom, top = axes.images[0].get_extent()
            rows, columns = np.asarray(axes.images[0].get_array()).shape[:2]
            assert (right - left) / columns == pytest.approx(abs(top - bottom) / rows)
            assert axes.get_aspect() == 1


def test_it_says_what_a_reader_needs() -> None:
    grounding = make_grounding(second=True)
    figure = draw_figure(grounding)
    said = words(figure)
    text = "\n".join(said)
    for needed in (
        grounding.query.text,
        grounding.sentence,
        FOOTER,
        grounding.model,
        "W 1500 L \N{MINUS SIGN}600",
        "W 400 L 40",
        "slice 17",
        "outline of the answer",
    ):
        assert needed in text
    assert {"R", "L", "A", "P", "S", "I", "2 cm", "1", "2"} <= set(said)
    for word in grounding.token_heat:
        assert f"\N{LEFT DOUBLE QUOTATION MARK}{word}\N{RIGHT DOUBLE QUOTATION MARK}" in titles(figure)


def test_every_instance_has_its_slice() -> None:
    grounding = make_grounding(second=True)
    outlined = [axes for axes in draw_figure(grounding).axes if "Axial" in axes.get_title(loc="left")]
    numbers = [{t.get_text() for t in axes.texts} & {"1", "2"} for axes in outlined]
    assert numbers[0] == {"1"}
    assert numbers[1] == {"2"}


def test_absent_is_shown_at_the_peak_and_said() -> None:
    figure = draw_figure(make_grounding(state="absent"))
    text = "\n".join(words(figure))
    assert "nothing is marked" in text
    assert "outline of the answer" not in text
    assert "slice 17" in text


def test_nothing_measured_is_said() -> None:
    grounding = make_grounding(state="absent")
    nan = float("nan")
    grounding = replace(grounding, heat=np.full_like(grounding.heat, nan), peak_lps=(nan, nan, nan))
    assert "nothing was measured" in "\n".join(words(draw_figure(grounding)))


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("ground-glass opacity left lung", "lung window"),
        ("nodule", "lung window"),
        ("left lung", "lung window"),
        ("lesion in the right lung", "lung window"),
        ("pleural effusion", "soft-tissue window"),
        ("liver lesion", "soft-tissue window"),
        ("liver", "soft-tissue window"),
        ("rib fracture", "bone window"),
    ],
)
def test_window_fits_the_finding(text: str, window: str) -> None:
    assert window in titles(draw_figure(make_grounding(text=text)))[0]


def test_mr_has_no_window_in_hu() -> None:
    text = "\n".join(words(draw_figure(make_grounding(make_scan(modality="MR")))))
    assert "MR, 1st to 99th percentile" in text
    assert "soft-tissue" not in text


def test_one_scale_for_all_words() -> None:
    one, other = (np.array(values, np.float32).reshape(1, 1, 2) for values in ([0.0, 1.0], [0.5, np.nan]))
    assert token_limits([one, other]) == (0.0, 1.0)
    low, high = token_limits([np.linspace(-3, 5, 1001, dtype=np.float32).reshape(1, 1, -1)])
    assert low == pytest.approx(1.0)
    assert high == pytest.approx(5.0)
    assert token_limits([]) == (0.0, 1.0)
    assert token_limits([np.full_like(one, np.nan)]) == (0.0, 1.0)


def test_png_is_wide_and_the_same_each_time(tmp_path: Path) -> None:
    first = write_figure(make_grounding(second=True), tmp_path / "first.png")
    second = write_figure(make_grounding(second=True), tmp_path / "second.png")
    assert first.read_bytes() == second.read_bytes()
    assert imread(first).shape[1] == 1600


@pytest.mark.parametrize(
    "text", ["$x_1 nodule", "nodule \N{LUNGS}", "肺 nodule", "nodule\n\tleft\x07", "no{dule} \\frac"]
)
def test_any_query_can_be_drawn(text: str, tmp_path: Path) -> None:
    write_figure(with_text(make_grounding(), text), tmp_path / "figure.png")
    assert "\n" not in printable(text)


def test_tiny_scans_and_tiny_masks_can_be_drawn(tmp_path: Path) -> None:
    scan = make_scan()
    grounding = make_grounding(scan)
    single = Scan(scan.voxels[:1].copy(), scan.lps_from_kji, "CT", "HU")
    labels = np.zeros(single.shape, np.uint8)
    labels[0, 0, 0] = 1
    many = {f"word {n}": grounding.heat for n in range(9)}
    write_figure(replace(grounding, scan=single, labels=labels, token_heat=many), tmp_path / "figure.png")
    empty = Scan(np.full(scan.shape, np.nan, np.float32), scan.lps_from_kji, "CT", "HU")
    write_figure(replace(grounding, scan=empty, token_heat={}), tmp_path / "empty.png")


def test_the_truth_is_drawn_where_it_is_even_far_from_the_answer(tmp_path: Path) -> None:
    grounding = make_grounding()
    truth = np.zeros(grounding.scan.shape, bool)
    truth[-2:, 3:9, 3:9] = True
    plain, with_truth = draw_figure(grounding), draw_figure(grounding, truth)
    assert "truth (white, dashed)" in [text.get_text() for text in with_truth.legends[0].get_texts()]
    assert "truth (white, dashed)" not in [text.get_text() for text in plain.legends[0].get_texts()]
    contours = [collection for axes in with_truth.axes for collection in axes.collections]
    dashed = [contour for contour in contours if getattr(contour, "linestyles", None) == "dashed"]
    assert dashed


def test_a_place_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_figure(make_grounding(), tmp_path / "missing" / "figure.png")


def test_an_answer_shows_itself_in_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = make_grounding(make_scan())
    assert answer._repr_png_() == write_figure(answer, tmp_path / "figure.png").read_bytes()
    assert answer.sentence in repr(answer)
    assert len(repr(answer)) < 500, "no arrays"

    def missing(_: str) -> None:
        raise MissingExtraError("figures", "matplotlib", "figures")

    monkeypatch.setattr("tips_med.grounding.answer.import_module", missing)
    assert answer._repr_png_() is None
