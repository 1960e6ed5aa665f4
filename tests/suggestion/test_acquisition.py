"""What outlining a study would teach: numbers whose right value is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.phantom import MASS, body, rule_model
from tips_med.grounding import encode
from tips_med.suggestion import value_study
from tips_med.suggestion.acquisition import PhraseValue, as_share, embedding_of, entropy_bits, soft_dice_confidence


@pytest.mark.parametrize(("probability", "bits"), [(0.5, 1.0), (0.0, 0.0), (1.0, 0.0), (0.25, 0.8112781)])
def test_entropy_of_an_answer(probability: float, bits: float) -> None:
    assert entropy_bits(probability) == pytest.approx(bits)


def test_soft_dice_confidence_is_the_dice_to_expect(rng: np.random.Generator) -> None:
    probabilities = np.clip(rng.beta(0.6, 1.2, 4000), 0, 1)
    marked = probabilities >= 0.5
    truths = rng.random((200, probabilities.size)) < probabilities
    dice = [2 * (marked & truth).sum() / (marked.sum() + truth.sum()) for truth in truths]
    assert soft_dice_confidence(probabilities) == pytest.approx(np.mean(dice), abs=0.005)


def test_soft_dice_confidence_of_sure_maps() -> None:
    assert soft_dice_confidence(np.array([0.0, 1.0, 1.0, np.nan])) == 1
    assert soft_dice_confidence(np.zeros(5)) == 1
    assert soft_dice_confidence(np.array([0.0, 0.45])) == pytest.approx(0.1)


def _value(**changes: float) -> PhraseValue:
    plain = PhraseValue("mass", "unsure", 0.8, True, entropy_bits(0.8), 0.4, 0.2, 1.0, (0.0, 0.0, 0.0))
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_rare_unsure_and_doubtful_phrases_are_worth_more() -> None:
    plain = _value().value
    assert _value(rarity=0.5).value == pytest.approx(plain / 2)
    assert _value(presence_bits=1.0).value > plain
    assert _value(mask_doubt=0.8).value > plain
    assert _value(disagreement=math.nan).value == pytest.approx(_value(disagreement=0.4).value)


def test_scores_are_moved_to_the_share_that_is_expected_and_keep_their_order() -> None:
    """What was taught on two scans scores high everywhere: the one that stands out is still the likeliest."""
    scores = [0.90, 0.999, 0.95, 0.93]
    values = [_value(probability=one, calibrated=False, presence_bits=entropy_bits(one)) for one in scores]
    moved = as_share(values, 0.25)
    assert np.mean([one.probability for one in moved]) == pytest.approx(0.25)
    assert np.argsort([one.probability for one in moved]).tolist() == np.argsort(scores).tolist()
    assert max(range(4), key=lambda n: moved[n].value) == 1
    assert max(range(4), key=lambda n: values[n].presence_bits) == 0  # undecided before, and no longer
    assert moved[0].presence_bits == pytest.approx(entropy_bits(moved[0].probability))


def test_calibrated_probabilities_are_not_moved() -> None:
    values = [_value(), _value(probability=0.1)]
    assert as_share(values, 0.25) == values


def test_a_likely_finding_is_worth_more_than_an_undecided_one() -> None:
    """An outline teaches what absent scans cannot."""
    assert _value(probability=0.95, presence_bits=entropy_bits(0.95)).value > _value(
        probability=0.5, presence_bits=1.0
    ).value  # fmt: skip


def test_a_study_is_valued_by_its_own_answers() -> None:
    model = rule_model()
    centre = (65.0, 10.0, -40.0)
    study = encode(body([(centre, 15.0, MASS)]), model)
    queries = {"mass": model.lexicon.parse("mass")}
    with torch.inference_mode():
        rare = value_study(study, queries, {}, model).phrases[0]
        known = value_study(study, queries, {"mass": 8}, model).phrases[0]
    assert (rare.rarity, known.rarity) == (1.0, pytest.approx(1 / 3))
    assert np.linalg.norm(np.subtract(rare.peak_lps, centre)) < 15
    assert 0 <= rare.mask_doubt <= 1
    assert 0 <= rare.disagreement <= 1


def test_the_embedding_is_that_of_the_body_and_has_length_one() -> None:
    model = rule_model()
    study = encode(body(), model)
    patches = torch.rand(study.features.patches.shape, generator=torch.Generator().manual_seed(0))
    rows, columns = patches.shape[1:3]
    inside = torch.from_numpy(study.body.inside).float()
    outside = torch.nn.functional.adaptive_avg_pool2d(inside[:, None], (rows, columns))[:, 0]
    one = embedding_of(replace(study, features=replace(study.features, patches=patches)), model)
    changed = replace(study.features, patches=patches + 9 * (outside == 0)[..., None])
    other = embedding_of(replace(study, features=changed), model)
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(one, other, atol=1e-6)
