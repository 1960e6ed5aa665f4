"""The figure of an answer: key slices, a coronal view, close-ups, and what each word of the query lights up."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from tips_med.errors import MissingExtraError, OutputError

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties, findfont, get_font
    from matplotlib.lines import Line2D
except ImportError as e:
    raise MissingExtraError("figures", "matplotlib", "figures") from e

from tips_med.exporters.base import Exporter
from tips_med.exporters.display_windows import SOFT_TISSUE, Window, window_for
from tips_med.exporters.panels import HEAT_COLOURS, ON_IMAGE, OUTLINE, Painter
from tips_med.exporters.views import Box, Plane, axial_plane, coronal_plane, key_heights_mm
from tips_med.geometry import transform_points
from tips_med.grounding import Grounding
from tips_med.grounding.maps import WordMaps
from tips_med.shapes import Heat, Mask

FOOTER = "Research use only, not a medical device"

_DPI = 100
_WIDTH_INCH, _GAP_INCH, _CAPTION_INCH, _LINE_INCH = 16.0, 0.1, 0.3, 0.27
_CLOSE_UP_MM = 70.0
_PNG_LEVEL = 1
"""The quickest; files are about a tenth larger than at level 3."""

_NAMES = "abc"
"""Of the axial slices; small letters, since A stands for anterior."""


@dataclass(frozen=True)
class _Panel:
    """One planned picture: its caption, its place, and its drawing function."""

    caption: str
    plane: Plane
    draw: Callable[[Axes], None]
    bold: bool = False

    @property
    def height_over_width(self) -> float:
        left, right, bottom, top = self.plane.extent_mm
        return abs(top - bottom) / (right - left)


class FigureExporter(Exporter):
    """Writes ``figure.png``."""

    def export(self, grounding: Grounding, folder: Path) -> tuple[Path, ...]:
        """Writes the figure of one answer."""
        return (write_figure(grounding, folder / "figure.png"),)


def write_figure(grounding: Grounding, path: Path, truth: Mask | None = None) -> Path:
    """Draws an answer as a PNG, 1600 pixels wide; the same answer gives the same bytes.

    Up to three axial slices and a coronal one, all along the patient's own axes whatever the scan's orientation, in
    radiological convention (the patient's right on the left of the picture); close-ups without colour; and for each
    word its own map.

    Args:
        grounding: The answer.
        path: Path of the PNG.
        truth: True mask, bool [k j i]; drawn as a dashed outline, with a slice through it. None to leave it out.

    Raises:
        OutputError: When the file cannot be written.
    """
    try:
        path.write_bytes(figure_png(grounding, truth))
    except OSError as e:
        raise OutputError(f"cannot be written ({e.strerror or e})", path=path) from e
    return path


def figure_png(grounding: Grounding, truth: Mask | None = None) -> bytes:
    """The file that ``write_figure`` writes."""
    stream = BytesIO()
    with mpl.rc_context(mpl.rcParamsDefault):  # not the user's own style, so that figures can be compared
        figure = draw_figure(grounding, truth)
        metadata = {"Software": None, "Description": FOOTER}
        figure.savefig(stream, format="png", dpi=_DPI, metadata=metadata, pil_kwargs={"compress_level": _PNG_LEVEL})
    return stream.getvalue()


def draw_figure(grounding: Grounding, truth: Mask | None = None) -> Figure:
    """The figure itself, on an Agg canvas of its own and in no global state."""
    painter, window = Painter(grounding, truth), window_for(grounding.query, grounding.scan)
    heights = key_heights_mm(grounding)
    if truth is not None:
        heights = _heights_with(truth, heights, grounding)
    planes = [axial_plane(z, painter.box, grounding.scan) for z in heights]
    maps = grounding.token_heat
    limits = (0.0, 1.0) if isinstance(maps, WordMaps) else token_limits(list(maps.values()))

    upper = [_axial_panel(painter, plane, window, name) for name, plane in zip(_NAMES, planes, strict=False)]
    upper.append(_coronal_panel(painter, window, dict(zip(_NAMES, heights, strict=False))))
    plain = _close_ups(painter, planes[0], window)
    words = [_word_panel(painter, planes[0], window, word, limits) for word in maps]
    room = max(0, 4 - len(upper))
    upper, lower = upper + plain[:room], plain[room:] + words
    rows = [upper, *_in_rows(lower)]
    columns = [4, *(len(row) for row in rows[1:])]
    columns[1:] = [max([4, *columns[1:]])] * len(rows[1:])

    title = _title_lines(grounding)
    heights_inch = [_row_height_inch(row, n) for row, n in zip(rows, columns, strict=True)]
    top = total = 0.2 + _LINE_INCH * (len(title) + 0.3) + sum(heights_inch) + 0.5
    figure = Figure(figsize=(_WIDTH_INCH, total), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    for n, line in enumerate(title):
        style: dict[str, Any] = {"fontsize": 15, "weight": "bold"} if n == 0 else {"fontsize": 12}
        figure.text(_GAP_INCH / _WIDTH_INCH, (top - 0.2) / total, line, va="center", parse_math=False, **style)
        top -= _LINE_INCH
    top -= 0.3 * _LINE_INCH + 0.1
    for row, height, count in zip(rows, heights_inch, columns, strict=True):
        width = (_WIDTH_INCH - _GAP_INCH * (count + 1)) / count
        for n, panel in enumerate(row):
            tall = height - _CAPTION_INCH - _GAP_INCH
            left = _GAP_INCH + n * (width + _GAP_INCH)
            place = (left / _WIDTH_INCH, (top - height + _GAP_INCH) / total, width / _WIDTH_INCH, tall / total)
            _fill(figure.add_axes(place, anchor="NW"), panel)
        top -= height
    _write_footer(figure, painter, total, limits)
    return figure


def _heights_with(truth: Mask, heights_mm: Sequence[float], grounding: Grounding) -> list[float]:
    """The heights, one of which meets the truth, if there is any."""
    where = np.argwhere(truth)
    if not len(where):
        return list(heights_mm)
    z = transform_points(grounding.scan.lps_from_kji, where)[:, 2]
    if any(z.min() <= height <= z.max() for height in heights_mm):
        return list(heights_mm)
    return [*heights_mm[: len(_NAMES) - 1], float(np.median(z))]


def token_limits(heats: Sequence[Heat]) -> tuple[float, float]:
    """One colour scale for all words: 0 to 1 when they are probabilities, else from their median to their highest."""
    values = np.concatenate([heat[np.isfinite(heat)].ravel() for heat in heats]) if heats else np.empty(0)
    if not values.size or (values.min() >= 0 and values.max() <= 1):
        return 0.0, 1.0
    low, high = np.percentile(values, [50, 100])  # a small lesion is less than a thousandth of a scan
    return float(low), float(max(high, low + 1e-6))


def printable(text: str) -> str:
    """The text with a question mark for what the font cannot show, without line breaks and control characters."""
    known = get_font(findfont(FontProperties())).get_charmap()
    text = " ".join(unicodedata.normalize("NFC", text).split())
    return "".join(c if ord(c) in known and unicodedata.category(c)[0] != "C" else "?" for c in text)


def _axial_panel(painter: Painter, plane: Plane, window: Window, name: str) -> _Panel:
    caption = f"{name}  Axial, {window.name}"
    if not painter.has_peak:
        caption = f"{name}  Axial, middle of the scan: nothing was measured"
    elif painter.grounding.box is None:
        caption = f"{name}  Axial at the highest score: nothing is marked"

    def draw(axes: Axes) -> None:
        painter.scan_in(axes, plane, window)
        painter.heat_on(axes, plane)
        painter.answer_on(axes, plane)

    return _Panel(caption, plane, draw)


def _coronal_panel(painter: Painter, window: Window, heights_mm: dict[str, float]) -> _Panel:
    plane = coronal_plane(float(painter.centre_lps[1]), painter.box, painter.scan)

    def draw(axes: Axes) -> None:
        painter.scan_in(axes, plane, window)
        painter.heat_on(axes, plane)
        painter.answer_on(axes, plane)
        for n, (name, z) in enumerate(heights_mm.items()):
            axes.axhline(z, color="white", linewidth=0.8, linestyle=(0, (2, 4)), path_effects=ON_IMAGE["path_effects"])
            # Side by side, since slices that are close would hide each other's letters.
            axes.text(0.08 + 0.04 * n, z, name, transform=axes.get_yaxis_transform(), va="center", **ON_IMAGE)

    where = "through the highest score" if painter.has_peak else "middle of the scan"
    return _Panel(f"Coronal, {where}", plane, draw)


def _close_ups(painter: Painter, plane: Plane, window: Window) -> list[_Panel]:
    """The first slice without colour: small findings enlarged in each window, large ones in the other window only."""
    labels = plane.sample(painter.grounding.labels, painter.scan.lps_from_kji, linear=False)
    centre, size = painter.centre_lps[:2], 0.0
    if labels.any():
        x, y = plane.pixel_centres
        rows, columns = np.nonzero(labels == 1 + np.argmax(np.bincount(labels[labels > 0])[1:]))
        low, high = np.array([x[columns.min()], y[rows.min()]]), np.array([x[columns.max()], y[rows.max()]])
        centre, size = (low + high) / 2, float((high - low).max())
    windows = [window]
    if painter.scan.modality == "CT" and window is not SOFT_TISSUE:
        windows.append(SOFT_TISSUE)
    shown = painter.box.high - painter.box.low
    part = max(_CLOSE_UP_MM, 1.8 * size) / float(min(shown[:2]))
    box, title = painter.box, "a without colour"
    if part > 0.6:
        windows = windows[-1:]
    else:
        # Of the same proportions as the whole slices, so that the pictures of a row line up.
        low, high = painter.box.low.copy(), painter.box.high.copy()
        low[:2], high[:2] = centre - part * shown[:2] / 2, centre + part * shown[:2] / 2
        box, title = Box(low, high), "a enlarged"

    def draw(axes: Axes, plane: Plane, window: Window) -> None:
        painter.scan_in(axes, plane, window)
        painter.answer_on(axes, plane, numbers=False, peak=False)

    close = axial_plane(plane.at_mm, box, painter.scan)
    return [_Panel(f"{title}, {w.name}", close, partial(draw, plane=close, window=w)) for w in windows]


def _word_panel(painter: Painter, plane: Plane, window: Window, word: str, limits: tuple[float, float]) -> _Panel:
    def draw(axes: Axes) -> None:
        painter.scan_in(axes, plane, window, place=False)
        painter.word_on(axes, plane, word, limits)

    caption = textwrap.shorten(printable(word), 32, placeholder="\N{HORIZONTAL ELLIPSIS}")
    return _Panel(f"\N{LEFT DOUBLE QUOTATION MARK}{caption}\N{RIGHT DOUBLE QUOTATION MARK}", plane, draw, bold=True)


def _in_rows(panels: list[_Panel]) -> list[list[_Panel]]:
    """At most six in a row, evenly."""
    if not panels:
        return []
    count = max(4, ceil(len(panels) / ceil(len(panels) / 6)))
    return [panels[start : start + count] for start in range(0, len(panels), count)]


def _row_height_inch(panels: Sequence[_Panel], columns: int) -> float:
    width = (_WIDTH_INCH - _GAP_INCH * (columns + 1)) / columns
    tallest = width * max(panel.height_over_width for panel in panels)
    return float(np.clip(tallest, 1.5, 5.0)) + _CAPTION_INCH + _GAP_INCH


def _fill(axes: Axes, panel: _Panel) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    weight = "bold" if panel.bold else "normal"
    axes.set_title(panel.caption, fontsize=11.5, weight=weight, loc="left", pad=4, parse_math=False)
    panel.draw(axes)


def _title_lines(grounding: Grounding) -> list[str]:
    quoted = f"\N{LEFT DOUBLE QUOTATION MARK}{grounding.query.text}\N{RIGHT DOUBLE QUOTATION MARK}"
    lines = textwrap.wrap(printable(quoted), 110, max_lines=1, placeholder=" \N{HORIZONTAL ELLIPSIS}")
    return [*lines, *textwrap.wrap(printable(grounding.sentence), 165)]


def _write_footer(figure: Figure, painter: Painter, total_inch: float, limits: tuple[float, float]) -> None:
    grounding = painter.grounding
    handles = [Line2D([], [], color="black", marker="+", ms=10, ls="", mew=1.6, label="highest score")]
    if grounding.box is not None:
        handles.insert(0, Line2D([], [], color=OUTLINE, linewidth=2.5, label="outline of the answer"))
    if painter.truth is not None:
        handles.insert(-1, Line2D([], [], color="black", linewidth=1.5, ls="--", label="truth (white, dashed)"))
    y = 0.25 / total_inch
    figure.legend(
        handles=handles, loc="center left", bbox_to_anchor=(0.0, y), ncols=3, frameon=False, fontsize=10.5
    ).set_in_layout(False)
    left = 0.27 if painter.truth is None else 0.405
    bar = figure.add_axes((left, y, 0.12, 0.1 / total_inch))
    figure.colorbar(ScalarMappable(Normalize(0, 1), HEAT_COLOURS), cax=bar, orientation="horizontal", ticks=[0, 0.5, 1])
    bar.tick_params(labelsize=9, pad=1, length=2)
    title = "score"
    if limits != (0.0, 1.0):
        title += f"; for words, scores from {limits[0]:.2g} to {limits[1]:.2g}"
    figure.text(left + 0.128, y, title, va="center", fontsize=10.5)
    model = textwrap.shorten(printable(grounding.model), 60, placeholder="\N{HORIZONTAL ELLIPSIS}")
    right = 1 - _GAP_INCH / _WIDTH_INCH
    figure.text(right, y, f"{FOOTER}. Model: {model}", va="center", ha="right", fontsize=10.5, parse_math=False)
