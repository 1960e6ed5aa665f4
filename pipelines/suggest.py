"""Suggests which unlabelled scans to outline next."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Literal

from tips_med.discovery import FoundScan, find_scans
from tips_med.encoders.study import EncodedStudy
from tips_med.errors import ConfigError
from tips_med.grounding import encode as encode_scan
from tips_med.grounding.modality import with_stated_modality
from tips_med.loading import open_model
from tips_med.manifest import read_manifest, write_manifest
from tips_med.progress import StepFactory, no_progress
from tips_med.suggestion import Suggestions, suggest_scans

log = logging.getLogger(__name__)


def suggest(
    path: str,
    scans: Path,
    model: str | None = None,
    top: int = 10,
    out: Path | None = None,
    json: bool = False,
    device: str = "auto",
    fill_gaps: bool = False,
    untilt: bool = False,
    modality: Literal["CT", "MR"] | None = None,
    steps: StepFactory = no_progress,
) -> Suggestions:
    """Ranks unlabelled scans by what their labels would teach, so that an hour of outlining goes where it counts.

    Args:
        path: Manifest of what is labelled so far; its phrases are what is taught.
        scans: Folder, or manifest, of the scans to choose from. Encoded studies are taken as they are; the scans that
            the first manifest labels are left out.
        model: Model that learns, as ``train`` wrote it last; the shipped one if left out.
        top: Number of scans to suggest, 1 or more.
        out: Manifest (.csv or .jsonl) to write with one row for each suggested scan and phrase, labelled unknown: to
            fill in with a mask, present or absent.
        json: Print JSON in place of the table.
        device: auto, cpu or cuda.
        fill_gaps: Leave empty slices where some are missing, with a note.
        untilt: Resample a tilted gantry's slices to an upright grid, with a note.
        modality: Modality of files that do not state it, such as NIfTI: CT (in Hounsfield units) or MR.
        steps: Progress of the work; the command line shows a bar.

    Returns:
        The scans, the most valuable first, with their paths, which may tell whose they are; the command line exits with
        3 when some could not be used.

    Raises:
        ManifestError: The manifest cannot be used.
        ReadError: There is no scan.
        ConfigError: ``top`` is less than 1, or the manifest labels all scans.
    """
    if top < 1:
        raise ConfigError(f"top is {top}", expected="1 or more")
    rows = read_manifest(path)
    with steps("finding scans") as progress:
        found = find_scans(scans, os.urandom(32), fill_gaps=fill_gaps, untilt=untilt, progress=progress)
    with steps("loading the model"):
        opened = open_model(model, device)

    def encode(scan: FoundScan, adapters: tuple[int, ...]) -> EncodedStudy:
        if scan.is_encoded:
            return scan.load()
        volume = scan.read(fill_gaps=fill_gaps, untilt=untilt)
        return encode_scan(with_stated_modality(volume, modality), opened, adapters=adapters)

    with steps("asking every scan") as progress:
        suggested = suggest_scans(rows, found, opened, encode, top, progress)
    if not suggested.candidates and not suggested.refused:
        raise ConfigError(
            "the manifest labels every scan in it",
            path=scans,
            expected="scans that nobody has labelled yet",
            code="nothing-to-suggest",
        )
    for phrase, error in suggested.unknown:
        log.warning("%s: not asked, %s", phrase, error.found)
    if not suggested.phrases:
        log.warning(
            "the model knows none of the phrases yet, so the scans are ranked by how different they look alone: train "
            "on the first few, and ask again with --model"
        )
    for place, text in suggested.refused:
        log.warning("%s: left out, %s", place, text)
    if out is not None:
        write_manifest(suggested.rows(), out)
    return suggested
