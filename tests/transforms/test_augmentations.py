"""What training draws: sides exchanged in image, mask and phrase, crops around findings, shifts, swapped words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.intensity.dictionary import RandGaussianNoised
from monai.transforms.spatial.array import Flip, Orientation

from tests.transforms.patients import COARSE, LEFT_LOW, coarse_model, patient
from tips_med.errors import ReadError
from tips_med.geometry import RAS_FROM_LPS, transform_points
from tips_med.grounding.ground import ground
from tips_med.query import Lexicon
from tips_med.scan import Scan
from tips_med.transforms import (
    CropAroundFindingd,
    EncodeSlabsd,
    EncodeStudy,
    FlipSides,
    FlipSidesd,
    MakeSlabsd,
    RandCropAroundFindingd,
    RandFlipSidesd,
    RandScaleEnhancement,
    RandScaleEnhancementd,
    RandShiftHounsfield,
    RandShiftHounsfieldd,
    RandSwapTermd,
    ToSlabGrid,
    body_of_tensor,
    mirrored_phrase,
    swapped_phrases,
    tensor_of_scan,
)

LEXICON = Lexicon.load("chest_ct")
MODEL = coarse_model()


def lps(image: MetaTensor) -> np.ndarray:
    return RAS_FROM_LPS @ image.affine.numpy()


def points_of(image: MetaTensor) -> np.ndarray:
    return transform_points(lps(image), np.argwhere(np.ones(image.shape[1:])))


def ball_of(image: MetaTensor) -> MetaTensor:
    """The mass, as a mask on an image's grid."""
    inside = np.linalg.norm(points_of(image) - LEFT_LOW[0], axis=1) < LEFT_LOW[1]
    return MetaTensor(torch.from_numpy(inside.reshape(image.shape[1:]))[None], affine=image.affine)


def centre_of(mask: MetaTensor) -> np.ndarray:
    return transform_points(lps(mask), np.argwhere(mask[0].numpy() > 0)).mean(axis=0)


def numbered(shape: tuple[int, int, int] = (9, 11, 13), channels: int = 1) -> MetaTensor:
    """A small image in which every cell has a value of its own, oblique."""
    affine = patient("oblique").lps_from_kji
    values = torch.arange(float(np.prod(shape))).reshape(1, *shape).repeat(channels, 1, 1, 1)
    return MetaTensor(values, affine=torch.from_numpy(RAS_FROM_LPS @ affine))


def test_every_point_is_mirrored_in_the_patient(scan: Scan) -> None:
    """Exactly: every value lies where its mirror image was, to the last voxel."""
    image = tensor_of_scan(scan)
    for about_mm in (None, 7.0):
        flip = FlipSides(about_mm)
        mirrored = flip(image)
        middle = points_of(image)[:, 0]
        plane = (middle.min() + middle.max()) / 2 if about_mm is None else about_mm
        points = points_of(mirrored)
        points[:, 0] = 2 * plane - points[:, 0]
        index = transform_points(np.linalg.inv(lps(image)), points)
        np.testing.assert_allclose(index, np.rint(index), atol=1e-6)
        before = image[0].numpy()[tuple(np.rint(index).astype(int).T)]
        np.testing.assert_array_equal(mirrored[0].numpy().ravel(), before)
        # No mirrored writing: a series stays as right- or left-handed as it was.
        assert np.sign(np.linalg.det(lps(mirrored)[:3, :3])) == np.sign(np.linalg.det(lps(image)[:3, :3]))
        back = flip.inverse(mirrored)
        assert torch.equal(back.as_tensor(), image.as_tensor())
        assert torch.equal(back.affine, image.affine)
        assert not back.applied_operations


def test_the_left_mass_lies_on_the_right_and_monais_flip_leaves_it_where_it_is(scan: Scan) -> None:
    image = tensor_of_scan(scan)
    data = {"image": image, "mask": ball_of(image), "phrase": "Mass in the LEFT lung"}
    step = FlipSidesd(("image", "mask"), "phrase")
    made = step(data)
    assert made["phrase"] == "mass in the right lung"
    found, mirrored = centre_of(made["mask"]), LEFT_LOW[0] * np.array([-1, 1, 1])
    np.testing.assert_allclose(found, mirrored, atol=3)  # the grid is around 0
    assert centre_of(data["mask"])[0] > 50
    inside = made["mask"][0].numpy()
    assert np.median(made["image"][0].numpy()[inside]) == LEFT_LOW[2]
    back = step.inverse(made)
    assert back["phrase"] == data["phrase"]
    for key in ("image", "mask"):
        assert torch.equal(back[key].as_tensor(), data[key].as_tensor())
        assert torch.equal(back[key].affine, data[key].affine)
    np.testing.assert_allclose(centre_of(Flip(spatial_axis=0)(data["mask"])), centre_of(data["mask"]), atol=1e-6)
    np.testing.assert_allclose(centre_of(Orientation("LPS", labels=None)(made["mask"])), found, atol=1e-6)


