from __future__ import annotations

import numpy as np
import pytest

from tips_med.grounding.presence import evidence, judge
from tips_med.model import Calibration
from tips_med.query import Lexicon

LEXICON = Lexicon.load("chest_ct")


def test_evidence_is_highest_in_the_middle_of_what_is_hot():
    heat = np.full((9, 12, 15), 0.01, np.float32)
    heat[3:8, 2:7, 5:12] = 0.97
    logit, at = evidence(heat)
    assert logit == pytest.approx(np.log(0.97 / 0.03), abs=1e-3)
    assert heat[at] == pytest.approx(0.97)
    assert 4 <= at[0] <= 6


def test_a_single_hot_cell_counts_for_little():
    heat = np.full((9, 12, 15), 0.01, np.float32)
    heat[4, 5, 6] = 0.999
    assert evidence(heat)[0] < -3


def test_what_was_not_seen_is_no_evidence():
    heat = np.full((4, 5, 6), np.nan, np.float32)
    assert evidence(heat)[0] < -5


@pytest.mark.parametrize(("logit", "state"), [(-3.0, "absent"), (0.0, "unsure"), (3.0, "present")])
def test_between_the_thresholds_the_answer_is_unsure(logit, state):
    assert judge(logit, Calibration(), LEXICON.parse("mass")).state == state


def test_calibration_shifts_the_answer_and_never_its_order():
    query = LEXICON.parse("mass")
    shifted = Calibration(slope=0.5, intercept=-2.0)
    chances = [judge(logit, shifted, query).probability for logit in (-4.0, 0.0, 4.0)]
    assert chances == sorted(chances)
    assert chances[1] == pytest.approx(1 / (1 + np.exp(2.0)))


def test_an_unsure_answer_to_a_negated_query_holds_nothing():
    assert judge(0.0, Calibration(), LEXICON.parse("no mass")).holds is None
