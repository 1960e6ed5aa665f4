"""An answer as an interactive widget in a notebook: ``answer.view()``.

Everything is handed over in memory: no file is written, and neither Python nor the widget asks another host.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from scipy.ndimage import binary_erosion, generate_binary_structure

from tips_med.errors import MissingExtraError

try:
    import ipywidgets as widgets
    from ipyniivue import ColormapType, MultiplanarType, NiiVue, ShowRender, SliceType, Volume
except ImportError as e:
    raise MissingExtraError("interactive views", "ipyniivue", "notebook") from e

from tips_med.exporters.display_windows import window_for
from tips_med.exporters.label_colours import colour_of
from tips_med.exporters.nifti import volume_bytes
from tips_med.geometry import box_around, index_from_block, index_from_crop, nearest_body_axes, transform_points
from tips_med.grounding import Grounding
from tips_med.grounding.wording import REASONS, place_in_words
from tips_med.scan import Provenance, Scan
from tips_med.shapes import Affine, Heat, Mask

NOTICE = "Research use only, not a medical device"

MOST_VOXELS = 32_000_000
"""Of the scan as it is shown: 64 MB."""

_LEVELS = 254
"""Of a map, above the lowest; enough for colours, and a quarter of the bytes."""

_SHOWN_FROM = 0.15
"""Part of a map's scale below which it is clear."""


_OUTLINE = "tips-med-outline"
"""Name of its colours in niivue."""

_OUTLINE_RGB = (62, 224, 255)
"""No map has this hue."""

_OPACITY = {"outline": 1.0, "area": 0.25}
"""Of the layers that the slider does not change."""


class AnswerView(widgets.VBox):
    """The scan in three planes with the outline and the maps as layers that can be switched.

    Planes run along the patient's own axes, also of an oblique scan, in radiological convention: the patient's right on
    the left of the picture. The view begins at the peak. A scan of more than ``MOST_VOXELS`` is shown coarser than it
    is.

    Args:
        grounding: The answer.
        height_px: Height of the picture in pixels.

    Attributes:
        picture: The widget of ipyniivue.
        layers: Its volumes by name: ``scan``, ``map``, each word of the query in quotation marks and, where anything is
            marked, ``area`` and ``outline``.
        switches: A check box for each layer but the scan.
    """

    def __init__(self, grounding: Grounding, height_px: int = 360) -> None:
        shown = thinned(grounding)
        self._shape, self._lps_from_kji = shown.scan.shape, shown.scan.lps_from_kji
        self.layers: dict[str, Volume] = {"scan": _scan_layer(shown)}
        limits = _map_limits([grounding.heat, *grounding.token_heat.values()])
        self.layers["map"] = _map_layer("map", grounding.heat, grounding.lps_from_heat, limits)
        for word, heat in grounding.token_heat.items():
            name = f"\N{LEFT DOUBLE QUOTATION MARK}{word}\N{RIGHT DOUBLE QUOTATION MARK}"
            self.layers[name] = _map_layer(name, heat, grounding.lps_from_heat, limits)
        if grounding.instances:  # last, so that no map covers them
            colours = [colour_of(n) for n in range(1, int(shown.labels.max()) + 1)]
            area, outline = _in_box(shown, shown.labels), _in_box(shown, outline_of(shown).astype(np.uint8))
            self.layers["area"] = _label_layer("area", *area, colours)
            self.layers["outline"] = _outline_layer(*outline)
        self.picture = NiiVue(
            height=height_px,
            is_slice_mm=True,
            is_radiological_convention=True,
            is_corner_orientation_text=True,
            slice_type=SliceType.MULTIPLANAR,
            multiplanar_layout=MultiplanarType.ROW,
            multiplanar_show_render=ShowRender.NEVER,
            crosshair_color=(1.0, 1.0, 1.0, 0.6),
            crosshair_width=0.5,
            crosshair_gap=12.0,
            font_color=(1.0, 1.0, 1.0, 1.0),
            drag_and_drop_enabled=False,
        )
        red, green, blue = _OUTLINE_RGB
        self.picture.add_colormap(
            _OUTLINE, {"R": [red] * 2, "G": [green] * 2, "B": [blue] * 2, "A": [0, 255], "I": [0, 255]}
        )
        self.picture.load_volumes(list(self.layers.values()))
        self.opacity = widgets.FloatSlider(
            value=0.5, min=0.1, max=1.0, step=0.1, description="maps", readout=False, continuous_update=False
        )
        switched = [name for name in ("outline", "area", *self.layers) if name in self.layers and name != "scan"]
        self.switches = {name: _switch(name) for name in switched}
        for switch in self.switches.values():
            switch.observe(self._show, names="value")
        self.opacity.observe(self._show, names="value")
        self._show()
        if np.isfinite(grounding.peak_lps).all():
            self.go_to(grounding.peak_lps)
        super().__init__(
            [
                widgets.HTML(_words(grounding)),
                _row([*self.switches.values(), self.opacity]),
                self.picture,
                _row(
                    [_place(n, self, one.peak_lps, place_in_words(one)) for n, one in enumerate(grounding.instances, 1)]
                ),
                widgets.HTML(f"<small>{NOTICE}. Model: {html.escape(grounding.model)}</small>"),
            ]
        )

    def go_to(self, lps: tuple[float, float, float]) -> None:
        """Moves the crosshair to a place, LPS in mm; to the nearest one that the scan covers."""
        scene: Any = self.picture.scene
        scene.crosshair_pos = crosshair_at(self._shape, self._lps_from_kji, lps)

    def _show(self, _: object = None) -> None:
        for name, switch in self.switches.items():
            full = _OPACITY.get(name, float(self.opacity.value))
            self.layers[name].opacity = full if switch.value else 0.0


