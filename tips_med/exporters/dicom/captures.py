"""Secondary captures (PS3.3 A.8.1): slices with the contour burnt in, for viewers that show no segmentations.

One single-frame object a slice, in a series of its own: the class that every PACS stores and shows, and scrolls like
the source. Multi-frame captures are younger, and archives and viewers without them are still in use.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from highdicom import UID, sc
from pydicom.dataset import Dataset

from tips_med.exporters.dicom import phrasing
from tips_med.exporters.dicom.equipment import DESCRIPTION, NOTICE, SERIES_NUMBERS, Equipment, SeriesPlan
from tips_med.exporters.dicom.picture import SlicePainter
from tips_med.exporters.dicom.source import SourceImages
from tips_med.exporters.dicom.unfit import refuse_unfit
from tips_med.geometry import axis_directions, axis_letters, spacing_mm
from tips_med.grounding import Grounding

_DICOM_LETTERS = {"S": "H", "I": "F"}


def make_captures(
    grounding: Grounding,
    source: SourceImages,
    *,
    series: SeriesPlan | None = None,
    weights_sha256: str | None = None,
) -> Iterator[sc.SCImage]:
    """Captures of all slices, in the order in which the source numbers its images; one in memory at a time.

    Each has its slice's place in the patient and its frame of reference, as a standard extended object, so that viewers
    which link series scroll it with the source. Nothing is made where nothing was found, or in a filled gap.

    Args:
        grounding: The answer.
        source: Headers of the source images, see ``read_source``.
        series: Plan of the answer's objects; the captures of each answer get a series of their own.
        weights_sha256: SHA-256 of the model's weights.

    Raises:
        OutputError: ``source-unfit``: the source's headers do not allow it.
    """
    if not grounding.instances:
        return
    plan = series or SeriesPlan.new()
    equipment, painter = Equipment.of(grounding, weights_sha256), SlicePainter(grounding)
    sentence = painter.wrapped(phrasing.answer_sentence(grounding, source))
    place = {
        "series_instance_uid": str(UID()),
        "series_number": SERIES_NUMBERS["CAPTURES"] + plan.instance_number - 1,
    }
    for number, k in enumerate(_in_the_sources_order(source), 1):
        with refuse_unfit():
            pixels = painter.paint(k, [phrasing.place(grounding, source, k, k), *sentence, f"{NOTICE}."])
            one = {"sop_instance_uid": str(UID()), "instance_number": number}
            made = capture(pixels, grounding, source, k, equipment, place | one)
            made.SeriesDescription = f"{DESCRIPTION}: {phrasing.subject(grounding)}"[:64]
            _put_in_place(made, painter, source, k)
            # The sentence quotes words that were typed and not understood, unless results are to hold no identity.
            made.BurnedInAnnotation = "NO" if grounding.scan.provenance.deidentified else "YES"
        yield made


def capture(
    pixels: np.ndarray,
    grounding: Grounding,
    source: SourceImages,
    k: int,
    equipment: Equipment,
    place: dict[str, Any],
) -> sc.SCImage:
    """A secondary capture of slice k, which it refers to.

    Args:
        pixels: RGB, uint8 [row column 3].
        grounding: The answer.
        source: Headers of the source images.
        k: Index of the slice, from 0.
        equipment: Algorithm that made the answer.
        place: Series, number and UID, see ``SeriesPlan.place``.
    """
    letters = axis_letters(grounding.scan.lps_from_kji)
    reference = source.by_slice[k] or source.first
    arguments = equipment.arguments
    made = sc.SCImage.from_ref_dataset(
        reference,
        pixel_array=pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=(_DICOM_LETTERS.get(letters[2], letters[2]), _DICOM_LETTERS.get(letters[1], letters[1])),
        manufacturer=arguments["manufacturer"],
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        **place,
    )
    made.SeriesDescription = DESCRIPTION
    made.ManufacturerModelName = arguments["manufacturer_model_name"]
    made.SoftwareVersions = arguments["software_versions"]
    made.DeviceSerialNumber = arguments["device_serial_number"]
    made.Laterality = ""  # type 2C; the slice may show both sides
    made.ImageComments = NOTICE
    made.DerivationDescription = "slice with the contour of what was found"
    referenced = Dataset()
    referenced.ReferencedSOPClassUID = reference.SOPClassUID
    referenced.ReferencedSOPInstanceUID = reference.SOPInstanceUID
    if source.is_multiframe:
        referenced.ReferencedFrameNumber = source.frame_numbers[k]
    made.SourceImageSequence = [referenced]
    return made


def _in_the_sources_order(source: SourceImages) -> list[int]:
    """The slices k that the source has, as its viewers count them."""
    measured = [k for k, image in enumerate(source.by_slice) if image is not None]
    numbers = [phrasing.number_of(source, k) for k in measured]
    if None in numbers or len(set(numbers)) < len(numbers):
        return measured
    return [k for _, k in sorted(zip(numbers, measured, strict=True))]


def _put_in_place(made: Dataset, painter: SlicePainter, source: SourceImages, k: int) -> None:
    """Frame of reference and image plane: those of the slice; the words below it lie beyond its last row."""
    affine = painter.lps_from_picture
    directions = axis_directions(affine)
    made.FrameOfReferenceUID = source.first.FrameOfReferenceUID
    made.PositionReferenceIndicator = source.first.get("PositionReferenceIndicator", "")
    made.ImagePositionPatient = [f"{x:.6f}" for x in affine[:3, 3] + affine[:3, 0] * k]
    made.ImageOrientationPatient = [f"{x:.8f}" for x in (*directions[:, 2], *directions[:, 1])]
    _, row_mm, column_mm = spacing_mm(affine)
    made.PixelSpacing = [f"{row_mm:.8g}", f"{column_mm:.8g}"]
