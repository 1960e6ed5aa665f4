"""Estimated lobes against true ones, each lung by fissures and heights that were chosen on the other four."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.lobes.fit import fit, frame_of
from benchmarks.lobes.truth import LOBES, FissuredLung
from tips_med.geometry import LEFT, RIGHT
from tips_med.grounding.coverage import THIRDS
from tips_med.grounding.lobes import LOBES_OF_LUNG, depth_in_lobe_mm

COVERED = 0.95
"""The margin is the smallest one in whole mm with which this share of each true lobe lies in its searched region."""

MAX_MARGIN_MM = 40
BINS = 50
"""Heights at which a lung may be cut into bands."""

NAMES = {RIGHT: "right", LEFT: "left"}


def measured(lungs: Sequence[FissuredLung]) -> tuple[list[dict[str, Any]], int]:
    """One entry for each lobe of each lung, left out of what it is measured by; and the margin in mm."""
    rows = []
    for lung in lungs:
        others = [one for one in lungs if one is not lung]
        fissures = fit(others)
        for side, lobes in LOBES_OF_LUNG.items():
            frame, own = frame_of(lung, side), lung.lungs == side
            height = np.broadcast_to(frame.along[0][:, None, None], own.shape)[own]
            truth = lung.lobes[own]
            cuts = best_cuts(others, side)
            for place, lobe in enumerate(lobes):
                true = truth == LOBES[side, lobe]
                depth = depth_in_lobe_mm(frame, lobe, fissures)[own]
                low, high = THIRDS[f"{lobe}_lobe"]
                band = (height >= low) & (height <= high)
                # Lobes are listed from the top, and heights rise to it.
                part = (height >= cuts[len(lobes) - place - 1]) & (height < cuts[len(lobes) - place])
                rows.append(
                    {
                        "case": lung.case,
                        "lobe": f"{NAMES[side]} {lobe}",
                        "dice": {
                            "fissures": _dice(depth >= 0, true),
                            "cut heights": _dice(part, true),
                            "bands": _dice(band, true),
                        },
                        "bands": {"covers": float(band[true].mean()), "takes": float(band[~true].mean())},
                        "covers": [float((depth[true] >= -mm).mean()) for mm in range(MAX_MARGIN_MM + 1)],
                        "takes": [float((depth[~true] >= -mm).mean()) for mm in range(MAX_MARGIN_MM + 1)],
                    }
                )
    least = np.min([row["covers"] for row in rows], axis=0)
    if least.max() < COVERED:
        raise SystemExit(f"no margin of up to {MAX_MARGIN_MM} mm covers {COVERED:.0%} of each lobe")
    return rows, int(np.argmax(least >= COVERED))


def naming(lungs: Sequence[FissuredLung], margin_mm: float) -> str:
    """How a place in a lung is named, each lung by the fissures of the others.

    Args:
        lungs: Lungs with fissures.
        margin_mm: Distance from an estimated fissure within which the lobes on both sides of it are named, in mm.

    Returns:
        A table: the share of the places of each lung with one, two and three names, and how often names are right.
    """
    lines = [
        "| lung | one lobe named | it is that one | two | three | true lobe among the names |",
        "|---|---|---|---|---|---|",
    ]
    for side, lobes in LOBES_OF_LUNG.items():
        found: dict[str, list[float]] = {name: [] for name in ("one", "right", "two", "three", "among")}
        for lung in lungs:
            fissures = fit([one for one in lungs if one is not lung])
            frame, own = frame_of(lung, side), lung.lungs == side
            named = np.array([depth_in_lobe_mm(frame, lobe, fissures)[own] >= -margin_mm for lobe in lobes])
            true = np.array([lung.lobes[own] == LOBES[side, lobe] for lobe in lobes])
            count, among = named.sum(axis=0), (named & true).any(axis=0)
            for name, share in zip(("one", "two", "three"), ((count == n).mean() for n in (1, 2, 3))):
                found[name].append(float(share))
            found["right"].append(float(np.mean(among, where=count == 1)))
            found["among"].append(float(among.mean()))
        cells = [_percent(found["one"]), _percent(found["right"])]
        cells += [f"{np.mean(found[name]):.0%}" for name in ("two", "three")] + [_percent(found["among"])]
        lines.append(f"| {NAMES[side]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def best_cuts(lungs: Sequence[FissuredLung], side: int) -> list[float]:
    """The heights that part a lung into bands most like its lobes: the highest mean Dice over some lungs.

    Returns:
        Bounds from below the lung to above it, one more than there are lobes.
    """
    lobes = LOBES_OF_LUNG[side][::-1]
    counts = []
    for lung in lungs:
        frame, own = frame_of(lung, side), lung.lungs == side
        height = np.broadcast_to(frame.along[0][:, None, None], own.shape)[own]
        which = np.minimum((height * BINS).astype(int), BINS - 1)
        of_lobe = [np.bincount(which[lung.lobes[own] == LOBES[side, lobe]], minlength=BINS) for lobe in lobes]
        counts.append(np.cumsum(np.pad(of_lobe, ((0, 0), (1, 0))), axis=1))  # [lobe bound]
    tried = [(0, *inner, BINS) for inner in ([(n,) for n in range(1, BINS)] if len(lobes) == 2 else _pairs())]

    def fits(bounds: tuple[int, ...]) -> float:
        dice = []
        for below in counts:
            every = below.sum(axis=0)
            for n, (low, high) in enumerate(pairwise(bounds)):
                both = below[n, high] - below[n, low]
                dice.append(2 * both / (every[high] - every[low] + below[n, -1]))
        return float(np.mean(dice))

    best = max(tried, key=fits)
    return [-np.inf, *(bound / BINS for bound in best[1:-1]), np.inf]


def _pairs() -> list[tuple[int, int]]:
    return [(low, high) for low in range(1, BINS - 1) for high in range(low + 1, BINS)]


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def table(rows: Sequence[dict[str, Any]], margin_mm: int) -> str:
    """One line a lobe: Dice as mean and lowest of the lungs, then what a searched region covers and takes in."""
    lines = [
        "| lobe | Dice, mean fissures | Dice, cut at heights | Dice, bands of height | lobe searched | others searched "
        "| lobe searched, bands | others searched, bands |",
        "|---|---|---|---|---|---|---|---|",
    ]
    names = list(dict.fromkeys(row["lobe"] for row in rows))
    for name in [*names, "all"]:
        own = [row for row in rows if name in (row["lobe"], "all")]
        dice = [_mean_and_lowest([row["dice"][way] for row in own]) for way in ("fissures", "cut heights", "bands")]
        covers, takes = ([row[key][margin_mm] for row in own] for key in ("covers", "takes"))
        old = [[row["bands"][key] for row in own] for key in ("covers", "takes")]
        lines.append(
            f"| {name} | {' | '.join(dice)} | {_percent(covers)} | {np.mean(takes):.0%} | {_percent(old[0])} "
            f"| {np.mean(old[1]):.0%} |"
        )
    return "\n".join(lines)


def closing(lungs: Sequence[FissuredLung]) -> str:
    """One line a fissure: how much of it was closed, and how far its points lie from the surface that closes it."""
    lines = ["| fissure | closed by the surface, of each lung | points off the surface, median | 95 of 100 within |"]
    lines.append("|---|---|---|---|")
    for side, sheet in ((RIGHT, "oblique"), (RIGHT, "horizontal"), (LEFT, "oblique")):
        shares = ", ".join(f"{lung.closed[side, sheet]:.0%}" for lung in lungs)
        median, most = np.array([lung.off_mm[side, sheet] for lung in lungs]).max(axis=0)
        lines.append(f"| {NAMES[side]} {sheet} | {shares} | {median:.1f} mm at most | {most:.1f} mm at most |")
    return "\n".join(lines)


def _mean_and_lowest(values: list[float]) -> str:
    return f"{np.mean(values):.2f} ({min(values):.2f})"


def _percent(values: list[float]) -> str:
    return f"{np.mean(values):.0%} ({min(values):.0%})"
