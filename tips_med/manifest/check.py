"""Checks a manifest against its files, and reports errors before training."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tips_med.errors import QueryError, TipsMedError
from tips_med.grounding.modality import ensure_modality
from tips_med.manifest.masks import read_mask
from tips_med.manifest.problems import ManifestProblem
from tips_med.manifest.rows import ManifestError, Row
from tips_med.manifest.splits import ScanTrace, check_leaks, check_patients, check_split_names, trace_scan
from tips_med.manifest.statements import check_statements
from tips_med.query import Lexicon
from tips_med.readers import read_scan_of_patient
from tips_med.reports import Coverage
from tips_med.scan import Scan

LARGE_SHARE, WHOLE_SHARE = 0.5, 0.9
"""Shares of the scan's voxels: a mask of more than the first is doubtful, of more than the second no finding's."""

MOST_WORDS = 40
"""Unknown words that are shown; the file beside the manifest has all."""


@dataclass(frozen=True)
class CheckReport:
    """What a manifest holds, and what is wrong with it.

    Attributes:
        problems: In the order of the lines.
        counts: Rows by (term, split, what): ``present``, ``absent``, ``unknown``, and ``outlined`` for those with a
            mask.
        rows: How many.
        scans: How many different ones.
        patients: Likewise.
        coverage: How much of the reports was understood, for a manifest that was made from some.
    """

    problems: tuple[ManifestProblem, ...]
    counts: dict[tuple[str, str, str], int] = field(default_factory=dict)
    rows: int = 0
    scans: int = 0
    patients: int = 0
    coverage: Coverage | None = None

    @property
    def usable(self) -> bool:
        """Whether nothing fatal was found."""
        return not any(problem.fatal for problem in self.problems)

    def __str__(self) -> str:
        lines = [f"{self.rows} rows, {self.scans} scans, {self.patients} patients"]
        terms = sorted({(term, split) for term, split, _ in self.counts})
        names = ("present", "absent", "unknown", "outlined")
        if terms:
            lines += ["", _line(["term", "split", *names])]
            lines += [_line([t, s, *(str(self.counts.get((t, s, n), 0)) for n in names)]) for t, s in terms]
        if self.coverage is not None:
            lines += ["", *_covered(self.coverage)]
        if self.problems:
            lines += ["", f"{'line':>6}  {'problem':<18}  what"]
            lines += [f"{p.line:>6}  {p.code:<18}  {'' if p.fatal else '(usable) '}{p.text}" for p in self.problems]
        verdict = (
            "not usable as it is" if not self.usable else "usable" if self.problems else "nothing is wrong with it"
        )
        lines.append(f"\n{verdict}")
        return "\n".join(lines).rstrip()


class UnusableManifestError(ManifestError):
    """A manifest that was checked and cannot be used; its text is the whole table.

    Args:
        report: Result of the check.
        path: Path of the manifest.
    """

    code = "manifest-problems"

    def __init__(self, report: CheckReport, path: Path) -> None:
        fatal = sum(problem.fatal for problem in report.problems)
        super().__init__(f"{fatal} problem(s)", path=path)
        self.report = report

    def __str__(self) -> str:
        return f"{self.path}: {self.found}\n{self.report}"


def check_rows(
    rows: Sequence[Row],
    lexicon: Lexicon,
    progress: Callable[[int, int], None] | None = None,
    modalities: Sequence[str] = ("CT",),
) -> CheckReport:
    """Reads every scan and mask and every phrase.

    Args:
        rows: Rows of one manifest, all splits.
        lexicon: Lexicon of the model.
        progress: Called with (scans done, total scans).
        modalities: DICOM modality codes that the model takes; any when empty.
    """
    problems = check_split_names(rows) + check_patients(rows) + _twice(rows) + check_statements(rows, lexicon)
    counts: Counter[tuple[str, str, str]] = Counter()
    by_scan: dict[Path, list[Row]] = defaultdict(list)
    for row in rows:
        by_scan[row.scan_key].append(row)
    traces: dict[Path, ScanTrace] = {}
    for done, (path, own) in enumerate(by_scan.items(), start=1):
        scan = None
        try:
            scan, patient = read_scan_of_patient(own[0].scan)
            traces[path] = trace_scan(scan, patient)
            ensure_modality(scan, modalities)
        except TipsMedError as error:
            problems += [ManifestProblem(row.line, error.code, _about(row.scan, error)) for row in own]
        for row in own:
            found, label, term = _phrase(row, lexicon)
            problems += found
            if scan is not None and row.mask is not None:
                problems += _mask(row, scan, label)
            if scan is not None and row.region is not None:
                problems += _region(row, scan)
            if scan is not None and row.ignore is not None:
                problems += _ignore(row, scan)
            if term:
                counts[term, row.split, label] += 1
                counts[term, row.split, "outlined"] += row.mask is not None
        if progress:
            progress(done, len(by_scan))
    problems += check_leaks(rows, traces)
    return CheckReport(
        tuple(sorted(problems, key=lambda p: (p.line, p.code))),
        dict(counts),
        len(rows),
        len(by_scan),
        len({row.patient_key for row in rows}),
    )


def _about(scan: Path, error: TipsMedError) -> str:
    """The error, with the scan where it names no file."""
    return str(error) if error.path is not None else f"{scan}: {error}"


def _phrase(row: Row, lexicon: Lexicon) -> tuple[list[ManifestProblem], str, str]:
    try:
        query = lexicon.parse(row.phrase)
    except QueryError as error:
        return [ManifestProblem(row.line, error.code, str(error))], row.label or "unknown", ""
    problems = []
    if query.unknown_words:
        text = f"{row.phrase!r}: not known, and left out: {', '.join(query.unknown_words)}"
        problems.append(ManifestProblem(row.line, "unknown-words", text, fatal=False))
    term = query.finding or query.structure
    return problems, row.resolved(query.negated), term.id if term else ""


def _mask(row: Row, scan: Scan, label: str) -> list[ManifestProblem]:
    assert row.mask is not None
    if row.mask.resolve() == row.scan_key:
        return [ManifestProblem(row.line, "mask-is-scan", f"{row.mask}: the mask is the scan itself")]
    try:
        mask = read_mask(row.mask, scan, row.part)
    except TipsMedError as error:
        return [ManifestProblem(row.line, error.code, str(error))]
    share = float(mask.mean())
    if label == "present" and not share:
        text = f"{row.mask}: the mask is empty, but {row.phrase!r} is marked present"
        return [ManifestProblem(row.line, "empty-mask", text)]
    if label == "absent" and share:
        text = f"{row.mask}: {int(mask.sum())} voxels are marked, but {row.phrase!r} is absent"
        return [ManifestProblem(row.line, "mask-of-absent", text)]
    if share > LARGE_SHARE:
        whole = share > WHOLE_SHARE
        text = f"{row.mask}: {share:.0%} of the scan's voxels are marked"
        text += "; expected the finding, not the whole scan or its background" if whole else ": is this the finding?"
        return [ManifestProblem(row.line, "full-mask" if whole else "large-mask", text, fatal=whole)]
    return []


def _region(row: Row, scan: Scan) -> list[ManifestProblem]:
    assert row.region is not None
    try:
        empty = not read_mask(row.region, scan, row.region_part).any()
    except TipsMedError as error:
        return [ManifestProblem(row.line, error.code, str(error))]
    text = f"{row.region}: the region is empty, so {row.phrase!r} is nowhere"
    return [ManifestProblem(row.line, "empty-region", text)] if empty else []


def _ignore(row: Row, scan: Scan) -> list[ManifestProblem]:
    assert row.ignore is not None
    try:
        ignored = read_mask(row.ignore, scan, row.ignore_part)
        outlined = None if row.mask is None else read_mask(row.mask, scan, row.part)
    except TipsMedError as error:
        return [ManifestProblem(row.line, error.code, str(error))]
    if outlined is not None and outlined.any() and not (outlined & ~ignored).any():
        return [ManifestProblem(row.line, "all-ignored", f"{row.ignore}: all of the mask of {row.phrase!r} is ignored")]
    share = float(ignored.mean())
    text = (
        f"{row.ignore}: {share:.0%} of the scan's voxels are to be ignored, so that little is known of {row.phrase!r}"
    )
    return [ManifestProblem(row.line, "large-ignore", text, fatal=False)] if share > LARGE_SHARE else []


def _twice(rows: Sequence[Row]) -> list[ManifestProblem]:
    seen: dict[tuple[Path, str, Path | None, str | None], Row] = {}
    problems = []
    for row in rows:
        first = seen.setdefault((row.scan_key, row.phrase.lower(), row.mask, row.part), row)
        if first is not row:
            text = f"the same pair as in line {first.line}"
            problems.append(ManifestProblem(row.line, "twice", text, fatal=first.label != row.label))
    return problems


def _covered(coverage: Coverage) -> list[str]:
    """The coverage in words, with the unknown words that stand in most reports."""
    lines = [
        f"{coverage.reports} reports: {coverage.used} of {coverage.sentences} sentences ({coverage.share:.0%}) gave "
        f"{coverage.statements} statements"
    ]
    if coverage.refused:
        lines.append("sentences that were refused: " + ", ".join(f"{c} {n}" for c, n in coverage.refused.items()))
    if coverage.unknown:
        words = list(coverage.unknown.items())[:MOST_WORDS]
        lines.append(
            "words that are not known, with how many reports hold them: " + ", ".join(f"{w} {n}" for w, n in words)
        )
    return lines


def _line(cells: list[str]) -> str:
    return f"{cells[0]:<24} {cells[1]:<8} " + " ".join(f"{cell:>8}" for cell in cells[2:])