def crosshair_at(shape: tuple[int, int, int], lps_from_kji: Affine, lps: tuple[float, float, float]) -> list[float]:
    """A place as niivue's crosshair: parts of a grid's extent, 0 to 1, along the axes nearest to R, A and S.

    Args:
        shape: Slices, rows, columns of the grid.
        lps_from_kji: Where it lies.
        lps: The place, LPS in mm.
    """
    at_kji = transform_points(np.linalg.inv(lps_from_kji), np.array(lps))[0]
    parts = [0.5, 0.5, 0.5]
    for axis, (body_axis, sign) in enumerate(nearest_body_axes(lps_from_kji)):
        part = float(np.clip((at_kji[axis] + 0.5) / shape[axis], 0.0, 1.0))
        to_ras = sign if body_axis == 2 else -sign
        parts[body_axis] = part if to_ras > 0 else 1.0 - part
    return parts


def thinned(grounding: Grounding) -> Grounding:
    """The answer with its scan and its labels on a grid that a browser can take.

    Where the scan has more than ``MOST_VOXELS``, blocks of two voxels along its finest axis become one, and so on: the
    mean of what was measured, the highest label. An odd last voxel is left out.
    """
    scan, factors = grounding.scan, [1, 1, 1]
    while np.prod([size // f for size, f in zip(scan.shape, factors)]) > MOST_VOXELS:
        factors[int(np.argmin(np.array(scan.spacing_mm) * factors))] *= 2
    if factors == [1, 1, 1]:
        return grounding
    voxels, labels = scan.voxels, grounding.labels
    for axis, factor in enumerate(factors):
        while factor > 1:
            one, two = _halves(voxels, axis)
            voxels = np.where(np.isnan(one), two, np.where(np.isnan(two), one, (one + two) / 2))
            labels = np.maximum(*_halves(labels, axis))
            factor //= 2
    lps_from_kji = scan.lps_from_kji @ index_from_block((factors[0], factors[1], factors[2]))
    return replace(
        grounding,
        scan=replace(scan, voxels=voxels, lps_from_kji=lps_from_kji, provenance=Provenance("array")),
        labels=labels,
    )


def _halves(array: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Every first and every second of an even number of planes."""
    even = array.shape[axis] // 2 * 2
    before = (slice(None),) * axis
    return array[(*before, slice(0, even, 2))], array[(*before, slice(1, even, 2))]


def _in_box(grounding: Grounding, labels: np.ndarray) -> tuple[np.ndarray, Affine]:
    """Labels cut to what they hold, with a margin, and where they lie."""
    box = box_around(labels, margin=1)
    assert box is not None
    start = (box[0].start, box[1].start, box[2].start)
    return labels[box], grounding.scan.lps_from_kji @ index_from_crop(start)


def _scan_layer(grounding: Grounding) -> Volume:
    """The voxels, those of CT rounded to whole HU; what was not measured has the lowest value."""
    scan = grounding.scan
    measured = np.isfinite(scan.voxels)
    voxels = np.where(measured, scan.voxels, scan.voxels[measured].min() if measured.any() else 0.0)
    if scan.unit == "HU":
        voxels = np.clip(np.rint(voxels), -32768, 32767).astype(np.int16)
    low, high = window_for(grounding.query, scan).limits
    content = volume_bytes(voxels, scan.lps_from_kji, "tips_med scan")
    return Volume(name="scan.nii.gz", data=content, colormap="gray", cal_min=low, cal_max=high, colorbar_visible=False)


def outline_of(grounding: Grounding) -> Mask:
    """The voxels on the edge of an instance within the planes nearest to axial ones, [k j i].

    niivue's own outlines are those of solids: they cover all of the first and the last slice.
    """
    labels = grounding.labels
    cross = generate_binary_structure(3, 1)
    cross[tuple(slice(None, None, 2) if n == _height_axis(grounding.scan) else 1 for n in range(3))] = False
    inside = np.zeros(labels.shape, bool)
    for number in range(1, int(labels.max()) + 1):
        inside |= binary_erosion(labels == number, cross)
    return (labels > 0) & ~inside


def _height_axis(scan: Scan) -> int:
    """The axis of the array that runs nearest to the patient's."""
    return [body_axis for body_axis, _ in nearest_body_axes(scan.lps_from_kji)].index(2)


def _label_layer(
    name: str, labels: np.ndarray, lps_from_kji: Affine, colours: Sequence[tuple[int, int, int]]
) -> Volume:
    """Labels in colours, the first for label 1."""
    content = volume_bytes(labels, lps_from_kji, f"tips_med {name}", intent="label")
    layer = Volume(name=f"{name}.nii.gz", data=content, colorbar_visible=False)
    red, green, blue = (list(channel) for channel in zip((0, 0, 0), *colours))
    layer.set_colormap_label({"R": red, "G": green, "B": blue, "I": list(range(len(red)))})
    return layer


def _outline_layer(edge: np.ndarray, lps_from_kji: Affine) -> Volume:
    """No label map: niivue makes thin lines of labels translucent."""
    content = volume_bytes(edge, lps_from_kji, "tips_med outline")
    return Volume(
        name="outline.nii.gz", data=content, colormap=_OUTLINE, cal_min=0.0, cal_max=1.0, colorbar_visible=False
    )


def _map_limits(heats: list[Heat]) -> tuple[float, float]:
    """One scale for all maps: 0 to 1 where they are probabilities."""
    ends = [(float(np.nanmin(one)), float(np.nanmax(one))) for one in heats if np.isfinite(one).any()]
    low, high = min((0.0, *(a for a, _ in ends))), max((1.0, *(b for _, b in ends)))
    return low, high


def _map_layer(name: str, heat: Heat, lps_from_heat: Affine, limits: tuple[float, float]) -> Volume:
    """A map as bytes with a scale; what was not measured is as clear as the lowest value."""
    low, high = limits
    step = (high - low) / _LEVELS
    levels = np.rint((np.nan_to_num(heat, nan=low) - low) / step).clip(0, _LEVELS).astype(np.uint8)
    content = volume_bytes(levels, lps_from_heat, "tips_med map", scale=(step, low))
    return Volume(
        name="map.nii.gz",
        data=content,
        colormap="inferno",
        colormap_type=ColormapType.ZERO_TO_MAX_TRANSPARENT_BELOW_MIN,
        cal_min=low + _SHOWN_FROM * (high - low),
        cal_max=high,
        colorbar_visible=False,
        opacity=0.0,
    )


def _switch(name: str) -> widgets.Checkbox:
    return widgets.Checkbox(value=name in _OPACITY, description=name, indent=False, layout={"width": "auto"})


def _row(parts: list[widgets.Widget]) -> widgets.HBox:
    return widgets.HBox(parts, layout={"flex_flow": "row wrap", "grid_gap": "0 16px"})


def _place(number: int, view: AnswerView, lps: tuple[float, float, float], region: str) -> widgets.Button:
    button = widgets.Button(description=f"{number}: {region}", layout={"width": "auto"}, tooltip="Go there")
    button.on_click(partial(_go, view, lps))
    return button


def _go(view: AnswerView, lps: tuple[float, float, float], _: widgets.Button) -> None:
    view.go_to(lps)


def _words(grounding: Grounding) -> str:
    """The sentence and the reasons as HTML; what was typed stands in it as text alone."""
    reasons = "".join(f"<li>{html.escape(REASONS[one])}</li>" for one in grounding.presence.reasons)
    return f"<b>{html.escape(grounding.sentence)}</b>" + (f"<ul>{reasons}</ul>" if reasons else "")
