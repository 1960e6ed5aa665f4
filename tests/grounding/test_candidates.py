from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.phantom import MASS, body, rule_model
from tips_med.card import Calibration
from tips_med.encoders.study import EncodedStudy
from tips_med.errors import QueryError
from tips_med.grounding import encode, find_candidates, ground

LEFT_LOW = ((65.0, 10.0, -70.0), 15.0, MASS)
RIGHT_HIGH = ((-60.0, -5.0, 60.0), 12.0, MASS)
MODEL = rule_model()


@pytest.fixture(scope="module")
def study() -> EncodedStudy:
    return encode(body([LEFT_LOW, RIGHT_HIGH]), MODEL)


def test_the_surest_candidates_lie_in_the_lesions_and_are_apart(study):
    found = find_candidates(study, "mass", MODEL, min_distance_mm=30)
    places = np.array([one.place_lps for one in found])
    logits = [one.logit for one in found]
    assert logits == sorted(logits, reverse=True)
    near = np.linalg.norm(places[:2, None] - np.array([LEFT_LOW[0], RIGHT_HIGH[0]])[None], axis=-1)
    assert sorted(near.argmin(axis=1).tolist()) == [0, 1]
    assert (near.min(axis=1) < 15).all()
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 100 * np.eye(len(places))
    assert apart.min() > 30


def test_the_surest_candidate_decides_the_answer(study):
    """Calibrated or not, of one side or of both: the same evidence and the same probability."""
    calibration = Calibration(slope=0.5, intercept=-1.0)
    card = dataclasses.replace(MODEL.card, calibration={"mass": calibration})
    calibrated = dataclasses.replace(MODEL, card=card)
    for query in ("mass", "mass in the right lung"):
        first = find_candidates(study, query, calibrated)[0]
        assert first.probability == pytest.approx(ground(study, query, calibrated).presence.probability, abs=1e-6)
    assert find_candidates(study, "mass in the right lung", calibrated)[0].place_lps[0] < 0
    plain = dataclasses.replace(MODEL, card=dataclasses.replace(MODEL.card, calibration={}))
    assert find_candidates(study, "mass", plain)[0].probability == pytest.approx(
        ground(study, "mass", plain).presence.score, abs=1e-6
    )


def test_candidates_are_bounded(study):
    assert len(find_candidates(study, "mass", MODEL, max_candidates=1)) == 1
    sure = find_candidates(study, "mass", MODEL, min_probability=0.5)
    assert all(one.probability >= 0.5 for one in sure)
    assert find_candidates(study, "mass", MODEL, min_probability=1.0) == ()
    with pytest.raises(QueryError):
        find_candidates(study, "fracture", MODEL)
