"""Tells what a step of training costs here, where it goes, and how many painting workers keep a device busy.

    python -m benchmarks.training_cost --data DATA [--steps 6] [--bodies 4] [--no-teaching] [--write]

DATA is what ``tips-med pretrain`` takes: the folder of the public scans, or a pack of them. It runs on the GPU where
there is one. Two trainings are timed: ``pretrain_chest_ct`` from the shipped weights, painted into a few of its bodies,
and, where DATA is a folder, ``teach_organs`` on two scans with outlined organs. ``--write`` keeps the figures in
docs/measurements/training_cost.json and in the table of docs/training.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml

from benchmarks.marked import DOCS, write_between_marks
from benchmarks.training_pack import bodies, training_settings
from benchmarks.training_parts import (
    CUTTING,
    PAINTING,
    Parts,
    learner,
    scenes_per_second,
    time_making,
    time_together,
)
from pipelines.pretrain import begin_with
from tips_med.batch.executors.local import usable_cores
from tips_med.benchmarking.report import machine_in_words
from tips_med.benchmarking.run import BUSY_LOAD
from tips_med.benchmarking.stages import about_machine
from tips_med.configs import config_path
from tips_med.encoders.compact_text import CompactTextConfig
from tips_med.loading import open_model, pick_device
from tips_med.manifest import Row, write_manifest
from tips_med.model import GroundingModel
from tips_med.query import Lexicon
from tips_med.training.crops import DataSpec, StudyCrops
from tips_med.training.finetune import FinetuneConfig, FinetuneTask
from tips_med.training.fitting import precision_of
from tips_med.training.manifest_data import ManifestData
from tips_med.training.painted import PaintedScenes
from tips_med.training.questions import STRUCTURES
from tips_med.training.task import AlignmentTask

WARM_UP = 2
MORE_SCENES = 4
"""Batches are made so many times as often as the networks learn: no two take equally long."""

STEPS_S = (1.0, 0.3, 0.1, 0.03)
"""Seconds of a step on other devices, for which the workers are worked out."""


def measure_painted(data: Path, model: GroundingModel, device: torch.device, count: int, steps: int) -> dict[str, Any]:
    """Times ``pretrain_chest_ct``.

    Args:
        data: Folder of the scans, or a pack.
        model: Model to start from.
        device: Device to train on.
        count: Number of bodies to paint into.
        steps: Number of steps of the networks.
    """
    settings = training_settings("pretrain_chest_ct", data)
    image, scenes, optimizer, card = (settings[key] for key in ("image", "scenes", "optimizer", "card"))
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        trained = list(islice(bodies(settings, data, Path(folder), model), count))
        prepare_s = (time.perf_counter() - begun) / len(trained)
    begun = time.perf_counter()
    for one in trained:
        _ = one.middle_yx
    middle_s = (time.perf_counter() - begun) / len(trained)
    lexicon, batch = Lexicon.load(card.lexicon), settings["batch"]
    made = PaintedScenes(
        trained,
        scenes,
        image.slabs,
        card.findings,
        lexicon,
        batch,
        settings["questions"],
        weights=settings["question_weights"],
        margin=settings["margin"],
        words=settings["words"],
        structures=[structure for structure in card.structures if structure in STRUCTURES],
    )
    making, batches = time_making(made.make, MORE_SCENES * steps, PAINTING)
    task = AlignmentTask(image, CompactTextConfig(lexicon.vocabulary), optimizer)
    begin_with(task, model)
    found = measure_step(task, (task.image, "forward"), making, batches, made, device, steps, settings["ema"])
    cores = usable_cores()
    one, several = (scenes_per_second(made, workers, batch) for workers in (1, cores))
    pace = {"one_worker": one, "all_cores": several, "cores": cores}
    return {"batch": batch, "prepare_s": prepare_s, "middle_s": middle_s, **found, "scenes_per_second": pace}


def measure_teaching(
    data: Path, model: GroundingModel, device: torch.device, steps: int, scans: int = 2
) -> dict[str, Any]:
    """Times ``teach_organs`` on the smallest scans with outlined organs, without hearts and without ``ignore``."""
    wanted = yaml.safe_load(config_path("", "teach_organs").read_text("utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "manifest.csv"
        write_manifest(organ_rows(data, scans), manifest)
        lexicon = model.lexicon
        spec = DataSpec(manifest, **{**wanted["data"], "shape": tuple(wanted["data"]["shape"])})
        module = ManifestData(spec, model, lexicon, Path(folder) / "cache", steps)
        begun = time.perf_counter()
        module.prepare_data()
        prepare_s = (time.perf_counter() - begun) / scans
        crops = StudyCrops(module.files["train"], spec, model.image.slab_spec, lexicon)
        making, batches = time_making(crops.make, MORE_SCENES * steps, CUTTING)
        config = FinetuneConfig(**wanted["optimizer"])
        task = FinetuneTask.from_model(model, lexicon, config, None, module)
        encode = (task.towers, "encode_images")
        found = measure_step(task, encode, making, batches, crops, device, steps, wanted["trainer"]["ema"])
    return {"batch": spec.batch, "prepare_s": prepare_s, **found}


def measure_step(
    task: lightning.LightningModule,
    encode: tuple[torch.nn.Module, str],
    making: Mapping[str, float],
    batches: list[Any],
    data: PaintedScenes | StudyCrops,
    device: torch.device,
    steps: int,
    ema: float,
) -> dict[str, Any]:
    """The networks' step by its parts, alone, and then together with as many workers as it needs."""
    bfloat16 = precision_of("auto", "cpu" if device.type == "cpu" else "gpu") == "bf16-mixed"
    parts = Parts(device)
    learn = learner(task, encode, device, bfloat16, ema, parts)
    for batch in batches[: WARM_UP + steps]:
        learn(batch)
    parts.steps = parts.steps[WARM_UP:]
    network = parts.seconds(statistics.median)
    workers = min(workers_for(sum(making.values()), sum(network.values())), max(1, usable_cores() - 1))
    together = time_together(data, workers, learn, steps, device)
    return {"making_s": dict(making), "network_s": network, "together": together, "steps": steps}


