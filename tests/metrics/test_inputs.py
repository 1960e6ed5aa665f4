"""What a metric is given: right, or refused with a reason; never a wrong number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from tips_med.metrics import (
    ContrastToNoise,
    FalsePositiveVolume,
    GlobalDice,
    HitRate,
    InstanceDetection,
    MetricInputError,
    PointingGame,
    PresenceDetection,
    ReXGroundingCT,
    SurfaceDice,
    SwapTest,
    ThresholdIoU,
    dice,
)


@pytest.fixture
def pair():
    truth = np.zeros((6, 9, 8), bool)
    truth[1:4, 2:6, 2:6] = True
    return np.roll(truth, 1, axis=2), truth


def values(metric):
    return {name: float(value) for name, value in metric.compute().items()}


FORMS = {
    "uint8": lambda m: m.astype(np.uint8),
    "0 and 255": lambda m: m.astype(np.uint8) * 255,
    "float": lambda m: m.astype(np.float64),
    "float 255": lambda m: m.astype(np.float32) * 255,
    "signed": lambda m: m.astype(np.int64),
    "tensor": torch.from_numpy,
    "bfloat16": lambda m: torch.from_numpy(m).to(torch.bfloat16),
    "with gradient": lambda m: torch.from_numpy(m).float().requires_grad_(),
    "MONAI": lambda m: MetaTensor(torch.from_numpy(m).float()),
    "turned": lambda m: np.ascontiguousarray(m.T).T,
}
METRICS = {
    "dice": (GlobalDice, ()),
    "hit": (HitRate, ()),
    "surface": (SurfaceDice, ((2.5, 0.8, 1.1),)),
    "instances": (InstanceDetection, ()),
    "false volume": (FalsePositiveVolume, (0.5,)),
    "rex": (ReXGroundingCT, ()),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", METRICS)
def test_a_mask_is_the_same_in_every_form(pair, form, name):
    made, more = METRICS[name]
    plain, formed = made(), made()
    for mask, truth in (pair, (pair[0], pair[1] & False)):
        plain.update(mask, truth, *more)
        formed.update(FORMS[form](mask), FORMS[form](truth), *more)
    assert values(formed) == values(plain)
    assert formed.cases == plain.cases > 0


@pytest.mark.parametrize("name", METRICS)
def test_each_item_and_channel_of_a_batch_is_a_case(pair, name):
    made, more = METRICS[name]
    mask, truth = pair
    masks = [mask, truth, mask & False, truth, mask, truth & False]
    truths = [truth, truth, truth, truth & False, mask, mask & False]
    one_by_one, batch = made(), made()
    for n, (own, other) in enumerate(zip(masks, truths)):
        one_by_one.update(own, other, *more, patient="abc"[n // 2])
    shape = (3, 2, *truth.shape)
    batch.update(
        torch.from_numpy(np.stack(masks).reshape(shape)),
        torch.from_numpy(np.stack(truths).reshape(shape)),
        *more,
        patient=["a", "b", "c"],
    )
    assert values(batch) == pytest.approx(values(one_by_one), nan_ok=True)
    assert batch.cases == one_by_one.cases
    assert batch.intervals(20) == one_by_one.intervals(20) or batch.cases < 3


def test_maps_come_in_batches_of_tensors_too(pair, rng):
    mask, truth = pair
    heat = rng.random(truth.shape).astype(np.float32)
    for made in (PointingGame, ContrastToNoise, ThresholdIoU):
        one, batch = made(), made()
        one.update(heat, truth)
        one.update(1 - heat, mask)
        stacked = torch.from_numpy(np.stack([heat, 1 - heat])[:, None])
        batch.update(stacked, torch.from_numpy(np.stack([truth, mask])[:, None]))
        assert values(batch) == pytest.approx(values(one))
    swaps = SwapTest()
    swaps.update(torch.from_numpy(truth).float(), mask * np.uint8(255), truth)
    assert values(swaps)["follows"] == 1


def test_presence_takes_vectors():
    one, batch = PresenceDetection(), PresenceDetection()
    for probability, present, patient in ((0.2, False, "a"), (0.9, True, "b"), (0.4, True, "a")):
        one.update(probability, present, patient=patient)
    batch.update(torch.tensor([0.2, 0.9, 0.4]), torch.tensor([0, 1, 1]), patient=["a", "b", "a"])
    assert values(batch) == pytest.approx(values(one))
    with pytest.raises(MetricInputError, match="sigmoid"):
        batch.update(torch.tensor([-2.0, 3.0]), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda m: m * np.float32(0.7), "fractions from 0 to 0.7.*[Tt]hreshold"),
        (lambda m: m * 8.0 - 4, "numbers from -4 to 4.*[Tt]hreshold"),
        (lambda m: m * np.uint8(3), "numbers from 0 to 3.*mask > 0"),
        (lambda m: m.astype(np.uint8) + np.roll(m, 3) * np.uint8(254), "numbers from 0 to 255|expected a mask"),
        (lambda m: np.where(m, np.nan, 0), "not finite"),
        (lambda m: m.astype(str), "expected bool or numbers"),
    ],
)
def test_what_is_no_mask_is_refused_and_never_counted(pair, spoil, told):
    mask, truth = pair
    for metric in (GlobalDice(), InstanceDetection(), HitRate()):
        with pytest.raises(MetricInputError, match=told):
            metric.update(spoil(mask), truth)
        assert metric.cases == 0
    with pytest.raises(MetricInputError, match=told):
        dice(spoil(mask), truth)


def test_shapes_that_do_not_fit_are_told_by_name(pair):
    mask, truth = pair
    metric = GlobalDice()
    for wrong, told in (
        (truth[None], r"mask is \(6, 9, 8\) and the truth is \(1, 6, 9, 8\)"),
        (truth[1:], "one grid"),
    ):
        with pytest.raises(MetricInputError, match=told):
            metric.update(mask, wrong)
    with pytest.raises(MetricInputError, match="three axes"):
        metric.update(mask[0], truth[0])
    with pytest.raises(MetricInputError, match="2 patients for arrays"):
        metric.update(mask[None], truth[None], patient=["a", "b"])
    with pytest.raises(MetricInputError, match="GlobalDice.* takes batches"):
        dice(mask[None, None], truth[None, None])
    assert metric.cases == 0


def test_logits_are_no_probabilities(pair):
    _, truth = pair
    with pytest.raises(MetricInputError, match=r"from -4 to 4; expected probabilities.*sigmoid"):
        ThresholdIoU().update(truth * 8.0 - 4, truth)
