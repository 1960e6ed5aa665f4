"""Key images: the most telling slice with its contour as a secondary capture, and a selection that points to it."""

from __future__ import annotations

from typing import Any

import numpy as np
from highdicom import ko, sc
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard

from tips_med.exporters.dicom import phrasing
from tips_med.exporters.dicom.captures import capture
from tips_med.exporters.dicom.equipment import DESCRIPTION, NOTICE, Equipment, SeriesPlan
from tips_med.exporters.dicom.picture import SlicePainter
from tips_med.exporters.dicom.source import SourceImages
from tips_med.exporters.dicom.sr import observer
from tips_med.grounding import Grounding


def key_slice(grounding: Grounding) -> int:
    """The slice in which the largest instance is largest."""
    largest = max(grounding.instances, key=lambda instance: instance.volume_ml)
    return int(np.argmax((grounding.labels == largest.label).sum(axis=(1, 2))))


def make_key_image(
    grounding: Grounding, source: SourceImages, equipment: Equipment, series: SeriesPlan, k: int
) -> sc.SCImage:
    """A picture of slice k with the contour and a banner; RGB.

    No patient identity is drawn.
    """
    pixels = draw(grounding, k, phrasing.place(grounding, source, k, k))
    made = capture(pixels, grounding, source, k, equipment, series.place("SC"))
    # Of what identifies the patient (PS3.3 C.7.6.1): words of the lexicon are drawn, and none that was typed.
    made.BurnedInAnnotation = "NO"
    return made


def draw(grounding: Grounding, k: int, place: str) -> np.ndarray:
    """Slice k with contour and banner: uint8 [row column 3].

    Args:
        grounding: The answer.
        k: Index of the slice, from 0.
        place: The slice in words, as the PACS counts it.
    """
    decision = grounding.presence
    sure = f"p = {decision.probability:.2f}" if decision.probability is not None else f"score {decision.score:.2f}"
    lines = [f"{phrasing.subject(grounding)}: {decision.state}, {sure} ({place})", f"{NOTICE}."]
    return SlicePainter(grounding).paint(k, lines)


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
