"""The reader inside MONAI: the same places as MONAI's own readers give on what they read rightly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from monai.data.image_reader import NibabelReader
from monai.transforms.io.dictionary import LoadImaged

from tests.readers.awkward.catalog import CASES
from tests.readers.awkward.phantom import agrees
from tips_med.errors import ReadError
from tips_med.geometry import RAS_FROM_LPS
from tips_med.readers import read_scan
from tips_med.readers.monai_reader import ScanReader

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")
"""MONAI tries all its own readers beside ours, and warns of one that lacks a GPU library."""


def _write(name: str, folder: Path):
    return next(case for case in CASES if case.name == name).write(folder)


@pytest.mark.parametrize("name", ["plain axial", "oblique in three axes", "enhanced CT", "NIfTI, oblique, float64"])
def test_load_imaged_places_it_in_ras(name: str, tmp_path: Path) -> None:
    written = _write(name, tmp_path)
    image = LoadImaged("image", reader=ScanReader(), image_only=True)({"image": str(written.path)})["image"]
    assert agrees(np.asarray(image), RAS_FROM_LPS @ image.affine.numpy(), written.truths[0]) == ""
    assert image.meta["space"] == "RAS"


def test_same_array_and_affine_as_monai_for_nifti(tmp_path: Path) -> None:
    path = str(_write("NIfTI, oblique, float64", tmp_path).path)
    ours = LoadImaged("image", reader=ScanReader())({"image": path})["image"]
    theirs = LoadImaged("image", reader=NibabelReader())({"image": path})["image"]
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-3)
    np.testing.assert_allclose(ours.affine.numpy(), theirs.affine.numpy(), atol=1e-5)


def test_options_reach_the_reader(tmp_path: Path) -> None:
    written = _write("missing slice", tmp_path)
    reader = ScanReader(fill_gaps=True)
    array, meta = reader.get_data(reader.read(str(written.path)))
    assert agrees(array, RAS_FROM_LPS @ meta["affine"], written.truths[0]) == ""
    with pytest.raises(ReadError, match="missing"):
        ScanReader().get_data(ScanReader().read(str(written.path)))


def test_takes_folders_and_images_but_not_anything(tmp_path: Path) -> None:
    reader = ScanReader()
    assert reader.verify_suffix(str(tmp_path))
    assert reader.verify_suffix(["scan.nii.gz"])
    assert not reader.verify_suffix("scan.png")
    with pytest.raises(ReadError) as caught:
        reader.get_data(reader.read([str(tmp_path), str(tmp_path)]))
    assert caught.value.code == "several-paths"


@pytest.mark.parametrize("case", [case for case in CASES if case.refusal], ids=lambda case: case.name)
def test_what_is_refused_is_refused_through_load_imaged_too(case, tmp_path: Path) -> None:
    """MONAI's own readers must not load in silence what the strict one refuses."""
    path = case.write(tmp_path).path
    with pytest.raises(ReadError) as alone:
        read_scan(path)
    with pytest.raises(ReadError) as caught:
        LoadImaged("image", reader=ScanReader())({"image": str(path)})
    assert caught.value.code == alone.value.code
