from __future__ import annotations

import numpy as np
import pytest

from tips_med.grounding.evidence import MIN_LOGIT, evidence_map, evidence_within, peak_evidence


def test_evidence_is_highest_in_the_middle_of_what_is_hot():
    heat = np.full((9, 12, 15), 0.01, np.float32)
    heat[3:8, 2:7, 5:12] = 0.97
    logit, at = peak_evidence(heat)
    assert logit == pytest.approx(np.log(0.97 / 0.03), abs=1e-3)
    assert heat[at] == pytest.approx(0.97)
    assert 4 <= at[0] <= 6


def test_a_single_hot_cell_counts_for_little():
    heat = np.full((9, 12, 15), 0.01, np.float32)
    heat[4, 5, 6] = 0.999
    assert peak_evidence(heat)[0] < -3


def test_what_was_not_seen_is_no_evidence():
    heat = np.full((4, 5, 6), np.nan, np.float32)
    assert peak_evidence(heat)[0] == pytest.approx(MIN_LOGIT)


@pytest.mark.parametrize("every", [2, 3])
def test_missing_slabs_do_not_speak_against_what_lies_between_them(every):
    """An unseen slab once counted as the strongest evidence of absence."""
    heat = np.full((12, 12, 15), 0.01, np.float32)
    heat[3:9, 2:8, 5:12] = 0.97
    whole, _ = peak_evidence(heat)
    heat[::every] = np.nan
    gapped, at = peak_evidence(heat)
    assert gapped == pytest.approx(whole, abs=0.05)
    assert 3 <= at[0] <= 8


def test_evidence_is_only_sought_in_the_asked_region():
    heat = np.full((9, 12, 15), 0.01, np.float32)
    heat[3:8, 2:7, 8:14] = 0.97
    region = np.zeros(heat.shape, bool)
    region[:, :, :6] = True
    assert peak_evidence(heat, region)[0] < -4
    assert peak_evidence(heat, ~region)[0] > 3
    assert peak_evidence(heat, np.zeros_like(region))[0] == pytest.approx(MIN_LOGIT)


def test_a_map_without_holes_is_a_plain_average():
    heat = np.random.default_rng(0).uniform(0.05, 0.95, (5, 6, 7)).astype(np.float32)
    logits = np.log(heat / (1 - heat))
    assert evidence_map(heat)[2, 3, 3] == pytest.approx(logits[1:4, 2:5, 2:5].mean(), abs=1e-4)


def test_evidence_within_a_region_is_that_of_the_whole_map():
    heat = np.random.default_rng(0).random((6, 9, 8)).astype(np.float32)
    heat[2] = np.nan
    region = np.zeros(heat.shape, bool)
    region[1:4, 0:5, 3:8] = True
    np.testing.assert_allclose(evidence_within(heat, region)[region], evidence_map(heat)[region], atol=1e-5)
