"""Questions that examine a model on painted scenes: each has one answer, which the painter knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tips_med.query import Lexicon, Side
from tips_med.synthesis.language import PhraseSlots, describe
from tips_med.synthesis.scene import Scene
from tips_med.training.questions import answer_mask

MIN_VOLUME_ML = 0.1
"""A finding smaller than this is queried neither as present nor as absent."""

_UNKNOWN_ML = 0.05
_SIDES: tuple[Side, ...] = ("left", "right")


@dataclass(frozen=True, eq=False)
class ScenePhrase:
    """One question and its answer.

    Attributes:
        finding: Queried term of the lexicon; ``lung`` for the lungs themselves.
        side: Queried side.
        phrase: Query in words.
        mask: True mask, bool [slab y x]; None when it is not there.
    """

    finding: str
    side: Side | None
    phrase: str
    mask: np.ndarray | None


def scene_phrases(
    scene: Scene, findings: tuple[str, ...], lexicon: Lexicon, rng: np.random.Generator, *, held_out: bool = False
) -> Iterator[ScenePhrase]:
    """Queries a scene for each lung, for all that is there, for the same on the side where it is not, and for the rest.

    What is unknown gets no query: whether thin lung is emphysema, whether haze beside a consolidation is ground
    glass.

    Args:
        scene: Scene with its truth.
        findings: Terms to query.
        lexicon: Lexicon of the phrases.
        rng: Random generator that chooses wordings, and the side of queries for what is nowhere.
        held_out: Use the held-out synonyms.
    """
    ml = float(np.prod(scene.spacing_mm)) / 1000
    if scene.lungs is not None:
        for side in _SIDES:
            slots = PhraseSlots(structure="lung", side=side)
            yield ScenePhrase("lung", side, describe(slots, rng, lexicon), answer_mask(scene, slots)[0])
    for finding in findings:
        if scene.unknown(finding).sum() * ml >= _UNKNOWN_ML:
            continue
        volume_ml = {side: scene.where(finding, side).sum() * ml for side in _SIDES}
        if max(volume_ml.values()) == 0:
            sides: list[Side | None] = [(None, *_SIDES)[int(rng.integers(3))]]
        else:
            sides = [None, *_SIDES]
        for side in sides:
            there_ml = sum(volume_ml.values()) if side is None else volume_ml[side]
            if 0 < there_ml < MIN_VOLUME_ML:
                continue
            slots = PhraseSlots(finding=finding, side=side)
            phrase = describe(slots, rng, lexicon, held_out=held_out)
            yield ScenePhrase(finding, side, phrase, scene.where(finding, side) if there_ml else None)
