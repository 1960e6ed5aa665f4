"""Manifests from whole reports: each statement becomes a weak row, in words of the lexicon alone.

Nothing of a report is copied. A row holds the statement as the lexicon would say it, and where in the report it stands;
so no name, date or accession number can get into a manifest.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tips_med.errors import OutputError, QueryError
from tips_med.folders import whole_file
from tips_med.lexicon import Lexicon, Query, Term
from tips_med.manifest.adapters import split_of
from tips_med.manifest.rows import Label, ManifestError, Row
from tips_med.reports import Coverage, Report, Statement, cover, read_report

REPORT_COLUMNS = ("scan", "report", "patient", "split")
_OPEN = ("new", "newly")


@dataclass(frozen=True)
class ReportEntry:
    """One report of a file.

    Attributes:
        number: Its number in the file, from 1.
        scan: As it stands there.
        text: The report.
        patient: As it stands there; never written on.
        split: Likewise; empty when left out.
    """

    number: int
    scan: str
    text: str
    patient: str
    split: str


def read_report_file(path: Path) -> list[ReportEntry]:
    """Reads a CSV of reports: columns scan, report and, if wanted, patient and split; UTF-8.

    Raises:
        ManifestError: It cannot be read, or a column is missing.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"cannot be read ({error})", path=path, code="manifest-unreadable") from error
    names = set(rows[0]) if rows else set()
    if not rows or not {"scan", "report"} <= names:
        raise ManifestError(
            "holds no reports", path=path, expected=f"a CSV with the columns {', '.join(REPORT_COLUMNS)}", code="layout"
        )
    cells = [{name: (row.get(name) or "").strip() for name in REPORT_COLUMNS} for row in rows]
    return [
        ReportEntry(n, one["scan"], one["report"], one["patient"], one["split"])
        for n, one in enumerate(cells, start=1)
        if one["scan"] and one["report"]
    ]


def rows_of_reports(entries: Iterable[ReportEntry], scans: Path, lexicon: Lexicon) -> tuple[list[Row], Coverage]:
    """The weak rows of reports, and how much of them was understood.

    Args:
        entries: The reports.
        scans: Folder that the scans' paths are meant from.
        lexicon: The language.
    """
    rows: list[Row] = []
    reports: list[Report] = []
    patients: dict[str, str] = {}
    for entry in entries:
        report = read_report(entry.text, lexicon)
        reports.append(report)
        # A patient's number of the hospital would tell who it is: rows only say which reports are of one patient.
        patient = patients.setdefault(entry.patient or entry.scan, f"patient-{len(patients) + 1:05d}")
        split = entry.split or split_of(patient)
        rows += _rows(report, scans / entry.scan, patient, split, entry.number, lexicon)
    return rows, cover(reports)


def _rows(report: Report, scan: Path, patient: str, split: str, number: int, lexicon: Lexicon) -> Iterator[Row]:
    found: dict[str, Row] = {}
    for statement in report.statements:
        query = statement.query
        cited = query.cited[0] if query.cited else None
        for phrase, label in _phrases(statement, lexicon):
            row = Row(
                scan=scan,
                phrase=phrase,
                label=label,
                patient=patient,
                split=split,
                state=query.state,
                series=cited.series if cited else None,
                images=tuple(image for one in query.cited for image in one.images),
                size_mm=query.measurement_mm,
                count=query.count,
                source=f"{number}:{statement.start}-{statement.end}",
            )
            if phrase not in found or (row.images and not found[phrase].images):
                found[phrase] = row
    yield from found.values()


def _phrases(statement: Statement, lexicon: Lexicon) -> Iterator[tuple[str, Label]]:
    """The phrases of a statement, each read back: what the lexicon would not understand again is left out."""
    query = statement.query
    if query.finding is not None and query.finding.id == "abnormality":
        if query.negated and query.structure is not None and not query.locations:
            for finding in lexicon.content.normal_means.get(query.structure.id, ()):
                term = lexicon.term(finding)
                yield f"no {term.forms[0].text}{_where(query, query.structure, term)}", "absent"
        return
    if _reads_back(statement.phrase, query, lexicon):
        yield statement.phrase, _label(query)


def _where(query: Query, structure: Term, finding: Term) -> str:
    side = {"left": " left", "right": " right", "both": " bilateral", None: ""}[query.side]
    return side if finding.within or finding.id == "cardiomegaly" else f"{side} {structure.forms[0].text}"


def _label(query: Query) -> Label:
    """What a statement says for training: "no new nodule" does not say that there is none."""
    if query.negated:
        open_question = any(word in _OPEN for part in query.unchecked for word in part.lower().split())
        return "unknown" if open_question else "absent"
    return "present" if query.state == "present" else "unknown"


def _reads_back(phrase: str, query: Query, lexicon: Lexicon) -> bool:
    try:
        read = lexicon.parse(phrase)
    except QueryError:
        return False
    same = (read.finding, read.side, read.measurement_mm, read.state)
    return same == (query.finding, query.side, query.measurement_mm, query.state) and set(read.locations) == set(
        query.locations
    )


def coverage_path(manifest: Path) -> Path:
    """Where the coverage of a manifest made from reports is kept: beside it."""
    return manifest.with_name(manifest.stem + ".coverage.json")


def write_coverage(coverage: Coverage, manifest: Path) -> Path:
    """Writes the coverage beside its manifest.

    Raises:
        OutputError: It cannot be written there.
    """
    path = coverage_path(manifest)
    try:
        with whole_file(path) as partial:
            partial.write_text(json.dumps(coverage.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot be written ({error})", path=path) from error
    return path


def read_coverage(manifest: Path) -> Coverage | None:
    """The coverage that lies beside a manifest; None where there is none.

    Raises:
        ManifestError: It is there and cannot be read.
    """
    path = coverage_path(manifest)
    if not path.is_file():
        return None
    try:
        return Coverage(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ManifestError(f"cannot be read ({error})", path=path, code="coverage") from error
