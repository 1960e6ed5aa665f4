"""The pictures of a figure: one plane, what is drawn over it, and the marks that say where it is."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.patheffects import withStroke

from tips_med.exporters.display_windows import Window
from tips_med.exporters.views import Box, Plane, body_box, box_corners, height_step_mm, scan_box, slice_index
from tips_med.geometry import box_around, index_from_crop
from tips_med.grounding import Grounding
from tips_med.grounding.maps import WordMaps
from tips_med.shapes import Labels, Mask

OUTLINE, TRUTH = "#3ee0ff", "#ffffff"
HEAT_COLOURS = ListedColormap(mpl.colormaps["inferno"](np.linspace(0.42, 0.88, 256)), name="heat")
"""Brightness rises with the value, and no hue meets that of the outline, for any kind of colour vision."""

ON_IMAGE: dict[str, Any] = {
    "color": "white",
    "path_effects": [withStroke(linewidth=2.5, foreground="black")],
    "parse_math": False,
}
_HEAT_OPACITY = 0.55
_UNSEEN = "#3a4454"
_SMALL = 9.5
_SLABS_AROUND = 6
"""Number of slabs of a word's map to each side of a plane that are made: interpolation reaches less far."""


class Painter:
    """Paints one answer's planes.

    Args:
        grounding: The answer.
        truth: True mask, bool [k j i]; None to leave it out.

    Attributes:
        box: Part of the patient to show: the body, and all that is marked or true.
        centre_lps: Position of the peak, LPS in mm; the middle of the scan without a peak.
    """

    def __init__(self, grounding: Grounding, truth: Mask | None = None) -> None:
        self.grounding, self.scan, self.truth = grounding, grounding.scan, truth
        self._pictures: dict[Plane, np.ndarray] = {}
        whole = scan_box(self.scan)
        peak = np.asarray(grounding.peak_lps, dtype=np.float64)
        self.has_peak = bool(np.isfinite(peak).all())
        self.centre_lps = peak if self.has_peak else (whole.low + whole.high) / 2
        shown = [grounding.box, None if truth is None else box_around(truth)]
        points = np.vstack([*(box_corners(one, self.scan.lps_from_kji) for one in shown), self.centre_lps[None]])
        self.box: Box = body_box(self.scan).around(points, 10.0).within(whole)

    def scan_in(self, axes: Axes, plane: Plane, window: Window, *, place: bool = True) -> None:
        """The grey picture with its sides, its scale, and (with ``place``) its place and window."""
        if plane not in self._pictures:  # the words are drawn on the first plane again
            self._pictures[plane] = plane.sample(self.scan.voxels, self.scan.lps_from_kji)
        show_plane(axes, plane, self._pictures[plane], window)
        if place:
            style = {"transform": axes.transAxes, "va": "top", "fontsize": _SMALL, **ON_IMAGE}
            axes.text(0.02, 0.98, self._place(plane), **style)
            axes.text(0.98, 0.98, str(window), ha="right", **style)

    def heat_on(self, axes: Axes, plane: Plane) -> None:
        """The answer's map, translucent: the lower the value, the clearer the scan."""
        show_heat(axes, plane, plane.sample(self.grounding.heat, self.grounding.lps_from_heat))

    def word_on(self, axes: Axes, plane: Plane, word: str, limits: tuple[float, float]) -> None:
        """A word's map in the same way; only what lies about the plane is made of it, where it is made when read."""
        maps, affine = self.grounding.token_heat, self.grounding.lps_from_heat
        if isinstance(maps, WordMaps) and plane.view == "axial":
            slab = round((plane.at_mm - affine[2, 3]) / affine[2, 0])
            first = max(0, slab - _SLABS_AROUND)
            heat = maps.slabs(word, slice(first, max(first, slab + _SLABS_AROUND) + 1))
            affine = affine @ index_from_crop((first, 0, 0))
        else:
            heat = maps[word]
        low, high = limits
        show_heat(axes, plane, (plane.sample(heat, affine) - low) / (high - low))

    def answer_on(self, axes: Axes, plane: Plane, *, numbers: bool = True, peak: bool = True) -> None:
        """The outline of the mask, the numbers of the instances, and the highest score where the plane meets it."""
        labels, lps_from_kji = self.grounding.labels, self.scan.lps_from_kji
        x, y = plane.pixel_centres
        self._outline_on(axes, plane, labels, OUTLINE, "solid")
        if self.truth is not None:
            self._outline_on(axes, plane, self.truth, TRUTH, "dashed")
        if numbers and len(self.grounding.instances) > 1:
            here = plane.sample(labels, lps_from_kji, linear=False)
            for label in np.unique(here[here > 0]):
                rows, columns = np.nonzero(here == label)
                at = (float(x[columns.max()]), float(y[rows[np.argmax(columns)]]))
                axes.annotate(str(label), at, (5, 5), textcoords="offset points", fontsize=10.5, **ON_IMAGE)
        lps = self.grounding.peak_lps
        at, through = (lps[1], lps[2]) if plane.view == "axial" else (lps[2], lps[1])
        if peak and self.has_peak and abs(through - plane.at_mm) <= height_step_mm(self.scan):
            for colour, width in (("black", 3.0), ("white", 1.4)):
                axes.plot(lps[0], at, "+", color=colour, markersize=11, markeredgewidth=width)

    def _outline_on(self, axes: Axes, plane: Plane, labels: Labels | Mask, colour: str, style: str) -> None:
        show_outline(axes, plane, plane.cover(labels, self.scan.lps_from_kji), colour, style)

    def _place(self, plane: Plane) -> str:
        if plane.view == "coronal":
            return f"y {plane.at_mm:.0f} mm".replace("-", "\N{MINUS SIGN}")
        k = slice_index(self.scan, plane.at_mm)
        z = f"z {plane.at_mm:.1f} mm".replace("-", "\N{MINUS SIGN}")
        return z if k is None else f"slice {k}\n{z}"


