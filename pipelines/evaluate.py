"""Evaluates a model on a manifest."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

from tips_med.evaluation import Evaluation, evaluate_rows, write_evaluation
from tips_med.evaluation.page import PICTURES, Gallery, check_place
from tips_med.loading import open_model
from tips_med.manifest import read_manifest
from tips_med.progress import StepFactory, no_progress


@dataclass(frozen=True)
class EvaluationData:
    """What to evaluate on.

    Attributes:
        manifest: The manifest, .csv or .jsonl.
    """

    manifest: Path


def evaluate(
    data: EvaluationData,
    out: Path,
    split: str = "test",
    model: str | None = None,
    device: str = "auto",
    strict: bool = False,
    other_findings: dict[str, str] | None = None,
    paraphrases: int = 3,
    as_written: bool = False,
    pictures: int = 3,
    draws: int = 1000,
    seed: int = 0,
    steps: StepFactory = no_progress,
) -> Evaluation:
    """Asks a model every phrase of one split, and writes a table, JSON and a page.

    Args:
        data: The manifest: --data.manifest FILE.
        out: Folder for evaluation.json, index.html and pictures; an earlier evaluation in it is replaced.
        split: Which rows.
        model: A file of weights, or tips:FOLDER; the shipped model if left out.
        device: auto, cpu or cuda.
        strict: Stop at the first row that cannot be asked, instead of counting it.
        other_findings: For the swap test: a finding for each that cannot be true of the same voxels.
        paraphrases: Other wordings that outlined findings are asked in.
        as_written: Give synonyms that were kept from training to the model as they are, not in usual words.
        pictures: Pictures of the best cases, and as many of the worst.
        draws: Draws of the bootstrap over patients.
        seed: Seed of wordings and draws.
        steps: Told of progress; the command line shows a bar.

    Returns:
        The values; the command line prints them as a table.
    """
    manifest = data.manifest
    rows = read_manifest(manifest, split)
    check_place(out)
    gallery = Gallery(out / PICTURES, pictures)
    with steps("loading the model"):
        opened = open_model(model, device)
    with steps("asking") as progress:
        found = evaluate_rows(
            rows,
            opened,
            folder=manifest.parent,
            strict=strict,
            other_findings=other_findings,
            paraphrases=paraphrases,
            as_written=as_written,
            draws=draws,
            seed=seed,
            progress=progress,
            watch=gallery.add,
        )
    about = {
        "manifest": manifest.name,
        "manifest_sha256": hashlib.sha256(manifest.read_bytes()).hexdigest(),
        "split": split,
        "weights_sha256": opened.sha256,
        "card": dataclasses.asdict(opened.card),
    }
    write_evaluation(found, out, about, gallery)
    return found
