from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics.froc import compute_fp_tp_probs_nd, compute_froc_curve_data, compute_froc_score

from tips_med.metrics import FROC, MetricInputError, Outlines, Spheres

NONE = Spheres(np.zeros((0, 3)), np.zeros(0))


def at(*x_mm: float) -> np.ndarray:
    return np.array([[x, 0.0, 0.0] for x in x_mm]).reshape(-1, 3)


def test_a_curve_by_hand():
    """Two scans, three nodules; marks by score: hit, false, hit, false, hit."""
    metric = FROC(sizes_mm=())
    metric.update(at(0, 50, 21), np.array([0.9, 0.8, 0.7]), Spheres(at(0, 20), np.array([5.0, 8.0])), patient="a")
    metric.update(at(70, 1), np.array([0.6, 0.5]), Spheres(at(0), np.array([5.0])), patient="b")
    values = {name: float(value) for name, value in metric.compute().items()}
    # One false mark in two scans is 1/2 a scan: there, and from there to 1, the curve is at 2/3.
    assert values["sensitivity_at_1_2"] == pytest.approx(2 / 3)
    assert values["sensitivity_at_1_4"] == pytest.approx(1 / 3)  # from 1/3 at none to 1/3 where the first one comes
    assert values["sensitivity_at_1_8"] == pytest.approx(1 / 3)
    for rate in ("1", "2", "4", "8"):
        assert values[f"sensitivity_at_{rate}"] == 1.0
    assert values["cpm"] == pytest.approx((1 / 3 + 1 / 3 + 2 / 3 + 4) / 7)
    assert values["sensitivity"] == 1.0
    marks, found = metric.curve()
    assert marks.tolist() == [0, 0, 0.5, 0.5, 1, 1]
    np.testing.assert_allclose(found, [0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 1])
    assert metric.cases == 2


def test_the_same_as_monai_on_label_maps():
    """Whole voxels and probabilities above 0: MONAI's own matching is right there."""
    rng = np.random.default_rng(0)
    metric = FROC(sizes_mm=())
    false, found, targets = [], [], 0
    for number in range(6):
        labels = np.zeros((6, 20, 20), np.uint8)
        for label in range(1, 4):
            k, j, i = (int(n) for n in rng.integers(0, (4, 17, 17)))
            labels[k : k + 2, j : j + 3, i : i + 3] = label
        marks, scores = rng.integers(0, labels.shape, (40, 3)), rng.uniform(0.01, 1, 40)
        scores[0] = 0.001  # MONAI drops the lowest score of all, which must be of no use here
        fp, tp, n = compute_fp_tp_probs_nd(scores, marks, labels)
        false.append(fp)
        found.append(tp)
        targets += n
        # MONAI's axes are ours [k j i]; LPS is x, y, z.
        affine = np.eye(4)[[2, 1, 0, 3]]
        metric.update(marks[:, ::-1].astype(float), scores, Outlines(labels, affine), patient=str(number))
    curve = compute_froc_curve_data(np.concatenate(false), np.concatenate(found).astype(float), targets, 6)
    values = metric.compute()
    assert float(values["cpm"]) == pytest.approx(
        compute_froc_score(*curve, (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)), abs=1e-6
    )
    assert float(values["sensitivity_at_2"]) == pytest.approx(compute_froc_score(*curve, (2,)), abs=1e-6)
    assert 0 < float(values["cpm"]) < 1


def test_several_marks_in_a_nodule_count_once_and_one_mark_may_hit_two():
    metric = FROC(sizes_mm=())
    metric.update(at(-2, 0, 2, 12), np.array([0.1, 0.2, 0.3, 0.4]), Spheres(at(0, 3), np.array([10.0, 10.0])))
    marks, found = metric.curve()  # the last mark is in neither
    assert marks.tolist() == [0, 1, 1]
    assert found.tolist() == [0, 0, 1]


def test_what_readers_disagree_on_is_neither_hit_nor_false():
    labels = np.zeros((1, 1, 60), bool)
    labels[0, 0, 40:44] = True
    truth, disputed = Spheres(at(0), np.array([6.0])), Outlines(labels, np.eye(4)[[2, 1, 0, 3]])
    metric = FROC(sizes_mm=())
    metric.update(at(41, 20, 0), np.array([0.9, 0.8, 0.7]), truth, (disputed, Spheres(at(20), np.array([4.0]))))
    assert metric.curve()[0].max() == 0
    assert float(metric.compute()["cpm"]) == 1.0
    plain = FROC(sizes_mm=())
    plain.update(at(41, 20, 0), np.array([0.9, 0.8, 0.7]), truth)
    assert float(plain.compute()["sensitivity_at_1"]) == 0.0
    both = FROC(sizes_mm=())  # what is a nodule and in something disputed as well is a hit
    both.update(at(41), np.array([0.9]), Spheres(at(41), np.array([5.0])), disputed)
    assert float(both.compute()["cpm"]) == 1.0


def test_equal_scores_pass_the_threshold_together():
    metric = FROC(sizes_mm=())
    metric.update(at(0, 50), np.array([0.5, 0.5]), Spheres(at(0), np.array([5.0])))
    values = metric.compute()
    assert float(values["sensitivity_at_1_2"]) == 0.5  # half way from nothing to one mark that comes with the nodule
    assert float(values["sensitivity_at_1"]) == 1.0


