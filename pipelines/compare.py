"""Compares two scans of one patient."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tips_med.encoders.study import EncodedStudy, is_study
from tips_med.errors import ReadError
from tips_med.exporters.comparison import write_comparisons
from tips_med.exporters.folder import check_writable
from tips_med.followup import Comparison, compare_queries
from tips_med.followup.comparison import comparable_query
from tips_med.followup.pairing import check_patients
from tips_med.followup.registration import check_modalities, register
from tips_med.grounding import Declined
from tips_med.grounding import encode as encode_scan
from tips_med.grounding.ground import adapters_of
from tips_med.grounding.modality import with_stated_modality
from tips_med.grounding.questions import understand
from tips_med.loading import open_model
from tips_med.model import GroundingModel
from tips_med.progress import ProgressCallback, StepFactory, no_progress
from tips_med.readers import PatientTrace, read_scan_of_patient
from tips_med.sample import sample_path


def compare(
    prior: str,
    current: str,
    query: Sequence[str],
    out: Path,
    model: str | None = None,
    device: str = "auto",
    prior_series: str | None = None,
    current_series: str | None = None,
    fill_gaps: bool = False,
    untilt: bool = False,
    modality: Literal["CT", "MR"] | None = None,
    allow_different_patients: bool = False,
    steps: StepFactory = no_progress,
) -> Comparisons:
    """Compares two scans of one patient, finding by finding, and writes the result into a folder.

    Args:
        prior: Earlier scan: DICOM folder, a DICOM or NIfTI file, a study made by ``encode``, or ``sample``.
        current: Later scan, likewise.
        query: Finding to compare, in words; several queries cost one registration.
        out: Folder for report.json and, for each query, masks and figure. Earlier results in it are replaced.
        model: File of weights, or tips:FOLDER; the shipped model if left out.
        device: auto, cpu or cuda.
        prior_series: Series Instance UID to read of the prior scan, where there are several.
        current_series: Series Instance UID to read of the current scan, where there are several.
        fill_gaps: Leave empty slices where some are missing, with a note.
        untilt: Resample a tilted gantry's slices to an upright grid, with a note.
        modality: Modality of files that do not state it, such as NIfTI: CT (in Hounsfield units).
        allow_different_patients: Compare scans whose Patient IDs differ, as after deidentification.
        steps: Progress of the work; the command line shows a bar.

    Returns:
        One comparison a query, in the order of the queries, and the queries that got none; the command line then exits
        with 3.

    Raises:
        QueryError: None of the queries can be answered.
        ReadError: ``different-patients``, or ``prior-is-later``.
        ModalityError: ``different-modality``, or ``not-registered``.
    """
    check_writable(out)
    with steps("loading the model"):
        opened = open_model(model, device)
        queries, declined = understand(query, opened, comparable_query)
        adapters = adapters_of(queries, opened)
    studies, traces = [], []
    for name, path, series in (("prior", prior, prior_series), ("current", current, current_series)):
        with steps(f"reading and encoding the {name} scan") as progress:
            study, trace = _study(path, series, fill_gaps, untilt, modality, opened, adapters, progress)
        studies.append(study)
        traces.append(trace)
    days, notes = check_patients(traces[0], traces[1], allow_different=allow_different_patients)
    before, now = studies
    check_modalities(before, now)
    with steps("registering") as progress:
        registration = register(before, now, opened, progress)
    with steps("asking") as progress:
        made = compare_queries(before, now, queries, opened, registration, progress)
    about = dataclasses.asdict(opened.card) | {"name": opened.card.name, "weights_sha256": opened.sha256}
    with steps("writing") as progress:
        write_comparisons(made, out, about, days_between=days, declined=declined, notes=notes, progress=progress)
    return Comparisons(made, days, notes, declined)


class Comparisons(list[Comparison]):
    """The comparisons, in the order of the queries.

    Attributes:
        days_between: Days from the prior to the current scan; None where a file does not state its date.
        notes: Notes about the pair, one sentence each.
        declined: Queries that got no answer, with the reason.
    """

    def __init__(
        self,
        comparisons: Sequence[Comparison],
        days_between: int | None = None,
        notes: Sequence[str] = (),
        declined: Sequence[Declined] = (),
    ) -> None:
        super().__init__(comparisons)
        self.days_between, self.notes, self.declined = days_between, tuple(notes), tuple(declined)


def _study(
    path: str,
    series: str | None,
    fill_gaps: bool,
    untilt: bool,
    modality: Literal["CT", "MR"] | None,
    model: GroundingModel,
    adapters: tuple[int, ...],
    progress: ProgressCallback,
) -> tuple[EncodedStudy, PatientTrace]:
    """A scan, encoded, and whose it is."""
    if is_study(path):
        if series is not None:
            raise ReadError("is an encoded study, which holds one series", path=path, remedy="leave the series out")
        return EncodedStudy.load(path), PatientTrace()
    source = sample_path() if path == "sample" else path
    scan, trace = read_scan_of_patient(source, series=series, fill_gaps=fill_gaps, untilt=untilt)
    return encode_scan(with_stated_modality(scan, modality), model, progress, adapters), trace
