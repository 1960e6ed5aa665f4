"""Studies are chosen for what they teach, and for not being alike."""

from __future__ import annotations

import numpy as np

from tips_med.suggestion import PhraseValue, StudyValue, select_diverse


def _study(value: float, *embedding: float) -> StudyValue:
    vector = np.array(embedding, np.float32)
    phrase = PhraseValue("mass", "unsure", 0.0, True, value, 0.0, 0.0, 1.0, (0.0, 0.0, 0.0))
    return StudyValue((phrase,), vector / np.linalg.norm(vector))


def test_a_twin_of_a_chosen_study_comes_later() -> None:
    candidates = [_study(1.0, 1, 0), _study(0.98, 1, 0.01), _study(0.7, 0, 1)]
    assert select_diverse(candidates, [], 3)[-1].index == 1


def test_what_is_like_a_labelled_study_comes_later() -> None:
    candidates = [_study(1.0, 1, 0), _study(0.9, 0, 1)]
    labelled = [np.array([1.0, 0.0], np.float32)]
    chosen = select_diverse(candidates, labelled, 2)
    assert [one.index for one in chosen] == [1, 0]
    assert (chosen[0].novelty, chosen[1].novelty) == (1.0, 0.0)


def test_value_decides_between_equally_new_studies() -> None:
    candidates = [_study(0.2, 1, 0), _study(0.9, 0, 1)]
    assert select_diverse(candidates, [], 1)[0].index == 1


def test_without_any_value_the_most_different_are_chosen() -> None:
    candidates = [_study(0.0, 1, 0), _study(0.0, 1, 0.1), _study(0.0, 0, 1)]
    assert {one.index for one in select_diverse(candidates, [], 2)} == {0, 2}


def test_no_more_than_there_are() -> None:
    assert select_diverse([], [], 3) == []
    assert len(select_diverse([_study(1.0, 1, 0)], [], 3)) == 1
