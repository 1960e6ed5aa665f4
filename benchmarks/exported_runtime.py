"""The shipped model exported as ONNX against the model itself: sizes, differences, speed, and the same questions.

    PYTHONPATH=integrations/tips-med-runtime python -m benchmarks.exported_runtime [--slabs 16] [--quick]

Times are the lowest of three alternating runs with one thread each, as the processor spent it, so that other work
changes little. ``--quick`` leaves the questions out. The scan is the bundled one, as it is, mirrored and turned by 8
degrees; both answer in float32.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from tips_med_runtime import Runtime
from tips_med_runtime import Scan as PlainScan

from tips_med.encoders import compact
from tips_med.graphs import write_graphs
from tips_med.grounding import encode, ground
from tips_med.model import load_model, net_of_model
from tips_med.readers import read_scan
from tips_med.sample import sample_path
from tips_med.scan import Scan
from tips_med.slabs import BODY_MARGIN, make_slabs

QUESTIONS = (
    "mass in the left lung",
    "mass in the right lung",
    "ground-glass opacity left lung",
    "pleural effusion",
    "left lung",
    "lesion",
    "nodule in the right upper lobe",
    "emphysema in both lungs",
    "pneumothorax on the right",
)
ROWS, COLUMNS = 160, 176


def mirrored(scan: Scan) -> Scan:
    """The same patient, whose rows run to the front and columns to the right."""
    affine = scan.lps_from_kji @ np.diag([1.0, -1, -1, 1])
    affine[:3, 3] += scan.lps_from_kji[:3, 1:3] @ (np.array(scan.shape[1:]) - 1)
    return replace(scan, voxels=np.ascontiguousarray(scan.voxels[:, ::-1, ::-1]), lps_from_kji=affine)


def turned(scan: Scan, degrees: float = 8.0) -> Scan:
    """The patient turned about the long axis of the body."""
    angle, turn, middle = np.deg2rad(degrees), np.eye(4), np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    middle[:3, 3] = scan.lps_from_kji[:3] @ [*((np.array(scan.shape) - 1) / 2), 1]
    return replace(scan, lps_from_kji=middle @ turn @ np.linalg.inv(middle) @ scan.lps_from_kji)


def sizes(folder: Path) -> None:
    for file in sorted(folder.iterdir()):
        print(f"{folder.name}/{file.name}: {file.stat().st_size / 1e6:.2f} MB")


def cpu_seconds(work: Callable[..., object], *given: object) -> float:
    start = time.process_time()
    work(*given)
    return time.process_time() - start


def tower(folder: Path, slabs: int, scan: Scan) -> None:
    net = net_of_model(load_model()).image
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "image.onnx", options, providers=["CPUExecutionProvider"])
    stack = make_slabs(scan, net.config.slabs, margin=BODY_MARGIN)
    middle = len(stack.seen) // 2
    rows, columns = (n // 16 * 16 for n in stack.seen.shape[-2:])
    real = stack.pixels[middle - slabs // 2 : middle - slabs // 2 + slabs, :, :rows, :columns][None].contiguous()
    torch.manual_seed(0)
    for name, pixels in (("noise", torch.rand(1, slabs, net.config.slabs.channels, ROWS, COLUMNS)), ("scan", real)):
        offset = torch.tensor([[-150.0, -170.0]])
        given = {"pixels": pixels.numpy(), "offset_mm": offset.numpy()}
        with torch.inference_mode():
            expected, found = net(pixels, offset), session.run(None, given)
            worst = [float(np.abs(own - theirs.numpy()).max()) for own, theirs in zip(found, expected)]
            highest = [float(one.abs().max()) for one in expected]
            took = [(cpu_seconds(net, pixels, offset), cpu_seconds(session.run, None, given)) for _ in range(3)]
        ours, theirs = (min(one) for one in zip(*took))
        print(
            f"tower, {name}, {slabs} slabs of {pixels.shape[-2]} x {pixels.shape[-1]}: largest difference patches "
            f"{worst[0]:.1e} of {highest[0]:.0f}, fine {worst[1]:.1e} of {highest[1]:.0f}; PyTorch {ours:.1f} s, "
            f"ONNX Runtime {theirs:.1f} s of one core in float32, ratio {ours / theirs:.2f}"
        )


def answers(folder: Path, scan: Scan) -> None:
    runtime = Runtime(folder, threads=1)
    for name, altered in (("as it is", scan), ("mirrored", mirrored(scan)), ("turned", turned(scan))):
        begun = time.process_time()
        theirs = encode(altered)
        between = time.process_time()
        ours = runtime.encode(PlainScan(altered.voxels, altered.lps_from_kji, "CT", "HU"))
        print(
            f"{name}, {len(ours.seen)} slabs: encoded by PyTorch in {between - begun:.0f} s, by the runtime in "
            f"{time.process_time() - between:.0f} s, of one core"
        )
        for question in QUESTIONS:
            one, other = ground(theirs, question), runtime.ask(ours, question)
            apart = np.abs(one.heat - other.heat)
            both = one.mask.sum() + other.mask.sum()
            dice = f"{2 * (one.mask & other.mask).sum() / both:.4f}" if both else "both empty"
            apart_by = f"{np.nanmax(apart):.4f} at most and {np.nanmean(apart):.6f} on average apart"
            sides = [[part.side for part in answer.instances[:1]] for answer in (one, other)]
            sure = [answer.presence.probability for answer in (one, other)]
            sure = [answer.presence.score if p is None else p for answer, p in zip((one, other), sure)]
            print(
                f"{name}, {question!r}: {one.presence.state} and {other.state}, {sure[0]:.4f} and {sure[1]:.4f}, map "
                f"{apart_by}, Dice {dice}, sides {sides[0]} and {sides[1]}, reasons "
                f"{'the same' if one.presence.reasons == other.presence.reasons else 'OTHERS'}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slabs", type=int, default=16)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    compact.has_fast_bfloat16 = lambda device: False  # float32, as in the graphs
    scan = replace(read_scan(sample_path()), modality="CT", unit="HU")
    with tempfile.TemporaryDirectory() as place:
        folders = [write_graphs(load_model(), Path(place) / kind, kind) for kind in ("onnx", "pt2")]
        for folder in folders:
            sizes(folder)
        tower(folders[0], arguments.slabs, scan)
        if not arguments.quick:
            answers(folders[0], scan)


if __name__ == "__main__":
    main()
