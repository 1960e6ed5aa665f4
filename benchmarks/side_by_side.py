"""Times ours and networks that MONAI provides, with random weights, on one scan in one run.

    python -m benchmarks.side_by_side [--seconds 60] [--shape 300 512 512] [--write]

The scan is the bundled one at a clinical matrix. Each network runs in a process of its own, one after the other, with
as many threads and in the same precision as ours; of the two memory layouts, the faster one. Where it has many windows,
it is timed for about ``--seconds`` and multiplied: the table has how many were timed. ``peer_networks.py`` has the
sizes and their sources. ``--write`` keeps the figures in docs/measurements/side_by_side.json and docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.croppad.array import CropForeground
from monai.transforms.spatial.array import Spacing
from scipy import ndimage
from torch.nn import functional

from benchmarks.clinical_scan import SHAPE, write_clinical_scan
from benchmarks.marked import DOCS, write_between_marks
from benchmarks.peer_networks import PEERS, Peer, windows
from tips_med.benchmarking import run_benchmark
from tips_med.benchmarking.report import machine_in_words
from tips_med.encoders.precision import has_fast_bfloat16
from tips_med.geometry import ras_affine_ijk
from tips_med.readers import read_scan
from tips_med.scan import Scan

AFTER_READING = ("slabs", "encode", "first question")


@torch.inference_mode()
def measure_peer(peer: Peer, scan: Scan, seconds: float) -> dict[str, Any]:
    """Times one network on one scan.

    Args:
        peer: Network, and how it is run.
        scan: Scan, as it was read.
        seconds: Number of seconds after which no further window is timed.
    """
    began = time.perf_counter()
    volume = prepared(peer, scan)
    prepared_s = time.perf_counter() - began
    every = windows(volume.shape, peer.window, peer.overlap)
    volume = functional.pad(
        volume, [n for size, edge in zip(volume.shape[::-1], peer.window[::-1]) for n in (0, max(0, edge - size))]
    )
    weight = torch.ones(peer.window)
    fast = has_fast_bfloat16(torch.device("cpu"))

    def run(net: torch.nn.Module, at: tuple[slice, ...], layout: torch.memory_format) -> tuple[float, torch.Tensor]:
        window = volume[at][None, None].contiguous(memory_format=layout)
        started = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast):
            out = net(window)
        out = out[0] if isinstance(out, (list, tuple)) else out
        out = out.float().mul_(weight)  # the blending of windows
        return time.perf_counter() - started, out

    torch.manual_seed(0)
    net = peer.make().eval()
    layouts = {}
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        net = net.to(memory_format=layout)  # type: ignore[call-overload]
        layouts[layout] = min(run(net, every[0], layout)[0] for _ in range(2 if len(every) < 8 else 1))
    layout = min(layouts, key=lambda one: layouts[one])
    net = net.to(memory_format=layout)  # type: ignore[call-overload]
    timed: list[float] = []
    out = None
    for at in every:
        took, out = run(net, at, layout)
        timed.append(took)
        if sum(timed) >= seconds:
            break
    assert out is not None
    network_s = sum(timed) / len(timed) * len(every)
    began = time.perf_counter()
    out.argmax(1) if peer.classes > 1 else out.sigmoid_() > 0.5
    label_s = (time.perf_counter() - began) * volume.numel() / out[0, 0].numel()
    began = time.perf_counter()
    labels = torch.zeros(1, 1, *volume.shape, dtype=torch.uint8)
    functional.interpolate(labels, size=scan.shape[::-1], mode="nearest")
    back_s = time.perf_counter() - began
    return {
        "name": peer.name,
        "parameters_million": round(sum(one.numel() for one in net.parameters()) / 1e6, 1),
        "grid": list(volume.shape),
        "window": list(peer.window),
        "overlap": peer.overlap,
        "classes": peer.classes,
        "layout": str(layout).removeprefix("torch."),
        "windows": len(every),
        "windows_timed": len(timed),
        "seconds_a_window": round(sum(timed) / len(timed), 3),
        "network_seconds": round(network_s, 2),
        "prepare_seconds": round(prepared_s, 2),
        "label_seconds": round(label_s + back_s, 2),
    }


def prepared(peer: Peer, scan: Scan) -> torch.Tensor:
    """The volume on the network's grid, [x y z], as its published configuration prepares it."""
    image = MetaTensor(
        torch.from_numpy(np.ascontiguousarray(scan.voxels.T))[None],
        affine=torch.from_numpy(ras_affine_ijk(scan.lps_from_kji)),
    )
    if peer.cubic:
        spacing = np.linalg.norm(scan.lps_from_kji[:3, :3], axis=0)[::-1]
        return torch.from_numpy(ndimage.zoom(scan.voxels.T, spacing / peer.spacing_mm, order=3, mode="nearest"))
    image = Spacing(pixdim=(peer.spacing_mm,) * 3, mode="bilinear")(image)
    if peer.crop:
        image = CropForeground(margin=10, allow_smaller=True)(image)
    return torch.as_tensor(image)[0].float()


