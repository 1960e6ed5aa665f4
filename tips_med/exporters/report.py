"""Answers as JSON for programs, after the schema that ships beside this file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import numpy as np

from tips_med.errors import OutputError
from tips_med.folders import whole_file
from tips_med.grounding import Decision, Declined, Grounding, Instance
from tips_med.grounding.wording import REASONS, place_in_words
from tips_med.query import Term
from tips_med.scan import Scan

FORMAT = "tips-med-answer/2"
"""Name and version of the format, in ``report.json`` and in the schema; the number rises when a reader would break."""

_LATERALITY = {"left": ("7771000", "Left"), "right": ("24028007", "Right"), "both": ("51440002", "Right and left")}
"""SNOMED CT, DICOM PS3.16 CID 244."""


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) that every report keeps to."""
    return json.loads(package_files("tips_med.exporters").joinpath("answer.schema.json").read_text("utf-8"))


def report(
    scan: Scan,
    groundings: Sequence[Grounding],
    model: Mapping[str, Any],
    *,
    folders: Sequence[str] | None = None,
    files: Sequence[Sequence[str]] | None = None,
    declined: Sequence[Declined] = (),
) -> dict[str, Any]:
    """All answers about one scan, ready for JSON.

    Args:
        scan: Queried scan.
        groundings: Answers, in the order of the queries.
        model: Description of the model; ``name`` is taken from the answers when it is missing.
        folders: Folder of each answer, relative to the report.
        files: Files of each answer, relative to the report.
        declined: Queries that got no answer; each is at its position among the queries, with the reason.

    Returns:
        Plain dictionaries, lists, strings, numbers and None, which keep to ``schema()``. A number that is not finite
        becomes None.
    """
    named = {"name": groundings[0].model} if groundings else {"name": None}
    answers = []
    for n, grounding in enumerate(groundings):
        answer = _answer(grounding)
        if folders is not None:
            answer["folder"] = folders[n]
        if files is not None:
            answer["files"] = list(files[n])
        answers.append(answer)
    for one in sorted(declined, key=lambda one: one.position):
        reason = {"code": one.error.code, "reason": str(one.error)}
        answers.insert(one.position, {"query": one.query, "declined": reason})
    return plain_json(
        {
            "format": FORMAT,
            "research_use_only": True,
            "scan": scan_entry(scan),
            "model": named | dict(model),
            "answers": answers,
        }
    )


def write_report(
    scan: Scan,
    groundings: Sequence[Grounding],
    model: Mapping[str, Any],
    path: Path,
    *,
    folders: Sequence[str] | None = None,
    files: Sequence[Sequence[str]] | None = None,
    declined: Sequence[Declined] = (),
) -> Path:
    """Writes ``report()`` to a file, whole or not at all.

    Raises:
        OutputError: When the file cannot be written.
    """
    content = report(scan, groundings, model, folders=folders, files=files, declined=declined)
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        with whole_file(path) as partial:
            partial.write_text(text, "utf-8")
    except OSError as e:
        raise OutputError(f"cannot be written ({e.strerror or e})", path=path) from e
    return path


def scan_entry(scan: Scan) -> dict[str, Any]:
    """A scan and its place in the patient."""
    source = scan.provenance
    return {
        "format": source.format,
        "modality": scan.modality,
        "unit": scan.unit,
        "shape_kji": scan.shape,
        "spacing_mm_kji": scan.spacing_mm,
        "lps_from_kji": scan.lps_from_kji,
        "orientation": scan.orientation,
        "study_uid": source.study_uid,
        "series_uid": source.series_uid,
        "frame_of_reference_uid": source.frame_of_reference_uid,
        "sop_class_uid": source.sop_class_uid,
        "notes": source.notes,
    }


def _answer(grounding: Grounding) -> dict[str, Any]:
    query = grounding.query
    return {
        "query": query.text,
        "presence": grounding.presence.state,
        **decision_entry(grounding.presence),
        "sides": {
            side: {"presence": decision.state} | decision_entry(decision)
            for side, decision in grounding.presence.sides.items()
        },
        "negated": query.negated,
        "holds": grounding.presence.holds,
        "understood": query.understood,
        "unknown_words": query.unknown_words,
        "mended": [{"typed": typed, "read_as": meant} for typed, meant in query.mended],
        "unchecked": query.unchecked,
        "finding": concept_entry(query.finding),
        "structure": concept_entry(query.structure),
        "locations": [concept_entry(term) for term in query.locations],
        "attributes": [concept_entry(term) for term in query.attributes],
        "side": query.side,
        "laterality": laterality_entry(query.side),
        "peak_lps": point_entry(grounding.peak_lps),
        "instances": [instance_entry(i) for i in grounding.instances],
        "sentence": grounding.sentence,
    }


def decision_entry(decision: Decision) -> dict[str, Any]:
    """The basis of a decision."""
    return {
        "probability": decision.probability,
        "score": decision.score,
        "calibrated": decision.calibrated,
        "evidence": decision.evidence,
        "operating_point": _measured(decision),
        "assessed_fraction": decision.assessed_fraction,
        "reasons": [{"code": reason, "meaning": REASONS[reason]} for reason in decision.reasons],
    }


def _measured(decision: Decision) -> dict[str, Any] | None:
    measured = decision.measured
    if measured is None:
        return None
    return {
        "name": decision.operating_point,
        "sensitivity": measured.sensitivity,
        "specificity": measured.specificity,
        "there": measured.there.total,
        "not_there": measured.not_there.total,
    }


def instance_entry(instance: Instance) -> dict[str, Any]:
    """One instance with its measurements."""
    values = {field.name: getattr(instance, field.name) for field in fields(instance)}
    return values | {
        "place": place_in_words(instance),
        "laterality": laterality_entry(instance.side),
        "peak_lps": point_entry(instance.peak_lps),
        "centroid_lps": point_entry(instance.centroid_lps),
    }


def concept_entry(term: Term | None) -> dict[str, Any] | None:
    """A term as a coded entry (DICOM PS3.3 section 8.8); ``code`` is None where the lexicon has no verified one."""
    if term is None:
        return None
    code = term.code
    coded = None if code is None else {"scheme": code.scheme, "value": code.value, "meaning": code.meaning}
    return {"id": term.id, "name": term.name, "code": coded}


def laterality_entry(side: str | None) -> dict[str, str] | None:
    """A side as a coded entry; None without one."""
    if side is None:
        return None
    value, meaning = _LATERALITY[side]
    return {"scheme": "SCT", "value": value, "meaning": meaning}


def point_entry(point: Sequence[float]) -> list[float] | None:
    """A point whole or not at all: two coordinates of three are no place."""
    return [float(x) for x in point] if all(math.isfinite(x) for x in point) else None


def plain_json(value: Any) -> Any:
    """The same content in JSON's own types."""
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain_json(value.tolist())
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return str(value)
