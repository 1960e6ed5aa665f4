"""What may be wrong with a manifest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ManifestProblem:
    """Something wrong with a row, or with several.

    Attributes:
        line: Line in the manifest, from 1.
        code: A short stable name: ``other-grid``, ``empty-mask``, ``two-splits``.
        text: Problem in words.
        fatal: Whether training and evaluation would be wrong with it; other problems are warnings.
    """

    line: int
    code: str
    text: str
    fatal: bool = True
