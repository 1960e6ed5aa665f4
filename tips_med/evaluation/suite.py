"""All metrics of a set of cases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tips_med.geometry import voxel_volume_mm3
from tips_med.grounding import Grounding
from tips_med.metrics import (
    CaseMetric,
    ContrastToNoise,
    FalsePositiveVolume,
    GlobalDice,
    GroundingMetric,
    HitRate,
    InstanceDetection,
    ParaphraseStability,
    PointingGame,
    PresenceDetection,
    ReXGroundingCT,
    SurfaceDice,
    SwapTest,
    ThresholdIoU,
    dice,
)
from tips_med.plugins import load_plugins
from tips_med.resampling import resample
from tips_med.shapes import Instances, Mask

SWAPS = ("side", "level", "finding")


@dataclass(frozen=True, eq=False)
class EvaluatedRow:
    """One row of a manifest, answered.

    Attributes:
        line: Line in the manifest, from 1.
        scan: Path of the scan, as in the manifest.
        grounding: The answer.
        label: True label: whether the finding or structure is present.
        truth: True mask, bool [k j i] on the scan's grid; None where there is no outline.
        instances: Labels of the true instances, uint16 [k j i], as the mask stores them; None where it does not.
        patient: Patient key, for the bootstrap.
        swapped: Masks for the phrase with one word swapped, by kind of swap.
        paraphrased: Mask and probability for each other wording of the phrase.
    """

    line: int
    scan: str
    grounding: Grounding
    label: str
    truth: Mask | None
    patient: str
    instances: Instances | None = None
    swapped: dict[str, Mask] = field(default_factory=dict)
    paraphrased: tuple[tuple[Mask, float], ...] = ()

    @property
    def term(self) -> str:
        """The queried finding or structure, as a term of the lexicon."""
        term = self.grounding.query.finding or self.grounding.query.structure
        return term.id if term else ""

    @property
    def dice(self) -> float | None:
        """Dice of mask and truth; None without a truth."""
        return None if self.truth is None else dice(self.grounding.mask, self.truth)

    def facts(self) -> dict[str, Any]:
        """A summary of the case, for JSON."""
        grounding, truth = self.grounding, self.truth
        ml = voxel_volume_mm3(grounding.scan.lps_from_kji) / 1000
        return {
            "line": self.line,
            "scan": self.scan,
            "phrase": grounding.query.text,
            "term": self.term,
            "label": self.label,
            "probability": grounding.probability,
            "state": grounding.presence.state,
            "dice": self.dice,
            "marked_ml": int(grounding.mask.sum()) * ml,
            "truth_ml": None if truth is None else int(truth.sum()) * ml,
            "not_understood": list(grounding.query.unknown_words),
        }


class Suite:
    """The metrics of one set of cases: overall, or of one term.

    Args:
        tolerance_mm: Tolerance of the surface Dice in mm.
    """

    def __init__(self, tolerance_mm: float = 2.0) -> None:
        self.dice, self.nsd, self.hits = GlobalDice(), SurfaceDice(tolerance_mm), HitRate()
        self.instances, self.rex, self.pointing = InstanceDetection(), ReXGroundingCT(), PointingGame()
        self.contrast, self.iou = ContrastToNoise(), ThresholdIoU()
        self.presence, self.false_volume = PresenceDetection(), FalsePositiveVolume()
        self.swaps = {name: SwapTest() for name in SWAPS}
        self.paraphrases = ParaphraseStability()
        self.added: dict[str, GroundingMetric] = {name: made() for name, made in load_plugins("metrics").items()}

    def add(self, case: EvaluatedRow) -> None:
        """Adds an answered case to every metric that it applies to."""
        grounding, who = case.grounding, case.patient
        for metric in self.added.values():
            metric.update(grounding, case.truth, case.label, patient=who)
        if case.label in ("present", "absent"):
            self.presence.update(float(grounding.probability), case.label == "present", patient=who)
        if case.truth is None:
            return
        mask, truth = grounding.mask, case.truth
        scan = grounding.scan
        self.dice.update(mask, truth, patient=who)
        self.nsd.update(mask, truth, scan.spacing_mm, patient=who)
        self.hits.update(mask, truth, patient=who)
        self.instances.update(mask, truth, patient=who)
        if case.instances is not None and truth.any():  # that set has no other rows
            self.rex.update(mask, case.instances, patient=who)
        self.false_volume.update(mask, truth, voxel_volume_mm3(scan.lps_from_kji) / 1000, patient=who)
        if truth.any():
            heat = resample(grounding.heat, grounding.lps_from_heat, scan.lps_from_kji, scan.shape)
            for metric in (self.pointing, self.contrast, self.iou):
                metric.update(heat.astype(np.float32, copy=False), truth, patient=who)
        for name, swapped in case.swapped.items():
            self.swaps[name].update(mask, swapped, truth, patient=who)
        if case.paraphrased:
            masks = [mask, *(other for other, _ in case.paraphrased)]
            chances = [float(grounding.probability), *(chance for _, chance in case.paraphrased)]
            self.paraphrases.update(masks, chances, patient=who)

    @classmethod
    def of(cls, suites: Iterable[Suite]) -> Suite:
        """One suite of the cases of several suites, which are not measured again."""
        whole = cls()
        for suite in suites:
            for (_, into), (_, metric) in zip(whole._named(), suite._named(), strict=True):
                into.extend(metric)
        return whole

    def summary(self, draws: int = 1000, seed: int = 0) -> dict[str, dict[str, float | int | None]]:
        """Every value by name, with its 95% interval over patients and the number of cases behind it.

        Values without a case that defines them are left out.

        Args:
            draws: Number of bootstrap draws, 1 or more.
            seed: Random seed of the draws (integer, 0 or more).
        """
        out: dict[str, dict[str, float | int | None]] = {}
        for prefix, metric in self._named():
            counts = metric.counts()
            for name, interval in metric.intervals(draws, seed=seed).items():
                if np.isfinite(interval.value):
                    ends = {"low": interval.low, "high": interval.high}
                    out[prefix + name] = {
                        "value": interval.value,
                        **{end: value if np.isfinite(value) else None for end, value in ends.items()},
                        "cases": counts.get(name, metric.cases),
                    }
        return out

    def _named(self) -> list[tuple[str, CaseMetric]]:
        plain = [self.dice, self.nsd, self.hits, self.instances, self.rex, self.pointing, self.contrast, self.iou]
        named: list[tuple[str, CaseMetric]] = [("", metric) for metric in (*plain, self.presence, self.false_volume)]
        named += [(f"swap_{name}_", metric) for name, metric in self.swaps.items()]
        named += [(f"{name}_", metric) for name, metric in self.added.items()]
        return [*named, ("paraphrase_", self.paraphrases)]
