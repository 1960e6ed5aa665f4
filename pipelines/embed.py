"""Stores a teacher's patch embeddings of every scan of a manifest."""

from __future__ import annotations

import logging
from pathlib import Path

from tips_med.errors import TipsMedError
from tips_med.loading import open_model
from tips_med.manifest import ManifestError, read_manifest
from tips_med.progress import StepFactory, no_progress
from tips_med.training.distillation import store_embeddings

log = logging.getLogger(__name__)


def embed(
    path: str,
    out: Path,
    model: str,
    split: str = "train",
    device: str = "auto",
    strict: bool = False,
    steps: StepFactory = no_progress,
) -> Path:
    """Encodes the scans of a split with a teacher, for ``train --data.teacher``; existing ones are kept.

    Args:
        path: Path of the manifest, .csv or .jsonl.
        out: Folder for the embeddings, a safetensors file a scan.
        model: Teacher: tips:FOLDER, or a file of weights.
        split: Split of the scans; only those of train are distilled.
        device: auto, cpu or cuda.
        strict: Stop at the first scan that cannot be encoded, instead of leaving it out.
        steps: Progress of the work; the command line shows a bar.

    Returns:
        The folder.

    Raises:
        ManifestError: No scan could be encoded.
    """
    manifest = Path(path)
    scans = list(dict.fromkeys(row.scan for row in read_manifest(manifest, split)))
    lost: list[Path] = []

    def leave_out(scan: Path, error: TipsMedError) -> None:
        log.warning("left out: %s", error)
        lost.append(scan)

    with steps("loading the teacher"):
        teacher = open_model(model, device)
    with steps("encoding") as progress:
        files = store_embeddings(
            scans, teacher, out, manifest.parent, progress=progress, skipped=None if strict else leave_out
        )
    if not files:
        raise ManifestError(f"none of {len(scans)} scans could be encoded", path=manifest, code="no-scans")
    log.info("embeddings of %d scan(s), %d left out", len(files), len(lost))
    return out
