"""Measurement reports (PS3.16 TID 1500): is it there, where, and how large."""

from __future__ import annotations

import math
from typing import Any

import highdicom as hd
from highdicom import sr
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard

import tips_med
from tips_med.exporters.dicom import codes, phrasing
from tips_med.exporters.dicom.equipment import DESCRIPTION, MANUFACTURER, NOTICE, Equipment, SeriesPlan
from tips_med.exporters.dicom.seg import Tracked
from tips_med.exporters.dicom.source import SourceImages
from tips_med.grounding import Grounding
from tips_med.grounding.wording import place_in_words


def make_report(
    grounding: Grounding,
    source: SourceImages,
    tracked: list[Tracked],
    segmentation: Dataset | None,
    equipment: Equipment,
    series: SeriesPlan,
) -> sr.Comprehensive3DSR:
    """A report of one answer: the presence of the queried finding, then a group for each instance.

    Args:
        grounding: The answer.
        source: Headers of the source images; all are evidence, since absence applies to all of them.
        tracked: Tracked instances of the answer.
        segmentation: Segmentation object with these instances; None when nothing was found.
        equipment: Algorithm that made the answer.
        series: Target series.
    """
    groups: list[Any] = [_presence(grounding, source, equipment)]
    if segmentation is not None:
        groups += [_instance(grounding, source, one, segmentation, equipment) for one in tracked]
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer(equipment)),
        procedure_reported=codes.procedure(grounding.scan.modality),
        imaging_measurements=groups,
        title=standard.DCM.ImagingMeasurementReport,
    )
    made = sr.Comprehensive3DSR(
        evidence=[*source.images, *([segmentation] if segmentation is not None else [])],
        content=content,
        is_complete=True,
        series_description=DESCRIPTION,
        **equipment.arguments,
        **series.place("SR"),
    )
    codes.identify_private_scheme(made)
    return made


def observer(equipment: Equipment) -> sr.ObserverContext:
    """The device that observed (TID 1004); its UID is that of software and weights, the same for all reports."""
    uid = hd.UID.from_uuid(_uuid(equipment))
    return sr.ObserverContext(
        observer_type=standard.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=uid,
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=equipment.model[:64],
            serial_number=equipment.weights_sha256[:64],
        ),
    )


def _uuid(equipment: Equipment) -> str:
    from uuid import NAMESPACE_URL, uuid5

    return str(uuid5(NAMESPACE_URL, f"tips_med/{tips_med.__version__}/{equipment.weights_sha256}"))


def _presence(
    grounding: Grounding, source: SourceImages, equipment: Equipment
) -> sr.MeasurementsAndQualitativeEvaluations:
    query, decision = grounding.query, grounding.presence
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=hd.UID(), identifier=f"query: {phrasing.query_subject(grounding)}"[:64]
        ),
        finding_type=codes.sought(query),
        finding_category=codes.category(query),
        finding_sites=_sites(grounding, query.side),
        algorithm_id=equipment.for_report(),
        measurements=_measured(
            [
                (standard.DCM.Probability, decision.probability, codes.NO_UNITS)
                if decision.probability is not None
                else (codes.SCORE, decision.score, codes.NO_UNITS),
                (codes.ASSESSED, decision.assessed_fraction, codes.NO_UNITS),
            ]
        ),
        qualitative_evaluations=[
            sr.QualitativeEvaluation(codes.PRESENCE, codes.state(decision.state)),
            *(sr.QualitativeEvaluation(codes.REASON, codes.reason(reason)) for reason in decision.reasons),
        ],
    )
    _comment(
        group, f"{phrasing.answer_sentence(grounding, source)} Query: {phrasing.query_subject(grounding)}. {NOTICE}."
    )
    return group


def _instance(
    grounding: Grounding, source: SourceImages, tracked: Tracked, segmentation: Dataset, equipment: Equipment
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    instance = tracked.instance
    touched = source.of_slices(range(instance.slices[0], instance.slices[1] + 1))
    group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=tracked.uid, identifier=tracked.identifier),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=tracked.number,
            source_images=[
                sr.SourceImageForSegmentation(image.SOPClassUID, image.SOPInstanceUID, frames)
                for image, frames in touched
            ],
        ),
        finding_type=codes.sought(grounding.query),
        finding_category=codes.category(grounding.query),
        finding_sites=_sites(grounding, instance.side),
        algorithm_id=equipment.for_report(),
        measurements=_measured(
            [
                (standard.SCT.Volume, instance.volume_ml, codes.MILLILITRE),
                (standard.SCT.LongAxis, instance.long_axis_mm, standard.UCUM.Millimeter),
                (
                    codes.PROBABILITY_OF_REGION if grounding.presence.calibrated else codes.SCORE,
                    instance.score,
                    codes.NO_UNITS,
                ),
            ]
            + (
                [(standard.DCM.AttenuationCoefficient, instance.mean_hu, standard.UCUM.HounsfieldUnit)]
                if grounding.scan.unit == "HU"
                else []
            )
        ),
    )
    place = phrasing.place(grounding, source, *instance.slices)
    _comment(group, ". ".join(filter(None, [place_in_words(instance), place[:1].upper() + place[1:], NOTICE])) + ".")
    return group


def _measured(values: list[tuple[Any, float, Any]]) -> list[sr.Measurement] | None:
    """Measurements without those that are no number; an average is coded as one."""
    made = [
        sr.Measurement(
            name=name,
            value=float(f"{value:.4g}"),
            unit=unit,
            derivation=standard.SCT.Mean if name == standard.DCM.AttenuationCoefficient else None,
        )
        for name, value, unit in values
        if math.isfinite(value)
    ]
    return made or None


def _sites(grounding: Grounding, side: Any) -> list[sr.FindingSite] | None:
    """The structure, its side, and the part of it that was named."""
    query = grounding.query
    structure = query.structure
    if structure is None or structure.code is None:
        return None
    parts: list[CodedConcept] = [codes.coded(term) for term in query.locations if term.code is not None]
    return [
        sr.FindingSite(
            codes.coded(structure),
            laterality=codes.laterality(query, side),
            topographical_modifier=parts[0] if parts else None,
        )
    ]


def _comment(group: Any, text: str) -> None:
    """Adds text to a measurement group, which TID 1411 and TID 1501 leave room for (both are extensible)."""
    item = sr.TextContentItem(
        name=standard.DCM.Comment, value=text[:1024], relationship_type=sr.RelationshipTypeValues.CONTAINS
    )
    group[0].ContentSequence.append(item)
