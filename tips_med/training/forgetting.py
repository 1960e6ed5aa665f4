"""What a model that was taught something still knows: every term before and after, on painted scans."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torchmetrics.functional.classification import binary_auroc

from tips_med.model import GroundingModel
from tips_med.synthesis.findings import known_findings
from tips_med.synthesis.phantom import make_phantom
from tips_med.synthesis.scene import SceneSpec
from tips_med.training.calibration import Observation, observe_scene, paint_numbered

PHANTOM_SEED = 700_000
"""Seed of the first torso: none of those that training, calibration and ``paint`` make."""

TOLERANCE = 0.01
"""Loss of Dice or AUROC above which a term is reported as changed."""

_MAX_FINDINGS = 8
"""Maximum number of findings in a scan: many, so that a few scans have most of them."""


@dataclass(frozen=True)
class TermChange:
    """One term before and after.

    Attributes:
        term: Finding term of the lexicon.
        there: Number of queries about what is there.
        absent: Number of queries about what is not there.
        dice: Mean Dice of the map at a half with what is there, before and after; NaN where nothing is there.
        auroc: AUROC of the evidence, there against not there, before and after; NaN without both.
    """

    term: str
    there: int
    absent: int
    dice: tuple[float, float]
    auroc: tuple[float, float]

    @property
    def lost(self) -> bool:
        """Whether Dice or AUROC fell by more than ``TOLERANCE``."""
        return any(before - after > TOLERANCE for before, after in (self.dice, self.auroc))


def measure_forgetting(
    before: GroundingModel,
    after: GroundingModel,
    scans: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[TermChange]:
    """Asks both models for every finding that the first one knows, in painted procedural torsos.

    Scans and questions are the same for both, and the same in every run. A few scans tell what broke, not how well a
    term is found: see ``tips-med evaluate`` for that.

    Args:
        before: Model before it was taught.
        after: Model afterwards.
        scans: Number of painted scans, 1 or more.
        progress: Called with (scans done, total scans), of both models.
    """
    known = before.card.findings  # what was taught is not painted
    models = (before, replace(after, card=replace(after.card, findings=known)))
    scenes = SceneSpec(
        shape=None,
        weights={term: 1.0 for term in known if term in known_findings()},
        empty=0.0,
        max_findings=_MAX_FINDINGS,
    )
    seen: list[list[Observation]] = [[], []]
    for number in range(scans):
        body = make_phantom(PHANTOM_SEED + number, before.image.slab_spec.spacing_mm)
        scene, rng = paint_numbered([body], scenes, number, PHANTOM_SEED)
        for nth, model in enumerate(models):
            seen[nth] += observe_scene(model, scene, number, copy.deepcopy(rng))
            progress(2 * number + nth + 1, 2 * scans)
    return [_change(term, *([one for one in some if one.finding == term] for some in seen))
            for term in known]  # fmt: skip


def _change(term: str, before: Sequence[Observation], after: Sequence[Observation]) -> TermChange:
    there = sum(one.there for one in before)
    dice, auroc = zip(*((_dice(some), _auroc(some)) for some in (before, after)))
    return TermChange(term, there, len(before) - there, dice, auroc)


def _dice(observations: Sequence[Observation]) -> float:
    values = [one.dice for one in observations if one.there]
    return float(np.mean(values)) if values else float("nan")


def _auroc(observations: Sequence[Observation]) -> float:
    there = torch.tensor([int(one.there) for one in observations])
    if there.unique().numel() < 2:
        return float("nan")
    return float(binary_auroc(torch.tensor([one.evidence for one in observations]).sigmoid(), there))


def forgetting_table(changes: Sequence[TermChange], calibrated: Sequence[str]) -> str:
    """The changes as text, one term a line.

    Args:
        changes: From ``measure_forgetting``.
        calibrated: Terms that are calibrated afterwards.
    """
    lines = [f"{'term':<22}{'there':>6}{'absent':>7}  {'Dice':<16}{'AUROC':<16}calibration"]
    for one in changes:
        values = "".join(f"{_shown(pair):<16}" for pair in (one.dice, one.auroc))
        kept = "kept" if one.term in calibrated else "gone"
        lines.append(f"{one.term:<22}{one.there:>6}{one.absent:>7}  {values}{kept}{'  WORSE' if one.lost else ''}")
    return "\n".join(lines)


def _shown(pair: tuple[float, float]) -> str:
    return "-" if np.isnan(pair).any() else f"{pair[0]:.3f} -> {pair[1]:.3f}"
