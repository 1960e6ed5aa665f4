"""The grammar says what it is asked to say, in many ways, and the parser reads it back."""

from dataclasses import replace

import numpy as np
import pytest

from tips_med.errors import ConfigError, QueryError
from tips_med.lexicon import Lexicon, Side
from tips_med.synthesis.language import PhraseSlots, describe, slots_of

LEXICON = Lexicon.load("chest_ct")
LUNG_FINDINGS = ("nodule", "mass", "ground_glass_opacity", "consolidation", "atelectasis", "emphysema", "reticulation")
LUNG_LOCATIONS = ("upper_lobe", "lower_lobe", "apex", "base", "upper_third", "middle_third", "lower_zone", "peripheral")
ATTRIBUTES = ("large", "small", "multiple", "spiculated", "lobulated", "solid", "part_solid", "calcified", "mild")
SIDES: tuple[Side | None, ...] = (None, "left", "right", "both")
EXAMPLES = (
    PhraseSlots("ground_glass_opacity", "lung", "left"),
    PhraseSlots("mass", "lung", "left", ("upper_lobe",), ("spiculated",), size_mm=32.4),
    PhraseSlots("pleural_effusion", None, "right", negated=True),
    PhraseSlots("nodule", "lung", None, (), ("multiple", "part_solid")),
    PhraseSlots("nodule", "lung", "left", ("lingula",), hedged=True),
    PhraseSlots("atelectasis", "lung", "both", ("base",)),
    PhraseSlots("cyst", "kidney", "right", ("upper_pole",)),
    PhraseSlots("pneumothorax", negated=True, hedged=True),
    PhraseSlots(None, "lung", "left"),
    PhraseSlots(None, "liver"),
)


def random_slots(rng: np.random.Generator) -> PhraseSlots:
    kind = rng.random()
    side = SIDES[int(rng.integers(4))]
    if kind < 0.1:
        return PhraseSlots(None, str(rng.choice(["lung", "kidney"])), side)
    if kind < 0.3:
        finding, structure = str(rng.choice(["pleural_effusion", "pneumothorax"])), None
        locations = (str(rng.choice(["apex", "base"])),) if rng.random() < 0.3 else ()
    elif kind < 0.5:
        finding, structure, locations = str(rng.choice(["cyst", "lesion"])), str(rng.choice(["liver", "kidney"])), ()
    else:
        finding, structure = str(rng.choice(LUNG_FINDINGS)), "lung"
        locations = (str(rng.choice(LUNG_LOCATIONS)),) if rng.random() < 0.5 else ()
    attributes = tuple(sorted(rng.choice(ATTRIBUTES, int(rng.integers(3)), replace=False).tolist()))
    return PhraseSlots(
        finding,
        structure,
        side,
        locations,
        attributes,
        negated=bool(rng.random() < 0.2),
        hedged=bool(rng.random() < 0.2),
        size_mm=round(float(rng.uniform(3, 90)), 1) if rng.random() < 0.3 else None,
    )


@pytest.mark.parametrize("seed", range(400))
def test_what_is_written_is_read_back_as_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    slots = random_slots(rng)

    query = LEXICON.parse(describe(slots, rng, LEXICON))

    assert slots_of(query) == slots
    assert query.unknown_words == ()
    assert 1 <= len(query.words) <= 32


@pytest.mark.parametrize("slots", EXAMPLES, ids=lambda slots: f"{slots.finding}-{slots.structure}")
def test_one_meaning_is_written_in_many_ways(slots: PhraseSlots) -> None:
    rng = np.random.default_rng(1)
    texts = {describe(slots, rng, LEXICON) for _ in range(60)}

    assert len(texts) >= 10
    assert len({LEXICON.parse(text).phrase for text in texts}) >= 2


