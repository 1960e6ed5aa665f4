"""A small picture of an answer, for lists of many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import find_boundaries

from tips_med.errors import OutputError
from tips_med.exporters.base import Exporter
from tips_med.exporters.display_windows import window_for
from tips_med.exporters.views import Box, axial_plane, body_box, box_corners, key_heights_mm, scan_box
from tips_med.grounding import Grounding

FILE = "thumbnail.jpg"
_SIDE_PX = 256
_CONTOUR_RGB = (62, 224, 255)
"""That of the figures."""

_PEAK_RGB = (255, 176, 0)
_QUALITY = 85


class ThumbnailExporter(Exporter):
    """Writes ``thumbnail.jpg``: one axial slice, at most 256 pixels wide and high.

    The slice is that of the largest instance where it is widest, with the outline; without one that of the strongest
    evidence, which has a cross unless the answer is absent. In the finding's window, with the patient's right on the
    left.
    """

    def export(self, grounding: Grounding, folder: Path) -> tuple[Path, ...]:
        """Writes the picture of one answer."""
        path = folder / FILE
        try:
            Image.fromarray(draw_thumbnail(grounding)).save(path, "JPEG", quality=_QUALITY)
        except OSError as error:
            raise OutputError(f"cannot be written ({error.strerror or error})", path=path) from error
        return (path,)


def draw_thumbnail(grounding: Grounding) -> np.ndarray:
    """The picture, uint8 [row column 3]."""
    scan = grounding.scan
    whole = scan_box(scan)
    box = body_box(scan).around(box_corners(grounding.box, scan.lps_from_kji), 10.0).within(whole)
    plane = axial_plane(key_heights_mm(grounding, 1)[0], box, scan)
    low, high = window_for(grounding.query, scan).limits
    values = np.nan_to_num(plane.sample(scan.voxels, scan.lps_from_kji), nan=low)
    grey = (np.clip((values - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)
    shrink = _SIDE_PX / max(grey.shape)
    rows, columns = (max(1, round(size * shrink)) for size in grey.shape)
    rgb = np.array(Image.fromarray(grey).resize((columns, rows), Image.Resampling.BILINEAR).convert("RGB"))
    inside = np.asarray(
        Image.fromarray(plane.cover(grounding.labels, scan.lps_from_kji)).resize(
            (columns, rows), Image.Resampling.BILINEAR
        )
    )
    if (inside > 0.5).any():
        rgb[find_boundaries(inside > 0.5, mode="outer")] = _CONTOUR_RGB
    picture = Image.fromarray(rgb)
    pen = ImageDraw.Draw(picture)
    if not grounding.instances and grounding.presence.state != "absent":
        _cross(pen, grounding, box, (columns, rows))
    font = ImageFont.load_default(13)
    pen.text((4, rows / 2), "R", fill="white", font=font, anchor="lm", stroke_width=1, stroke_fill="black")
    return np.asarray(picture)


def _cross(pen: ImageDraw.ImageDraw, grounding: Grounding, box: Box, size_px: tuple[int, int]) -> None:
    if not np.isfinite(grounding.peak_lps).all():
        return
    x, y = ((np.asarray(grounding.peak_lps) - box.low) / (box.high - box.low))[:2] * size_px
    for start, end in (((x - 7, y), (x + 7, y)), ((x, y - 7), (x, y + 7))):
        pen.line([start, end], fill=_PEAK_RGB, width=1)
