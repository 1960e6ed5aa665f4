"""Examines the installation."""

from __future__ import annotations

from tips_med.doctor import Examination, examine
from tips_med.progress import StepFactory, no_progress


def doctor(
    model: str | None = None,
    device: str = "auto",
    skip_speed: bool = False,
    json: bool = False,
    steps: StepFactory = no_progress,
) -> Examination:
    """Tells versions, device, extras, weights and speed, with one line of advice for what is not as it should be.

    Nothing that it tells names the machine, its user or a folder.

    Args:
        model: File of weights, or tips:FOLDER; the shipped model if left out.
        device: auto, cpu or cuda.
        skip_speed: Do not time the image tower.
        json: Print JSON instead of a table (command line only).
        steps: Progress of the work; the command line shows a bar.
    """
    del json  # what is found does not depend on how it is shown
    return examine(model, device, probe_speed=not skip_speed, steps=steps)