def show_plane(axes: Axes, plane: Plane, picture: np.ndarray, window: Window) -> None:
    """A grey picture [row column] of a plane, NaN where nothing was measured, with its sides and its scale."""
    low, high = window.limits
    axes.set_facecolor(_UNSEEN)
    axes.imshow(picture, cmap="gray", vmin=low, vmax=high, extent=plane.extent_mm, interpolation="bilinear")
    axes.autoscale(False)
    _mark_sides(axes, plane)
    _mark_scale(axes, plane)


def show_heat(axes: Axes, plane: Plane, values: np.ndarray) -> None:
    """Values of a map on a plane, 0 to 1, NaN where nothing was seen, [row column]."""
    values = np.clip(np.nan_to_num(values), 0, 1)
    alpha = _HEAT_OPACITY * np.clip(1.6 * values, 0, 1)
    axes.imshow(values, cmap=HEAT_COLOURS, norm=Normalize(0, 1), alpha=alpha, extent=plane.extent_mm)


def show_outline(axes: Axes, plane: Plane, inside: np.ndarray, colour: str, style: str = "solid") -> None:
    """The outline of what covers more than half of a pixel; ``inside`` is the covered share, 0 to 1, [row column]."""
    if inside.max() > 0.5 and min(inside.shape) >= 2:
        x, y = plane.pixel_centres
        lines = axes.contour(x, y, inside, levels=[0.5], colors=colour, linewidths=1.3, linestyles=style)
        lines.set_path_effects([withStroke(linewidth=2.4, foreground="black", alpha=0.5)])


def _mark_sides(axes: Axes, plane: Plane) -> None:
    """The patient's sides, in letters, at the edges that they are at."""
    sides = ("R", "L", "A", "P") if plane.view == "axial" else ("R", "L", "S", "I")
    places = ((0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center"))
    places += ((0.5, 0.985, "center", "top"), (0.5, 0.015, "center", "bottom"))
    for letter, (x, y, ha, va) in zip(sides, places, strict=True):
        axes.text(x, y, letter, transform=axes.transAxes, ha=ha, va=va, weight="bold", fontsize=12, **ON_IMAGE)


def _mark_scale(axes: Axes, plane: Plane) -> None:
    """A bar of a round length, at most a quarter of the picture, in its lower right corner."""
    left, right, bottom, top = plane.extent_mm
    length = next((n for n in (100, 50, 20, 10, 5, 2, 1) if n <= 0.28 * (right - left)), 1)
    end, at = right - 0.03 * (right - left), bottom + 0.05 * (top - bottom)
    for colour, width in (("black", 5.0), ("white", 2.5)):
        axes.plot([end - length, end], [at, at], color=colour, linewidth=width, solid_capstyle="butt")
    label = f"{length // 10} cm" if length >= 10 else f"{length} mm"
    at = bottom + 0.07 * (top - bottom)
    axes.text(end - length / 2, at, label, ha="center", va="bottom", fontsize=_SMALL, **ON_IMAGE)
