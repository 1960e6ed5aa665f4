"""Evaluates a model on a manifest."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tips_med.card import BALANCED, OperatingPointName
from tips_med.evaluation import Asking, Evaluation, Gallery, evaluate_rows, write_evaluation
from tips_med.evaluation.page import PICTURES, check_place
from tips_med.loading import open_model_at
from tips_med.manifest import read_manifest
from tips_med.progress import StepFactory, no_progress


@dataclass(frozen=True)
class EvaluationData:
    """Input of an evaluation.

    Attributes:
        manifest: Path of the manifest, .csv or .jsonl.
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
    workers: int = 1,
    studies: Path | None = None,
    operating_point: OperatingPointName = BALANCED,
    steps: StepFactory = no_progress,
) -> Evaluation:
    """Evaluates a model on every phrase of one split, and writes a table, JSON and a page.

    Args:
        data: Manifest: --data.manifest FILE.
        out: Folder for evaluation.json, index.html and pictures; an earlier evaluation in it is replaced.
        split: Split to evaluate.
        model: File of weights, or tips:FOLDER; the shipped model if left out.
        device: auto, cpu or cuda.
        strict: Stop at the first row that cannot be evaluated, instead of counting it.
        other_findings: For each finding another one that cannot be true of the same voxels, for the swap test.
        paraphrases: Number of other wordings per outlined finding, 0 or more.
        as_written: Pass held-out synonyms to the model unchanged, not in usual words.
        pictures: Number of pictures of the best cases, of the worst, and of false positives, 0 or more.
        draws: Number of bootstrap draws over patients, 1 or more.
        seed: Random seed of wordings and draws (integer, 0 or more).
        workers: Number of processes, 1 or more; each needs a scan's memory and shares the cores. Results are the same.
        studies: Folder that keeps encoded scans, so that another evaluation of the same model does not encode them
            again.
        operating_point: Thresholds of present and absent: sensitive (fewer misses), balanced, or specific (fewer false
            alarms). See the model card for what each did on real scans.
        steps: Progress of the work; the command line shows a bar.

    Returns:
        The values; the command line prints them as a table.
    """
    manifest = data.manifest
    rows = read_manifest(manifest, split)
    check_place(out)
    gallery = Gallery(out / PICTURES, pictures)
    with steps("loading the model"):
        opened = open_model_at(model, operating_point, device)
    with steps("asking") as progress:
        found = evaluate_rows(
            rows,
            opened,
            Asking(other_findings, paraphrases, as_written, strict, seed, studies),
            folder=manifest.parent,
            draws=draws,
            progress=progress,
            gallery=gallery,
            workers=workers,
            load=partial(open_model_at, model, operating_point, device),
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
