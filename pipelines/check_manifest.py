"""Checks a manifest before it is trained on or evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tips_med.manifest.check import CheckReport, UnusableManifestError, check_rows
from tips_med.manifest.reports import read_coverage
from tips_med.manifest.rows import read_manifest
from tips_med.progress import StepFactory, no_progress
from tips_med.query import Lexicon


def check_manifest(
    path: str, lexicon: str = "chest_ct", modalities: Sequence[str] = ("CT",), steps: StepFactory = no_progress
) -> CheckReport:
    """Reads every scan, mask and phrase that a manifest names.

    Args:
        path: Path of the manifest, .csv or .jsonl.
        lexicon: Lexicon of the model that is to be trained: a name, or a YAML file.
        modalities: Modalities that the model takes, as in DICOM; any if empty.
        steps: Progress of the work; the command line shows a bar.

    Returns:
        The content of the manifest, with warnings.

    Raises:
        UnusableManifestError: It cannot be used as it is; the message is the table of everything that is wrong.
    """
    rows = read_manifest(path)
    with steps("checking scans and masks") as progress:
        report = check_rows(rows, Lexicon.load(lexicon), progress, modalities)
    report = replace(report, coverage=read_coverage(Path(path)))
    if not report.usable:
        raise UnusableManifestError(report, Path(path))
    return report
