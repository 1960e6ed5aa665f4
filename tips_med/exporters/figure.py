"""The figure of an answer: key slices, a coronal view, close-ups, and what each word of the query lights up."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tips_med.errors import OutputError
from tips_med.exporters.base import Exporter
from tips_med.exporters.views import (
    Box,
    Plane,
    axial_plane,
    body_box,
    coronal_plane,
    height_step_mm,
    key_heights_mm,
    scan_box,
    slice_index,
)
from tips_med.geometry import grid_corners, transform_points
from tips_med.grounding import Grounding
from tips_med.scan import Scan
from tips_med.shapes import Heat

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.font_manager import FontProperties, findfont, get_font
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import withStroke
except ImportError as e:
    raise OutputError(
        "figures need matplotlib, which is not installed",
        remedy="pip install matplotlib",
        code="missing-extra",
    ) from e

FOOTER = "Research use only, not a medical device"

_WIDTH_INCH, _DPI = 16.0, 100
_ROW_PANELS = 5
_CLOSE_UP_MM = 70.0
_OUTLINE = "#3ee0ff"
_HEAT_COLOURS = ListedColormap(mpl.colormaps["inferno"](np.linspace(0.45, 1.0, 256)), name="heat")
_HEAT_OPACITY = 0.6
_UNSEEN = "#3a3f47"
_ON_IMAGE = {"color": "white", "path_effects": [withStroke(linewidth=2.5, foreground="black")], "parse_math": False}


@dataclass(frozen=True)
class Window:
    """A display window, in the scan's unit."""

    name: str
    width: float
    level: float

    @property
    def limits(self) -> tuple[float, float]:
        """The values shown black and white."""
        return self.level - self.width / 2, self.level + self.width / 2

    def __str__(self) -> str:
        return f"{self.name} W {self.width:.0f} L {self.level:.0f}".replace("-", "\N{MINUS SIGN}")


LUNG = Window("lung", 1500, -600)
SOFT_TISSUE = Window("soft tissue", 400, 40)
BONE = Window("bone", 1800, 400)

_LUNG_TERMS = frozenset(
    "lung airway trachea bronchus bronchi nodule mass lesion ground_glass_opacity consolidation emphysema reticulation "
    "honeycombing atelectasis cavity pneumothorax bronchiectasis infiltrate opacity crazy_paving tree_in_bud bulla "
    "fibrosis septal_thickening".split()
)
_LUNG_STRUCTURES = frozenset("lung airway trachea bronchus bronchi".split())
_BONE_TERMS = frozenset("bone rib ribs spine vertebra fracture sternum".split())


class FigureExporter(Exporter):
    """Writes ``figure.png``."""

    def export(self, grounding: Grounding, folder: Path) -> tuple[Path, ...]:
        """Writes the figure of one answer."""
        return (write_figure(grounding, folder / "figure.png"),)


def write_figure(grounding: Grounding, path: Path) -> Path:
    """Draws an answer as a PNG, 1600 pixels wide; the same answer gives the same bytes.

    Up to three axial slices and a coronal one, all along the patient's own axes whatever the scan's orientation, in
    radiological convention; below them close-ups without colour, and each word's own map.

    Raises:
        OutputError: When the file cannot be written.
    """
    with mpl.rc_context(mpl.rcParamsDefault):
        figure = draw_figure(grounding)
        try:
            figure.savefig(path, dpi=_DPI, metadata={"Software": None, "Description": FOOTER})
        except OSError as e:
            raise OutputError(f"cannot be written ({e.strerror or e})", path=path) from e
    return path


