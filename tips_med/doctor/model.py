"""The model: its weights, and the language of its queries."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from tips_med.doctor.examination import Check, in_words, without_names
from tips_med.errors import TipsMedError

if TYPE_CHECKING:
    from tips_med.model import GroundingModel

QUERY = "ground-glass opacity in the left lung"
REINSTALL = "install tips-med again: its files are not as they were shipped"


def weights(name: str | None, device: str = "auto") -> tuple[Check, GroundingModel | None]:
    """Loads the weights; the shipped ones must be those that the figures of the model card were measured with.

    Args:
        name: As ``open_model`` takes it; the shipped weights if left out.
        device: ``auto``, ``cpu`` or ``cuda``.

    Returns:
        The check, and the model if it loads.
    """
    from tips_med.hub.results import measured_results
    from tips_med.loading import open_model

    shown = "shipped weights" if name is None else Path(name).name
    try:
        model = open_model(name, device)
    except TipsMedError as error:
        advice = REINSTALL if name is None else without_names(error.remedy or "give another model")
        return Check("model", "weights", "fault", f"{shown}: {in_words(error)}", advice, _hash_of(name)), None
    data = {"file": model.file.name if model.file else shown, "sha256": model.sha256, "model": model.card.name}
    found = f"{data['file']}, {model.card.name}, SHA-256 {model.sha256}"
    if name is None and not measured_results(model.sha256):
        return Check("model", "weights", "fault", f"{found}: altered", REINSTALL, data), model
    return Check("model", "weights", "ok", found, data=data), model


def language(model: GroundingModel) -> Check:
    """Whether the lexicon is there, and a query is understood."""
    try:
        lexicon = model.lexicon
        query = lexicon.parse(QUERY)
    except TipsMedError as error:
        return Check("model", "lexicon", "fault", in_words(error), REINSTALL)
    data = {"name": lexicon.name, "terms": len(lexicon.terms), "findings": len(model.card.findings)}
    found = f"{lexicon.name}, {data['terms']} terms, {data['findings']} findings that the model knows"
    if query.finding is None or query.side != "left":
        return Check("model", "lexicon", "fault", f"{found}; does not understand {QUERY!r}", REINSTALL, data)
    return Check("model", "lexicon", "ok", found, data=data)


def _hash_of(name: str | None) -> dict[str, str]:
    """The hash of weights that do not load, if they are a file: it shows whether a download was cut off."""
    from tips_med.model import SHIPPED

    shipped = Path(__file__).resolve().parents[1] / "weights" / f"{SHIPPED}.safetensors"
    file = shipped if name is None else Path(name)
    try:
        return {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    except OSError:
        return {}
