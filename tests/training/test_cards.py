from __future__ import annotations

from dataclasses import replace

import pytest

from tests.training.small import RECIPE, data, tiny_model, write_studies
from tips_med.card import Calibration
from tips_med.model import GroundingModel
from tips_med.query import Lexicon
from tips_med.training.cards import calibration_keys, described, phrase_of, taught_card
from tips_med.training.manifest_data import ManifestData

LEXICON = Lexicon.load("chest_ct")
FITTED = {term: Calibration(intercept=n) for n, term in enumerate(("lung", "nodule", "mass", "cavity"))}


@pytest.fixture
def base(tmp_path) -> GroundingModel:
    model = tiny_model(tmp_path)
    return replace(model, card=replace(model.card, structures=("lung",), calibration=FITTED))


@pytest.fixture
def module(base, tmp_path) -> ManifestData:
    found = ManifestData(data(write_studies(tmp_path)), base, LEXICON, tmp_path / "cache", RECIPE.steps)
    found.prepare_data()
    return found


def test_when_all_weights_learn_only_calibrations_of_structures_outlive_it(base, module):
    card = taught_card(base, module, keeps=False)
    assert card.calibration == {"lung": FITTED["lung"]}
    assert card.findings == ("nodule", "mass")
    assert card.places["mass"] == ("lung",)


def test_when_the_rest_stays_only_the_calibration_of_what_was_taught_is_dropped(base, module):
    card = taught_card(base, module, keeps=True)
    assert set(card.calibration) == {"lung", "nodule", "cavity"}


def test_the_card_says_what_it_was_made_from(base, module):
    card = described(taught_card(base, module, keeps=True), base, module, "ours", "", None, RECIPE.steps, seed=0)
    assert (card.name, card.licence) == ("ours", base.card.licence)
    assert card.trained["fine_tuned_from"] == base.sha256
    assert "2 studies" in card.data[-1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mass in the left lung", "mass"),
        ("right pleural effusion", "pleural effusion"),
        ("left kidney", "kidney"),
        ("large liver lesion", "lesion liver"),  # and not every lesion
    ],
)
def test_the_words_that_choose_an_adapter(text, words):
    assert phrase_of(LEXICON.parse(text)) == words


def test_a_finding_taught_elsewhere_keeps_its_calibration_in_the_lung(base, module, monkeypatch):
    monkeypatch.setattr(type(module), "taught", property(lambda self: (LEXICON.parse("liver lesion"),)))
    known = replace(base.card, findings=("lesion",), calibration={"lesion": Calibration(), "lung": Calibration()})
    card = taught_card(replace(base, card=known), module, keeps=True)
    assert set(card.calibration) == {"lesion", "lung"}
    assert card.places["lesion"] == ("lung", "liver")
    assert calibration_keys(replace(base, card=card)) == ["lesion", "lesion@liver", "lung"]


def test_a_finding_in_its_own_place_has_one_calibration(base):
    within = LEXICON.term("pericardial_effusion").within
    card = replace(base.card, findings=("pericardial_effusion",), places={"pericardial_effusion": (within or "lung",)})
    assert calibration_keys(replace(base, card=card)) == ["pericardial_effusion", "lung"]
