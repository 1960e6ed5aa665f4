"""Precision of the image tower on the machine at hand."""

from __future__ import annotations

import json
import os
import platform
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from tips_med.folders import whole_file

_REPEATS = 3


@cache
def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the image tower is quicker in bfloat16 than in float32.

    A CPU without instructions for bfloat16 takes ten times as long in it. With them it depends on the CPU: matrix units
    (AMX) make it much quicker, AVX-512 alone makes it slower. So it is measured once, in less than half a second, and
    the result is kept in the user's cache folder: the same machine always uses the same precision.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if device.type != "cpu" or not torch.cpu._is_avx512_bf16_supported():
        return False
    machine = f"{cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    known = _read_cache()
    if machine not in known:
        known[machine] = bool(seconds_of_probe(bfloat16=True) < seconds_of_probe(bfloat16=False))
        _write_cache(known)
    return known[machine]


def cpu_name() -> str:
    """The model name of the CPU, as the system states it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@torch.inference_mode()
def seconds_of_probe(*, bfloat16: bool) -> float:
    """Seconds of a small network with the layers of the tower, the fastest of three runs."""
    layers = nn.Sequential(
        nn.Conv2d(16, 48, 3, padding=1),
        nn.GroupNorm(8, 48),
        nn.SiLU(),
        nn.Conv2d(48, 96, 3, stride=2, padding=1),
        nn.GroupNorm(8, 96),
        nn.SiLU(),
        nn.Conv2d(96, 96, 3, padding=1),
    ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels: Tensor = torch.zeros(4, 16, 96, 96).contiguous(memory_format=torch.channels_last)
    taken = []
    for _ in range(1 + _REPEATS):
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            layers(pixels)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])  # the first one prepares the layers


def _cache_file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tips_med" / "precision.json"


def _read_cache() -> dict[str, bool]:
    """What was measured before; nothing where the file cannot be read or is damaged."""
    with suppress(OSError, ValueError, RuntimeError):
        content = json.loads(_cache_file().read_text("utf-8"))
        if isinstance(content, dict):
            return {str(key): value for key, value in content.items() if isinstance(value, bool)}
    return {}


def _write_cache(known: dict[str, bool]) -> None:
    """Keeps what was measured; a folder that cannot be written only means to measure again."""
    with suppress(OSError, RuntimeError):
        file = _cache_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as partial:
            partial.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
