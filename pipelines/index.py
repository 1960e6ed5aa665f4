"""Indexes scans into an archive, so that all of them can be searched at once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tips_med.archive.indexing import Indexed, find_sources, index_scans
from tips_med.archive.lance import LanceStore
from tips_med.archive.studies import studies_of
from tips_med.encoders.study import EncodedStudy
from tips_med.grounding import encode as encode_scan
from tips_med.grounding.encoding import finding_adapters
from tips_med.grounding.modality import with_stated_modality
from tips_med.loading import open_model
from tips_med.progress import StepFactory, no_progress
from tips_med.readers import read_scan


def index(
    source: str,
    archive: str,
    model: str | None = None,
    device: str = "auto",
    private: Path | None = None,
    again: bool = False,
    fill_gaps: bool = False,
    untilt: bool = False,
    modality: Literal["CT", "MR"] | None = None,
    steps: StepFactory = no_progress,
) -> Indexed:
    """Stores of each scan what is needed to rank it without opening it.

    Args:
        source: Folder of encoded studies (made by ``encode``), a manifest, or one scan. Scans that are not encoded are
            encoded, and kept in the private folder.
        archive: Archive to write to: a folder, or the URL of one in an object store (s3://bucket/folder). An earlier
            record of the same scan is replaced.
        model: File of weights, or tips:FOLDER; the shipped model if left out. An archive holds studies of one model.
        device: auto, cpu or cuda.
        private: Folder for what the archive must not hold: the secret of its keys and the places of the studies.
            ARCHIVE.private beside the archive if left out.
        again: Index files, too, that have not changed since they were indexed.
        fill_gaps: Leave empty slices where some are missing, with a note.
        untilt: Resample a tilted gantry's slices to an upright grid, with a note.
        modality: Modality of files that do not state it, such as NIfTI: CT (in Hounsfield units) or MR.
        steps: Progress of the work; the command line shows a bar.

    Returns:
        What became of the scans; the command line exits with 3 when some were refused.
    """
    sources = find_sources(source)
    studies = studies_of(archive, private)
    store = LanceStore(archive, create=True)
    with steps("loading the model"):
        opened = open_model(model, device)

    def encode(path: Path) -> EncodedStudy:
        volume = read_scan(path, fill_gaps=fill_gaps, untilt=untilt)
        return encode_scan(with_stated_modality(volume, modality), opened, adapters=finding_adapters(opened))

    with steps("indexing") as progress:
        return index_scans(sources, store, studies, opened, encode, archive=archive, again=again, progress=progress)
