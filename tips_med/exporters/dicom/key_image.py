"""Key images: the most telling slice with its contour as a secondary capture, and a selection that points to it."""

from __future__ import annotations

from typing import Any

import numpy as np
from highdicom import ko, sc
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard
from skimage.segmentation import find_boundaries
from skimage.transform import resize

from tips_med.exporters.dicom import phrasing
from tips_med.exporters.dicom.equipment import DESCRIPTION, NOTICE, Equipment, SeriesPlan
from tips_med.exporters.dicom.source import SourceImages
from tips_med.exporters.dicom.sr import observer
from tips_med.exporters.display_windows import window_for
from tips_med.geometry import axis_letters
from tips_med.grounding import Grounding

_LEAST_COLUMNS = 512
_CONTOUR_RGB = (255, 176, 0)
_FONT_PX = 15
_DICOM_LETTERS = {"S": "H", "I": "F"}


def key_slice(grounding: Grounding) -> int:
    """The slice in which the largest instance is largest."""
    largest = max(grounding.instances, key=lambda instance: instance.volume_ml)
    return int(np.argmax((grounding.labels == largest.label).sum(axis=(1, 2))))


def make_key_image(
    grounding: Grounding, source: SourceImages, equipment: Equipment, series: SeriesPlan, k: int
) -> sc.SCImage:
    """A picture of slice k with the contour and a banner; RGB.

    No patient identity is drawn. Pixels are square, so that a sagittal slice is not squeezed.
    """
    letters = axis_letters(grounding.scan.lps_from_kji)
    reference = source.by_slice[k] or source.first
    arguments = equipment.arguments
    made = sc.SCImage.from_ref_dataset(
        reference,
        pixel_array=draw(grounding, k, phrasing.place(grounding, source, k, k)),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=(_DICOM_LETTERS.get(letters[2], letters[2]), _DICOM_LETTERS.get(letters[1], letters[1])),
        manufacturer=arguments["manufacturer"],
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        **series.place("SC"),
    )
    made.SeriesDescription = DESCRIPTION
    made.ManufacturerModelName = arguments["manufacturer_model_name"]
    made.SoftwareVersions = arguments["software_versions"]
    made.DeviceSerialNumber = arguments["device_serial_number"]
    made.Laterality = ""  # type 2C; the slice may show both sides
    # Of what identifies the patient (PS3.3 C.7.6.1): words of the lexicon are drawn, and none that was typed.
    made.BurnedInAnnotation = "NO"
    made.ImageComments = NOTICE
    made.DerivationDescription = "slice with the contour of what was found"
    referenced = Dataset()
    referenced.ReferencedSOPClassUID = reference.SOPClassUID
    referenced.ReferencedSOPInstanceUID = reference.SOPInstanceUID
    if source.is_multiframe:
        referenced.ReferencedFrameNumber = source.frame_numbers[k]
    made.SourceImageSequence = [referenced]
    return made


def draw(grounding: Grounding, k: int, place: str) -> np.ndarray:
    """Slice k with contour and banner: uint8 [row column 3].

    Args:
        grounding: The answer.
        k: Index of the slice, from 0.
        place: The slice in words, as the PACS counts it.
    """
    scan = grounding.scan
    low, high = window_for(grounding.query, scan).limits
    grey = np.clip((np.nan_to_num(scan.voxels[k], nan=low) - low) / (high - low), 0, 1)
    _, row_mm, column_mm = scan.spacing_mm
    finest = min(row_mm, column_mm)
    zoom = max(1.0, _LEAST_COLUMNS / (scan.shape[2] * column_mm / finest))
    shape = round(scan.shape[1] * row_mm / finest * zoom), round(scan.shape[2] * column_mm / finest * zoom)
    picture = (np.asarray(resize(grey, shape, order=1)) * 255).round().astype(np.uint8)
    rgb = np.repeat(picture[..., None], 3, axis=2)
    inside = np.asarray(resize(grounding.mask[k].astype(np.float32), shape, order=1)) > 0.5
    rgb[find_boundaries(inside, mode="outer")] = _CONTOUR_RGB
    decision = grounding.presence
    sure = f"p = {decision.probability:.2f}" if decision.probability is not None else f"score {decision.score:.2f}"
    lines = [f"{phrasing.subject(grounding)}: {decision.state}, {sure} ({place})", f"{NOTICE}."]
    return np.vstack([rgb, _banner(lines, shape[1])])


def _banner(lines: list[str], width: int) -> np.ndarray:
    font = ImageFont.load_default(_FONT_PX)
    height = len(lines) * (_FONT_PX + 6) + 6
    image = Image.new("RGB", (width, height), (0, 0, 0))
    pen = ImageDraw.Draw(image)
    for n, line in enumerate(lines):
        pen.text((8, 4 + n * (_FONT_PX + 6)), line, fill=(255, 255, 255), font=font)
    return np.asarray(image)


def make_key_objects(
    selected: list[Dataset], source: SourceImages, equipment: Equipment, series: SeriesPlan
) -> ko.KeyObjectSelectionDocument:
    """A key object selection (TID 2010) of images that are of interest."""
    arguments: dict[str, Any] = equipment.arguments
    made = ko.KeyObjectSelectionDocument(
        evidence=selected,
        content=ko.KeyObjectSelection(
            document_title=standard.DCM.OfInterest,
            referenced_objects=selected,
            observer_device_context=observer(equipment),
            description=NOTICE,
        ),
        manufacturer=arguments["manufacturer"],
        series_description=DESCRIPTION,
        **series.place("KO"),
    )
    made.ManufacturerModelName = arguments["manufacturer_model_name"]
    made.SoftwareVersions = arguments["software_versions"]
    made.DeviceSerialNumber = arguments["device_serial_number"]
    return made
