"""Rows of one scan that cannot all be true."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tips_med.errors import QueryError
from tips_med.manifest.problems import ManifestProblem
from tips_med.manifest.rows import Row
from tips_med.query import Lexicon, Query


def check_statements(rows: Sequence[Row], lexicon: Lexicon) -> list[ManifestProblem]:
    """Labels against phrases, and rows of one scan against each other.

    Fatal where a mask shows a finding that another row denies, in whatever words. Sentences alone that contradict each
    other are warnings: reports do, and training leaves them out.

    Args:
        rows: Rows of one manifest.
        lexicon: Lexicon of the phrases; terms are compared, not words.
    """
    problems = []
    said: dict[Path, list[tuple[Row, Query, str]]] = defaultdict(list)
    for row in rows:
        try:
            query = lexicon.parse(row.phrase)
        except QueryError:
            continue  # reported with the row
        if query.negated and row.label == "present":
            text = f"{row.phrase!r} denies what the label calls present"
            problems.append(ManifestProblem(row.line, "label-of-negated", text))
            continue
        label = row.resolved(query.negated)
        if label == "unknown":
            continue
        for other, before, others_label in said[row.scan_key]:
            if label == others_label:
                continue
            denied, told = (query, before) if label == "absent" else (before, query)
            outlined = (other if label == "absent" else row).mask is not None
            if outlined and _denies(denied, told):
                text = f"{row.phrase!r} is {label}, but {other.phrase!r} of line {other.line} is {others_label}"
                problems.append(ManifestProblem(row.line, "contradiction", text))
                break
            if not outlined and _may_deny(denied, told):
                text = f"{row.phrase!r} contradicts {other.phrase!r} of line {other.line}"
                problems.append(ManifestProblem(row.line, "contradiction", text, fatal=False))
                break
        said[row.scan_key].append((row, query, label))
    return problems


def _denies(denied: Query, told: Query) -> bool:
    """Whether no truth holds both: all that is told lies within what is denied."""
    if denied.phrase == told.phrase:
        return True
    side = denied.side in (None, "both") or denied.side == told.side
    place = denied.structure is None or denied.structure == told.structure
    return side and place and _whole(denied) and _same_finding(denied, told)


def _may_deny(denied: Query, told: Query) -> bool:
    """Whether they are of one finding, and on no different sides or in no different places."""
    sides = {denied.side, told.side} - {None, "both"}
    places = {denied.structure, told.structure} - {None}
    return _whole(denied) and _same_finding(denied, told) and len(sides) < 2 and len(places) < 2


def _whole(denied: Query) -> bool:
    return not denied.locations and denied.measurement_mm is None and not denied.attributes


def _same_finding(denied: Query, told: Query) -> bool:
    """The denied finding, or a kind of it: without a lesion there is no mass."""
    if denied.finding is None or told.finding is None:
        return False
    return told.finding.id in (denied.finding.id, *denied.finding.kinds)
