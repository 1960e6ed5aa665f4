"""What a model's card says once it was taught."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from tips_med.card import ModelCard
from tips_med.grounding.maps import CHEST_STRUCTURES, ENCLOSING_STRUCTURES, calibration_key, in_unusual_place
from tips_med.model import GroundingModel
from tips_med.query import Query
from tips_med.training.manifest_data import ManifestData


def taught_card(model: GroundingModel, data: ManifestData, keeps: bool) -> ModelCard:
    """The card of a model that learns what a manifest teaches, with its name and licence as before.

    A term counts as taught when a row of the split ``train`` marks it present, in the structure that the row names.
    Its own calibration does not carry over, for training moved what it was fitted on, and neither do those of other
    findings unless the model keeps what it knew: until ``calibrate`` has seen the new weights, answers are scores.

    Args:
        model: Model that is taught.
        data: Its manifest, prepared.
        keeps: Whether the rest of the model stays as it is.
    """
    card = model.card
    findings, structures = list(card.findings), list(card.structures)
    places = {term: list(taught) for term, taught in card.places.items()}
    moved = set()
    for query in data.taught:
        term, known = (query.finding, findings) if query.finding else (query.structure, structures)
        if term is None:
            continue
        moved.add(calibration_key(query, term) if query.finding else term.id)
        if term.id not in known:
            known.append(term.id)
        if query.finding is not None:
            chest = ["lung"] if query.finding.id in card.findings else []
            taught = places.setdefault(query.finding.id, chest)
            place = query.structure.id if query.structure else query.finding.within or "lung"
            taught += [place] if place not in taught else []
    kept = card if keeps else card.after_training()
    return replace(
        kept,
        findings=tuple(findings),
        structures=tuple(structures),
        places={term: tuple(taught) for term, taught in places.items()},
        calibration={term: fitted for term, fitted in kept.calibration.items() if term not in moved},
    )


def calibration_keys(model: GroundingModel) -> list[str]:
    """What the calibrations of all that a model answers are stored under, whether it has them or not."""
    keys = []
    for finding in model.card.findings:
        usual = (*CHEST_STRUCTURES, *ENCLOSING_STRUCTURES, model.lexicon.term(finding).within)
        places = model.card.places.get(finding, ())
        elsewhere = [place for place in places if place not in usual]
        keys += [finding] if len(elsewhere) < len(places) or not places else []
        keys += [f"{finding}@{place}" for place in elsewhere]
    return [*keys, *model.card.structures]


def described(
    card: ModelCard, base: GroundingModel, data: ManifestData, name: str, licence: str, lexicon: str | None, steps: int,
    seed: int,
) -> ModelCard:  # fmt: skip
    """A card with the name, the licence, the data and the hash of what the model was trained on.

    Args:
        card: From ``taught_card``.
        base: Model that was taught.
        data: Its manifest, prepared.
        name: Name of the new model.
        licence: Licence of the new weights; that of the old ones if empty.
        lexicon: Name of the lexicon; that of the old model when None.
        steps: Number of optimizer steps.
        seed: Random seed.
    """
    trained: dict[str, Any] = {
        **base.card.trained,
        "fine_tuned_from": base.sha256,
        "fine_tuning_steps": steps,
        "fine_tuning_seed": seed,
        "manifest_sha256": hashlib.sha256(data.spec.manifest.read_bytes()).hexdigest(),
        "studies_sha256": hashlib.sha256("".join(file.name for file in data.files["train"]).encode()).hexdigest(),
    }
    return replace(
        card,
        name=name,
        lexicon=lexicon or card.lexicon,
        licence=licence or card.licence,
        data=(*card.data, f"Fine-tuned on {len(data.files['train'])} studies of the user's own"),
        trained=trained,
    )


def phrase_of(query: Query) -> str:
    """The words that choose the adapter of a query: its finding's, and an unusual place's; else its structure's."""
    finding, place = query.finding, query.structure
    if finding is None:
        assert place is not None  # a query without a finding has one
        return " ".join(place.forms[0].words)
    words = [*finding.forms[0].words]
    if place is not None and in_unusual_place(query):
        words += place.forms[0].words
    return " ".join(words)