def test_the_answer_to_a_mirrored_scan_is_on_the_other_side() -> None:
    image = tensor_of_scan(patient("oblique"))
    study = EncodeStudy(MODEL)(FlipSides()(image))
    right = ground(study, "mass in the right lung", MODEL)
    assert right.presence.state == "present"
    np.testing.assert_allclose(right.instances[0].centroid_lps, LEFT_LOW[0] * np.array([-1, 1, 1]), atol=4)
    assert study.scan.provenance.format == "array"
    assert study.scan.provenance.instance_uids == ()


def test_slabs_are_mirrored_with_their_body() -> None:
    made = MakeSlabsd("image", COARSE)({"image": tensor_of_scan(patient("thick sagittal"))})
    step = FlipSidesd(("image", "slabs", "seen", "body"), about_key="plane")
    mirrored = step(made | {"plane": 4.0})
    before, after = body_of_tensor(made["body"]), body_of_tensor(mirrored["body"])
    np.testing.assert_allclose(after.midline.x_mm, 8.0 - before.midline.x_mm)
    assert after.middle_mm == (before.middle_mm[0], 8.0 - before.middle_mm[1])
    np.testing.assert_array_equal(after.cut["left"], before.cut["right"])
    answer = ground(EncodeSlabsd("image", MODEL)(mirrored)["study"], "mass in the right lung", MODEL)
    assert answer.presence.state == "present"
    assert answer.instances[0].side == "right"
    back = body_of_tensor(step.inverse(mirrored)["body"])
    np.testing.assert_allclose(back.midline.x_mm, before.midline.x_mm, atol=1e-9)
    np.testing.assert_array_equal(back.inside, before.inside)


@pytest.mark.parametrize(
    ("phrase", "mirrored"),
    [
        ("mass in the left lung", "mass in the right lung"),
        ("GGO in the RUL", "ground glass opacity in the left upper lobe"),
        ("bilateral pleural effusion", "bilateral pleural effusion"),
        ("nodule", "nodule"),
        ("fracture of the spine", "fracture of the spine"),
        ("nodule in the right middle lobe", None),
        ("heart", None),
        ("lesion in the liver", None),
        ("pericardial effusion", None),
    ],
)
def test_the_mirror_image_of_a_phrase(phrase: str, mirrored: str | None) -> None:
    assert mirrored_phrase(LEXICON.parse(phrase), LEXICON) == mirrored
    image = numbered()
    step = RandFlipSidesd("image", "phrases", prob=1.0)
    made = step({"image": image, "phrases": ["nodule in the left lung", phrase]})
    if mirrored is None:
        assert made["phrases"] == ["nodule in the left lung", phrase]
        assert torch.equal(made["image"].as_tensor(), image.as_tensor())
    else:
        assert made["phrases"] == ["nodule in the right lung", mirrored]
        assert not torch.equal(made["image"].as_tensor(), image.as_tensor())
    back = step.inverse(made)
    assert back["phrases"] == ["nodule in the left lung", phrase]
    assert torch.equal(back["image"].as_tensor(), image.as_tensor())
    assert torch.equal(back["image"].affine, image.affine)


def test_sides_are_exchanged_as_often_as_asked_for() -> None:
    step = RandFlipSidesd("image", prob=0.3).set_random_state(3)
    image = numbered()
    flipped = [bool(step({"image": image})["image"].meta.get("sides_exchanged")) for _ in range(200)]
    assert 0.2 < np.mean(flipped) < 0.4
    step.set_random_state(3)
    assert [bool(step({"image": image})["image"].meta.get("sides_exchanged")) for _ in range(200)] == flipped


def spots() -> dict[str, MetaTensor]:
    """Two findings in two channels, and one channel that marks nothing."""
    image = numbered()
    masks = torch.zeros(3, *image.shape[1:], dtype=torch.uint8)
    masks[1, 2, 3, 4], masks[2, 6:8, 8, 10] = 255, 255
    masks[0, 0, 0, 0] = 100  # too little of a cell
    return {"image": image, "masks": MetaTensor(masks, affine=image.affine)}


