"""Small pictures of what was found, as JPEG."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tips_med.exporters.display_windows import LUNG, SOFT_TISSUE
from tips_med.exporters.thumbnail import draw_thumbnail
from tips_med.exporters.views import axial_plane, body_box
from tips_med.grounding import Grounding
from tips_med.scan import Scan

_SIDE_PX, _QUALITY = 256, 85
_CROSS_RGB = (255, 176, 0)


def picture_of_answer(grounding: Grounding) -> bytes:
    """The slice with the largest instance and its outline, or with the strongest evidence."""
    return _jpeg(Image.fromarray(draw_thumbnail(grounding)))


def picture_of_place(scan: Scan, lps: tuple[float, float, float]) -> bytes:
    """The axial slice through a place, with a cross on it and the patient's right on the left."""
    box = body_box(scan).around(np.array([lps]), 10.0)
    plane = axial_plane(lps[2], box, scan)
    values = plane.sample(scan.voxels, scan.lps_from_kji)
    if scan.modality == "CT":
        low, high = SOFT_TISSUE.limits if _dense(scan, lps) else LUNG.limits
    else:
        low, high = (float(v) for v in np.nanpercentile(scan.voxels[::4, ::4, ::4], (1, 99)))
    grey = np.clip((np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-6), 0, 1) * 255
    shrink = _SIDE_PX / max(grey.shape)
    rows, columns = (max(1, round(size * shrink)) for size in grey.shape)
    picture = Image.fromarray(grey.round().astype(np.uint8)).resize((columns, rows), Image.Resampling.BILINEAR)
    picture = picture.convert("RGB")
    pen = ImageDraw.Draw(picture)
    x, y = ((np.array(lps) - box.low) / (box.high - box.low))[:2] * (columns, rows)
    for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        pen.line([(x + 3 * dx, y + 3 * dy), (x + 9 * dx, y + 9 * dy)], fill=_CROSS_RGB, width=1)
    font = ImageFont.load_default(13)
    pen.text((4, rows / 2), "R", fill="white", font=font, anchor="lm", stroke_width=1, stroke_fill="black")
    return _jpeg(picture)


def _dense(scan: Scan, lps: tuple[float, float, float]) -> bool:
    """Whether a place is not in aerated lung, which is looked at in another window."""
    index = np.linalg.inv(scan.lps_from_kji) @ np.append(lps, 1)
    k, j, i = (int(n) for n in np.clip(np.rint(index[:3]), 0, np.array(scan.shape) - 1))
    around = scan.voxels[k, max(0, j - 8) : j + 9, max(0, i - 8) : i + 9]
    return bool(np.nanmedian(around) > -300) if np.isfinite(around).any() else True


def _jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
