"""Observations that are made up, for tests of calibration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tips_med.card import Calibration
from tips_med.training.calibration import (
    Component,
    Observation,
)


def observations(evidence, there, finding="mass"):
    return [
        Observation(n, finding, None, bool(t), float(e), 1.0 * bool(t), 0.5, 0.6 if t else 0.0, bool(t))
        for n, (e, t) in enumerate(zip(evidence, there))
    ]


def plain(_: Observation) -> Calibration:
    return Calibration()


def pieces(*given: tuple[float, float, float, float]) -> tuple[Component, ...]:
    return tuple(Component(*one) for one in given)


def seen_with(*given, truth_ml=2.0, truth_components=2, evidence=3.0, finding="mass", **more) -> Observation:
    return Observation(
        0, finding, None, True, evidence, truth_ml, 3.0, 0.4, True, truth_components, pieces(*given), **more
    )


def drawn(rng, patients=0):
    """Evidence of 200 scans, half of them with a mass; some of them real."""
    there = np.arange(200) % 2 == 0
    made = observations(rng.normal(np.where(there, 1.0, -1.0), 1.5), there)
    return [replace(one, patient=f"p{n}" if n < patients else "") for n, one in enumerate(made)]
