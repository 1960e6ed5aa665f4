from __future__ import annotations

import numpy as np

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
