"""Entries for clients about a scan, a study and a model."""

from __future__ import annotations

from typing import Any

import tips_med
from tips_med.encoders.study import EncodedStudy
from tips_med.exporters.report import plain_json, scan_entry
from tips_med.grounding.maps import study_thorax
from tips_med.grounding.thorax import SIDES
from tips_med.model import GroundingModel
from tips_med.scan import Scan
from tips_med.server.settings import ServerSettings

NOTICE = "Research use only, not a medical device."


def about_scan(scan: Scan) -> dict[str, Any]:
    """Place and format of a scan, as in ``report.json`` but without UIDs and notes."""
    entry = scan_entry(scan)
    names = ("format", "modality", "unit", "shape_kji", "spacing_mm_kji", "lps_from_kji", "orientation")
    return plain_json({name: entry[name] for name in names} | {"notes": [str(note) for note in scan.provenance.notes]})


def about_study(study: EncodedStudy, model: GroundingModel) -> dict[str, Any]:
    """What of the chest the scan shows: side by side, before any query."""
    if "lung" not in model.card.structures:
        return {"coverage": None}
    thorax = study_thorax(study, model)
    sides = {}
    for label, name in SIDES.items():
        part = thorax.parts[label - 1]
        sides[name] = {
            "volume_ml": round(part.volume_ml, 1),
            "assessed_fraction": round(part.assessed_fraction, 3),
            "cut": part.cut,
            "gap": part.gap,
            "aerated": part.aerated,
        }
    return {"coverage": plain_json({"lungs_seen": thorax.seen, "sides_known": thorax.sides_known, **sides})}


def about_model(model: GroundingModel) -> dict[str, Any]:
    """The model as reports name it."""
    return {
        "name": model.card.name,
        "weights_sha256": model.sha256,
        "licence": model.card.licence,
        "lexicon": model.card.lexicon,
    }


def capabilities(model: GroundingModel, settings: ServerSettings) -> dict[str, Any]:
    """What the server can find, and its limits."""

    def terms(ids: tuple[str, ...]) -> list[dict[str, Any]]:
        return [
            {
                "id": one,
                "name": model.lexicon.term(one).name,
                "words": [form.text for form in model.lexicon.term(one).forms],
                "calibrated": model.card.calibration_of(one) is not None,
            }
            for one in ids
        ]

    return {
        "version": tips_med.__version__,
        "notice": NOTICE,
        "model": about_model(model),
        "findings": terms(model.card.findings),
        "structures": terms(model.card.structures),
        "dicomweb": sorted(settings.dicomweb),
        "corrections": settings.corrections is not None,
        "limits": {
            "upload_mb": settings.max_upload_mb,
            "body_mb": settings.max_body_mb,
            "queued_studies": settings.max_queued,
            "studies": settings.max_studies,
            "waiting_queries": settings.max_waiting,
            "answers_per_study": settings.max_answers,
            "encoding_s": settings.encoding_s,
            "answer_s": settings.answer_s,
            "query_characters": 300,
        },
        "states": ["queued", "reading", "encoding", "ready", "failed", "cancelled"],
    }
