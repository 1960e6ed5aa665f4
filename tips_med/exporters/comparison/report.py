"""Comparisons as JSON for programs, after the schema that ships beside that of the answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files as package_files
from typing import Any

from tips_med.exporters.report import (
    concept_entry,
    decision_entry,
    instance_entry,
    laterality_entry,
    plain_json,
    point_entry,
    scan_entry,
)
from tips_med.followup import Change, Comparison
from tips_med.followup.change import REASONS
from tips_med.followup.quality import MIN_CORRELATION, MIN_LOCAL_CORRELATION, Quality
from tips_med.grounding import Declined, Grounding

FORMAT = "tips-med-comparison/1"
"""Name and version of the format, in ``report.json`` and in the schema; the number rises when a reader would break."""


def comparison_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) that every report of a comparison keeps to."""
    return json.loads(package_files("tips_med.exporters").joinpath("comparison.schema.json").read_text("utf-8"))


def comparison_report(
    comparisons: Sequence[Comparison],
    model: Mapping[str, Any],
    *,
    days_between: int | None = None,
    folders: Sequence[str] | None = None,
    files: Sequence[Sequence[str]] | None = None,
    declined: Sequence[Declined] = (),
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """All comparisons of two scans, ready for JSON.

    Args:
        comparisons: Comparisons of the same two scans, in the order of the queries; at least one.
        model: Description of the model.
        days_between: Days from the prior to the current scan; None where a file does not state its date.
        folders: Folder of each comparison, relative to the report.
        files: Files of each comparison, relative to the report.
        declined: Queries that got no answer; each is at its position among the queries, with the reason.
        notes: Notes about the pair.

    Returns:
        Plain dictionaries, lists, strings, numbers and None, which keep to ``comparison_schema()``.
    """
    first = comparisons[0]
    entries = []
    for n, one in enumerate(comparisons):
        entry = _comparison(one)
        if folders is not None:
            entry["folder"] = folders[n]
        if files is not None:
            entry["files"] = list(files[n])
        entries.append(entry)
    for one in sorted(declined, key=lambda one: one.position):
        reason = {"code": one.error.code, "reason": str(one.error)}
        entries.insert(one.position, {"query": one.query, "declined": reason})
    return plain_json(
        {
            "format": FORMAT,
            "research_use_only": True,
            "prior": scan_entry(first.prior.scan),
            "current": scan_entry(first.current.scan),
            "days_between": days_between,
            "model": {"name": first.current.model} | dict(model),
            "registration": registration_entry(first.registration.quality),
            "repeat_noise": {
                "floor": first.noise.floor,
                "surface_mm": first.noise.surface_mm,
                "measured_ml": (first.noise.min_ml, first.noise.max_ml),
            },
            "notes": list(dict.fromkeys([*notes, *(note for one in comparisons for note in one.notes)])),
            "comparisons": entries,
        }
    )


def registration_entry(quality: Quality) -> dict[str, Any]:
    """How well two scans were registered; NaN where that is not known."""
    return {
        "correlation": quality.correlation,
        "min_correlation": MIN_CORRELATION,
        "min_local_correlation": MIN_LOCAL_CORRELATION,
        "good": quality.good,
        "lungs_dice": quality.lungs_dice,
        "shared_fraction": quality.shared_fraction,
    }


def _comparison(one: Comparison) -> dict[str, Any]:
    query = one.query
    return {
        "query": query.text,
        "understood": query.understood,
        "unknown_words": query.unknown_words,
        "negated": query.negated,
        "finding": concept_entry(query.finding),
        "structure": concept_entry(query.structure),
        "side": query.side,
        "laterality": laterality_entry(query.side),
        "prior": _answer(one.prior),
        "current": _answer(one.current),
        "changes": [_change(change) for change in one.changes],
        "sentence": one.sentence,
    }


def _answer(answer: Grounding) -> dict[str, Any]:
    return {
        "presence": answer.presence.state,
        **decision_entry(answer.presence),
        "holds": answer.presence.holds,
        "sentence": answer.sentence,
    }


def _change(change: Change) -> dict[str, Any]:
    volume, elsewhere = change.volume, change.elsewhere
    measured = None
    if volume is not None:
        measured = {
            "change_ml": volume.change_ml,
            "change_ml_limits_95": volume.change_ml_limits,
            "change_percent": volume.change_percent,
            "change_percent_limits_95": volume.change_percent_limits,
        }
    return {
        "number": change.number,
        "status": change.status,
        "reasons": [{"code": code, "meaning": REASONS[code]} for code in change.reasons],
        "region": change.region,
        "prior_ml": change.prior_ml if change.prior else None,
        "current_ml": change.current_ml if change.current else None,
        "volume_change": measured,
        "prior_lps": point_entry(change.prior_lps),
        "current_lps": point_entry(change.current_lps),
        "distance_mm": change.distance_mm,
        "local_correlation": change.local_correlation,
        "elsewhere": None
        if elsewhere is None
        else {
            "seen_fraction": elsewhere.seen_fraction,
            "searched_fraction": elsewhere.searched_fraction,
            "probability": elsewhere.probability,
            "density_difference_hu": elsewhere.density_difference_hu,
        },
        "prior_instances": [instance_entry(one) for one in change.prior],
        "current_instances": [instance_entry(one) for one in change.current],
    }
