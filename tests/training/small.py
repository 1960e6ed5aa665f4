"""A manifest of tiny chest CTs, each with a mass, and a tiny model to be trained on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.manifest.files import write_nifti
from tests.tiny import tiny_nets
from tips_med.card import ModelCard
from tips_med.manifest import Row, write_manifest
from tips_med.model import load_model
from tips_med.model_files import save_model
from tips_med.training.finetune import FinetuneConfig
from tips_med.training.fitting import TrainerSpec
from tips_med.training.manifest_data import DataSpec

SHAPE = (6, 32, 48)
SPACING_MM = (2.5, 2.0, 2.0)
CARD = ModelCard("tiny", ("nodule",), structures=(), licence="CC0-1.0")
RECIPE = FinetuneConfig(steps=6, warmup=1, learning_rate=3e-3)
TRAINER = TrainerSpec("cpu", 1, precision="32-true", ema=0.0, checkpoint_every=2, validate_every=3, threads=1)


def affine() -> np.ndarray:
    """Slices to the head, rows to the back, columns to the patient's left, around the origin."""
    matrix = np.diag([*SPACING_MM[::-1], 1.0])[:, [2, 1, 0, 3]]
    matrix[:3, 3] = -matrix[:3, :3] @ (np.array(SHAPE) - 1) / 2
    return matrix


def chest(side: str = "left") -> tuple[np.ndarray, np.ndarray]:
    """Values in HU and the mask of a mass of 8 mm in one lung; columns run to the patient's left."""
    k, j, i = np.indices(SHAPE) - (np.array(SHAPE) - 1)[:, None, None, None] / 2
    y, x, z = j * SPACING_MM[1], i * SPACING_MM[2], k * SPACING_MM[0]
    voxels = np.where((x / 46) ** 2 + (y / 30) ** 2 < 1, 40, -1000).astype(np.int16)
    for middle in (-22, 22):
        voxels[((x - middle) / 18) ** 2 + (y / 22) ** 2 < 1] = -850
    mass = (x - (22 if side == "left" else -22)) ** 2 + y**2 + z**2 < 8**2
    voxels[mass] = 60
    return voxels, mass.astype(np.uint8)


def write_studies(folder: Path, sides: tuple[str, ...] = ("left", "right", "left")) -> Path:
    """Two studies to train on and one to validate; every one says where its mass is, and one what is not there."""
    rows = []
    for n, side in enumerate(sides):
        voxels, mass = chest(side)
        scan = write_nifti(folder / f"{n}" / "ct.nii.gz", voxels, affine())
        mask = write_nifti(folder / f"{n}" / "mass.nii.gz", mass, affine())
        split = "val" if n == len(sides) - 1 else "train"
        rows.append(Row(scan, f"mass in the {side} lung", mask, patient=str(n), split=split))
        rows.append(Row(scan, "no pleural effusion", patient=str(n), split=split))
    return write_manifest(rows, folder / "manifest.csv")


def data(manifest: Path, **changes) -> DataSpec:
    return DataSpec(manifest, **({"shape": (4, 32, 48), "batch": 1, "questions": 3} | changes))


def tiny_weights(path: Path) -> Path:
    save_model(path, *tiny_nets(), CARD)
    return path


def tiny_model(folder: Path):
    return load_model(tiny_weights(folder / "tiny.safetensors"))
