"""One scan of a manifest, asked and measured."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tips_med.encoders.study import EncodedStudy
from tips_med.errors import QueryError, TipsMedError
from tips_med.evaluation.suite import EvaluatedRow, Suite
from tips_med.grounding import Grounding, encode, ground
from tips_med.grounding.ground import adapters_of, parse_query
from tips_med.manifest import (
    OTHER_FINDINGS,
    ManifestError,
    Row,
    other_finding,
    other_level,
    other_side,
    read_instances,
    read_mask,
    stores_instances,
)
from tips_med.model import GroundingModel
from tips_med.query import Query
from tips_med.readers import read_scan
from tips_med.synthesis.language import describe, slots_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asking:
    """How rows are asked.

    Attributes:
        other_findings: Other finding for each finding, for the swap test; ``OTHER_FINDINGS`` when None.
        paraphrases: Number of other wordings per outlined finding, 0 or more.
        as_written: Pass synonyms that were held out from training to the model unchanged, not in usual words.
        strict: Stop at the first row that cannot be evaluated, instead of counting it.
        seed: Random seed of wordings (integer, 0 or more); a row has the same ones whatever is asked beside it.
        studies: Folder of encoded studies, which are made when missing; None to keep none.
    """

    other_findings: Mapping[str, str] | None = None
    paraphrases: int = 3
    as_written: bool = False
    strict: bool = False
    seed: int = 0
    studies: Path | None = None


@dataclass
class ScanResult:
    """What the rows of one scan gave: metrics by term, summaries of cases, and what was left out."""

    suites: dict[str, Suite] = field(default_factory=lambda: defaultdict(Suite))
    cases: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)


def evaluate_scan(
    rows: Sequence[Row],
    name: str,
    model: GroundingModel,
    asking: Asking,
    watch: Callable[[EvaluatedRow], None] | None = None,
    told: Callable[[], None] | None = None,
) -> ScanResult:
    """Encodes a scan once, queries it with its phrases and measures the answers.

    Args:
        rows: Rows of one scan.
        name: Name of the scan in results.
        model: Model to evaluate.
        asking: How rows are asked.
        watch: Called with each answered case.
        told: Called after each row.

    Raises:
        TipsMedError: When ``strict``, the error of the first row that cannot be evaluated.
    """
    result = ScanResult()
    for row, answer in _RowEvaluator(model, asking).answers(rows):
        if isinstance(answer, TipsMedError):
            if asking.strict:
                raise answer
            log.warning("line %d left out: %s", row.line, answer)
            result.skipped.append({"line": row.line, "code": answer.code, "text": str(answer)})
        else:
            case = EvaluatedRow(scan=name, **answer)
            result.suites[case.term].add(case)
            result.cases.append(case.facts())
            if watch:
                watch(case)
        if told:
            told()
    return result


class _RowEvaluator:
    def __init__(self, model: GroundingModel, asking: Asking) -> None:
        self.model, self.asking, self.lexicon = model, asking, model.lexicon
        self.other_findings = asking.other_findings or OTHER_FINDINGS

    def answers(self, rows: Sequence[Row]) -> Iterator[tuple[Row, dict[str, Any] | TipsMedError]]:
        """Each row with the fields of its case, or with what is wrong; nothing is encoded for rows that are refused."""
        asked: list[tuple[Row, Query]] = []
        for row in rows:
            try:
                query = self.lexicon.parse(row.phrase, as_written=self.asking.as_written)
                asked.append((row, parse_query(query, self.model)))
            except TipsMedError as error:
                yield row, error
        if not asked:
            return
        log.info("encoding the scan of line %d for %d row(s)", rows[0].line, len(asked))
        try:
            adapters = adapters_of([query for _, query in asked], self.model)
            study = _encoded(rows[0].scan, self.model, self.asking.studies, adapters)
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
            labels = read_instances(row.mask, study.scan, row.part)
            truth, instances = labels > 0, labels if stores_instances(row.mask, row.part) else None
            if bool(truth.any()) != (label == "present") and label != "unknown":
                raise ManifestError(f"the mask contradicts the label {label!r}", path=row.mask, code="mask-and-label")
        elif label == "absent":
            truth = np.zeros(study.scan.shape, bool)
        fields: dict[str, Any] = {"line": row.line, "label": label, "truth": truth, "patient": row.patient_key}
        fields["instances"] = instances
        fields["grounding"] = ground(study, query, self.model)
        if row.ignore is not None and truth is not None:
            ignored = read_mask(row.ignore, study.scan, row.ignore_part)
            if label == "present" and not (truth & ~ignored).any():
                raise ManifestError("all of the mask is to be ignored", path=row.ignore, code="all-ignored")
            fields["truth"] = truth = truth & ~ignored
            fields["grounding"] = _without(fields["grounding"], ignored)
        if truth is not None and truth.any():
            swapped = {name: self._ground(study, phrase) for name, phrase in self._swaps(query, there).items()}
            fields["swapped"] = {name: answer.mask for name, answer in swapped.items() if answer is not None}
            others = [self._ground(study, phrase) for phrase in self._wordings(query, row.line)]
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

    def _wordings(self, query: Query, line: int) -> list[str]:
        """Other wordings, held-out synonyms among them."""
        found: dict[str, str] = {}
        rng = np.random.default_rng((self.asking.seed, line))
        for n in range(4 * self.asking.paraphrases):
            if len(found) >= self.asking.paraphrases:
                break
            try:
                text = describe(slots_of(query), rng, self.lexicon, held_out=n % 2 == 1)
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


def _without(answer: Grounding, ignored: np.ndarray) -> Grounding:
    """An answer that marks nothing where nobody knows: what it marked there is neither right nor wrong."""
    return replace(answer, labels=np.where(ignored, 0, answer.labels).astype(answer.labels.dtype))


def _encoded(path: Path, model: GroundingModel, folder: Path | None, adapters: tuple[int, ...]) -> EncodedStudy:
    """The encoded scan, from the folder of studies where it is there; its files are noticed by size and time.

    What is stored has the features of all adapters: the next evaluation may ask others.
    """
    if folder is None:
        return encode(read_scan(path), model, adapters=adapters)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] if path.exists() else []
    stamps = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    key = hashlib.sha256(json.dumps([model.sha256, str(path.resolve()), stamps]).encode()).hexdigest()[:32]
    stored = folder / f"{key}.safetensors"
    if stored.is_file():
        try:
            return EncodedStudy.load(stored)
        except TipsMedError as error:
            log.warning("encoded again: %s", error)
    study = encode(read_scan(path), model, adapters="all")
    study.save(stored)
    return study
