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
        layout: decathlon, totalsegmentator or rexgroundingct.
        folder: The dataset's root.
        out: The manifest to write, .csv or .jsonl.
        phrases: A phrase for a label's name, where the name itself is none; of the first two layouts.
        images: Where the CT volumes of ReXGroundingCT are, which CT-RATE gives out.

    Returns:
        The manifest.
    """
    return write_manifest(rows_of(layout, folder, phrases, images), out)
