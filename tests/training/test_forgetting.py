from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.phantom import rule_model
from tips_med.training import forgetting
from tips_med.training.calibration import Observation
from tips_med.training.forgetting import TermChange, _change, forgetting_table


def seen(there: bool, evidence: float, dice: float = 0.0) -> Observation:
    return Observation(0, "mass", None, there, evidence, 1.0 if there else 0.0, 0.0, dice, there)


def test_dice_is_of_what_is_there_and_auroc_of_both():
    before = [seen(True, 3.0, 0.8), seen(True, 2.0, 0.6), seen(False, -1.0), seen(False, 0.0)]
    after = [seen(True, 1.0, 0.8), seen(True, -0.5, 0.5), seen(False, -1.0), seen(False, 0.0)]
    change = _change("mass", before, after)

    assert (change.there, change.absent) == (2, 2)
    np.testing.assert_allclose(change.dice, (0.7, 0.65))
    np.testing.assert_allclose(change.auroc, (1.0, 0.75))
    assert change.lost


def test_a_term_that_is_not_in_the_scans_is_not_called_lost():
    change = _change("mass", [seen(False, 0.0)], [seen(False, 9.0)])
    assert np.isnan((*change.dice, *change.auroc)).all()
    assert not change.lost


def test_the_table_says_what_is_worse_and_what_is_calibrated():
    table = forgetting_table(
        [TermChange("mass", 2, 2, (0.7, 0.7), (1.0, 1.0)), TermChange("cavity", 1, 3, (0.7, 0.2), (0.9, 0.9))], ["mass"]
    )
    assert "0.700 -> 0.700" in table
    assert [line.split()[0] for line in table.splitlines() if "WORSE" in line] == ["cavity"]
    assert [line.split()[0] for line in table.splitlines() if "kept" in line] == ["mass"]


def test_every_scan_is_painted_once_and_both_models_are_asked_the_same(monkeypatch):
    """The wording of questions is drawn at random: from the same state for both."""
    painted, asked, steps = [], [], []

    def paint(bodies, scenes, number, seed):
        painted.append(number)
        assert set(scenes.weights) <= {"mass", "nodule"} and scenes.shape is None
        return number, np.random.default_rng(number)

    def observe(model, scene, number, rng):
        asked.append((scene, model.card.findings, rng.integers(1000)))
        yield seen(True, 1.0, 0.5 if model is before else 0.3)

    monkeypatch.setattr(forgetting, "make_phantom", lambda seed, spacing_mm: None)
    monkeypatch.setattr(forgetting, "paint_numbered", paint)
    monkeypatch.setattr(forgetting, "observe_scene", observe)
    plain = rule_model()
    before = replace(plain, card=replace(plain.card, findings=("mass", "nodule")))
    after = replace(plain, card=replace(plain.card, findings=("mass", "nodule", "lesion")))

    changes = forgetting.measure_forgetting(before, after, 2, lambda done, total: steps.append((done, total)))

    assert painted == [0, 1]
    assert asked[0] == asked[1] and asked[2] == asked[3]  # what was taught later is not asked
    assert asked[0][2] != asked[2][2]
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert changes[0].dice == (0.5, 0.3) and changes[0].lost
