"""A tiny archive of scans, and models that answer by rule: quickly, slowly, or not at all."""

from __future__ import annotations

import csv
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.manifest.files import write_nifti
from tests.phantom import MASS, RuleImage, body, rule_model
from tips_med.batch import Answering, BatchSettings, Executor, Outcome
from tips_med.discovery import FoundScan
from tips_med.encoders.base import ImageFeatures, Progress
from tips_med.model import GroundingModel
from tips_med.slabs import SlabStack

QUERIES = ("mass in the left lung", "no ground-glass opacity")
SECRET = bytes(32)

_SHAPE = (32, 40, 40)
_AXIAL = np.array([[0, 0, 7.5, 0], [0, 5.0, 0, 0], [7.5, 0, 0, 0], [0, 0, 0, 1]])
_POISON_SLICES = 38
_PLACES = ((60.0, 0.0, 20.0), (-60.0, 10.0, 30.0), (55.0, 10.0, -60.0), (60.0, -10.0, 60.0), (-55.0, 0.0, -50.0))


def affine(mirrored: bool = False, turned_deg: float = 0.0, shape: tuple[int, int, int] = _SHAPE) -> np.ndarray:
    """lps_from_kji of a scan around the origin; mirrored along the columns, turned about the patient's long axis."""
    a = np.deg2rad(turned_deg)
    made = _AXIAL @ np.diag([1, 1, -1 if mirrored else 1, 1])
    made[:3, :3] = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ made[:3, :3]
    made[:3, 3] = -made[:3, :3] @ (np.array(shape) - 1) / 2
    return made


def write_archive(folder: Path, count: int = 4) -> Path:
    """Scans ``0/ct.nii.gz`` and on: a mass in each, on grids that are anisotropic, mirrored and turned."""
    for n in range(count):
        grid = affine(mirrored=n % 2 == 1, turned_deg=5.0 * (n % 3))
        # A value that differs from scan to scan, so that none passes for a copy of another.
        scan = body([(_PLACES[n % len(_PLACES)], 15.0, MASS + n)], grid, _SHAPE)
        write_nifti(folder / str(n) / "ct.nii.gz", scan.voxels.astype(np.int16), grid)
    return folder


def write_poison(path: Path) -> None:
    """A scan at which ``poisoned`` dies."""
    shape = (_POISON_SLICES, *_SHAPE[1:])
    grid = affine(shape=shape)
    write_nifti(path, body([], grid, shape).voxels.astype(np.int16), grid)


def answering(out: Path, load=None, **settings) -> Answering:
    """What a batch of ``QUERIES`` needs."""
    made = BatchSettings(**{"queries": QUERIES, "weights_sha256": "0" * 64, "model": "rule", **settings})
    return Answering(out, made, SECRET, load or rule)


class Here(Executor):
    """A worker in this process: for what is not about processes, which take seconds to begin."""

    def run(self, scans: Sequence[FoundScan], work: Answering) -> Iterator[Outcome]:
        worker = work.start()
        for scan in scans:
            yield worker.answer(scan)


def rule(device: str = "cpu") -> GroundingModel:
    return rule_model()


class _Slow(RuleImage):
    def encode(self, slabs: SlabStack, progress: Progress | None = None) -> ImageFeatures:
        time.sleep(1.0)
        return super().encode(slabs, progress)


def slow(device: str = "cpu") -> GroundingModel:
    return replace(rule_model(), image=_Slow())


class _Poisoned(RuleImage):
    def encode(self, slabs: SlabStack, progress: Progress | None = None) -> ImageFeatures:
        if slabs.seen.any(dim=(1, 2)).sum() * self.slab_spec.spacing_mm[0] > 7.5 * (_SHAPE[0] + 2):
            os._exit(9)  # as the kernel does to what takes too much memory
        return super().encode(slabs, progress)


def poisoned(device: str = "cpu") -> GroundingModel:
    return replace(rule_model(), image=_Poisoned())


def other_weights(device: str = "cpu") -> GroundingModel:
    return replace(rule_model(), sha256="1" * 64)


def answered(out: Path) -> Counter[str]:
    """How often each study was answered, by the workers' own logs."""
    lines = [json.loads(line) for file in (out / "log").glob("*.jsonl") for line in file.read_text().splitlines()]
    return Counter(line["key"] for line in lines if line["state"] == "answered")


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def table_without_times(out: Path) -> list[list[str]]:
    """The rows of ``answers.csv`` without its two columns of seconds, which are last."""
    return [line.split(",")[:-2] for line in (out / "answers.csv").read_text().splitlines()]
