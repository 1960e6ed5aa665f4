"""Segmentation objects (PS3.3 A.51): where an answer's instances are, on the grid of the scan."""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd
import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.dataset import Dataset

from tips_med.exporters.dicom import codes
from tips_med.exporters.dicom.equipment import DESCRIPTION, NOTICE, Equipment, SeriesPlan
from tips_med.exporters.dicom.source import SourceImages
from tips_med.exporters.label_colours import colour_of
from tips_med.grounding import Grounding, Instance
from tips_med.grounding.wording import place_in_words


@dataclass(frozen=True)
class Tracked:
    """An instance, and its identifiers in all objects.

    Attributes:
        instance: The instance of the answer.
        number: Number of its segment, from 1.
        identifier: Tracking Identifier (0062,0020).
        uid: Tracking Unique Identifier (0062,0021).
    """

    instance: Instance
    number: int
    identifier: str
    uid: str


def track(grounding: Grounding) -> list[Tracked]:
    """Numbers the instances of an answer in the order of their labels."""
    name = codes.sought_name(grounding.query)
    ordered = sorted(grounding.instances, key=lambda instance: instance.label)
    return [Tracked(one, n, f"{name} {n}"[:64], str(hd.UID())) for n, one in enumerate(ordered, 1)]


def identifier_of(grounding: Grounding, number: int, side: str | None) -> str:
    """What viewers call an instance, in the lexicon's words: ``nodule 1 (left)``, ``nodule 1 (left, unsure)``."""
    marks = [mark for mark in (side, "unsure" if grounding.presence.state == "unsure" else None) if mark]
    end = f" {number}" + (f" ({', '.join(marks)})" if marks else "")
    return codes.sought_name(grounding.query)[: 64 - len(end)] + end


def make_segmentation(
    grounding: Grounding,
    source: SourceImages,
    tracked: list[Tracked],
    equipment: Equipment,
    series: SeriesPlan,
    *,
    omit_empty_frames: bool = True,
) -> Segmentation:
    """A binary segmentation, one segment an instance, in Explicit VR Little Endian.

    Args:
        grounding: An answer with at least one instance.
        source: Headers of the source images.
        tracked: Tracked instances of the answer, see ``track``.
        equipment: Algorithm that made the answer.
        series: Target series.
        omit_empty_frames: Leave out slices that a segment does not touch. Every frame has its position, so nothing
            is lost; but set False for readers that expect one frame for each slice.

    Returns:
        The object. Frames are placed by ``Scan.lps_from_kji``, in the order of the slices.
    """
    scan = grounding.scan
    segments = np.zeros(scan.shape, np.uint8)
    for one in tracked:
        segments[grounding.labels == one.instance.label] = one.number
    volume = hd.Volume(
        segments,
        scan.lps_from_kji,
        coordinate_system="PATIENT",
        frame_of_reference_uid=scan.provenance.frame_of_reference_uid,
    )
    made = Segmentation(
        source_images=source.images[:1] if source.is_multiframe else source.images,
        further_source_images=source.images[1:] if source.is_multiframe else None,
        pixel_array=volume,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_describe(grounding, one, equipment) for one in tracked],
        omit_empty_frames=omit_empty_frames,
        content_label="TIPS_MED",
        content_description=NOTICE,
        content_creator_name="tips_med^",
        series_description=DESCRIPTION,
        **equipment.arguments,
        **series.place("SEG"),
    )
    codes.identify_private_scheme(made)
    return made


def _describe(grounding: Grounding, tracked: Tracked, equipment: Equipment) -> SegmentDescription:
    query, side = grounding.query, tracked.instance.side
    region, laterality = codes.region(query), codes.laterality(query, side)
    made = SegmentDescription(
        segment_number=tracked.number,
        segment_label=identifier_of(grounding, tracked.number, side),
        segmented_property_category=codes.category(query),
        segmented_property_type=codes.sought(query),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=equipment.for_segment(),
        tracking_uid=tracked.uid,
        tracking_id=tracked.identifier,
        anatomic_regions=[region] if region is not None else None,
        display_color=CIELabColor.from_rgb(*colour_of(tracked.number)),
    )
    made.SegmentDescription = f"{place_in_words(tracked.instance)}. {NOTICE}."[:1024]
    if laterality is not None:
        _modify(made, laterality)
    return made


def _modify(segment: Dataset, laterality: Dataset) -> None:
    """The side belongs to the region where there is one, else to the structure that was segmented."""
    if "AnatomicRegionSequence" in segment:
        segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [laterality]
    else:
        item = segment.SegmentedPropertyTypeCodeSequence[0]
        item.SegmentedPropertyTypeModifierCodeSequence = [laterality]
