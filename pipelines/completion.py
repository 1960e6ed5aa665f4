"""Prints a script that completes commands and options in a shell."""

from __future__ import annotations

from typing import Literal

from tips_med.cli import build_parser


def completion(shell: Literal["bash", "zsh", "fish"]) -> str:
    """Prints a script that completes commands, options and files of ``tips-med``.

    The script is made once and never runs Python while you type.

    Args:
        shell: bash, zsh or fish.

    Returns:
        The script.
    """
    return build_parser(every=True).get_completion_script(f"shtab-{shell}")
