from __future__ import annotations

from dataclasses import replace

import pytest

from tests.training.small import RECIPE, data, tiny_model, write_studies
from tips_med.card import Calibration
from tips_med.query import Lexicon
from tips_med.training import fitting
from tips_med.training.fitting import TrainerSpec, card_after, precision_of
from tips_med.training.manifest_data import ManifestData


@pytest.mark.parametrize(("fast", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_bfloat16_is_taken_only_where_the_machine_is_quick_at_it(fast, expected, monkeypatch):
    monkeypatch.setattr(fitting, "has_fast_bfloat16", lambda device: fast)
    assert precision_of(TrainerSpec().precision, "cpu") == expected


def test_a_precision_that_was_asked_for_is_kept():
    assert precision_of("16-mixed", "auto") == "16-mixed"


def test_the_calibration_of_structures_outlives_training_and_that_of_findings_does_not(tmp_path):
    base, lexicon = tiny_model(tmp_path), Lexicon.load("chest_ct")
    fitted = {"lung": Calibration(intercept=1.0), "nodule": Calibration(intercept=2.0)}
    base = replace(base, card=replace(base.card, calibration=fitted))
    module = ManifestData(data(write_studies(tmp_path)), base, lexicon, tmp_path / "cache", RECIPE.steps)
    module.prepare_data()
    card = card_after(base, module, lexicon, None, "ours", "", RECIPE, seed=0)
    assert card.calibration == {"lung": fitted["lung"]}
    assert card.findings == ("nodule", "mass")
    assert card.licence == base.card.licence
    assert card.places["mass"] == ("lung",)
