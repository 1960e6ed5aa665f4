"""A short probe of the real image tower: is bfloat16 quicker than float32 here, and do threads help?"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tips_med.doctor.examination import Check

if TYPE_CHECKING:
    import torch

    from tips_med.model import GroundingModel

SLABS, SIDE_PX = 8, 96
"""The probe: a few slabs of a seventh of a chest's area."""

FEW = 2
"""Slabs that are enough to see that a precision is far slower."""

REPEATS = 3
CLEARLY = 1.15
"""Factor below which two times are the same, on a machine that does other work, too."""


def speed(model: GroundingModel) -> list[Check]:
    """Seconds a slab in float32 and in bfloat16, with all threads and with one; none for towers of another kind."""
    import torch

    from tips_med.encoders.compact import CompactImageTower
    from tips_med.encoders.precision import has_fast_bfloat16

    if not isinstance(model.image, CompactImageTower):
        return [Check("speed", "bfloat16", "ok", "not probed: the image tower is not the compact one")]
    device = next(model.image.net.parameters()).device
    run = _slabs_of(model.image, device)
    with torch.inference_mode():
        run(False, FEW)  # the first run makes what later ones use again
        full = _fastest(lambda: run(False, SLABS), device)
        half = _fastest(lambda: run(True, FEW), device, repeats=1) * SLABS / FEW
        if half < 2 * full:  # a processor without instructions for it is ten times as slow, and needs no second look
            half = _fastest(lambda: run(True, SLABS), device)
        checks = [precision(full / SLABS, half / SLABS, has_fast_bfloat16(device))]
        if device.type == "cpu" and (threads := torch.get_num_threads()) > 1:
            torch.set_num_threads(1)
            try:
                single = _fastest(lambda: run(False, SLABS), device)
            finally:
                torch.set_num_threads(threads)
            checks.append(threading(full / SLABS, single / SLABS, threads))
    return checks


def precision(float32_s: float, bfloat16_s: float, uses_bfloat16: bool) -> Check:
    """What two times of one slab say of bfloat16.

    Args:
        float32_s: Seconds a slab in float32.
        bfloat16_s: Seconds a slab in bfloat16.
        uses_bfloat16: Whether the tower takes bfloat16 on this device.
    """
    ratio = float32_s / bfloat16_s
    word = "quicker" if ratio > CLEARLY else "slower" if ratio < 1 / CLEARLY else "as quick"
    found = f"{1000 * bfloat16_s:.0f} ms a slab, float32 {1000 * float32_s:.0f} ms: {word}; " + (
        "bfloat16 is used" if uses_bfloat16 else "float32 is used"
    )
    data = {
        "float32_ms": round(1000 * float32_s, 1),
        "bfloat16_ms": round(1000 * bfloat16_s, 1),
        "quick": ratio > CLEARLY,
        "used": uses_bfloat16,
    }
    wrong = (word == "quicker" and not uses_bfloat16) or (word == "slower" and uses_bfloat16)
    if wrong:
        lost = max(float32_s, bfloat16_s) / min(float32_s, bfloat16_s)
        advice = f"run it again on an idle machine; if it stays, report it: encoding could be {lost:.1f} times as quick"
        return Check("speed", "bfloat16", "hint", found, advice, data)
    return Check("speed", "bfloat16", "ok", found, data=data)


def threading(all_s: float, single_s: float, threads: int) -> Check:
    """What threads gain.

    Args:
        all_s: Seconds a slab with all threads.
        single_s: Seconds a slab with one thread.
        threads: Number of threads.
    """
    gain = single_s / all_s
    found = f"{threads} threads have {gain:.1f} times the speed of one"
    data = {"threads": threads, "gain": round(gain, 2)}
    if gain * CLEARLY < 1:
        advice = "the cores are busy with other work: wait for it, or set OMP_NUM_THREADS=1"
        return Check("speed", "threads", "hint", found, advice, data)
    return Check("speed", "threads", "ok", found, data=data)


def _slabs_of(tower: object, device: torch.device) -> Callable[[bool, int], None]:
    import torch

    net = tower.net  # type: ignore[attr-defined]
    random = torch.Generator().manual_seed(0)
    pixels = torch.rand(1, SLABS, net.config.slabs.channels, SIDE_PX, SIDE_PX, generator=random).to(device)
    offset_mm = torch.zeros(1, 2, device=device)

    def run(bfloat16: bool, slabs: int) -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
            net(pixels[:, :slabs], offset_mm)

    return run


def _fastest(run: Callable[[], None], device: torch.device, repeats: int = REPEATS) -> float:
    """Seconds of the fastest run."""
    import torch

    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best
