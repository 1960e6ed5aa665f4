"""The figure of a comparison: for each finding the prior scan, moved, beside the current one, and both enlarged."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tips_med.errors import MissingExtraError, OutputError

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
except ImportError as e:
    raise MissingExtraError("figures", "matplotlib", "figures") from e

from tips_med.exporters.comparison.masks import numbered
from tips_med.exporters.display_windows import Window, window_for
from tips_med.exporters.figure import FOOTER, printable
from tips_med.exporters.panels import ON_IMAGE, OUTLINE, show_outline, show_plane
from tips_med.exporters.views import Box, Plane, axial_plane, body_box, box_corners, scan_box, slice_index
from tips_med.followup import Change, Comparison
from tips_med.followup.wording import ORDER, number, signed
from tips_med.geometry import box_around, transform_points

PRIOR = "#ffb000"
"""Outlines of the prior scan; those of the current one have the colour of answers. Dashes tell them apart, too."""

MAX_ROWS = 4
"""Findings that are drawn; the report has all of them."""

_DPI = 100
_WIDTH_INCH, _GAP_INCH, _CAPTION_INCH, _LINE_INCH = 16.0, 0.1, 0.34, 0.27
_CLOSE_UP_MM = 60.0
_PNG_LEVEL = 3


@dataclass(frozen=True, eq=False)
class _Row:
    """A finding with the axial planes that show it, in the current scan's frame.

    Attributes:
        change: The finding; None for the row of a comparison without any.
        whole: Plane across the body.
        close: Plane about the finding.
        prior_slice: Slice k of the prior scan at the same place; None where slices are not axial.
    """

    change: Change | None
    whole: Plane
    close: Plane
    prior_slice: int | None


def write_comparison_figure(comparison: Comparison, path: Path, *, days_between: int | None = None) -> Path:
    """Draws a comparison as a PNG, 1600 pixels wide; the same comparison gives the same bytes.

    One row a finding, in the order of ``followup.wording.ORDER``: the prior scan, moved onto the current one, the
    current scan, and both enlarged, all in the same axial plane and in radiological convention.

    Args:
        comparison: The comparison.
        path: Path of the PNG.
        days_between: Days from the prior to the current scan; None where that is not known.

    Raises:
        OutputError: When the file cannot be written.
    """
    with mpl.rc_context(mpl.rcParamsDefault):  # not the user's own style, so that figures can be compared
        figure = draw_comparison(comparison, days_between)
        try:
            metadata = {"Software": None, "Description": FOOTER}
            figure.savefig(path, dpi=_DPI, metadata=metadata, pil_kwargs={"compress_level": _PNG_LEVEL})
        except OSError as e:
            raise OutputError(f"cannot be written ({e.strerror or e})", path=path) from e
    return path


def draw_comparison(comparison: Comparison, days_between: int | None = None) -> Figure:
    """The figure itself, on an Agg canvas of its own and in no global state."""
    rows = _rows(comparison)
    window = window_for(comparison.query, comparison.current.scan)
    width = (_WIDTH_INCH - 5 * _GAP_INCH) / 4
    height = float(np.clip(width * max(_proportion(row.whole) for row in rows), 1.5, 4.5))
    title = _title(comparison, days_between, len(rows))
    total = 0.2 + _LINE_INCH * (len(title) + 0.3) + len(rows) * (height + _CAPTION_INCH + _GAP_INCH) + 0.5
    figure = Figure(figsize=(_WIDTH_INCH, total), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    top = total
    for n, line in enumerate(title):
        style: dict[str, Any] = {"fontsize": 15, "weight": "bold"} if n == 0 else {"fontsize": 12}
        figure.text(_GAP_INCH / _WIDTH_INCH, (top - 0.2) / total, line, va="center", parse_math=False, **style)
        top -= _LINE_INCH
    top -= 0.3 * _LINE_INCH + 0.1
    painter = _Painter(comparison, window)
    for row in rows:
        for n, draw in enumerate((painter.prior, painter.current, painter.prior_close, painter.current_close)):
            left = _GAP_INCH + n * (width + _GAP_INCH)
            bottom = top - _CAPTION_INCH - height
            place = (left / _WIDTH_INCH, bottom / total, width / _WIDTH_INCH, height / total)
            axes = figure.add_axes(place, anchor="NW")
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
            axes.set_title(printable(draw(axes, row)), fontsize=11, loc="left", pad=4, parse_math=False)
        top -= height + _CAPTION_INCH + _GAP_INCH
    _footer(figure, comparison, total)
    return figure


class _Painter:
    """Draws the pictures of a row; each gives its caption."""

    def __init__(self, comparison: Comparison, window: Window) -> None:
        self._comparison, self._window = comparison, window
        self._before, self._now = numbered(comparison)

    def prior(self, axes: Axes, row: _Row) -> str:
        self._moved(axes, row.whole)
        self._arrow(axes, row)
        where = "" if row.prior_slice is None else f", its slice {row.prior_slice}"
        return f"Prior, moved onto the current scan{where}"

    def current(self, axes: Axes, row: _Row) -> str:
        self._here(axes, row.whole)
        self._arrow(axes, row)
        k = slice_index(self._comparison.current.scan, row.whole.at_mm)
        return f"Current, {self._window.name}" + ("" if k is None else f", slice {k}")

    def prior_close(self, axes: Axes, row: _Row) -> str:
        self._moved(axes, row.close)
        self._label(axes, row, prior=True)
        return "Prior, enlarged"

    def current_close(self, axes: Axes, row: _Row) -> str:
        self._here(axes, row.close)
        self._label(axes, row, prior=False)
        if row.change is None:
            return "Current, enlarged"
        return f"Current, enlarged: {row.change.status}"

    def _moved(self, axes: Axes, plane: Plane) -> None:
        one = self._comparison
        scan = one.prior.scan
        picture = one.registration.warp(scan.voxels, scan.lps_from_kji, plane.lps_from_pixel, plane.shape)[0]
        show_plane(axes, plane, picture, self._window)
        show_outline(axes, plane, self._prior_cover(plane), PRIOR, "dashed")

    def _here(self, axes: Axes, plane: Plane) -> None:
        scan = self._comparison.current.scan
        show_plane(axes, plane, plane.sample(scan.voxels, scan.lps_from_kji), self._window)
        show_outline(axes, plane, self._prior_cover(plane), PRIOR, "dashed")
        show_outline(axes, plane, plane.cover(self._now, scan.lps_from_kji), OUTLINE)

    def _prior_cover(self, plane: Plane) -> np.ndarray:
        one = self._comparison
        inside = (self._before > 0).astype(np.float32)
        return np.nan_to_num(
            one.registration.warp(inside, one.prior.scan.lps_from_kji, plane.lps_from_pixel, plane.shape)[0]
        )

    def _arrow(self, axes: Axes, row: _Row) -> None:
        """Points at the finding from outside it, with its number."""
        if row.change is None:
            return
        x, y = row.change.current_lps[:2]
        left, right, bottom, top = row.whole.extent_mm
        away = 0.16 * (right - left)
        sideways = away if x < (left + right) / 2 else -away
        # From above, but from below where the letter of the front would be in the way.
        up = -0.6 * away if y - top > 0.25 * (bottom - top) else 0.6 * away
        start = (float(np.clip(x + sideways, left + 8, right - 8)), float(np.clip(y + up, top + 8, bottom - 8)))
        effects = {"path_effects": ON_IMAGE["path_effects"]}
        arrow = {"arrowstyle": "-|>", "color": "white", "linewidth": 1.6, "shrinkB": 9, **effects}
        axes.annotate(str(row.change.number), (x, y), start, fontsize=13, weight="bold", arrowprops=arrow, **ON_IMAGE)

    def _label(self, axes: Axes, row: _Row, *, prior: bool) -> None:
        if row.change is None:
            return
        some = row.change.prior if prior else row.change.current
        text = f"{number(sum(one.volume_ml for one in some))} ml" if some else "not outlined"
        if not prior and row.change.volume is not None:
            text += f", {signed(row.change.volume.change_percent)}%"
        axes.text(
            0.03, 0.97, f"{row.change.number}: {text}", transform=axes.transAxes, va="top", fontsize=13, **ON_IMAGE
        )


def _rows(comparison: Comparison) -> list[_Row]:
    chosen = sorted(comparison.changes, key=lambda change: (ORDER.index(change.status), -change.current_ml))[:MAX_ROWS]
    scan = comparison.current.scan
    body = body_box(scan)
    rows = []
    for change in chosen or [None]:
        middle, reach = _place(comparison, change)
        box = body.around(middle[None], 10.0).within(scan_box(scan).around(middle[None], 30.0))
        whole = axial_plane(float(middle[2]), box, scan)
        half = max(_CLOSE_UP_MM / 2, 0.8 * reach) * np.array([1.0, _proportion(whole), 1.0])
        close = axial_plane(float(middle[2]), Box(middle - half, middle + half), scan)
        there = comparison.registration.points_in_prior(middle)[0]
        rows.append(_Row(change, whole, close, slice_index(comparison.prior.scan, float(there[2]))))
    return rows


def _place(comparison: Comparison, change: Change | None) -> tuple[np.ndarray, float]:
    """The middle of a finding in the plane where it is widest, LPS in mm, and its width in mm."""
    answer = comparison.current
    if change is None:
        return np.array(answer.peak_lps), 0.0
    middle = np.array(change.current_lps)
    if not change.current:
        return middle, max(one.long_axis_mm for one in change.prior)
    labels = np.isin(answer.labels, [one.label for one in change.current])
    points = transform_points(answer.scan.lps_from_kji, np.argwhere(labels))
    step = max(answer.scan.spacing_mm)
    levels, areas = np.unique(np.rint(points[:, 2] / step), return_counts=True)
    level = points[np.rint(points[:, 2] / step) == levels[areas.argmax()]]
    middle[2] = np.median(level[:, 2])
    corners = box_corners(box_around(labels), answer.scan.lps_from_kji)
    return middle, float(np.ptp(corners, axis=0)[:2].max())


def _proportion(plane: Plane) -> float:
    left, right, bottom, top = plane.extent_mm
    return abs(top - bottom) / (right - left)


def _title(comparison: Comparison, days_between: int | None, rows: int) -> list[str]:
    quoted = f"\N{LEFT DOUBLE QUOTATION MARK}{comparison.query.text}\N{RIGHT DOUBLE QUOTATION MARK}, then and now"
    if days_between is not None:
        quoted += f": {days_between} days"
    lines = textwrap.wrap(printable(quoted), 110, max_lines=1, placeholder=" \N{HORIZONTAL ELLIPSIS}")
    said = comparison.sentence
    left_out = len(comparison.changes) - rows
    if comparison.changes and left_out > 0:
        said += f" Drawn: {rows} of {len(comparison.changes)}."
    lines += textwrap.wrap(printable(said), 165)
    for note in comparison.notes:
        lines += textwrap.wrap(printable(note), 165)
    return lines


def _footer(figure: Figure, comparison: Comparison, total_inch: float) -> None:
    handles = [
        Line2D([], [], color=PRIOR, linewidth=2.5, ls="--", label="prior outline, moved"),
        Line2D([], [], color=OUTLINE, linewidth=2.5, label="current outline"),
    ]
    y = 0.25 / total_inch
    figure.legend(
        handles=handles, loc="center left", bbox_to_anchor=(0.0, y), ncols=2, frameon=False, fontsize=10.5
    ).set_in_layout(False)
    quality = comparison.registration.quality
    fit = f"Registration {'good' if quality.good else 'poor'} ({quality.correlation:.2f})"
    model = textwrap.shorten(printable(comparison.current.model), 60, placeholder="\N{HORIZONTAL ELLIPSIS}")
    right = 1 - _GAP_INCH / _WIDTH_INCH
    text = f"{fit}. Limits are 95% of repeat noise alone. {FOOTER}. Model: {model}"
    figure.text(right, y, text, va="center", ha="right", fontsize=10.5, parse_math=False)
