"""The transforms and MONAI's own, in both directions: the affine decides where things are."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data.image_reader import NibabelReader
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import decollate_batch, list_data_collate
from monai.transforms.compose import Compose
from monai.transforms.croppad.dictionary import SpatialCropd
from monai.transforms.io.dictionary import LoadImaged, SaveImaged
from monai.transforms.post.dictionary import Invertd
from monai.transforms.spatial.dictionary import Flipd, Orientationd, Spacingd
from monai.transforms.utility.dictionary import EnsureChannelFirstd

from tests.manifest.files import write_nifti
from tests.readers.awkward.catalog import CASES
from tests.transforms.patients import COARSE, LEFT_LOW, coarse_model, patient
from tests.transforms.test_same_as_ground import same_study
from tips_med.errors import ReadError
from tips_med.geometry import RAS_FROM_LPS, transform_points
from tips_med.grounding.ground import encode, ground
from tips_med.notes import Note
from tips_med.readers import read_scan
from tips_med.readers.monai_reader import ScanReader
from tips_med.scan import Provenance, Scan
from tips_med.transforms import (
    CropToBodyd,
    EncodeSlabsd,
    EncodeStudy,
    EncodeStudyd,
    FindBodyd,
    GroundPhrased,
    LoadScan,
    LoadScand,
    MakeSlabsd,
    StackSlabsd,
    ToSlabGrid,
    ToSlabGridd,
    body_of_tensor,
    scan_of_tensor,
    slabs_of_tensors,
    tensor_of_scan,
)

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")
"""MONAI tries all its own readers beside ours, and warns of one that lacks a GPU library."""

MODEL = coarse_model()
QUERY = "mass in the left lung"


def case(name: str):
    return next(case for case in CASES if case.name == name)


def same_scan(ours: Scan, theirs: Scan) -> None:
    np.testing.assert_array_equal(ours.voxels, theirs.voxels)
    np.testing.assert_array_equal(ours.lps_from_kji, theirs.lps_from_kji)
    assert (ours.modality, ours.unit, ours.provenance) == (theirs.modality, theirs.unit, theirs.provenance)


def centre_lps(mask: MetaTensor) -> np.ndarray:
    affine = RAS_FROM_LPS @ mask.affine.numpy()
    return transform_points(affine, np.argwhere(mask[0].numpy() > 0)).mean(axis=0)


def value_at(mask: MetaTensor, points_lps: np.ndarray) -> np.ndarray:
    """The nearest values, 0 outside."""
    index = np.rint(transform_points(np.linalg.inv(RAS_FROM_LPS @ mask.affine.numpy()), points_lps)).astype(int)
    inside = ((index >= 0) & (index < mask.shape[1:])).all(axis=1)
    values = np.zeros(len(index))
    values[inside] = mask[0].numpy()[tuple(index[inside].T)]
    return values


@pytest.mark.parametrize("name", ["plain axial", "oblique in three axes", "enhanced CT", "NIfTI, oblique, float64"])
def test_a_loaded_scan_is_that_of_the_reader(name: str, tmp_path: Path) -> None:
    path = case(name).write(tmp_path).path
    theirs = read_scan(path)
    image = LoadScan()(path)
    assert tuple(image.shape) == (1, *theirs.shape[::-1])
    same_scan(scan_of_tensor(image), theirs)
    through = Compose([LoadImaged("image", reader=ScanReader()), EnsureChannelFirstd("image")])({"image": str(path)})
    same_scan(scan_of_tensor(through["image"]), theirs)
    np.testing.assert_array_equal(through["image"].affine, image.affine)


@pytest.mark.parametrize("name", ["missing slice", "tilted gantry"])
def test_a_refusal_is_raised_and_not_swallowed(name: str, tmp_path: Path) -> None:
    found = [one for one in CASES if one.name == name and one.refusal] or [one for one in CASES if one.refusal]
    path = found[0].write(tmp_path).path
    with pytest.raises(ReadError) as alone:
        LoadScan()(path)
    with pytest.raises(ReadError):
        LoadScand("image")({"image": path})
    with pytest.raises(RuntimeError) as caught:  # as MONAI's Compose wraps every error
        Compose([LoadScand("image")], log_stats=False)({"image": path})
    assert isinstance(caught.value.__cause__, ReadError)
    assert caught.value.__cause__.code == alone.value.code


def test_options_reach_the_reader(tmp_path: Path) -> None:
    path = case("missing slice").write(tmp_path).path
    assert torch.isnan(LoadScan(fill_gaps=True)(path)).any()
    nifti = write_nifti(tmp_path / "ct.nii.gz", np.zeros((3, 4, 5), np.int16))
    assert LoadScan()(nifti).meta["modality"] == "OT"
    loaded = LoadScand("image", modality="CT")({"image": nifti})["image"].meta
    assert (loaded["modality"], loaded["unit"]) == ("CT", "HU")


def test_there_and_back_is_exact(scan: Scan) -> None:
    note = Note("Volume {phase}: {label}.", code="one-of-several", phase=2, label="ContentTime 101112")
    uids = tuple(f"1.2.{n}" for n in range(scan.shape[0]))
    source = Provenance("dicom", "1.2", "1.3", "1.4", "1.5", uids, tuple(range(scan.shape[0])), (note, "plain {text}"))
    voxels = scan.voxels.copy()
    voxels[3, 4:6] = np.nan
    known = Scan(voxels, scan.lps_from_kji, "CT", "HU", source)
    image = tensor_of_scan(known)
    back = scan_of_tensor(image)
    same_scan(back, known)
    returned = back.provenance.notes[0]
    assert isinstance(returned, Note)
    assert (returned.code, returned.values) == (note.code, note.values)
    assert image.as_tensor().data_ptr() == voxels.ctypes.data  # nothing is copied
    same_scan(scan_of_tensor(tensor_of_scan(Scan(voxels[::-1], scan.lps_from_kji, "CT", "HU", source))), Scan(
        voxels[::-1], scan.lps_from_kji, "CT", "HU", source))  # fmt: skip


def test_slices_keep_their_uids_only_where_they_are() -> None:
    scan = patient("oblique")
    image = {"image": tensor_of_scan(scan)}
    flip = Flipd("image", spatial_axis=(0, 2))
    flipped = flip(image)
    moved = scan_of_tensor(flipped["image"])
    assert moved.provenance.instance_uids == ()
    assert moved.provenance.format == "dicom"
    np.testing.assert_array_equal(moved.voxels, scan.voxels[::-1, :, ::-1])
    same = scan_of_tensor(flip.inverse(flipped)["image"])
    assert same.provenance == scan.provenance
    cut = SpatialCropd("image", roi_start=(0, 0, 5), roi_end=(500, 500, 20))(image)["image"]
    assert scan_of_tensor(cut).provenance.instance_uids == ()
    np.testing.assert_allclose(
        transform_points(scan_of_tensor(cut).lps_from_kji, np.zeros(3)),
        transform_points(scan.lps_from_kji, np.array([5.0, 0, 0])),
    )


def test_what_was_not_measured_stays_so() -> None:
    scan = patient("axial")
    voxels = scan.voxels.copy()
    voxels[10:12] = np.nan
    image = tensor_of_scan(Scan(voxels, scan.lps_from_kji, "CT", "HU"))
    turned = Orientationd("image", axcodes="PIR", labels=None)({"image": image})["image"]
    assert int(torch.isnan(turned).sum()) == int(np.isnan(voxels).sum())
    assert np.isnan(scan_of_tensor(turned).voxels).sum() == np.isnan(voxels).sum()


@pytest.mark.parametrize("way", ["axial", "oblique"])
def test_an_answer_to_a_turned_scan_is_the_same(way: str) -> None:
    scan = patient(way)
    turns = Compose([Orientationd("image", axcodes="PIR", labels=None), Flipd("image", spatial_axis=1)])
    ask = Compose([turns, EncodeStudyd("image", MODEL), GroundPhrased("study", MODEL)])
    asked = ask({"image": tensor_of_scan(scan), "phrase": QUERY})
    back = Invertd("mask", turns, orig_keys="image")(asked)["mask"]
    np.testing.assert_allclose(back.affine, tensor_of_scan(scan).affine, atol=1e-9)
    direct = ground(encode(scan, MODEL), QUERY, MODEL).mask.transpose(2, 1, 0)
    marked = back[0].numpy() > 0
    # ITK smooths along one axis after the other, which rounds differently in another order.
    assert 2 * (marked & direct).sum() / (marked.sum() + direct.sum()) > 0.98


@pytest.mark.parametrize("way", ["axial", "thick sagittal"])
def test_an_answer_to_a_resampled_scan_goes_back_to_the_file(way: str) -> None:
    scan = patient(way)
    before = Compose(
        [Orientationd("image", axcodes="PIR", labels=None), Spacingd("image", pixdim=(2.9, 3.1, 3.3))],
    )
    ask = Compose([before, EncodeStudyd("image", MODEL), GroundPhrased("study", MODEL)])
    asked = ask({"image": tensor_of_scan(scan), "phrase": QUERY})
    assert asked["answer"].presence.state == "present"
    assert asked["mask"].shape == asked["image"].shape
    np.testing.assert_array_equal(asked["mask"].affine, asked["image"].affine)
    assert asked["mask"].shape[1:] != scan.shape[::-1]
    np.testing.assert_allclose(centre_lps(asked["mask"]), LEFT_LOW[0], atol=3)
    back = Invertd("mask", before, orig_keys="image")(asked)["mask"]
    assert tuple(back.shape[1:]) == scan.shape[::-1]
    np.testing.assert_allclose(back.affine, tensor_of_scan(scan).affine, atol=1e-9)
    np.testing.assert_allclose(centre_lps(back), LEFT_LOW[0], atol=3)
    marked = transform_points(RAS_FROM_LPS @ back.affine.numpy(), np.argwhere(back[0].numpy() > 0))
    assert (value_at(asked["mask"], marked) > 0).all()
    nearest = transform_points(RAS_FROM_LPS @ back.affine.numpy(), np.argwhere(np.ones(back.shape[1:])))
    assert int((value_at(asked["mask"], nearest) > 0).sum()) == len(marked)


def test_lazy_transforms_of_monai_come_before_ours() -> None:
    steps = [Orientationd("image", axcodes="PIR", labels=None), Flipd("image", spatial_axis=1)]
    image = tensor_of_scan(patient("oblique"))
    eager = Compose([*steps, EncodeStudyd("image", MODEL)])({"image": image})["study"]
    lazy = Compose([*steps, EncodeStudyd("image", MODEL)], lazy=True)({"image": image})["study"]
    np.testing.assert_allclose(lazy.scan.lps_from_kji, eager.scan.lps_from_kji, atol=1e-9)
    assert lazy.scan.shape == eager.scan.shape
    assert ground(lazy, QUERY, MODEL).presence.state != "absent"
    waiting = Flipd("image", spatial_axis=1, lazy=True)({"image": image})["image"]
    with pytest.raises(ReadError) as caught:
        scan_of_tensor(waiting)
    assert caught.value.code == "pending"


def test_any_reader_will_do_and_any_writer(tmp_path: Path) -> None:
    scan = patient("oblique")
    path = write_nifti(tmp_path / "ct.nii.gz", scan.voxels.astype(np.int16), scan.lps_from_kji)
    ask = Compose([
        LoadImaged("image", reader=NibabelReader()), EnsureChannelFirstd("image"),
        EncodeStudyd("image", MODEL, modality="CT"), GroundPhrased("study", MODEL),
        SaveImaged("mask", output_dir=tmp_path / "out", output_postfix="mask", separate_folder=False, print_log=False),
    ])  # fmt: skip
    asked = ask({"image": str(path), "phrase": QUERY})
    assert asked["answer"].presence.state == "present"
    saved = next((tmp_path / "out").glob("*.nii.gz"))
    written = nib.load(saved)
    np.testing.assert_allclose(written.affine, nib.load(path).affine, atol=1e-4)  # type: ignore[attr-defined]
    marked = read_scan(saved)
    inside = transform_points(marked.lps_from_kji, np.argwhere(marked.voxels > 0))
    np.testing.assert_allclose(inside.mean(axis=0), LEFT_LOW[0], atol=4)


def test_slabs_may_be_turned_and_are_turned_back(scan: Scan) -> None:
    turns = Compose([
        Flipd(("slabs", "seen", "body"), spatial_axis=(0, 2)),
        Orientationd(("slabs", "seen", "body"), axcodes="ASR", labels=None),
    ])  # fmt: skip
    made = MakeSlabsd("image", COARSE)({"image": tensor_of_scan(scan)})
    plain = EncodeSlabsd("image", MODEL)(made)["study"]
    turned = turns(made)
    assert turned["slabs"].shape != made["slabs"].shape
    again = EncodeSlabsd("image", MODEL)(turned)["study"]
    np.testing.assert_allclose(again.features.lps_from_patch, plain.features.lps_from_patch, atol=1e-9)
    assert torch.equal(again.features.fine, plain.features.fine)
    np.testing.assert_array_equal(again.body.inside, plain.body.inside)
    np.testing.assert_allclose(again.body.midline.x_mm, plain.body.midline.x_mm)


def test_a_part_of_the_slabs_keeps_what_is_known_of_the_body() -> None:
    made = MakeSlabsd("image", COARSE)({"image": tensor_of_scan(patient("mirrored"))})
    cut = SpatialCropd(("slabs", "seen", "body"), roi_start=(12, 0, 0), roi_end=(30, 500, 500))(made)
    whole, part = body_of_tensor(made["body"]), body_of_tensor(cut["body"])
    np.testing.assert_array_equal(part.midline.x_mm, whole.midline.x_mm[12:30])
    np.testing.assert_array_equal(part.cut["back"], whole.cut["back"][12:30])
    assert part.middle_mm == whole.middle_mm
    assert len(slabs_of_tensors(cut["slabs"], cut["seen"], cut["body"], COARSE).pixels) == 18


def test_masks_lie_on_the_slabs_of_their_image(scan: Scan) -> None:
    affine = scan.lps_from_kji
    points = np.indices(scan.shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]
    ball = (np.linalg.norm(points - LEFT_LOW[0], axis=1) < LEFT_LOW[1]).reshape(scan.shape)
    mask = tensor_of_scan(Scan(ball.astype(np.float32), affine, "OT", ""))
    elsewhere = Flipd("mask", spatial_axis=0)({"mask": mask})["mask"]
    for one in (mask, elsewhere):
        made = MakeSlabsd("image", COARSE, mask_keys="mask")({"image": tensor_of_scan(scan), "mask": one})
        np.testing.assert_array_equal(made["mask"].affine, made["slabs"].affine)
        assert made["mask"].shape[1:] == made["slabs"].shape[1:]
        assert 0 <= made["mask"].min() <= made["mask"].max() <= 1
        np.testing.assert_allclose(centre_lps((made["mask"] > 0.5).float()), LEFT_LOW[0], atol=2)
        covered_ml = float(made["mask"].sum()) * np.prod(COARSE.spacing_mm) / 1000
        assert covered_ml == pytest.approx(4 / 3 * np.pi * 1.8**3, rel=0.1)
    together = ToSlabGridd(("image", "mask"), COARSE, ("measured", "label"))
    labels = MetaTensor(elsewhere.to(torch.uint8) * 3, meta=elsewhere.meta)
    made = together({"image": tensor_of_scan(scan), "mask": labels})
    assert set(made["mask"].unique().tolist()) == {0, 3}
    back = together.inverse(made)
    assert back["mask"].shape == labels.shape
    np.testing.assert_array_equal(back["mask"].affine, labels.affine)
    both = ((back["mask"] > 0) & (labels > 0)).sum()
    assert 2 * both / ((back["mask"] > 0).sum() + (labels > 0).sum()) > 0.85


def test_a_slab_grid_is_undone_on_the_scans_own_grid(scan: Scan) -> None:
    step = ToSlabGrid(COARSE)
    affine = scan.lps_from_kji
    points = np.indices(scan.shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]
    linear = (points @ [1.0, -2.0, 0.5]).reshape(scan.shape).astype(np.float32)
    image = tensor_of_scan(Scan(linear, affine, "CT", "HU"))
    back = step.inverse(step(image))
    assert not back.applied_operations
    np.testing.assert_array_equal(back.affine, image.affine)
    inner = (slice(None), *(slice(n // 4, -n // 4) for n in image.shape[1:]))
    np.testing.assert_allclose(back[inner], image[inner], atol=1.0)
    assert scan_of_tensor(back).provenance == scan_of_tensor(image).provenance


def test_what_was_left_out_around_the_body_comes_back_as_not_measured() -> None:
    steps = Compose([
        ToSlabGridd("image", COARSE), FindBodyd("image"), StackSlabsd("image", COARSE),
        CropToBodyd(("image", "seen", "body"), patch=4, margin=0),
    ])  # fmt: skip
    whole = Compose(steps.transforms[:-1])({"image": tensor_of_scan(patient("axial"))})
    cut = steps.transforms[-1](whole)
    back = steps.transforms[-1].inverse(cut)
    for key in ("image", "seen", "body"):
        assert back[key].shape == whole[key].shape
        np.testing.assert_array_equal(back[key].affine, whole[key].affine)
    known = ~torch.isnan(back["image"].as_tensor())
    assert known.sum() == cut["image"].numel()
    assert torch.equal(back["image"].as_tensor()[known], whole["image"].as_tensor()[known])
    assert torch.equal(back["body"].as_tensor(), whole["body"].as_tensor())
    assert not back["seen"].all()


def test_scans_with_different_notes_make_a_batch(tmp_path: Path) -> None:
    scan = patient("axial")
    noted = Scan(scan.voxels, scan.lps_from_kji, "CT", "HU", scan.provenance.noting("One.", "Another."))
    batch = list_data_collate([MakeSlabsd("image", COARSE)({"image": tensor_of_scan(one)}) for one in (scan, noted)])
    assert tuple(batch["slabs"].shape[:2]) == (2, 1)
    second = decollate_batch(batch)[1]
    same_scan(scan_of_tensor(second["image"]), noted)
    study = EncodeSlabsd("image", MODEL)(second)["study"]
    same_study(
        study, EncodeSlabsd("image", MODEL)(MakeSlabsd("image", COARSE)({"image": tensor_of_scan(noted)}))["study"]
    )


def test_what_has_no_place_is_refused() -> None:
    image = tensor_of_scan(patient("axial"))

    def code(wrong) -> str:
        with pytest.raises(ReadError) as caught:
            EncodeStudy(MODEL)(wrong)
        return caught.value.code

    assert code(image.as_tensor()) == "no-place"
    assert code(image[0]) == "no-place"
    assert code(torch.cat([image, image])) == "channels"
    sheared = MetaTensor(
        image.as_tensor(), affine=image.affine @ (torch.eye(4) + 0.1 * torch.eye(4).roll(1, 0)).double()
    )
    assert code(sheared) == "sheared"
    made = MakeSlabsd("image", COARSE)({"image": image})
    for change in (
        {"slabs": made["slabs"][:, 1:]},
        {"slabs": made["image"]},
        {"slabs": torch.cat([made["slabs"]] * 2)},
    ):
        with pytest.raises(ReadError) as caught:
            EncodeSlabsd("image", MODEL)(made | change)
        assert caught.value.code == "grid"
    with pytest.raises(ReadError) as caught:
        EncodeSlabsd("image", MODEL)(made | {"body": made["seen"]})
    assert caught.value.code == "no-body"
    oblique = tensor_of_scan(patient("oblique"))
    with pytest.raises(ReadError) as caught:
        FindBodyd("image")({"image": oblique})
    assert caught.value.code == "not-axial"
    with pytest.raises(KeyError):
        EncodeStudyd("image", MODEL)({"other": image})
    assert EncodeStudyd("image", MODEL, allow_missing_keys=True)({"other": 1}) == {"other": 1}
    with pytest.raises(ValueError, match="2 names"):
        EncodeStudyd("image", MODEL, study_keys=("a", "b"))
