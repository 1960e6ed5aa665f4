"""The transforms give what the quick functions give, bit for bit, however the patient was scanned."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import torch
from monai.transforms.compose import Compose
from monai.transforms.utility.dictionary import CopyItemsd

from tests.transforms.patients import COARSE, coarse_model, patient
from tips_med.body import CUT_EDGES, Body
from tips_med.encoders.study import EncodedStudy
from tips_med.grounding.ground import encode, ground
from tips_med.scan import Scan
from tips_med.slabs import SlabStack, make_slabs
from tips_med.transforms import (
    CropToBodyd,
    EncodeSlabsd,
    EncodeStudy,
    EncodeStudyd,
    FindBody,
    FindBodyd,
    GroundPhrase,
    GroundPhrased,
    MakeSlabs,
    MakeSlabsd,
    StackSlabs,
    StackSlabsd,
    ToSlabGrid,
    ToSlabGridd,
    slabs_of_tensors,
    tensor_of_scan,
)

MODEL = coarse_model()
WINDOWS = dataclasses.replace(COARSE, windows_hu=((-1050.0, -150.0), (-200.0, 300.0)), neighbours=1)


def same_bits(ours: np.ndarray | torch.Tensor, theirs: np.ndarray | torch.Tensor) -> None:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    assert ours.tobytes() == theirs.tobytes()


def same_body(ours: Body, theirs: Body) -> None:
    same_bits(ours.inside, theirs.inside)
    same_bits(ours.midline.x_mm, theirs.midline.x_mm)
    assert (ours.midline.source, ours.middle_mm) == (theirs.midline.source, theirs.middle_mm)
    np.testing.assert_array_equal(
        [ours.midline.back_mm, ours.midline.within_mm], [theirs.midline.back_mm, theirs.midline.within_mm]
    )
    for edge in CUT_EDGES:
        same_bits(ours.cut[edge], theirs.cut[edge])


def same_slabs(ours: SlabStack, theirs: SlabStack) -> None:
    same_bits(ours.pixels, theirs.pixels)
    same_bits(ours.seen, theirs.seen)
    np.testing.assert_array_equal(ours.lps_from_pixel, theirs.lps_from_pixel)
    same_body(ours.body, theirs.body)


def same_study(ours: EncodedStudy, theirs: EncodedStudy) -> None:
    same_bits(ours.features.patches, theirs.features.patches)
    assert ours.features.fine is not None
    assert theirs.features.fine is not None
    same_bits(ours.features.fine, theirs.features.fine)
    same_bits(ours.seen, theirs.seen)
    np.testing.assert_array_equal(ours.features.lps_from_patch, theirs.features.lps_from_patch)
    same_body(ours.body, theirs.body)
    same_bits(ours.scan.voxels, theirs.scan.voxels)
    np.testing.assert_array_equal(ours.scan.lps_from_kji, theirs.scan.lps_from_kji)
    assert ours.scan.provenance == theirs.scan.provenance


def with_gaps(scan: Scan) -> Scan:
    """A missing slice, a gap that is too long to be bridged, and a corner that was not measured."""
    voxels = scan.voxels.copy()
    voxels[20] = voxels[30:38] = np.nan
    voxels[:, :12, :9] = np.nan
    return dataclasses.replace(scan, voxels=voxels)


def test_slabs_in_one_go(scan: Scan) -> None:
    for measured in (scan, with_gaps(scan)):
        theirs = make_slabs(measured, WINDOWS)
        pixels = MakeSlabs(WINDOWS)(tensor_of_scan(measured))
        assert tuple(pixels.shape) == tuple(theirs.pixels.permute(1, 0, 2, 3).shape)  # [channel slab y x]
        made = MakeSlabsd("image", WINDOWS)({"image": tensor_of_scan(measured)})
        same_bits(pixels, made["slabs"])
        same_slabs(slabs_of_tensors(made["slabs"], made["seen"], made["body"], WINDOWS), theirs)


def test_slabs_step_by_step_and_cropped(scan: Scan) -> None:
    steps = Compose(
        [
            ToSlabGridd("image", WINDOWS),
            FindBodyd("image"),
            StackSlabsd("image", WINDOWS),
            CropToBodyd(("image", "seen", "body"), patch=WINDOWS.patch, margin=1),
        ]
    )
    for measured in (scan, with_gaps(scan)):
        whole = make_slabs(measured, WINDOWS)
        theirs = make_slabs(measured, WINDOWS, margin=1)
        assert theirs.pixels.shape[2:] != whole.pixels.shape[2:]
        made = steps({"image": tensor_of_scan(measured)})
        same_slabs(slabs_of_tensors(made["image"], made["seen"], made["body"], WINDOWS), theirs)
        volume = ToSlabGrid(WINDOWS)(tensor_of_scan(measured))
        same_bits(FindBody()(volume)[0], whole.body.inside)
        same_bits(StackSlabs(WINDOWS)(volume), whole.pixels.permute(1, 0, 2, 3))


def test_without_hounsfield_units_nothing_is_known_of_the_body() -> None:
    other = dataclasses.replace(patient("axial"), modality="MR", unit="")
    theirs = make_slabs(other, COARSE)
    same_bits(FindBody()(ToSlabGrid(COARSE)(tensor_of_scan(other)))[0], theirs.body.inside)
    assert theirs.body.midline.source == "none"


def test_an_encoded_study_and_its_answer(scan: Scan) -> None:
    theirs = encode(scan, MODEL)
    image = tensor_of_scan(scan)
    answered = Compose([EncodeStudyd("image", MODEL), GroundPhrased("study", MODEL, heat_keys="heat")])
    made = answered({"image": image, "phrase": "mass in the left lung"})
    same_study(made["study"], theirs)
    answer = ground(theirs, "mass in the left lung", MODEL)
    assert answer.presence.state == "present"
    assert made["answer"].presence == answer.presence
    assert made["answer"].instances == answer.instances
    assert made["answer"].sentence == answer.sentence
    same_bits(made["answer"].heat, answer.heat)
    same_bits(made["mask"][0].numpy().transpose(2, 1, 0), answer.mask.astype(np.uint8))
    np.testing.assert_array_equal(made["mask"].affine, image.affine)
    same_bits(made["heat"][0], answer.heat)


def test_one_image_and_one_phrase_alone() -> None:
    scan = patient("axial")
    study = EncodeStudy(MODEL)(tensor_of_scan(scan))
    theirs = encode(scan, MODEL)
    same_study(study, theirs)
    assert GroundPhrase(MODEL)(study, "mass").instances == ground(theirs, "mass", MODEL).instances


def test_a_study_encoded_step_by_step(scan: Scan) -> None:
    steps = Compose(
        [
            CopyItemsd("image", names="slabs"),
            ToSlabGridd("slabs", COARSE),
            FindBodyd("slabs"),
            StackSlabsd("slabs", COARSE),
            CropToBodyd(("slabs", "seen", "body"), patch=COARSE.patch),
            EncodeSlabsd("image", MODEL),
        ]
    )
    measured = with_gaps(scan)
    same_study(steps({"image": tensor_of_scan(measured)})["study"], encode(measured, MODEL))


def test_asking_does_not_wait_for_monais_transforms() -> None:
    """They take seconds to import."""
    told = "import sys, tips_med.grounding.ground, tips_med.cli; print('monai.transforms' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