def organ_rows(data: Path, scans: int) -> list[Row]:
    """A manifest's rows of the organs of the smallest scans that have them, by the numbers of ``organs.json``."""
    numbers: dict[str, int] = json.loads((data / "organs.json").read_text("utf-8"))
    cases = [file.parent for file in data.glob("*/organs.nii.gz") if not (file.parent / "organs.json").exists()]
    cases = sorted((case for case in cases if (case / "ct.nii.gz").exists()), key=_size)[:scans]
    rows = []
    for case in cases:
        there = _labels(case / "organs.nii.gz")
        for name, number in numbers.items():
            if number in there:
                phrase = {"ribs": "rib"}.get(name, name.replace("_", " "))
                rows.append(Row(case / "ct.nii.gz", phrase, case / "organs.nii.gz", str(number), patient=case.name))
    return rows


def _size(case: Path) -> int:
    return (case / "ct.nii.gz").stat().st_size


def _labels(file: Path) -> set[int]:
    import nibabel as nib
    import numpy as np

    image: Any = nib.load(file)
    return {int(label) for label in np.unique(np.asanyarray(image.dataobj))}


def workers_for(making_s: float, step_s: float) -> int:
    """How many processes make batches as quickly as a device learns from them, each on a core of its own."""
    return max(1, math.ceil(making_s / step_s))


def markdown(result: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    painted, taught = result["pretrain"], result.get("teach")
    lines = [*_table("`pretrain_chest_ct`", painted)]
    if taught is not None:
        lines += ["", *_table("`teach_organs`", taught)]
    pace, making_s = painted["scenes_per_second"], sum(painted["making_s"].values())
    here = workers_for(making_s, sum(painted["network_s"].values()))
    others = ", ".join(f"{workers_for(making_s, step_s)} at {step_s:g} s" for step_s in STEPS_S)
    lines += [
        "",
        f"One worker paints {pace['one_worker']:.1f} scenes a second, {pace['cores']} on as many cores "
        f"{pace['all_cores']:.1f}. Workers that keep a device busy, by the seconds of its step of {painted['batch']} "
        f"scenes, a core each: {others}; {here} here. Before the first step a scan is brought onto the grid once "
        f"({painted['prepare_s']:.1f} s; from a pack it is unpacked), and the middle of each body is found "
        f"({painted['middle_s']:.2f} s).",
        "",
        f"{machine_in_words(result['machine'])}; batches: means of {MORE_SCENES * painted['steps']}; networks: medians "
        f"of {painted['steps']} steps after {WARM_UP}. {_gpu(painted['together'])}",
    ]
    return "\n".join(lines)


def _table(name: str, one: Mapping[str, Any]) -> list[str]:
    making, network, together = one["making_s"], one["network_s"], one["together"]
    lines = [f"| {name}, a step of {one['batch']} | seconds | share |", "|---|---:|---:|"]
    for title, parts in (("making its batch, in a worker", making), ("learning from it, on the device", network)):
        whole = sum(parts.values())
        lines.append(f"| **{title}** | **{whole:.3f}** | |")
        lines += [f"| {part} | {seconds:.3f} | {100 * seconds / whole:.0f}% |" for part, seconds in parts.items()]
    workers = f"{together['workers']} worker{'s' if together['workers'] > 1 else ''}"
    lines.append(
        f"| **together, {workers}: waiting for batches** | **{together['step_s']:.3f}** | "
        f"**{100 * together['waiting_share']:.0f}%** |"
    )
    return lines


def _gpu(together: Mapping[str, Any]) -> str:
    if "gpu_peak_gib" not in together:
        return "On a GPU nothing was measured."
    percent = together["gpu_percent"]
    busy = "how busy it was is not known" if percent is None else f"busy {percent:.0f}% of the time"
    return f"GPU: {busy}, at a peak of {together['gpu_peak_gib']:.1f} GiB."


def main() -> None:
    """Measures, prints, and keeps the result when requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--bodies", type=int, default=4)
    parser.add_argument("--no-teaching", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    load, device, model = os.getloadavg()[0], pick_device("auto"), open_model(None, "cpu")
    machine = about_machine(model, device) | {"load": round(load, 2), "busy": load > BUSY_LOAD}
    result: dict[str, Any] = {"machine": machine}
    result["pretrain"] = measure_painted(options.data, model, device, options.bodies, options.steps)
    if options.data.is_dir() and not options.no_teaching:
        result["teach"] = measure_teaching(options.data, model, device, options.steps)
    print(markdown(result))
    if options.write:
        (DOCS / "measurements" / "training_cost.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        write_between_marks(DOCS / "training.md", "training cost", markdown(result))


if __name__ == "__main__":
    main()