def test_a_crop_lies_around_a_finding_where_the_patient_has_it() -> None:
    data = spots()
    step = RandCropAroundFindingd(("image", "masks"), "masks", (5, 6, 7), (-1024, 0), threshold=127, prob=1.0)
    step.set_random_state(0)
    which = set()
    for _ in range(30):
        made = step(data)
        assert tuple(made["image"].shape) == (1, 5, 6, 7)
        assert tuple(made["masks"].shape) == (3, 5, 6, 7)
        marked = [n for n in (1, 2) if (made["masks"][n] > 127).any()]
        assert marked
        which |= set(marked)
        index = np.rint(transform_points(np.linalg.inv(lps(data["image"])), points_of(made["image"]))).astype(int)
        np.testing.assert_array_equal(made["image"][0].numpy().ravel(), data["image"][0].numpy()[tuple(index.T)])
        np.testing.assert_array_equal(made["image"].affine, made["masks"].affine)
    assert which == {1, 2}


def test_findings_may_be_chosen_by_weight() -> None:
    step = RandCropAroundFindingd(
        ("image", "masks"), "masks", (3, 3, 3), (-1024, 0), threshold=127, prob=1.0, jitter=0.0, weights_key="weights"
    ).set_random_state(0)
    data = {**spots(), "weights": [1e6, 1.0, 9.0]}  # the first marks nothing
    chosen = [bool((step(data)["masks"][2] > 127).any()) for _ in range(200)]
    assert 0.85 < np.mean(chosen) < 0.95


def test_a_crop_may_be_anywhere_and_is_filled_up_where_it_is_larger() -> None:
    data = spots()
    anywhere = RandCropAroundFindingd(("image", "masks"), "masks", (3, 3, 3), threshold=127, prob=0.0)
    anywhere.set_random_state(1)
    starts = {tuple(anywhere(data)["image"][0, 0, 0, :1].tolist()) for _ in range(60)}
    assert len(starts) > 30
    wide = RandCropAroundFindingd(("image", "masks"), "masks", (4, 15, 13), (-1024.0, 0.0))
    made = wide(data)
    assert tuple(made["image"].shape) == (1, 4, 15, 13)
    assert (made["image"][:, :, :2] == -1024).all()
    assert (made["image"][:, :, 13:] == -1024).all()
    assert (made["image"][:, :, 2:13] >= 0).all()
    assert (made["masks"][:, :, :2] == 0).all()
    inside = transform_points(np.linalg.inv(lps(data["image"])), points_of(made["image"])).reshape(4, 15, 13, 3)
    np.testing.assert_allclose(inside[:, 2, :, 1], 0, atol=1e-9)


def test_a_crop_is_put_back_where_it_was() -> None:
    data = spots()
    for size in ((5, 6, 7), (4, 15, 13), (20, 20, 20)):
        step = RandCropAroundFindingd(("image", "masks"), "masks", size, (-1024, 0), threshold=127)
        made = step.set_random_state(5)(data)
        back = step.inverse(made)
        for key in data:
            assert torch.equal(back[key].affine, data[key].affine)
            assert back[key].shape == data[key].shape
            assert back[key].dtype == data[key].dtype
        known = ~torch.isnan(back["image"].as_tensor())
        assert known.sum() == np.prod(np.minimum(size, data["image"].shape[1:]))
        assert torch.equal(back["image"].as_tensor()[known], data["image"].as_tensor()[known])


def test_without_chance_the_crop_lies_around_the_first_finding() -> None:
    data = spots()
    made = CropAroundFindingd(("image", "masks"), "masks", (3, 3, 3), threshold=127)(data)
    assert made["image"][0, 1, 1, 1] in data["image"][0, 1:3, 2:4, 3:5]
    assert (made["masks"][1] > 127).any()
    nothing = data | {"masks": torch.zeros_like(data["masks"])}
    middle = CropAroundFindingd(("image", "masks"), "masks", (3, 3, 3))(nothing)["image"]
    np.testing.assert_allclose(points_of(middle).mean(axis=0), points_of(data["image"]).mean(axis=0), atol=4)
    with pytest.raises(ReadError) as caught:
        CropAroundFindingd(("image", "masks"), "masks", (3, 3, 3))(data | {"image": data["image"][:, 1:]})
    assert caught.value.code == "grid"


