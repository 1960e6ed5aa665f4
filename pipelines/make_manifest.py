"""Makes a manifest of a public dataset's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tips_med.manifest.adapters import rows_of
from tips_med.manifest.rows import write_manifest


def make_manifest(
    layout: Literal["decathlon", "totalsegmentator", "rexgroundingct"],
    folder: Path,
    out: Path,
    phrases: dict[str, str] | None = None,
    images: Path | None = None,
) -> Path:
    """Writes a manifest of a folder as it was downloaded.

    Args:
        layout: Layout of the dataset: decathlon, totalsegmentator or rexgroundingct.
        folder: Root folder of the dataset.
        out: Manifest to write, .csv or .jsonl.
        phrases: Phrase for each label name that is no phrase itself, for the first two layouts.
        images: Folder of the CT volumes from CT-RATE, for ReXGroundingCT.

    Returns:
        The manifest.
    """
    return write_manifest(rows_of(layout, folder, phrases, images), out)
