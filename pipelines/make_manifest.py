"""Makes a manifest of a public dataset's layout, or of a hospital's reports."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tips_med.lexicon import Lexicon
from tips_med.manifest.adapters import rows_of
from tips_med.manifest.reports import read_report_file, rows_of_reports, write_coverage
from tips_med.manifest.rows import ManifestError, write_manifest


def make_manifest(
    layout: Literal["decathlon", "totalsegmentator", "rexgroundingct", "reports"],
    out: Path,
    folder: Path | None = None,
    phrases: dict[str, str] | None = None,
    images: Path | None = None,
    reports: Path | None = None,
    scans: Path | None = None,
    lexicon: str = "chest_ct",
) -> Path:
    """Writes a manifest of a folder as it was downloaded, or of reports as they were written.

    Args:
        layout: decathlon, totalsegmentator, rexgroundingct or reports.
        out: The manifest to write, .csv or .jsonl.
        folder: The dataset's root; of the first three layouts.
        phrases: A phrase for a label's name, where the name itself is none; of the first two layouts.
        images: Where the CT volumes of ReXGroundingCT are, which CT-RATE gives out.
        reports: A CSV with the columns scan, report and, if wanted, patient and split.
        scans: Folder that the paths of the scans are meant from; that of the reports if left out.
        lexicon: Language of the reports: a name, or a YAML file.

    Returns:
        The manifest.
    """
    if layout == "reports":
        if reports is None:
            raise ManifestError("no reports are named", expected="--reports FILE.csv", code="layout")
        entries = read_report_file(reports)
        rows, coverage = rows_of_reports(entries, scans or reports.parent, Lexicon.load(lexicon))
        write_coverage(coverage, out)
        return write_manifest(rows, out)
    if folder is None:
        raise ManifestError("no folder is named", expected="--folder DIR", code="layout")
    return write_manifest(rows_of(layout, folder, phrases, images), out)
