"""The machine: processor, memory, graphics processor."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil

from tips_med.doctor.examination import Check, in_words

GIB = 1 << 30
NEEDED_GIB = 3.0
"""Memory for a chest of 512 x 512 (a peak of 1.3 GiB, docs/performance.md) beside everything else."""

_FLAGS = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "amx_int8", "neon", "bf16", "sve")
"""What makes networks quick on a processor, as ``torch.cpu.get_capabilities`` names it."""


def system() -> Check:
    """The kind of system."""
    libc = " ".join(part for part in platform.libc_ver() if part)
    found = " ".join(part for part in (platform.system(), platform.machine(), libc) if part)
    return Check("device", "system", "ok", found, data={"system": platform.system(), "machine": platform.machine()})


def processor() -> Check:
    """The processor: model, instructions, cores, threads of PyTorch, and advice where these do not fit."""
    import torch

    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    flags = [flag for flag in _FLAGS if capabilities.get(flag)]
    name = str(capabilities.get("cpu_name") or platform.processor() or platform.machine())
    cores, threads = usable_cores(), torch.get_num_threads()
    data = {
        "model": name,
        "instructions": flags,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": cores,
        "threads": threads,
    }
    instructions = ", ".join(flags) or str(data["capability"])
    found = f"{name} ({instructions}), usable cores: {cores}, threads: {threads}"
    advice = threads_advice(cores, threads)
    return Check("device", "processor", "hint" if advice else "ok", found, advice, data)


def threads_advice(cores: int, threads: int) -> str:
    """What to do when PyTorch has fewer threads than there are cores, or more; empty when they fit."""
    if threads > cores:
        return f"more threads than cores slow each other down: set OMP_NUM_THREADS={cores}"
    if 2 * threads <= cores and threads < 8:
        wanted = "unset OMP_NUM_THREADS" if "OMP_NUM_THREADS" in os.environ else f"set OMP_NUM_THREADS={min(cores, 16)}"
        return f"idle cores while a scan is encoded: {cores - threads}; {wanted}"
    return ""


def memory(total: int | None = None, available: int | None = None) -> Check:
    """The memory that this process may have.

    Args:
        total: Bytes; as found if left out.
        available: Bytes; as found if left out.
    """
    if total is None or available is None:
        machine, limit = psutil.virtual_memory(), _limit_of_container()
        total, available = min(machine.total, limit), min(machine.available, limit)
    found = f"{available / GIB:.1f} of {total / GIB:.1f} GiB available"
    data = {"total_gib": round(total / GIB, 1), "available_gib": round(available / GIB, 1)}
    if available < NEEDED_GIB * GIB:
        more = "close other programs" if total >= NEEDED_GIB * GIB else "use a machine or a container with more memory"
        return Check("device", "memory", "hint", found, f"a chest CT takes up to 2 GiB: {more}", data)
    return Check("device", "memory", "ok", found, data=data)


def graphics() -> Check:
    """The graphics processor, or why it is not used."""
    import torch

    if not torch.cuda.is_available():
        seen = has_nvidia_device()
        data = {"torch_cuda": torch.version.cuda, "nvidia_device": seen}
        if not seen:
            return Check("device", "GPU", "ok", "none; the processor does the work", data=data)
        if torch.version.cuda is None:
            advice = "install the build of torch for CUDA: https://pytorch.org/get-started/locally"
            return Check("device", "GPU", "hint", "an NVIDIA GPU, and a torch without CUDA", advice, data)
        advice = f"update the driver to one for CUDA {torch.version.cuda}, or look at CUDA_VISIBLE_DEVICES"
        return Check("device", "GPU", "hint", "an NVIDIA GPU that torch cannot use", advice, data)
    try:
        about = torch.cuda.get_device_properties(0)
        found = f"{about.name}, {about.total_memory / GIB:.0f} GiB, CUDA {torch.version.cuda}"
        torch.ones(2, device="cuda").sum().item()
    except RuntimeError as error:
        advice = "install the build of torch for this GPU, or use --device cpu"
        return Check("device", "GPU", "hint", f"cannot be used ({in_words(error)})", advice)
    return Check("device", "GPU", "ok", found, data={"model": about.name, "torch_cuda": torch.version.cuda})


def usable_cores() -> int:
    """The cores that this process may use: affinity, and what the container is limited to."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


def has_nvidia_device() -> bool:
    """Whether the system has an NVIDIA driver loaded."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()


def _limit_of_container() -> int:
    limit = _read("/sys/fs/cgroup/memory.max")
    return int(limit) if limit.isdigit() else 1 << 62


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