def test_values_are_shifted_together_and_what_was_not_measured_is_not() -> None:
    image = numbered()
    image[0, 0, 0, :3] = torch.nan
    step = RandShiftHounsfieldd(("a", "b"), std_hu=15.0).set_random_state(2)
    shifts = []
    for _ in range(300):
        made = step({"a": image, "b": image})
        shift = (made["a"] - image)[0, 1]
        assert torch.equal(made["a"].nan_to_num(), made["b"].nan_to_num())
        assert torch.isnan(made["a"][0, 0, 0, :3]).all()
        shifts.append(float(shift[0, 0]))
    assert np.std(shifts) == pytest.approx(15.0, rel=0.15)
    never = RandShiftHounsfield(15.0, prob=0.0)
    assert torch.equal(never(image).nan_to_num(), image.nan_to_num())


def test_enhancement_changes_what_is_brighter_than_tissue_and_nothing_else() -> None:
    image = torch.tensor([[[[torch.nan, -800.0, 40.0, 150.0, 900.0]]]])
    step = RandScaleEnhancementd(("a", "b"), knee_hu=50.0, factors=(0.5, 2.0), prob=0.7).set_random_state(3)
    factors = []
    for _ in range(300):
        made = step({"a": image, "b": image})
        assert torch.equal(made["a"].nan_to_num(), made["b"].nan_to_num())
        nothing, air, tissue, blood, bone = made["a"].flatten().tolist()
        assert np.isnan(nothing) and (air, tissue) == (-800.0, 40.0)
        factors.append((blood - 50) / 100)
        assert bone - 50 == pytest.approx(850 * factors[-1], rel=1e-5)
    assert np.mean(np.array(factors) == 1) == pytest.approx(0.3, abs=0.1)
    assert 0.5 <= min(factors) < 0.6 and 1.8 < max(factors) <= 2.0
    with pytest.raises(ValueError, match="above 0"):
        RandScaleEnhancement(factors=(0.0, 1.0))


def test_a_swapped_phrase_counts_only_where_the_true_one_is() -> None:
    assert swapped_phrases(LEXICON.parse("solid nodule in the left upper lobe"), LEXICON) == [
        "solid nodule in the right upper lobe",
        "solid nodule in the left lower lobe",
        "ground glass nodule in the left upper lobe",
        "solid pleural effusion in the left upper lobe",
    ]
    mask = ball_of(numbered()).float()
    mask[0, 1, 2, 3] = 1
    data = {"phrase": "nodule in the left lung", "mask": mask}
    step = RandSwapTermd("phrase", "mask", "known", prob=1.0).set_random_state(0)
    made = [step(data) for _ in range(30)]
    assert {one["phrase"] for one in made} == {
        "nodule in the right lung", "pleural effusion in the left lung", "nodule in the liver",
    }  # fmt: skip
    assert all(one["swapped"] for one in made)
    assert not made[0]["mask"].any()
    assert torch.equal(made[0]["known"].as_tensor(), mask.as_tensor() > 0)
    never = RandSwapTermd("phrase", "mask", "known", prob=0.0)(data)
    assert (never["phrase"], never["swapped"]) == (data["phrase"], False)
    assert torch.equal(never["mask"].as_tensor(), mask.as_tensor())
    assert never["known"].all()
    with pytest.raises(ValueError, match="needs a mask"):
        RandSwapTermd("phrase", known_key="known")


def test_one_seed_gives_one_training_crop_with_monais_augmentations_between() -> None:
    volume = ToSlabGrid(COARSE)(tensor_of_scan(patient("mirrored")))
    data = {"image": volume, "mask": ball_of(volume), "phrase": "mass in the left lung"}
    both = ("image", "mask")
    draw = Compose(
        [
            RandFlipSidesd(both, "phrase"),
            RandCropAroundFindingd(both, "mask", (8, 24, 24), (-1024.0, 0.0)),
            RandShiftHounsfieldd("image"),
            RandGaussianNoised("image", prob=0.5, std=10.0),
            RandSwapTermd("phrase"),
        ]
    )

    def drawn(seed: int) -> list[dict]:
        draw.set_random_state(seed)
        return [draw(data) for _ in range(6)]

    first, again, other = drawn(1), drawn(1), drawn(2)
    for one, two in zip(first, again):
        assert one["image"].numpy().tobytes() == two["image"].numpy().tobytes()  # NaN and all
        assert torch.equal(one["mask"].as_tensor(), two["mask"].as_tensor())
        assert torch.equal(one["image"].affine, two["image"].affine)
        assert one["phrase"] == two["phrase"]
    assert any(one["image"].numpy().tobytes() != two["image"].numpy().tobytes() for one, two in zip(first, other))
    assert {one["phrase"] for one in first + other} > {"mass in the left lung", "mass in the right lung"}
    for one in first + other:
        if not one["swapped"] and one["mask"].any():
            assert (centre_of(one["mask"])[0] > 0) == ("left" in one["phrase"])
