"""Slices as pictures for people: in the finding's window, with the contour, and words below."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import find_boundaries
from skimage.transform import resize

from tips_med.exporters.display_windows import window_for
from tips_med.geometry import index_from_block
from tips_med.grounding import Grounding
from tips_med.shapes import Affine

CONTOUR_RGB = (255, 176, 0)
_LEAST_COLUMNS = 512
_FONT_PX = 15
_LINE_PX, _EDGE_PX = _FONT_PX + 6, 8


class SlicePainter:
    """Paints an answer's slices, the words below each, not over it.

    Pixels are square, so that a sagittal slice is not squeezed, and at least 512 in a row, so that words fit.

    Args:
        grounding: The answer.

    Attributes:
        shape: Rows and columns of a slice's picture, without the words.
        lps_from_picture: Maps (slice, row, column, 1) of the pictures to LPS in mm.
    """

    def __init__(self, grounding: Grounding) -> None:
        scan = grounding.scan
        self.scan, self.mask = scan, grounding.mask
        self.limits = window_for(grounding.query, scan).limits
        _, row_mm, column_mm = scan.spacing_mm
        _, rows, columns = scan.shape
        finest = min(row_mm, column_mm)
        zoom = max(1.0, _LEAST_COLUMNS / (columns * column_mm / finest))
        self.shape = round(rows * row_mm / finest * zoom), round(columns * column_mm / finest * zoom)
        self.lps_from_picture: Affine = scan.lps_from_kji @ index_from_block(
            (1, rows / self.shape[0], columns / self.shape[1])
        )

    def paint(self, k: int, lines: list[str]) -> np.ndarray:
        """Slice k with its contour, uint8 [row column 3]; lines of text follow below, white on black."""
        low, high = self.limits
        grey = np.clip((np.nan_to_num(self.scan.voxels[k], nan=low) - low) / (high - low), 0, 1)
        picture = (self._resized(grey) * 255).round().astype(np.uint8)
        rgb = np.repeat(picture[..., None], 3, axis=2)
        if self.mask[k].any():
            inside = self._resized(self.mask[k].astype(np.float32)) > 0.5
            rgb[find_boundaries(inside, mode="outer")] = CONTOUR_RGB
        return np.vstack([rgb, _banner(lines, self.shape[1])])

    def wrapped(self, text: str) -> list[str]:
        """The text in lines that fit below a picture."""
        font, width = _font(), self.shape[1] - 2 * _EDGE_PX
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if font.getlength(_drawable(longer)) <= width or not lines[-1]:
                lines[-1] = longer
            else:
                lines.append(word)
        return lines

    def _resized(self, plane: np.ndarray) -> np.ndarray:
        return plane if plane.shape == self.shape else np.asarray(resize(plane, self.shape, order=1))


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_FONT_PX)


def _drawable(text: str) -> str:
    """The text with a question mark for what the font may not have."""
    return text.encode("latin-1", "replace").decode("latin-1")


def _banner(lines: list[str], width: int) -> np.ndarray:
    image = Image.new("RGB", (width, len(lines) * _LINE_PX + 6), (0, 0, 0))
    pen, font = ImageDraw.Draw(image), _font()
    for n, line in enumerate(lines):
        pen.text((_EDGE_PX, 4 + n * _LINE_PX), _drawable(line), fill=(255, 255, 255), font=font)
    return np.asarray(image)
