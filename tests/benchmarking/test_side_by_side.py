"""Networks of others: windows are counted as MONAI lays them, and the table says how many were timed."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from monai.data.utils import dense_patch_slices
from monai.inferers.utils import sliding_window_inference
from torch import nn

from benchmarks.peer_networks import PEERS, Peer, windows
from benchmarks.side_by_side import measure_peer, table, whole_seconds
from tests.conftest import axial_affine, placed_scan

SMALL = Peer("small, 3 mm", 3.0, (8, 8, 8), 0.5, lambda: nn.Conv3d(1, 2, 3, padding=1), False, False, 2)


@pytest.mark.parametrize("shape", [(119, 119, 102), (239, 201, 307), (96, 97, 40), (128, 128, 128), (300, 96, 95)])
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_windows_are_those_of_monai(shape: tuple[int, int, int], peer: Peer) -> None:
    padded = tuple(map(max, shape, peer.window))
    steps = [
        edge if size == edge else max(1, int(edge * (1 - peer.overlap))) for size, edge in zip(padded, peer.window)
    ]
    assert sorted(windows(shape, peer.window, peer.overlap), key=str) == sorted(
        dense_patch_slices(padded, peer.window, steps), key=str
    )


@pytest.mark.parametrize(("size", "overlap"), [*product((7, 8, 9, 12, 13, 21), (0.0, 0.25, 0.3, 0.5))])
def test_as_many_windows_are_run_by_monai(size: int, overlap: float) -> None:
    ran = []
    shape = (size, 10, 8)

    def predictor(x: torch.Tensor) -> torch.Tensor:
        ran.append(x.shape)
        return x

    sliding_window_inference(torch.zeros(1, 1, *shape), (8, 8, 8), 1, predictor, overlap=overlap)
    assert len(ran) == len(windows(shape, (8, 8, 8), overlap))


@pytest.mark.parametrize("seconds", [0.0, 100.0])
def test_a_network_is_timed_on_some_of_its_windows_or_all(seconds: float) -> None:
    scan = placed_scan(axial_affine((2.5, 0.8, 1.1)), (20, 60, 50))
    found = measure_peer(SMALL, scan, seconds)
    assert found["windows"] == len(windows(found["grid"], SMALL.window, SMALL.overlap)) > 1
    assert found["windows_timed"] == (found["windows"] if seconds else 1)
    assert found["network_seconds"] == pytest.approx(found["seconds_a_window"] * found["windows"], abs=0.2)
    assert found["grid"][2] == pytest.approx(20 * 2.5 / 3, abs=8)


def test_the_table_has_ratios_to_ours_and_what_was_timed() -> None:
    peer = {
        "name": "another", "grid": [120, 120, 100], "window": [96, 96, 96], "windows": 8, "windows_timed": 3,
        "network_seconds": 30.0, "prepare_seconds": 2.0, "label_seconds": 3.0,
    }  # fmt: skip
    machine = {
        "processor": "a processor", "instructions": [], "cores": 2, "threads": 2, "precision": "float32",
        "torch": "2.13", "load": 1.5, "busy": True,
    }  # fmt: skip
    ours = {"network_seconds": 6.0, "whole_seconds": 7.0, "further_seconds": 0.14, "slabs": [120, 144, 160]}
    text = table({"shape": [300, 512, 512], "machine": machine, "ours": ours, "peers": [peer]})
    assert whole_seconds(peer) == 35
    assert "| another | 120 x 120 x 100 | 3 of 8 of 96 x 96 x 96 | 30.0 s | 5.0 | 35.0 s | 5.0 |" in text
    assert "other work ran beside it" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