def draw_figure(grounding: Grounding) -> Figure:
    """The figure itself, bound to the Agg canvas and to no global state."""
    pictures = _Pictures(grounding)
    heights = key_heights_mm(grounding)
    axial = [axial_plane(z, pictures.box, grounding.scan) for z in heights]
    coronal = coronal_plane(float(pictures.centre_lps[1]), pictures.box, grounding.scan)
    tokens = list(grounding.token_heat.items())
    close_ups = _close_up_windows(pictures, axial[0])
    lower = len(close_ups) + len(tokens)

    upper_inch = _row_height_inch([*axial, coronal], len(axial) + 1)
    lower_inch = _row_height_inch(axial[:1], _ROW_PANELS) + 0.1
    lower_rows = -(-lower // _ROW_PANELS)
    title = _title_lines(grounding)
    title_inch = 0.45 + 0.27 * (len(title) - 1)
    heights_inch = [title_inch, upper_inch, lower_inch * lower_rows, 0.5]
    figure = Figure(figsize=(_WIDTH_INCH, sum(heights_inch)), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    head, upper, below, foot = figure.subfigures(4, 1, height_ratios=heights_inch, hspace=0)
    _write_title(head, title, title_inch)

    names = "ABC"[: len(axial)]
    for n, plane in enumerate(axial):
        axes = _panel(upper, n, len(axial) + 1, 1, 0, _axial_caption(grounding, plane, names[n], n))
        pictures.draw(axes, plane, pictures.window)
        pictures.add_heat(axes, plane, grounding.heat, (0.0, 1.0))
        pictures.add_answer(axes, plane, numbers=True)
    axes = _panel(upper, len(axial), len(axial) + 1, 1, 0, "Coronal, through the highest score")
    pictures.draw(axes, coronal, pictures.window)
    pictures.add_heat(axes, coronal, grounding.heat, (0.0, 1.0))
    pictures.add_answer(axes, coronal, numbers=False)
    for name, z in zip(names, heights, strict=True):
        axes.axhline(z, color="white", linewidth=0.8, linestyle=(0, (2, 4)), alpha=0.8)
        axes.text(0.015, z, name, transform=axes.get_yaxis_transform(), va="center", fontsize=10, **_ON_IMAGE)

    for n, (window, box) in enumerate(close_ups):
        axes = _panel(below, n % _ROW_PANELS, _ROW_PANELS, lower_rows, n // _ROW_PANELS, f"A without colour, {window.name}")
        plane = axial_plane(heights[0], box, grounding.scan)
        pictures.draw(axes, plane, window)
        pictures.add_answer(axes, plane, numbers=False, peak=False)
    limits = _token_limits([heat for _, heat in tokens])
    for n, (word, heat) in enumerate(tokens, len(close_ups)):
        caption = _printable(f"\N{LEFT DOUBLE QUOTATION MARK}{word}\N{RIGHT DOUBLE QUOTATION MARK}")
        axes = _panel(below, n % _ROW_PANELS, _ROW_PANELS, lower_rows, n // _ROW_PANELS, caption, bold=True)
        pictures.draw(axes, axial[0], pictures.window, words=False)
        pictures.add_heat(axes, axial[0], heat, limits)
    _write_footer(foot, grounding, tokens=bool(tokens), limits=limits)
    return figure


class _Pictures:
    """Draws one answer's planes."""

    def __init__(self, grounding: Grounding) -> None:
        self.grounding, self.scan = grounding, grounding.scan
        whole = scan_box(self.scan)
        marked = transform_points(self.scan.lps_from_kji, _corner_indices(grounding.labels))
        peak = np.asarray(grounding.peak_lps, dtype=np.float64)
        self.has_peak = bool(np.isfinite(peak).all())
        self.centre_lps = peak if self.has_peak else (whole.low + whole.high) / 2
        points = np.vstack([marked, self.centre_lps[None]])
        self.box = body_box(self.scan).around(points, 10.0).within(whole)
        self.window = _window(grounding)

    def draw(self, axes: Axes, plane: Plane, window: Window, *, words: bool = True) -> None:
        """The grey picture, and what a reader needs to know of it."""
        picture = plane.sample(self.scan.voxels, self.scan.lps_from_kji)
        low, high = window.limits
        axes.set_facecolor(_UNSEEN)
        axes.imshow(picture, cmap="gray", vmin=low, vmax=high, extent=plane.extent_mm, interpolation="bilinear")
        axes.autoscale(False)
        sides = ("R", "L", "A", "P") if plane.view == "axial" else ("R", "L", "S", "I")
        places = ((0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center"))
        places += ((0.5, 0.985, "center", "top"), (0.5, 0.015, "center", "bottom"))
        for letter, (x, y, ha, va) in zip(sides, places, strict=True):
            axes.text(x, y, letter, transform=axes.transAxes, ha=ha, va=va, weight="bold", fontsize=12, **_ON_IMAGE)
        _scale_bar(axes, plane)
        if words:
            axes.text(0.02, 0.98, self._place(plane), transform=axes.transAxes, va="top", fontsize=9.5, **_ON_IMAGE)
            axes.text(0.02, 0.02, str(window), transform=axes.transAxes, va="bottom", fontsize=9.5, **_ON_IMAGE)

    def add_heat(self, axes: Axes, plane: Plane, heat: Heat, limits: tuple[float, float]) -> None:
        """A translucent map: the lower the value, the clearer the scan."""
        values = Normalize(*limits, clip=True)(plane.sample(heat, self.grounding.lps_from_heat))
        values = np.ma.filled(np.ma.masked_invalid(values), 0.0)
        axes.imshow(
            values,
            cmap=_HEAT_COLOURS,
            vmin=0,
            vmax=1,
            alpha=_HEAT_OPACITY * np.clip(values * 1.6, 0, 1),
            extent=plane.extent_mm,
            interpolation="nearest",
        )

    def add_answer(self, axes: Axes, plane: Plane, *, numbers: bool, peak: bool = True) -> None:
        """The mask's outline, the instances' numbers and the highest score."""
        labels = self.grounding.labels
        x, y = _pixel_centres(plane)
        inside = np.nan_to_num(plane.sample((labels > 0).astype(np.float32), self.scan.lps_from_kji))
        if inside.max() > 0.5 and min(inside.shape) >= 2:
            axes.contour(x, y, inside, levels=[0.5], colors="black", linewidths=2.4, alpha=0.5)
            axes.contour(x, y, inside, levels=[0.5], colors=_OUTLINE, linewidths=1.3)
        if numbers and len(self.grounding.instances) > 1:
            here = plane.sample(labels, self.scan.lps_from_kji, linear=False)
            for label in np.unique(here[here > 0]):
                rows, columns = np.nonzero(here == label)
                at = (x[columns.max()], y[rows[np.argmax(columns)]])
                axes.annotate(str(label), at, (4, 4), textcoords="offset points", fontsize=10, **_ON_IMAGE)
        lps = self.grounding.peak_lps
        at, through = (lps[1], lps[2]) if plane.view == "axial" else (lps[2], lps[1])
        if peak and self.has_peak and abs(through - plane.at_mm) <= height_step_mm(self.scan):
            for colour, width in (("black", 3.0), ("white", 1.4)):
                axes.plot(lps[0], at, "+", color=colour, markersize=11, markeredgewidth=width)

    def _place(self, plane: Plane) -> str:
        if plane.view == "coronal":
            return f"y {plane.at_mm:.0f} mm".replace("-", "\N{MINUS SIGN}")
        k = slice_index(self.scan, plane.at_mm)
        z = f"z {plane.at_mm:.1f} mm".replace("-", "\N{MINUS SIGN}")
        return z if k is None else f"slice {k}\n{z}"


def _window(grounding: Grounding) -> Window:
    """The window that the finding is read in; for what is not CT, the middle 98% of the values."""
    scan, query = grounding.scan, grounding.query
    if scan.modality != "CT":
        return _percentile_window(scan)
    finding = query.finding.id if query.finding else None
    structure = query.structure.id if query.structure else None
    if finding in _BONE_TERMS or (structure in _BONE_TERMS and finding not in _LUNG_TERMS):
        return BONE
    if structure in _LUNG_STRUCTURES and finding in (None, *_LUNG_TERMS):
        return LUNG
    if structure is None and finding in _LUNG_TERMS:
        return LUNG
    return SOFT_TISSUE


def _percentile_window(scan: Scan) -> Window:
    values = scan.voxels[:: max(1, scan.shape[0] // 32), ::4, ::4]
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, [1, 99]) if values.size else (0.0, 1.0)
    return Window(scan.modality, max(float(high - low), 1e-6), float(low + high) / 2)


def _close_up_windows(pictures: _Pictures, plane: Plane) -> list[tuple[Window, Box]]:
    """Which close-ups to show, and of what part: small findings enlarged, large ones in the other window."""
    grounding, scan = pictures.grounding, pictures.scan
    here = plane.sample(grounding.labels, scan.lps_from_kji, linear=False) > 0
    x, y = _pixel_centres(plane)
    labels = plane.sample(grounding.labels, scan.lps_from_kji, linear=False)
    if here.any():
        first = int(np.argmax(np.bincount(labels[here])))
        rows, columns = np.nonzero(labels == first)
        low, high = np.array([x[columns].min(), y[rows].min()]), np.array([x[columns].max(), y[rows].max()])
        centre, size = (low + high) / 2, float((high - low).max())
    else:
        centre, size = pictures.centre_lps[:2], 0.0
    windows = [pictures.window]
    if scan.modality == "CT" and pictures.window is not SOFT_TISSUE:
        windows.append(SOFT_TISSUE)
    half = max(_CLOSE_UP_MM, 1.8 * size) / 2
    whole = pictures.box.high - pictures.box.low
    if 2 * half > 0.6 * float(whole[:2].max()):
        return [(window, pictures.box) for window in windows[-1:]]
    # As wide as the other panels of its row, so that all line up.
    ratio = float(whole[0] / whole[1])
    reach = np.array([half * max(ratio, 1.0), half / min(ratio, 1.0)])
    reach = np.array([reach[0], reach[0] / ratio])
    low, high = pictures.box.low.copy(), pictures.box.high.copy()
    low[:2], high[:2] = centre - reach, centre + reach
    return [(window, Box(low, high)) for window in windows]


def _token_limits(heats: Sequence[Heat]) -> tuple[float, float]:
    """One colour scale for all words: 0 to 1 when they are probabilities, else from their 50th to 99.9th percentile."""
    values = np.concatenate([heat[np.isfinite(heat)].ravel() for heat in heats]) if heats else np.empty(0)
    if not values.size or (values.min() >= 0 and values.max() <= 1):
        return 0.0, 1.0
    low, high = np.percentile(values, [50, 99.9])
    return float(low), float(max(high, low + 1e-6))


def _title_lines(grounding: Grounding) -> list[str]:
    query, presence = grounding.query, grounding.presence
    said = f"{presence.state}, probability {presence.probability:.2f}"
    if query.negated:
        holds = "is undecided" if presence.holds is None else "holds" if presence.holds else "does not hold"
        said += f"; the negated statement {holds}"
    if query.unknown_words:
        said += f"; not understood, and not used: {', '.join(query.unknown_words)}"
    asked = f"\N{LEFT DOUBLE QUOTATION MARK}{query.text}\N{RIGHT DOUBLE QUOTATION MARK}"
    lines = [*textwrap.wrap(_printable(asked), 120)[:3], *textwrap.wrap(_printable(grounding.sentence), 175)[:4]]
    return [*lines, *textwrap.wrap(_printable(said), 175)[:3]]


def _write_title(head: SubFigure, lines: Sequence[str], height_inch: float) -> None:
    for n, line in enumerate(lines):
        y = 1 - (0.24 + 0.27 * n) / height_inch
        size, weight = (15, "bold") if n == 0 else (12, "normal")
        head.text(0.012, y, line, va="center", fontsize=size, weight=weight, parse_math=False)


def _write_footer(foot: SubFigure, grounding: Grounding, *, tokens: bool, limits: tuple[float, float]) -> None:
    handles = [
        Line2D([], [], color=_OUTLINE, linewidth=2.5, label="outline of the answer"),
        Line2D([], [], color="black", marker="+", markersize=10, linestyle="", markeredgewidth=1.6, label="highest score"),
    ]
    if not grounding.labels.any():
        handles = handles[1:]
    foot.legend(handles=handles, loc="center left", bbox_to_anchor=(0.005, 0.5), ncols=2, frameon=False, fontsize=10.5)
    bar = foot.add_axes((0.30, 0.50, 0.12, 0.22))
    foot.colorbar(ScalarMappable(Normalize(0, 1), _HEAT_COLOURS), cax=bar, orientation="horizontal", ticks=[0, 0.5, 1])
    bar.tick_params(labelsize=9, pad=1, length=2)
    said = "probability"
    if tokens:
        same = limits == (0.0, 1.0)
        said += "; words: the same scale" if same else f"; words: score {limits[0]:.2g} to {limits[1]:.2g}"
    foot.text(0.428, 0.5, said, va="center", fontsize=10.5)
    model = _printable(f"{FOOTER}. Model: {grounding.model}")
    foot.text(0.99, 0.5, model, va="center", ha="right", fontsize=10.5, parse_math=False)


def _axial_caption(grounding: Grounding, plane: Plane, name: str, n: int) -> str:
    caption = f"{name}  Axial"
    if grounding.labels.any():
        return caption
    if not np.isfinite(grounding.peak_lps).all():
        return f"{caption}, middle of the scan; nothing was measured"
    return f"{caption}, at the highest score; nothing is marked"


def _panel(figure: SubFigure, column: int, columns: int, rows: int, row: int, caption: str, *, bold: bool = False) -> Axes:
    """One picture's axes with its caption above."""
    height_inch = figure.bbox.height / figure.figure.dpi / rows
    gap, caption_part = 0.006, 0.30 / height_inch
    width, height = (1 - gap * (columns + 1)) / columns, (1 - caption_part - 0.02) / rows
    bottom = (rows - row - 1) / rows + 0.01 / rows
    axes = figure.add_axes((gap + column * (width + gap), bottom, width, height))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(caption, fontsize=12, weight="bold" if bold else "normal", loc="left", pad=4, parse_math=False)
    return axes


def _row_height_inch(planes: Iterable[Plane], columns: int) -> float:
    """The height of a row whose panels fill the width."""
    width = _WIDTH_INCH * (1 - 0.006 * (columns + 1)) / columns
    ratio = max(abs(p.extent_mm[3] - p.extent_mm[2]) / (p.extent_mm[1] - p.extent_mm[0]) for p in planes)
    return float(np.clip(width * ratio, 2.0, 6.0)) + 0.32


def _scale_bar(axes: Axes, plane: Plane) -> None:
    """A bar of a round length, about a fifth of the picture, in its lower right corner."""
    left, right, bottom, top = plane.extent_mm
    length = next((n for n in (100, 50, 20, 10, 5, 2, 1) if n <= 0.28 * (right - left)), 1)
    end, at = right - 0.03 * (right - left), bottom + 0.05 * (top - bottom)
    for colour, width in (("black", 5), ("white", 2.5)):
        axes.plot([end - length, end], [at, at], color=colour, linewidth=width, solid_capstyle="butt")
    label = f"{length // 10} cm" if length >= 10 else f"{length} mm"
    at = bottom + 0.065 * (top - bottom)
    axes.text(end - length / 2, at, label, ha="center", va="bottom", fontsize=9.5, **_ON_IMAGE)


def _pixel_centres(plane: Plane) -> tuple[np.ndarray, np.ndarray]:
    _, rows, columns = plane.shape
    affine = plane.lps_from_pixel
    down = 1 if plane.view == "axial" else 2
    return affine[0, 3] + affine[0, 2] * np.arange(columns), affine[down, 3] + affine[down, 1] * np.arange(rows)


def _corner_indices(labels: np.ndarray) -> np.ndarray:
    """The corners, as indices [8 3], of the box about all that is marked; none [0 3] when nothing is."""
    marked = [np.flatnonzero(labels.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if not marked[0].size:
        return np.empty((0, 3))
    start = np.array([m[0] for m in marked])
    size = tuple(int(m[-1] - m[0] + 1) for m in marked)
    return grid_corners(np.eye(4), size) + start


def _printable(text: str) -> str:
    """The text with a question mark for what the font cannot show, and without line breaks and control characters."""
    known = get_font(findfont(FontProperties())).get_charmap()
    text = " ".join(unicodedata.normalize("NFC", text).split())
    return "".join(c if ord(c) in known and unicodedata.category(c)[0] != "C" else "?" for c in text)
