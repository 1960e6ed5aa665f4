"""Asks in reverse: what is at this place?"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tips_med.encoders.study import EncodedStudy, is_study
from tips_med.errors import ConfigError, QueryError
from tips_med.grounding import Identification
from tips_med.grounding import encode as encode_scan
from tips_med.grounding import what as identify
from tips_med.grounding.modality import with_stated_modality
from tips_med.loading import open_model
from tips_med.manifest.masks import read_mask
from tips_med.progress import StepFactory, no_progress
from tips_med.readers import read_scan
from tips_med.sample import sample_path


def what(
    scan: str,
    at: str | None = None,
    region: Path | None = None,
    part: str | None = None,
    model: str | None = None,
    device: str = "auto",
    series: str | None = None,
    phase: int | None = None,
    fill_gaps: bool = False,
    untilt: bool = False,
    modality: Literal["CT", "MR"] | None = None,
    json: bool = False,
    steps: StepFactory = no_progress,
) -> Identification:
    """Names the findings and structures that fit best at a place of a scan.

    Args:
        scan: DICOM folder, a DICOM or NIfTI file, a study made by ``encode``, or ``sample``.
        at: Point, LPS in mm, as --at=52,-85,277 (peak_lps of an answer).
        region: Mask of a region on the scan's grid, in place of a point: NIfTI, NRRD, MetaImage, DICOM SEG or RTSTRUCT.
        part: Part of the file of region: label value, number or label of a segment, or name of an ROI.
        model: File of weights, or tips:FOLDER; the shipped model if left out.
        device: auto, cpu or cuda.
        series: Series Instance UID to read, where there are several.
        phase: Number of the time or phase of a 4-D series, from 1.
        fill_gaps: Leave empty slices where some are missing, with a note.
        untilt: Resample a tilted gantry's slices to an upright grid, with a note.
        modality: Modality of a file that does not state it, such as NIfTI: CT (in Hounsfield units) or MR.
        json: Print JSON in place of the table.
        steps: Progress of the work; the command line shows a bar.

    Returns:
        The terms, the best first, and what was not compared.

    Raises:
        QueryError: The place is not in the scan, or is no place.
    """
    if (at is None) == (region is None):
        raise ConfigError(
            "there is no place" if at is None else "both a point and a region are given",
            expected="--at=x,y,z (LPS in mm) or --region MASK",
        )
    point = None if at is None else _point(at)
    path = str(sample_path()) if scan == "sample" else scan
    with steps("loading the model"):
        opened = open_model(model, device)
    if is_study(path):
        with steps("reading the study"):
            study = EncodedStudy.load(path)
    else:
        with steps("reading the scan"):
            volume = read_scan(path, series=series, phase=phase, fill_gaps=fill_gaps, untilt=untilt)
            volume = with_stated_modality(volume, modality)
        with steps("encoding") as progress:
            study = encode_scan(volume, opened, progress, adapters="all")
    with steps("comparing"):
        if point is not None:
            return identify(study, point, opened)
        assert region is not None
        return identify(study, read_mask(region, study.scan, part), opened)


def _point(text: str) -> tuple[float, float, float]:
    try:
        x, y, z = (float(value) for value in text.split(","))
    except ValueError as error:
        raise QueryError(
            f"the place is {text!r}", expected="three numbers, LPS in mm: --at=52,-85,277", code="bad-region"
        ) from error
    return x, y, z
