"""Leaks: what is of one patient has to stay in one split."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tips_med.manifest.problems import ManifestProblem
from tips_med.manifest.rows import Row
from tips_med.readers import PatientTrace
from tips_med.scan import Scan

SPLITS = ("train", "val", "test")
"""Splits that commands read by default: ``train`` reads the first two, ``evaluate`` the last."""

_USUAL_NAMES = {
    **dict.fromkeys(("training", "trn", "tr"), "train"),
    **dict.fromkeys(("valid", "validation", "validate", "dev", "development", "tune", "tuning"), "val"),
    **dict.fromkeys(("testing", "tst", "ts", "heldout", "held-out", "holdout", "hold-out"), "test"),
}
"""Other usual names of the splits, which no command reads."""

_FEWEST_VALUES = 64
"""A scan of fewer different values has no fingerprint: two synthetic ones may have the same."""


@dataclass(frozen=True)
class ScanTrace:
    """What tells whether two paths hold one scan, or scans of one patient. Never to be stored.

    Attributes:
        patient: Whose scan it is, by its files.
        series_uid: Series Instance UID; empty if not DICOM.
        fingerprint: Hash of how often each value occurs, the same in every format and orientation; empty without one.
    """

    patient: PatientTrace
    series_uid: str
    fingerprint: str


def trace_scan(scan: Scan, patient: PatientTrace) -> ScanTrace:
    """The trace of a scan.

    Args:
        scan: Scan, as read.
        patient: Trace of its patient.
    """
    # Air and padding, which formats write differently, are left out.
    values = np.rint(scan.voxels[(scan.voxels > -1000) & (scan.voxels < 4096)]).astype(np.int64) + 1000
    counts = np.bincount(values, minlength=1)
    known = int((counts > 0).sum()) >= _FEWEST_VALUES
    print_ = hashlib.sha256(np.trim_zeros(counts, "b").tobytes()).hexdigest() if known else ""
    return ScanTrace(patient, scan.provenance.series_uid or "", print_)


def check_split_names(rows: Sequence[Row]) -> list[ManifestProblem]:
    """Splits that no command reads, once each: another name of a usual one is an error, a name of one's own is not."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.split, row)
    problems = []
    for name, row in first.items():
        meant = _USUAL_NAMES.get(name.lower(), name.lower())
        count = sum(one.split == name for one in rows)
        if name in SPLITS:
            continue
        if meant in SPLITS:
            text = f"{count} row(s) are in the split {name!r}, which no command reads; expected {meant!r}"
            problems.append(ManifestProblem(row.line, "split-name", text))
        else:
            text = f"{count} row(s) are in the split {name!r}: train leaves them out, evaluate reads them by --split"
            problems.append(ManifestProblem(row.line, "split-name", text, fatal=False))
    return problems


def check_patients(rows: Sequence[Row]) -> list[ManifestProblem]:
    """Patients in two splits, and scans of two patients, as the manifest has them."""
    splits: dict[str, set[str]] = defaultdict(set)
    owners: dict[Path, set[str]] = defaultdict(set)
    for row in rows:
        splits[row.patient_key].add(row.split)
        owners[row.scan_key].add(row.patient_key)
    problems = []
    for row in rows:
        if len(splits[row.patient_key]) > 1:
            named = ", ".join(sorted(splits[row.patient_key]))
            text = f"patient {row.patient_key} is in the splits {named}"
            problems.append(ManifestProblem(row.line, "two-splits", text))
        if len(owners[row.scan_key]) > 1:
            text = f"{row.scan} is of {len(owners[row.scan_key])} patients"
            problems.append(ManifestProblem(row.line, "two-patients", text))
    return problems


def check_leaks(rows: Sequence[Row], traces: Mapping[Path, ScanTrace]) -> list[ManifestProblem]:
    """One scan under two paths, and scans that are of one patient by their files, where the manifest differs.

    Args:
        rows: Rows of one manifest, all splits.
        traces: Traces of the scans that were read, by ``Row.scan_key``.

    Returns:
        One problem at most for a scan, at its first row.
    """
    problems = []
    by_scan: dict[Path, list[Row]] = defaultdict(list)
    for row in rows:
        if row.scan_key in traces:
            by_scan[row.scan_key].append(row)
    seen: dict[str, list[Path]] = defaultdict(list)
    for path, own in by_scan.items():
        trace = traces[path]
        found = None
        for kind, key in (("scan", trace.fingerprint), ("series", trace.series_uid), ("id", trace.patient.key)):
            if key:
                others = [by_scan[other] for other in seen[kind + key]]
                found = found or next(filter(None, (_leak(own, one, kind, trace) for one in others)), None)
                seen[kind + key].append(path)
        if found is not None:
            problems.append(found)
    return problems


def _leak(own: Sequence[Row], other: Sequence[Row], kind: str, trace: ScanTrace) -> ManifestProblem | None:
    """What is wrong with the rows of two scans of one patient; ``own`` come later in the manifest."""
    row, first = own[0], other[0]
    if row.patient_key == first.patient_key:
        return None  # the manifest knows, and ``check_patients`` has looked
    splits = {one.split for one in own} | {one.split for one in other}
    named = row.patient is not None and first.patient is not None
    what = {
        "scan": f"is the same scan as that of line {first.line}",
        "series": f"is of the same series as the scan of line {first.line}",
        "id": f"has the Patient ID of the scan of line {first.line}",
    }[kind]
    if len(splits) > 1:
        # After de-identification all patients may have one ID; the manifest's own names are believed then.
        doubtful = kind == "id" and trace.patient.identity_removed and named
        text = f"{row.scan} {what}, and they are in the splits {', '.join(sorted(splits))}"
        if doubtful:
            text += "; right if the de-identification gave one ID to several patients"
        return ManifestProblem(row.line, "one-patient" if doubtful else "two-splits", text, fatal=not doubtful)
    text = f"{row.scan} {what}, but another patient in the manifest: intervals over patients would be too narrow"
    return ManifestProblem(row.line, "one-patient", text, fatal=False)
