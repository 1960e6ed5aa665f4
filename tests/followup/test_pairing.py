from __future__ import annotations

from datetime import date

import pytest

from tips_med.errors import ReadError
from tips_med.followup.pairing import check_patients
from tips_med.readers import PatientTrace

FIRST, LATER = date(2024, 2, 28), date(2024, 3, 1)


def test_days_are_counted_and_nothing_is_noted_for_a_pair():
    assert check_patients(PatientTrace("a", acquired=FIRST), PatientTrace("a", acquired=LATER)) == (2, ())


def test_other_patients_are_refused_unless_allowed():
    pair = PatientTrace("a"), PatientTrace("b")
    with pytest.raises(ReadError) as refused:
        check_patients(*pair)
    assert refused.value.code == "different-patients"
    days, notes = check_patients(*pair, allow_different=True)
    assert days is None
    assert "different Patient IDs" in notes[0]


def test_what_cannot_be_checked_is_said():
    _, notes = check_patients(PatientTrace(), PatientTrace("b"))
    assert "not checked" in notes[0]


def test_scans_in_the_wrong_order_are_refused_but_not_where_dates_were_moved():
    pair = PatientTrace("a", acquired=LATER), PatientTrace("a", acquired=FIRST)
    with pytest.raises(ReadError, match="2 days after") as refused:
        check_patients(*pair)
    assert refused.value.code == "prior-is-later"
    days, notes = check_patients(pair[0], PatientTrace("a", identity_removed=True, acquired=FIRST))
    assert days is None
    assert "deidentification may have moved" in notes[0]
