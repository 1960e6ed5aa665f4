from __future__ import annotations

import numpy as np
import pytest
import torch

from tips_med.metrics import BoxAccuracy, MetricInputError, box_iou


def test_box_iou_by_hand_in_two_and_three_axes():
    assert box_iou(np.array([0.0, 0, 2, 2]), np.array([1.0, 0, 3, 2])) == pytest.approx(1 / 3)
    assert box_iou(np.array([0.0, 0, 0, 2, 2, 2]), np.array([0.0, 0, 1, 2, 2, 3])) == pytest.approx(1 / 3)
    assert box_iou(np.array([0.0, 0, 1, 1]), np.array([2.0, 2, 3, 3])) == 0.0
    assert box_iou(np.zeros(4), np.zeros(4)) == 0.0  # without any area there is no overlap


def test_accuracy_counts_boxes_from_the_threshold_on():
    metric = BoxAccuracy()
    truth = torch.tensor([[0.0, 0, 4, 4]] * 3)
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 2], [0, 0, 4, 1.9]])
    metric.update(boxes, truth, patient=["a", "a", "b"])
    values = metric.compute()
    assert float(values["box_accuracy"]) == pytest.approx(2 / 3)  # an IoU of exactly 0.5 is right
    assert float(values["box_iou"]) == pytest.approx((1 + 0.5 + 0.475) / 3)
    strict = BoxAccuracy(0.75)
    strict.update(boxes, truth)
    assert float(strict.compute()["box_accuracy"]) == pytest.approx(1 / 3)


def test_what_is_not_there_is_left_out_and_no_box_is_wrong():
    metric = BoxAccuracy()
    metric.update(np.array([0, 0, 1, 1]), np.full(4, np.nan))
    assert metric.cases == 0
    assert metric.compute() == {}
    metric.update(np.full(6, np.nan), np.array([0, 0, 0, 1, 1, 1]))
    assert float(metric.compute()["box_accuracy"]) == 0.0


def test_intervals_draw_patients():
    metric = BoxAccuracy()
    for patient, box in (("a", [0, 0, 1, 1]), ("a", [0, 0, 1, 1]), ("b", [5, 5, 6, 6])):
        metric.update(np.array(box), np.array([0, 0, 1, 1]), patient=patient)
    interval = metric.intervals(200)["box_accuracy"]
    assert interval.value == pytest.approx(2 / 3)
    assert (interval.low, interval.high) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("box", "truth", "text"),
    [
        ([0, 0, 1], [0, 0, 1], "4"),
        ([0, 0, 1, 1], [0, 0, 0, 1, 1, 1], "same shape"),
        ([3, 0, 1, 1], [0, 0, 1, 1], "ends before"),
        ([0, 0, 1, 1], [0, 4, 1, 1], "ends before"),
    ],
)
def test_what_is_no_box_is_refused(box, truth, text):
    with pytest.raises(MetricInputError, match=text):
        BoxAccuracy().update(np.array(box), np.array(truth))


def test_patients_and_thresholds_are_checked():
    with pytest.raises(MetricInputError, match="2 patients"):
        BoxAccuracy().update(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), patient=["a", "b"])
    with pytest.raises(MetricInputError, match="threshold"):
        BoxAccuracy(0.0)
