"""Encodes a scan once, so that any number of questions may follow."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tips_med.errors import OutputError
from tips_med.grounding import encode as encode_scan
from tips_med.grounding.maps import prepare
from tips_med.grounding.modality import with_stated_modality
from tips_med.loading import open_model
from tips_med.progress import StepFactory, no_progress
from tips_med.readers import read_scan
from tips_med.sample import sample_path


def encode(
    scan: str,
    out: Path,
    model: str | None = None,
    device: str = "auto",
    series: str | None = None,
    phase: int | None = None,
    fill_gaps: bool = False,
    untilt: bool = False,
    deidentify: bool = False,
    deidentify_key: Path | None = None,
    modality: Literal["CT", "MR"] | None = None,
    steps: StepFactory = no_progress,
) -> Path:
    """Encodes a scan into a study file that ``ground`` takes in place of the scan.

    Args:
        scan: DICOM folder, a DICOM or NIfTI file, or ``sample``.
        out: Study file to write, ending in .safetensors. It holds the scan's voxels and features, and UIDs.
        model: File of weights, or tips:FOLDER; the shipped model if left out.
        device: auto, cpu or cuda.
        series: Series Instance UID to read, where there are several.
        phase: Number of the time or phase of a 4-D series, from 1.
        fill_gaps: Leave empty slices where some are missing, with a note.
        untilt: Resample a tilted gantry's slices to an upright grid, with a note.
        deidentify: Write the study without the UIDs of the source (DICOM PS3.15 basic profile).
        deidentify_key: File with the secret that maps the UIDs, made if missing; with the same one, the study
            fits the copy that the command deidentify makes. A fresh secret if left out.
        modality: Modality of a file that does not state it, such as NIfTI: CT (in Hounsfield units) or MR.
        steps: Progress of the work; the command line shows a bar.

    Returns:
        The path of the study.
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise OutputError("a study file must end in .safetensors", path=out, remedy=f"name it {out.stem}.safetensors")
    if out.is_dir():
        raise OutputError("is a folder", path=out, expected="a file to write")
    private = None
    if deidentify:  # imported where it is needed, for it takes time
        from tips_med.deidentification import Deidentifier

        private = Deidentifier.from_file(deidentify_key)
    with steps("loading the model"):
        opened = open_model(model, device)
    with steps("reading the scan"):
        source = sample_path() if scan == "sample" else scan
        volume = read_scan(source, series=series, phase=phase, fill_gaps=fill_gaps, untilt=untilt)
        volume = with_stated_modality(volume, modality)
        if private is not None:
            volume = private.scan(volume)
    with steps("encoding") as progress:
        study = encode_scan(volume, opened, progress, adapters="all")
    with steps("finding the lungs"):
        prepare(study, opened)
    with steps("writing"):
        return study.save(out)
