"""The heat map as an optional DICOM object: parametric map or fractional segmentation.

Most viewers show neither well (a fractional segmentation can make them refuse the series), so neither is written
unless it is requested.
"""

from __future__ import annotations

from typing import Literal

import highdicom as hd
import numpy as np
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationFractionalTypeValues,
    SegmentationTypeValues,
    SegmentDescription,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard

from tips_med.exporters.dicom import codes, phrasing
from tips_med.exporters.dicom.equipment import DESCRIPTION, NOTICE, Equipment, SeriesPlan
from tips_med.exporters.dicom.source import SourceImages
from tips_med.grounding import Grounding

HeatKind = Literal["parametric", "fractional"]
NOT_SEEN = -1.0
"""Stored where the scan measured nothing; stated as Float Pixel Padding Value (0028,0122)."""


def make_heat(
    kind: HeatKind, grounding: Grounding, source: SourceImages, equipment: Equipment, series: SeriesPlan
) -> ParametricMap | Segmentation:
    """The heat map on its own grid, which is coarser than the scan's; every slice is written.

    Args:
        kind: ``parametric`` keeps the values as they are (float32), and keeps "not seen" apart from "not there";
            ``fractional`` rounds to 1/255, and what was not seen is 0.
        grounding: The answer.
        source: Headers of the source images.
        equipment: Algorithm that made the answer.
        series: Target series.
    """
    return (_parametric if kind == "parametric" else _fractional)(grounding, source, equipment, series)


def _parametric(grounding: Grounding, source: SourceImages, equipment: Equipment, series: SeriesPlan) -> ParametricMap:
    values = np.where(np.isfinite(grounding.heat), grounding.heat, NOT_SEEN).astype(np.float32)
    mapping = RealWorldValueMapping(
        lut_label="SCORE",
        lut_explanation=f"probability that a point belongs to: {phrasing.query_subject(grounding)}"[:64],
        unit=codes.NO_UNITS,
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
        quantity_definition=standard.DCM.Probability,
    )
    made = ParametricMap(
        source_images=source.images[:1] if source.is_multiframe else source.images,
        further_source_images=source.images[1:] if source.is_multiframe else None,
        pixel_array=_volume(grounding, values),
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.5, window_width=1.0)],
        contains_recognizable_visual_features=False,
        content_label="TIPS_MED",
        content_description=NOTICE,
        content_creator_name="tips_med^",
        series_description=DESCRIPTION,
        **equipment.arguments,
        **series.place("PM"),
    )
    made.FloatPixelPaddingValue = made.FloatPixelPaddingRangeLimit = NOT_SEEN
    # Optional, but dcmqi, with which 3D Slicer reads maps, ends without a word where it is missing.
    made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [_anatomy(grounding)]
    _order_along_normal(made)
    codes.identify_private_scheme(made)
    return made


def _order_along_normal(made: ParametricMap) -> None:
    """Puts the frames in order along the slices' normal.

    Any order is valid, for each frame has its position; but dcmqi takes the frames in this one, whatever their
    positions, and would turn the map upside down.
    """
    orientation = np.array(made.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient)
    normal = np.cross(orientation[:3], orientation[3:])
    frames = made.PerFrameFunctionalGroupsSequence
    at_mm = [normal @ np.array(frame.PlanePositionSequence[0].ImagePositionPatient) for frame in frames]
    order = np.argsort(at_mm)
    pixels = np.frombuffer(made.FloatPixelData, np.float32).reshape(len(frames), -1)
    made.FloatPixelData = pixels[order].tobytes()
    made.PerFrameFunctionalGroupsSequence = [frames[n] for n in order]
    for n, frame in enumerate(made.PerFrameFunctionalGroupsSequence, 1):
        frame.FrameContentSequence[0].DimensionIndexValues = n


def _anatomy(grounding: Grounding) -> Dataset:
    """Where the map was looked at: the structure that was named, else the body, for a map covers all of the scan."""
    structure = grounding.query.structure
    paired = structure is not None and structure.paired
    made = Dataset()
    made.AnatomicRegionSequence = [
        codes.coded(structure) if structure is not None and structure.code is not None else codes.ENTIRE_BODY
    ]
    made.FrameLaterality = {"left": "L", "right": "R"}.get(grounding.query.side or "", "B" if paired else "U")
    return made


def _fractional(grounding: Grounding, source: SourceImages, equipment: Equipment, series: SeriesPlan) -> Segmentation:
    segment = SegmentDescription(
        segment_number=1,
        segment_label=codes.sought_name(grounding.query)[:64],
        segmented_property_category=codes.category(grounding.query),
        segmented_property_type=codes.sought(grounding.query),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=equipment.for_segment(),
    )
    segment.SegmentDescription = f"Heat map. {NOTICE}."
    made = Segmentation(
        source_images=source.images[:1] if source.is_multiframe else source.images,
        further_source_images=source.images[1:] if source.is_multiframe else None,
        pixel_array=_volume(grounding, np.clip(np.nan_to_num(grounding.heat), 0.0, 1.0).astype(np.float32)),
        segmentation_type=SegmentationTypeValues.FRACTIONAL,
        fractional_type=SegmentationFractionalTypeValues.PROBABILITY,
        segment_descriptions=[segment],
        omit_empty_frames=False,
        content_label="TIPS_MED",
        content_description=NOTICE,
        content_creator_name="tips_med^",
        series_description=DESCRIPTION,
        **equipment.arguments,
        **series.place("PM"),
    )
    codes.identify_private_scheme(made)
    return made


def _volume(grounding: Grounding, values: np.ndarray) -> hd.Volume:
    return hd.Volume(
        values,
        grounding.lps_from_heat,
        coordinate_system="PATIENT",
        frame_of_reference_uid=grounding.scan.provenance.frame_of_reference_uid,
    )
