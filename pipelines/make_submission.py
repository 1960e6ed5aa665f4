"""Makes a submission to ReXGroundingCT."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tips_med.evaluation.submission import (
    Submission,
    SubmissionError,
    check_submission,
    predict_case,
    stack_masks,
    write_submission,
)
from tips_med.loading import open_model
from tips_med.manifest.adapters import find_volumes, read_rexgroundingct
from tips_med.progress import StepFactory, no_progress


def make_submission(
    dataset: Path,
    images: Path,
    out: Path,
    split: str = "test",
    model: str | None = None,
    device: str = "auto",
    steps: StepFactory = no_progress,
) -> Submission:
    """Asks a model for every finding of a split, writes the archive in ReXGroundingCT's layout, and reads it back.

    Args:
        dataset: ReXGroundingCT's dataset.json, or MICCAI_challenge_dataset.json.
        images: Folder of the CT volumes of CT-RATE, searched with subfolders.
        out: Path of the .zip archive to write.
        split: Split to answer.
        model: File of weights, or tips:FOLDER; the shipped model if left out.
        device: auto, cpu or cuda.
        steps: Progress of the work; the command line shows a bar.

    Returns:
        The content of the archive, as read back, with the findings that have no answer.

    Raises:
        SubmissionError: A scan of the split is missing, or the archive would not be scored.
    """
    cases = [case for case in read_rexgroundingct(dataset) if case.split == split]
    if not cases:
        raise SubmissionError(f"holds no case of the split {split!r}", path=dataset)
    volumes = find_volumes(images)
    if missing := [case.name for case in cases if case.name not in volumes]:
        raise SubmissionError(
            f"lacks {len(missing)} of {len(cases)} scans, {missing[0]} first",
            path=images,
            expected="the CT volumes of CT-RATE",
        )
    declined: list[tuple[str, int, str]] = []
    with steps("loading the model"):
        opened = open_model(model, device)
    with steps("asking") as progress:

        def answers() -> Iterator[tuple[str, np.ndarray]]:
            for done, case in enumerate(cases, start=1):
                scan, masks, refused = predict_case(volumes[case.name], case, opened)
                declined.extend((case.name, number, reason) for number, reason in refused)
                yield case.name, stack_masks(masks, scan)
                progress(done, len(cases))

        write_submission(answers(), out)
    with steps("reading it back"):
        return dataclasses.replace(check_submission(out, cases, volumes), declined=tuple(declined))
