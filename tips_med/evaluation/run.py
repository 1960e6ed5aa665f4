"""Evaluates a model on every phrase of a manifest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tips_med.evaluation.asking import Asking, ScanResult, evaluate_scan
from tips_med.evaluation.gallery import Gallery
from tips_med.evaluation.suite import EvaluatedRow, Suite
from tips_med.evaluation.workers import evaluate_in_processes
from tips_med.manifest import ManifestError, Row
from tips_med.model import GroundingModel


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Results of an evaluation.

    Attributes:
        model: Name and short hash of the model.
        overall: Values by metric name, with intervals and numbers of cases.
        terms: The same values for each term.
        cases: Answered rows of the manifest.
        skipped: Rows that could not be evaluated, with the reason.
    """

    model: str
    overall: dict[str, dict[str, float | int | None]]
    terms: dict[str, dict[str, dict[str, float | int | None]]]
    cases: tuple[dict[str, Any], ...]
    skipped: tuple[dict[str, Any], ...]

    def __str__(self) -> str:
        lines = [f"{self.model}: {len(self.cases)} rows answered, {len(self.skipped)} skipped", ""]
        for title, values in (("all", self.overall), *self.terms.items()):
            lines.append(f"{title:<26}{'value':>8}  {'95% interval':<16}  cases")
            lines += [
                f"  {name:<24}{_shown(v['value'])}  {_interval(v):<16}  {v['cases']}" for name, v in values.items()
            ]
            lines.append("")
        lines += [f"skipped, line {one['line']}: {one['text']}" for one in self.skipped]
        return "\n".join(lines).rstrip()


def evaluate_rows(
    rows: Sequence[Row],
    model: GroundingModel,
    asking: Asking | None = None,
    *,
    folder: Path | None = None,
    draws: int = 1000,
    progress: Callable[[int, int], None] | None = None,
    gallery: Gallery | None = None,
    watch: Callable[[EvaluatedRow], None] | None = None,
    workers: int = 1,
    load: Callable[[], GroundingModel] | None = None,
) -> Evaluation:
    """Queries every scan with its phrases; each scan is encoded once.

    Args:
        rows: Rows of a manifest.
        model: Model to evaluate.
        asking: How rows are asked.
        folder: Folder of the manifest; names of scans are relative to it.
        draws: Number of bootstrap draws over patients.
        progress: Called with (rows done, total rows).
        gallery: Draws pictures of the cases.
        watch: Called with each answered case; in this process only.
        workers: Number of processes, 1 or more; more than 1 need ``load``. The results are the same.
        load: Loads the model in each process.

    Raises:
        ManifestError: No row could be evaluated; or, when ``strict``, the error of the first such row.
    """
    asking = asking or Asking()
    by_scan: dict[Path, list[Row]] = defaultdict(list)
    for row in rows:
        by_scan[row.scan_key].append(row)
    names = name_scans([own[0].scan for own in by_scan.values()], folder)
    scans = list(zip(by_scan.values(), names))
    workers = min(workers, len(scans))

    def count(done: int) -> None:
        if progress:
            progress(done, len(rows))

    if workers > 1 and load is not None and watch is None:
        results = evaluate_in_processes(scans, load, asking, workers, gallery, count)
    else:
        results = _one_by_one(scans, model, asking, gallery, watch, count)
    terms: dict[str, list[Suite]] = defaultdict(list)
    cases: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    for result in results:
        cases += result.cases
        skipped += result.skipped
        for term, suite in result.suites.items():
            terms[term].append(suite)
    if not cases:
        raise ManifestError(
            f"none of {len(rows)} rows could be evaluated; the first: {skipped[0]['text']}", code="no-rows"
        )
    by_term = {term: Suite.of(suites) for term, suites in terms.items()}
    return Evaluation(
        model.identity,
        Suite.of(by_term.values()).summary(draws, asking.seed),
        {term: suite.summary(draws, asking.seed) for term, suite in sorted(by_term.items())},
        tuple(cases),
        tuple(skipped),
    )


def _one_by_one(
    scans: Sequence[tuple[Sequence[Row], str]],
    model: GroundingModel,
    asking: Asking,
    gallery: Gallery | None,
    watch: Callable[[EvaluatedRow], None] | None,
    count: Callable[[int], None],
) -> Iterator[ScanResult]:
    done = 0

    def told() -> None:
        nonlocal done
        done += 1
        count(done)

    def look(case: EvaluatedRow) -> None:
        if gallery is not None:
            gallery.add(case)
        if watch is not None:
            watch(case)

    for rows, name in scans:
        yield evaluate_scan(rows, name, model, asking, look, told)


def name_scans(paths: Sequence[Path], folder: Path | None) -> list[str]:
    """Names of scans that differ: within a folder the path from there, elsewhere the shortest end of the path.

    Two parts at least of a path elsewhere: every DICOM folder may be called "dicom".

    Args:
        paths: Paths of different scans.
        folder: Folder of the manifest.
    """
    names: list[str] = []
    for path in paths:
        if folder is not None and path.is_relative_to(folder):
            names.append(path.relative_to(folder).as_posix())
            continue
        parts, others = path.parts, [other.parts for other in paths if other != path]
        size = 2
        while size < len(parts) and any(other[-size:] == parts[-size:] for other in others):
            size += 1
        names.append("/".join(part.strip("/") for part in parts[-size:]))
    return names


def _shown(value: float | int | None) -> str:
    return f"{'-' if value is None else format(value, '.3f'):>8}"


def _interval(values: Mapping[str, float | int | None]) -> str:
    if values["low"] is None:
        return "-"  # of one patient
    return f"{_shown(values['low']).strip()} to {_shown(values['high']).strip()}"