def test_every_way_of_writing_is_used() -> None:
    rng = np.random.default_rng(2)
    slots = PhraseSlots("ground_glass_opacity", "lung", "left", ("lower_lobe",))
    texts = {describe(slots, rng, LEXICON) for _ in range(600)}

    assert {"ground-glass opacity left lower lobe", "left lower lobe ground-glass opacity"} <= texts
    for part in ("GGO", "LLL", "there is", "is seen", "ground glass", "lower lobe of the left lung", ": ", "opacities"):
        assert any(part in text for text in texts), part


def test_spelling_varies_between_british_and_american() -> None:
    rng = np.random.default_rng(3)
    texts = " ".join(describe(PhraseSlots("pulmonary_edema"), rng, LEXICON).lower() for _ in range(60))

    assert "oedema" in texts
    assert " edema" in texts


def test_the_same_seed_writes_the_same() -> None:
    def ten() -> list[str]:
        rng = np.random.default_rng(4)
        return [describe(slots, rng, LEXICON) for slots in EXAMPLES]

    assert ten() == ten()


def test_all_that_a_phrase_can_hold_is_written_for_training_sooner_or_later() -> None:
    """A word that is never written has an embedding that is never trained, and yet a user may type it."""
    rng = np.random.default_rng(5)
    unwritten = set(LEXICON.vocabulary)
    for _ in range(400):
        for term in LEXICON.terms:
            if unwritten.isdisjoint(word for form in term.forms for word in form.words):
                continue
            slots = PhraseSlots("nodule", size_mm=8.0)
            if term.kind == "finding":
                slots = replace(slots, finding=term.id)
            elif term.kind == "structure":
                slots = PhraseSlots(None, term.id, SIDES[int(rng.integers(4))] if term.paired else None)
            elif term.kind == "side":
                slots = replace(slots, side=term.id)
            elif term.kind == "location":
                structure = term.structures[0] if term.structures else "lung"
                slots = replace(slots, structure=structure, side=term.side, locations=(term.id,))
                slots = replace(slots, side="both") if term.side is None and rng.random() < 0.5 else slots
            else:
                slots = replace(slots, attributes=(term.id,))
            for one in (slots, replace(slots, finding="lesion")):
                unwritten -= set(LEXICON.parse(describe(one, rng, LEXICON)).phrase.split())

    assert sorted(unwritten) == []


def test_held_out_synonyms_are_written_only_when_asked_for() -> None:
    held_out = {
        term.id: {" ".join(form.words) for form in term.forms if form.held_out}
        for term in LEXICON.terms
        if any(form.held_out for form in term.forms)
    }

    assert len(held_out) >= 14
    for term_id, synonyms in held_out.items():
        rng = np.random.default_rng(6)
        for asked in (False, True):
            texts = [describe(PhraseSlots(term_id), rng, LEXICON, held_out=asked) for _ in range(25)]
            for phrase in (LEXICON.parse(text, as_written=True).phrase for text in texts):
                assert any(synonym in phrase for synonym in synonyms) == asked, phrase


@pytest.mark.parametrize(
    "slots",
    [
        PhraseSlots(),
        PhraseSlots(side="left"),
        PhraseSlots("nodule", "lung", "left", ("middle_lobe",)),
        PhraseSlots("nodule", "liver", None, ("upper_lobe",)),
        PhraseSlots("nodule", None, None, ("upper_lobe",)),
        PhraseSlots("nodule", size_mm=0.0),
        PhraseSlots("nodule", size_mm=5000.0),
        PhraseSlots("nodule", size_mm=float("nan")),
    ],
)
def test_slots_that_no_phrase_can_say_are_refused(slots: PhraseSlots) -> None:
    with pytest.raises(QueryError) as caught:
        describe(slots, np.random.default_rng(7), LEXICON)

    assert caught.value.code == "unspeakable"


def test_an_unknown_term_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no term 'nodul'.*nodule"):
        describe(PhraseSlots("nodul"), np.random.default_rng(8), LEXICON)
