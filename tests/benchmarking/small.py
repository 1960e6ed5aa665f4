"""A small chest, a tiny model for it, and processes that are this one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.manifest.files import write_nifti
from tests.training.small import affine, chest, tiny_weights
from tips_med.benchmarking.processes import error_from_dict
from tips_med.benchmarking.worker import measure

QUERIES = ("nodule", "no nodule", "nodule in the left lung")


def written(folder: Path) -> dict[str, str]:
    """Paths of a scan and of weights, as ``run_benchmark`` takes them."""
    voxels, _ = chest()
    scan = write_nifti(folder / "ct.nii.gz", voxels, affine())
    return {"scan": str(scan), "model": str(tiny_weights(folder / "tiny.safetensors"))}


def measured_here(task: str, arguments: Mapping[str, Any], threads: int | None = None) -> dict[str, Any]:
    """Instead of ``measured_alone``: starting a process for each point takes long."""
    del threads
    told = measure(task, dict(arguments), time.monotonic())
    if "error" in told:
        raise error_from_dict(told["error"])
    return told
