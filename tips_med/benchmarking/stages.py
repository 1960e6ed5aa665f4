"""Every stage from a file to an answer, in this process."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from tips_med.benchmarking.clock import MIB, Clock
from tips_med.doctor.machine import graphics, memory, processor
from tips_med.encoders.compact import CompactImageTower
from tips_med.encoders.precision import cpu_name, has_fast_bfloat16
from tips_med.encoders.study import EncodedStudy
from tips_med.exporters.folder import default_exporters, write_answers
from tips_med.geometry import spacing_mm
from tips_med.grounding.encoding import Adapters, cut_slabs, encode_slabs
from tips_med.grounding.ground import adapters_of, ground, parse_query
from tips_med.grounding.modality import ensure_known_modality
from tips_med.loading import open_model, pick_device
from tips_med.model import GroundingModel
from tips_med.readers import read_scan
from tips_med.scan import Scan


def measure_stages(
    clock: Clock, scan: str, queries: Sequence[str], model: str | None = None, device: str = "auto"
) -> dict[str, Any]:
    """Goes through every stage once.

    Args:
        clock: Runs since this process was started.
        scan: Path of a scan.
        queries: The first question, and one or more further ones.
        model: As ``open_model`` takes it.
        device: ``auto``, ``cpu`` or ``cuda``.
    """
    exporters = default_exporters()
    clock.done("import")
    opened = open_model(model, device)
    asked = [parse_query(query, opened) for query in queries]  # a refusal comes at once, as from the command
    clock.done("load the weights")
    read = read_scan(scan)
    clock.done("read")
    study = encoded(read, opened, clock, pick_device(device), adapters_of(asked, opened))
    answer = ground(study, queries[0], opened)
    clock.done("first question")
    for query in queries[1:]:
        ground(study, query, opened)
    clock.done("further question", times=len(queries) - 1)
    with tempfile.TemporaryDirectory(prefix="tips-med-benchmark-") as folder:
        clock.go_on()
        about = asdict(opened.card) | {"name": opened.card.name, "weights_sha256": opened.sha256}
        write_answers([answer], Path(folder) / "answer", about, exporters=exporters)
        clock.done("write an answer")
        file = study.save(Path(folder) / "study.safetensors")
        clock.done("save")
        EncodedStudy.load(file)
        clock.done("load")
        with safe_open(file, framework="pt") as stored:
            voxels = stored.get_tensor("voxels").nbytes
        study_mib = (file.stat().st_size - voxels) / MIB
    return {
        "stages": clock.stages,
        "study_mib": round(study_mib, 1),
        "voxels_mib": round(voxels / MIB, 1),
        "scan": {
            "shape": list(read.shape),
            "spacing_mm": [round(float(mm), 3) for mm in spacing_mm(read.lps_from_kji)],
            "slabs": list(study.seen.shape),
        },
        "no_gpu": why_no_gpu(device),
        "machine": about_machine(opened, pick_device(device)),
    }


def encoded(
    scan: Scan, model: GroundingModel, clock: Clock, device: torch.device, adapters: Adapters = ()
) -> EncodedStudy:
    """What ``tips_med.encode`` does, with the two parts of it timed apart: ``slabs`` and ``encode``.

    Args:
        scan: Scan to encode.
        model: Model, on ``device``.
        clock: Runs since the last stage ended.
        device: Where the image tower runs.
        adapters: As ``tips_med.encode`` takes them.
    """
    known = ensure_known_modality(scan, model)
    slabs = cut_slabs(known, model)
    clock.done("slabs")
    has_fast_bfloat16(device)  # measured once a machine, and then kept: no part of encoding
    clock.go_on()
    study = encode_slabs(known, slabs, model, adapters=adapters)
    clock.done("encode")
    return study


def why_no_gpu(device: str) -> str | None:
    """Why nothing is measured on a GPU; None where there is one that is to be used."""
    if device == "cpu":
        return "the processor was requested"
    return None if torch.cuda.is_available() else f"no GPU that can be used: {graphics().found}"


def about_machine(model: GroundingModel, device: torch.device) -> dict[str, Any]:
    """Processor, memory, threads, precision and versions; nothing that names the machine."""
    found, gpu = processor().data, graphics().data
    fast = isinstance(model.image, CompactImageTower) and has_fast_bfloat16(device)
    return {
        "processor": cpu_name(),
        "instructions": found["instructions"],
        "cores": found["cores"],
        "threads": found["threads"],
        "memory_gib": memory().data["total_gib"],
        "gpu": gpu.get("model") if device.type == "cuda" else None,
        "precision": "bfloat16" if fast else "float32",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
