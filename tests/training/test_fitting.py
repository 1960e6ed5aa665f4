from __future__ import annotations

import pytest

from tips_med.training import fitting
from tips_med.training.fitting import TrainerSpec, precision_of


@pytest.mark.parametrize(("fast", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_bfloat16_is_taken_only_where_the_machine_is_quick_at_it(fast, expected, monkeypatch):
    monkeypatch.setattr(fitting, "has_fast_bfloat16", lambda device: fast)
    assert precision_of(TrainerSpec().precision, "cpu") == expected


def test_a_precision_that_was_asked_for_is_kept():
    assert precision_of("16-mixed", "auto") == "16-mixed"
