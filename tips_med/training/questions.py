"""Questions about a scene, with the map that answers each: the pairs that dense alignment learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tips_med.geometry import LEFT, RIGHT
from tips_med.query import Lexicon, Side
from tips_med.synthesis.findings import known_findings
from tips_med.synthesis.language import PhraseSlots, describe_as_query
from tips_med.synthesis.scene import Scene, names

SIDES = {"left": LEFT, "right": RIGHT}
SIDED: tuple[Side | None, ...] = (None, "left", "right")
STRUCTURES = ("lung", "hemithorax")
"""Structures that a scene knows."""

VISIBLE_ATTRIBUTES = ("solid", "part_solid", "ground_glass", "spiculated", "cavitary")
"""Attributes that the painters know to be true or false of a nodule or mass."""


@dataclass(frozen=True, eq=False)
class Question:
    """A phrase and its map, and one of the phrase's words and its own map.

    Attributes:
        phrase: Phrase: words of the vocabulary, separated by single spaces.
        target: True mask, bool [slab y x]; all False when the scene has no such thing.
        unknown: Mask of cells with unknown truth, bool [slab y x]: not scored.
        word: Index of a word of the phrase.
        word_target: True mask of that word's own meaning; None for a word without a place of its own.
        word_unknown: Mask of cells with unknown truth for that word.
    """

    phrase: str
    target: np.ndarray
    unknown: np.ndarray
    word: int = 0
    word_target: np.ndarray | None = None
    word_unknown: np.ndarray | None = None


def draw_questions(
    scene: Scene,
    findings: tuple[str, ...],
    lexicon: Lexicon,
    rng: np.random.Generator,
    n: int,
    weights: Mapping[str, float] | None = None,
    structures: Sequence[str] = ("lung",),
) -> list[Question]:
    """Makes ``n`` questions about a scene: of what is there, of the wrong side of it, and of what is not there.

    The latter go through all findings before one comes up again.

    Args:
        scene: Scene with its truth.
        findings: Terms to query.
        lexicon: Lexicon of the phrases.
        rng: Random generator, the only source of randomness.
        n: Number of queries, 1 or more.
        weights: Relative frequency of queries for each finding; 1 for findings that are not named.
        structures: Structures of ``STRUCTURES``; the first query is for one of them.
    """
    weights = weights or {}
    there = [(name, painted) for painted in scene.findings for name in sorted(names(painted)) if name in findings]
    questions: list[Question] = []
    drawn: set[str] = set()
    known = known_findings()
    for turn in range(n):
        if turn == 0 and scene.lungs is not None:
            structure = structures[int(rng.integers(len(structures)))]
            slots = PhraseSlots(finding=None, structure=structure, side=SIDED[int(rng.integers(3))])
        elif there and (turn == 1 or rng.random() < 0.4):
            # First the name, then the one: a nodule, which is a lesion too, must not crowd out all others.
            name = _drawn(sorted({name for name, _ in there}), weights, rng)
            called = [painted for other, painted in there if other == name]
            painted = called[int(rng.integers(len(called)))]
            swap = rng.random()
            side: Side | None = None
            if swap > 0.35 and painted.side is not None:
                side = "left" if (painted.side == "left") == (swap <= 0.8) else "right"
            slots = _finding_slots(name, side, _attribute(name, painted, rng), rng)
        else:
            # Mostly absent: a scan has nearly none of all the findings in queries.
            left = [finding for finding in findings if finding not in drawn and weights.get(finding, 1.0) > 0]
            left = left or list(findings)
            mistaken = [
                other for name, _ in there if name in known for other in known[name].mistaken_for if other in left
            ]
            alike = bool(mistaken) and rng.random() < 0.5
            finding = _drawn(mistaken if alike else left, weights, rng)
            slots = _finding_slots(finding, SIDED[int(rng.integers(3))], None, rng)
        if slots.finding is not None:
            drawn.add(slots.finding)
        questions.append(_question(scene, slots, lexicon, rng))
    return questions


def _drawn(findings: Sequence[str], weights: Mapping[str, float], rng: np.random.Generator) -> str:
    chance = np.array([weights.get(finding, 1.0) for finding in findings])
    if not chance.any():  # all of these have weight 0
        chance[:] = 1
    return findings[int(rng.choice(len(findings), p=chance / chance.sum()))]


def _attribute(name: str, painted: object, rng: np.random.Generator) -> str | None:
    visible = [a for a in getattr(painted, "attributes", ()) if a in VISIBLE_ATTRIBUTES and name in ("nodule", "mass")]
    return str(rng.choice(visible)) if visible and rng.random() < 0.3 else None


def _finding_slots(finding: str, side: Side | None, attribute: str | None, rng: np.random.Generator) -> PhraseSlots:
    structure = (
        "lung"
        if finding not in ("pleural_effusion", "pneumothorax", "pericardial_effusion") and rng.random() < 0.5
        else None
    )
    return PhraseSlots(
        finding=finding, structure=structure, side=side, attributes=(attribute,) if attribute is not None else ()
    )


def _question(scene: Scene, slots: PhraseSlots, lexicon: Lexicon, rng: np.random.Generator) -> Question:
    query = describe_as_query(slots, rng, lexicon)
    target, unknown = answer_mask(scene, slots)
    word = int(rng.integers(len(query.words)))
    span = query.spans[query.words[word].span]
    meaning = word_mask(scene, span.role, span.term_id)
    word_target, word_unknown = meaning if meaning is not None else (None, None)
    return Question(query.phrase, target, unknown, word, word_target, word_unknown)


def answer_mask(scene: Scene, slots: PhraseSlots) -> tuple[np.ndarray, np.ndarray]:
    """The true mask of the queried term, and the mask of cells with unknown truth."""
    if slots.finding is None:
        labels = _labels(scene, slots.structure)
        if labels is None:
            return np.zeros(scene.ignored.shape, bool), np.ones(scene.ignored.shape, bool)
        return labels > 0 if slots.side in (None, "both") else labels == SIDES[slots.side], scene.ignored
    side = None if slots.side == "both" else slots.side
    attribute = slots.attributes[0] if slots.attributes else None
    unknown = scene.unknown(slots.finding)
    if attribute is not None:
        # Nobody described the real lesions.
        for painted in scene.findings:
            if not painted.attributes and slots.finding in names(painted):
                unknown = unknown | painted.mask
    return scene.where(slots.finding, side, attribute) & ~unknown, unknown


def word_mask(scene: Scene, role: str, term: str | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Where a single word's own meaning is in a scene; None when a word has no place, or nobody knows it."""
    if role == "finding" and term is not None:
        return scene.where(term), scene.unknown(term)
    if role == "structure" and (labels := _labels(scene, term)) is not None:
        return labels > 0, scene.ignored
    if role == "side" and term in SIDES:
        return _half(scene, SIDES[term]), scene.ignored
    return None


def _labels(scene: Scene, structure: str | None) -> np.ndarray | None:
    """The labels of a structure, 1 right and 2 left, [slab y x]; None where nobody knows them."""
    return {"lung": scene.lungs, "hemithorax": scene.hemithorax}.get(structure or "")


def _half(scene: Scene, side: int) -> np.ndarray:
    """The left or right half of the body: the lungs as they are labelled, the rest by the middle line."""
    x_mm = scene.offset_mm[1] + scene.spacing_mm[2] * np.arange(scene.volume_hu.shape[2])
    half = (scene.volume_hu > -250) & ((x_mm > 0) if side == LEFT else (x_mm < 0))
    if scene.hemithorax is not None:
        half = (half & (scene.hemithorax == 0)) | (scene.hemithorax == side)
    return half
