"""Queries a scan."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tips_med.card import BALANCED, OperatingPointName
from tips_med.encoders.study import EncodedStudy, is_study
from tips_med.exporters.folder import check_writable, default_exporters, write_answers
from tips_med.exporters.named import named_exporters
from tips_med.grounding import Declined, Grounding
from tips_med.grounding import encode as encode_scan
from tips_med.grounding import ground as answer
from tips_med.grounding.ground import adapters_of
from tips_med.grounding.modality import with_stated_modality
from tips_med.grounding.questions import understand
from tips_med.loading import open_model_at
from tips_med.progress import StepFactory, no_progress
from tips_med.readers import read_scan
from tips_med.sample import sample_path


def ground(
    scan: str,
    query: Sequence[str],
    out: Path,
    model: str | None = None,
    device: str = "auto",
    series: str | None = None,
    phase: int | None = None,
    fill_gaps: bool = False,
    untilt: bool = False,
    dicom: bool = False,
    dicom_heat: Literal["parametric", "fractional"] | None = None,
    dicom_rtstruct: bool = False,
    dicom_captures: bool = False,
    source: str | None = None,
    deidentify: bool = False,
    deidentify_key: Path | None = None,
    modality: Literal["CT", "MR"] | None = None,
    exporter: str | None = None,
    operating_point: OperatingPointName = BALANCED,
    steps: StepFactory = no_progress,
) -> Answers:
    """Queries a scan, and writes the answers into a folder.

    Args:
        scan: DICOM folder, a DICOM or NIfTI file, a study made by ``encode``, or ``sample``.
        query: Finding or structure to search, in words; several queries cost one encoding. One text may be several
            queries: "nodule or effusion, right" is two.
        out: Folder for report.json and, for each query, maps, mask and figure. Earlier results in it are replaced.
        model: File of weights, or tips:FOLDER; the shipped model if left out.
        device: auto, cpu or cuda.
        series: Series Instance UID to read, where there are several.
        phase: Number of the time or phase of a 4-D series, from 1.
        fill_gaps: Leave empty slices where some are missing, with a note.
        untilt: Resample a tilted gantry's slices to an upright grid, with a note.
        dicom: Write each answer as DICOM, too: report, segmentation, key image and key object selection.
        dicom_heat: Write the DICOM of dicom, and the heat map as parametric (Parametric Map) or fractional
            (Segmentation).
        dicom_rtstruct: Write the DICOM of dicom, and the contours as an RT Structure Set.
        dicom_captures: Write the DICOM of dicom, and all slices as secondary captures with the contour burnt in.
        source: DICOM images of an encoded study, for dicom.
        deidentify: Write results without the patient's identity (DICOM PS3.15 basic profile), with other UIDs.
        deidentify_key: File with the secret that maps the UIDs, made if missing; with the same one, results fit
            the copy that the command deidentify makes. A fresh secret if left out.
        modality: Modality of a file that does not state it, such as NIfTI: CT (in Hounsfield units) or MR.
        exporter: Further files beside the others, names separated by commas: itk-snap, niivue or slicer (labels with
            names and colours), or the name of an exporter that an installed package adds.
        operating_point: Thresholds of present and absent: sensitive (fewer misses), balanced, or specific (fewer false
            alarms). See the model card for what each did on real scans.
        steps: Progress of the work; the command line shows a bar.

    Returns:
        One answer a query, in the order of the queries, and the queries that got none; the command line then exits with
        3.

    Raises:
        QueryError: None of the queries can be answered.
    """
    check_writable(out)
    exporters = [*default_exporters(), *named_exporters(exporter)]
    path = str(sample_path()) if scan == "sample" else scan
    with steps("loading the model"):
        opened = open_model_at(model, operating_point, device)
        queries, declined = understand(query, opened)
    # Imported where they are needed: together they take as long as half an answer.
    private = results = None
    if deidentify:
        from tips_med.deidentification import Deidentifier

        private = Deidentifier.from_file(deidentify_key)
    if dicom or dicom_heat or dicom_rtstruct or dicom_captures:
        from tips_med.exporters.dicom import DicomExporter

        results = DicomExporter(
            source or path,
            weights_sha256=opened.sha256,
            heat=dicom_heat,
            structure_set=dicom_rtstruct,
            captures=dicom_captures,
            deidentifier=private,
        )
        exporters.append(results)
    if is_study(path):
        with steps("reading the study"):
            study = EncodedStudy.load(path)
            if private is not None:
                study = dataclasses.replace(study, scan=private.scan(study.scan))
    else:
        with steps("reading the scan"):
            volume = read_scan(path, series=series, phase=phase, fill_gaps=fill_gaps, untilt=untilt)
            volume = with_stated_modality(volume, modality)
            if private is not None:
                volume = private.scan(volume)
        if results is not None:
            results.prepare(volume)
        with steps("encoding") as progress:
            study = encode_scan(volume, opened, progress, adapters=adapters_of(queries, opened))
    answers = []
    with steps("asking") as progress:
        for n, each in enumerate(queries, start=1):
            answers.append(answer(study, each, opened))
            progress(n, len(queries))
    about = dataclasses.asdict(opened.card) | {"name": opened.card.name, "weights_sha256": opened.sha256}
    with steps("writing") as progress:
        write_answers(answers, out, about, exporters=exporters, declined=declined, progress=progress)
    return Answers(answers, declined)


class Answers(list[Grounding]):
    """The answers, in the order of the queries.

    Attributes:
        declined: Queries that got no answer, with the reason.
    """

    def __init__(self, answers: Sequence[Grounding], declined: Sequence[Declined] = ()) -> None:
        super().__init__(answers)
        self.declined = tuple(declined)
