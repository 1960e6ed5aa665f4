"""Writes a model for another framework."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tips_med.bundle.export import write_bundle
from tips_med.graphs import write_graphs
from tips_med.loading import open_model
from tips_med.progress import StepFactory, no_progress


def export(
    to: Literal["monai-bundle", "hugging-face", "onnx", "pt2"],
    out: Path,
    model: str | None = None,
    steps: StepFactory = no_progress,
) -> Path:
    """Writes a model as a folder that another framework loads.

    Args:
        to: A MONAI bundle; a folder as the Hugging Face hub has them; or graphs of the networks, for ONNX Runtime
            (needs the extra ``onnx``) or for ``torch.export.load``.
        out: A new or empty folder.
        model: A file of weights, or a folder; the shipped model if left out.
        steps: Told of progress; the command line shows a bar.

    Returns:
        The folder.
    """
    with steps("loading the model"):
        opened = open_model(model, "cpu")
    with steps("writing") as progress:
        if to == "onnx" or to == "pt2":
            return write_graphs(opened, Path(out), to, progress)
        return write_bundle(opened, Path(out)) if to == "monai-bundle" else opened.save_pretrained(out)