def test_no_marks_no_nodules_no_scans():
    metric = FROC()
    assert metric.intervals() == {} == metric.counts()
    with pytest.raises(MetricInputError, match="no nodule"):
        metric.curve()
    metric.update(at(5, 9), np.array([1.0, 2.0]), NONE, patient="healthy")
    assert np.isnan(float(metric.compute()["cpm"]))
    metric.update(np.zeros((0, 3)), np.zeros(0), Spheres(at(0), np.array([5.0])), patient="a")
    values = metric.compute()
    assert float(values["cpm"]) == 0.0 == float(values["sensitivity"])
    assert np.isnan(float(values["cpm_from_6_mm"]))
    assert metric.cases == 2


def test_strata_share_their_false_marks():
    metric = FROC(sizes_mm=(6, 10))
    truth = Spheres(at(0, 20, 40), np.array([5.0, 6.0, 12.0]))
    metric.update(at(80, 0, 20), np.array([0.9, 0.8, 0.95]), truth, patient="a")
    values, counts = metric.compute(), metric.counts()
    assert [counts[f"cpm{end}"] for end in ("", "_below_6_mm", "_6_to_10_mm", "_from_10_mm")] == [3, 1, 1, 1]
    assert float(values["sensitivity_at_1_2_below_6_mm"]) == 0.0
    assert float(values["sensitivity_at_1_below_6_mm"]) == 1.0
    assert float(values["cpm_6_to_10_mm"]) == 1.0
    assert float(values["cpm_from_10_mm"]) == 0.0


def test_logits_below_zero_count():
    metric = FROC(sizes_mm=())
    metric.update(at(0, 90), np.array([-3.0, -5.0]), Spheres(at(0), np.array([5.0])))
    assert float(metric.compute()["cpm"]) == 1.0


def test_outlines_have_the_size_of_a_sphere_and_nothing_lies_beyond_the_map():
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[:2, :2, :2], labels[3, 3, 3] = 2, 7
    affine = np.array([[0, 0, 0.5, 10], [0, 0.5, 0, 0], [2, 0, 0, 0], [0, 0, 0, 1.0]])
    nodules = Outlines(labels, affine)
    np.testing.assert_allclose(nodules.sizes_mm(), [(6 / np.pi * 8 * 0.5) ** (1 / 3), (6 / np.pi * 0.5) ** (1 / 3)])
    marks = np.array([[10.0, 0, 0], [11.5, 1.5, 6], [9.7, 0, 0], [10, 0, -1.1], [500, 0, 0]])
    assert nodules.hits(marks).tolist() == [[True, False, False, False, False], [False, True, False, False, False]]


def test_intervals_draw_patients_with_all_their_marks():
    metric, other = FROC(sizes_mm=()), FROC(sizes_mm=())
    good, bad = Spheres(at(0), np.array([5.0])), Spheres(at(30), np.array([5.0]))
    metric.update(at(0), np.array([0.9]), good, patient="a")
    metric.update(at(0), np.array([0.9]), good, patient="a")
    other.update(at(0), np.array([0.9]), bad)
    other.update(at(0), np.array([0.9]), bad)
    metric.extend(other)
    interval = metric.intervals(200)["sensitivity_at_8"]
    assert interval.value == 0.5
    assert (interval.low, interval.high) == (0.0, 1.0)
    assert metric.cases == 4
    assert len(torch.cat(metric.patients).unique()) == 3


def test_many_false_marks_change_no_value():
    """Values are read up to 8 false marks a scan; the rest is not looked at, and the curve has it."""
    rng = np.random.default_rng(1)
    scores = rng.normal(size=400)
    places = np.where(np.arange(400)[:, None] < 10, at(*range(0, 8000, 20)), at(*range(10010, 18010, 20)))
    metric = FROC(sizes_mm=())
    metric.update(places, scores, Spheres(at(*range(0, 200, 20)), np.full(10, 4.0)))
    marks, found = metric.curve()
    values = metric.compute()
    assert marks.max() == 390
    for name, rate in (("1", 1), ("2", 2), ("4", 4), ("8", 8)):
        assert float(values[f"sensitivity_at_{name}"]) == pytest.approx(found[marks <= rate].max())


@pytest.mark.parametrize(
    ("marks", "scores", "text"),
    [
        (at(0, 1), [0.5], "1 scores for 2 marks"),
        (at(0, np.nan), [0.5, 0.4], "number 1 of the marks"),
        (at(0), [np.nan], "number 0 of the scores"),
        (np.zeros((2, 2)), [0.5, 0.4], "LPS"),
        (at(0), [[0.5]], "one number for each"),
    ],
)
def test_what_is_no_mark_is_refused(marks, scores, text):
    with pytest.raises(MetricInputError, match=text):
        FROC().update(marks, np.array(scores), NONE)


def test_what_is_no_nodule_is_refused():
    with pytest.raises(MetricInputError, match="2 diameters for 1"):
        Spheres(at(0), np.array([1.0, 2.0]))
    with pytest.raises(MetricInputError, match="above 0"):
        Spheres(at(0), np.array([0.0]))
    with pytest.raises(MetricInputError, match="three axes"):
        Outlines(np.zeros((1, 2, 3, 4), bool), np.eye(4))
    with pytest.raises(MetricInputError, match="rising"):
        FROC(sizes_mm=(10, 6))
