"""Turns the published npz checkpoints of TIPS into a folder that every model option takes."""

from __future__ import annotations

from pathlib import Path

from tips_med.encoders.tips.convert import convert_npz as convert


def convert_tips(vision: Path, text: Path, tokenizer: Path, out: Path) -> Path:
    """Converts a pair of npz checkpoints, strictly: every tensor is used, and none is missing.

    Args:
        vision: The image tower's .npz file.
        text: The text tower's .npz file.
        tokenizer: The SentencePiece model that was published with it.
        out: Path of a new folder; use it with ``--model tips:FOLDER``.

    Returns:
        The folder.
    """
    return convert(vision, text, tokenizer, out)
