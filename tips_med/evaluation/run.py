"""Evaluates a model on every phrase of a manifest."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tips_med.encoders.study import EncodedStudy
from tips_med.errors import QueryError, TipsMedError
from tips_med.evaluation.suite import EvaluatedRow, Suite
from tips_med.grounding import Grounding, encode, ground
from tips_med.grounding.ground import parse_query
from tips_med.manifest import OTHER_FINDINGS, ManifestError, Row, other_finding, other_level, other_side, read_instances
from tips_med.model import GroundingModel
from tips_med.query import Lexicon, Query
from tips_med.readers import read_scan
from tips_med.synthesis.language import describe, slots_of

log = logging.getLogger(__name__)


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
    *,
    folder: Path | None = None,
    strict: bool = False,
    other_findings: Mapping[str, str] | None = None,
    paraphrases: int = 3,
    as_written: bool = False,
    draws: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    watch: Callable[[EvaluatedRow], None] | None = None,
) -> Evaluation:
    """Queries every scan with its phrases; each scan is encoded once.

    Args:
        rows: Rows of a manifest.
        model: Model to evaluate.
        folder: Folder of the manifest; paths of scans are relative to it.
        strict: Stop at the first row that cannot be evaluated, instead of counting it.
        other_findings: Other finding for each finding, for the swap test; ``OTHER_FINDINGS`` when None.
        paraphrases: Number of other wordings per outlined finding, 0 or more.
        as_written: Pass synonyms that were held out from training to the model unchanged, not in usual words.
        draws: Number of bootstrap draws over patients.
        seed: Random seed of wordings and draws (integer, 0 or more).
        progress: Called with (rows done, total rows).
        watch: Called with each answered case, for pictures.

    Raises:
        ManifestError: No row could be evaluated; or, when ``strict``, the error of the first such row.
    """
    terms: dict[str, Suite] = defaultdict(Suite)
    cases: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    asker = _RowEvaluator(model, other_findings or OTHER_FINDINGS, paraphrases, np.random.default_rng(seed), as_written)
    by_scan: dict[Path, list[Row]] = defaultdict(list)
    for row in rows:
        by_scan[row.scan_key].append(row)
    done = 0
    for own in by_scan.values():
        path = own[0].scan
        for row, answer in asker.answers(path, own):
            if isinstance(answer, TipsMedError):
                if strict:
                    raise answer
                log.warning("line %d left out: %s", row.line, answer)
                skipped.append({"line": row.line, "code": answer.code, "text": str(answer)})
            else:
                case = EvaluatedRow(scan=_named(path, folder), **answer)
                terms[case.term].add(case)
                cases.append(case.facts())
                if watch:
                    watch(case)
            done += 1
            if progress:
                progress(done, len(rows))
    if not cases:
        raise ManifestError(
            f"none of {len(rows)} rows could be evaluated; the first: {skipped[0]['text']}", code="no-rows"
        )
    return Evaluation(
        model.identity,
        Suite.of(terms.values()).summary(draws, seed),
        {term: suite.summary(draws, seed) for term, suite in sorted(terms.items())},
        tuple(cases),
        tuple(skipped),
    )


class _RowEvaluator:
    def __init__(
        self,
        model: GroundingModel,
        other_findings: Mapping[str, str],
        paraphrases: int,
        rng: np.random.Generator,
        as_written: bool,
    ) -> None:
        self.model, self.other_findings, self.paraphrases, self.rng = model, other_findings, paraphrases, rng
        self.as_written = as_written
        self.lexicon: Lexicon = model.lexicon

    def answers(self, path: Path, rows: Sequence[Row]) -> Iterator[tuple[Row, dict[str, Any] | TipsMedError]]:
        """Each row with the fields of its case, or with what is wrong; nothing is encoded for rows that are refused."""
        asked: list[tuple[Row, Query]] = []
        for row in rows:
            try:
                asked.append((row, parse_query(self.lexicon.parse(row.phrase, as_written=self.as_written), self.model)))
            except TipsMedError as error:
                yield row, error
        if not asked:
            return
        try:
            study = encode(read_scan(path), self.model)
        except TipsMedError as error:
            yield from ((row, error) for row, _ in asked)
            return
        there = {self._term(row) for row in rows if row.label != "absent"}
        for row, query in asked:
            try:
                yield row, self.answer(study, row, query, there)
            except TipsMedError as error:
                yield row, error

    def answer(self, study: EncodedStudy, row: Row, query: Query, there: set[str]) -> dict[str, Any]:
        label = row.resolved(query.negated)
        truth = instances = None
        if row.mask is not None:
            instances = read_instances(row.mask, study.scan, row.part)
            truth = instances > 0
            if bool(truth.any()) != (label == "present") and label != "unknown":
                raise ManifestError(f"the mask contradicts the label {label!r}", path=row.mask, code="mask-and-label")
        elif label == "absent":
            truth = np.zeros(study.scan.shape, bool)
        fields: dict[str, Any] = {"line": row.line, "label": label, "truth": truth, "patient": row.patient_key}
        fields["instances"] = instances
        fields["grounding"] = ground(study, query, self.model)
        if truth is not None and truth.any():
            swapped = {name: self._ground(study, phrase) for name, phrase in self._swaps(query, there).items()}
            fields["swapped"] = {name: answer.mask for name, answer in swapped.items() if answer is not None}
            others = [self._ground(study, phrase) for phrase in self._wordings(query)]
            fields["paraphrased"] = tuple(
                (other.mask, float(other.probability)) for other in others if other is not None
            )
        return fields

    def _term(self, row: Row) -> str:
        try:
            query = self.lexicon.parse(row.phrase)
        except QueryError:
            return ""
        return query.finding.id if query.finding and not query.negated else ""

    def _swaps(self, query: Query, there: set[str]) -> dict[str, str]:
        """Phrases that cannot be true of the voxels that this one is true of."""
        found = {"side": other_side(query, self.lexicon), "level": other_level(query, self.lexicon)}
        other = self.other_findings.get(query.finding.id) if query.finding else None
        # A finding that is in the scan as well may rightly overlap.
        if other is not None and other not in there:
            found["finding"] = other_finding(query, other, self.lexicon)
        return {name: phrase for name, phrase in found.items() if phrase is not None}

    def _wordings(self, query: Query) -> list[str]:
        """Other wordings, held-out synonyms among them."""
        found: dict[str, str] = {}
        for n in range(4 * self.paraphrases):
            if len(found) >= self.paraphrases:
                break
            try:
                text = describe(slots_of(query), self.rng, self.lexicon, held_out=n % 2 == 1)
            except QueryError:
                return []
            phrase = self.lexicon.parse(text).phrase
            if phrase != query.phrase:
                found.setdefault(phrase, text)
        return list(found.values())

    def _ground(self, study: EncodedStudy, phrase: str) -> Grounding | None:
        try:
            return ground(study, phrase, self.model)
        except QueryError:  # the model was not trained for the other finding
            return None


def _named(path: Path, folder: Path | None) -> str:
    return path.relative_to(folder).as_posix() if folder is not None and path.is_relative_to(folder) else path.name


def _shown(value: float | int | None) -> str:
    return f"{'-' if value is None else format(value, '.3f'):>8}"


def _interval(values: Mapping[str, float | int | None]) -> str:
    if values["low"] is None:
        return "-"  # of one patient
    return f"{_shown(values['low']).strip()} to {_shown(values['high']).strip()}"