def in_its_own_process(peer: Peer, scan: Path, seconds: float) -> dict[str, Any]:
    """``measure_peer`` in a fresh process."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.side_by_side", "--one", peer.name, str(scan)]
    told = subprocess.run([*command, "--seconds", str(seconds)], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(told.stdout.strip().splitlines()[-1])


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    ours = result["ours"]
    further = ours["further_seconds"]
    lines = [
        "| network | grid | windows timed | network alone | | from the voxels to the answer | |",
        "|---|---|---:|---:|---:|---:|---:|",
        f"| **ours**: encoding, once | {_times(ours['slabs'])} slabs | all | {ours['network_seconds']:.1f} s | 1 "
        f"| {ours['whole_seconds']:.1f} s | 1 |",
        f"| ours: a further question | | | | | {further:.2f} s | {further / ours['whole_seconds']:.2f} |",
    ]
    for peer in result["peers"]:
        network, whole = peer["network_seconds"], whole_seconds(peer)
        lines.append(
            f"| {peer['name']} | {_times(peer['grid'])} | {peer['windows_timed']} of {peer['windows']} "
            f"of {_times(peer['window'])} | {network:.1f} s | {network / ours['network_seconds']:.1f} "
            f"| {whole:.1f} s | {whole / ours['whole_seconds']:.1f} |"
        )
    shape = _times(result["shape"])
    where = f"One chest of {shape}, all in one run, random weights but for ours. {machine_in_words(result['machine'])}."
    return "\n".join([*lines, "", where])


def whole_seconds(peer: dict[str, Any]) -> float:
    """Seconds from voxels to a label map on the scan's grid."""
    return peer["prepare_seconds"] + peer["network_seconds"] + peer["label_seconds"]


def _times(shape: list[int]) -> str:
    return " x ".join(map(str, shape))


def measure(shape: tuple[int, int, int], seconds: float, runs: int) -> dict[str, Any]:
    """Ours first, then the others."""
    with tempfile.TemporaryDirectory() as folder:
        scan = write_clinical_scan(Path(folder) / "clinical.nii.gz", shape)
        told = run_benchmark(str(scan), runs=runs)
        stage = {one.name: one.seconds for one in told.stages}
        ours = {
            "network_seconds": stage["encode"],
            "whole_seconds": round(sum(stage[name] for name in AFTER_READING), 2),
            "further_seconds": stage["further question"],
            "slabs": list(told.scan["slabs"]),
        }
        result: dict[str, Any] = {"shape": list(shape), "machine": dict(told.machine), "ours": ours, "peers": []}
        for peer in PEERS:
            result["peers"].append(in_its_own_process(peer, scan, seconds))
            print(json.dumps(result["peers"][-1]), flush=True)
    return result


def main() -> None:
    """Measures, prints, and keeps the result when requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--shape", type=int, nargs=3, default=list(SHAPE))
    parser.add_argument("--runs", type=int, default=2, help="of ours")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "SCAN"), help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.one:
        (peer,) = (peer for peer in PEERS if peer.name == options.one[0])
        print(json.dumps(measure_peer(peer, read_scan(options.one[1]), options.seconds)))
        return
    slices, rows, columns = options.shape
    result = measure((slices, rows, columns), options.seconds, options.runs)
    print(table(result))
    if options.write:
        (DOCS / "measurements" / "side_by_side.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        write_between_marks(DOCS / "performance.md", "side by side", table(result))


if __name__ == "__main__":
    main()
