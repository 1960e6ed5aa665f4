"""A folder in which the snippets of the documentation find what they name."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.docs.snippets import ROOT
from tests.readers.awkward.writing import Plan, make_series, store, write_file
from tips_med.readers import read_scan
from tips_med.sample import sample_path


@pytest.fixture(scope="session")
def chest_ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled scan as a DICOM series."""
    folder = tmp_path_factory.mktemp("series") / "chest_ct"
    scan = read_scan(sample_path())
    slices, rows, columns = scan.shape
    affine = scan.lps_from_kji
    plan = Plan(slices=1, rows=rows, columns=columns, spacing_mm=(affine[1, 1], affine[0, 2]), bits=16, signed=True)
    one = make_series(replace(plan, slope=1, intercept=0, step_mm=affine[2, 0], orientation=(1, 0, 0, 0, 1, 0)))[0]
    for k in range(slices):
        made = copy.deepcopy(one)
        made.dataset.SOPInstanceUID, made.dataset.InstanceNumber = f"1.2.3.{k + 1}", k + 1
        made.dataset.ImagePositionPatient = [*affine[:2, 3].tolist(), affine[2, 3] + k * affine[2, 0]]
        store(made, scan.voxels[k])
        write_file(folder / f"{k:03d}.dcm", made.dataset)
    return folder


@pytest.fixture
def workplace(tmp_path: Path, chest_ct: Path, monkeypatch: pytest.MonkeyPatch, encoded_once: None) -> Iterator[Path]:
    """A folder in which snippets are run.

    It has ``chest_ct`` and ``study``, the bundled scan as a series; ``chest.nii.gz``, the same as a file; and
    ``mass.nii.gz``, a mask of a block.
    """
    for name in ("chest_ct", "study"):
        (tmp_path / name).symlink_to(chest_ct)
    image: Any = nib.load(sample_path())
    nib.save(image, tmp_path / "chest.nii.gz")
    mask = np.zeros(image.shape, np.uint8)
    mask[tuple(slice(size // 3, size // 3 + 5) for size in image.shape)] = 1
    nib.save(nib.Nifti1Image(mask, image.affine), tmp_path / "mass.nii.gz")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    yield tmp_path


@pytest.fixture(scope="session")
def _encoded() -> list[tuple[Any, Any]]:
    return []


@pytest.fixture
def encoded_once(monkeypatch: pytest.MonkeyPatch, _encoded: list[tuple[Any, Any]]) -> None:
    """The same patient is encoded by the shipped model once for all snippets, which takes most of their time."""
    module = import_module("tips_med.grounding.ground")  # the package has a function of the same name
    real = module.encode_slabs

    def remembered(scan: Any, slabs: Any, model: Any, progress: Any = None, adapters: Any = "all") -> Any:
        for (pixels, sha256), study in _encoded:
            same = pixels.shape == slabs.pixels.shape and np.allclose(pixels, slabs.pixels, atol=1e-3)
            if sha256 == model.sha256 and same:
                return replace(study, scan=scan, cache={})
        study = real(scan, slabs, model, progress, adapters)
        _encoded.append(((slabs.pixels, model.sha256), study))
        return study

    monkeypatch.setattr(module, "encode_slabs", remembered)
