"""Notes are plain strings, and lose whatever tells who the patient is or when the scan was made."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from tips_med.notes import Note, without_identity
from tips_med.scan import Provenance


def mapped(uid: str) -> str:
    return f"2.25.{1000000 + len(uid)}"


def test_a_note_is_a_string_that_knows_what_it_is_made_of() -> None:
    note = Note("{count} slices of {uid} left out.", code="left-out", count=3, uid="1.2.3.4.5")
    assert note == "3 slices of 1.2.3.4.5 left out."
    assert (note.code, note.values) == ("left-out", {"count": 3, "uid": "1.2.3.4.5"})
    for copied in (copy.deepcopy(note), pickle.loads(pickle.dumps(note))):
        assert (copied, copied.code, copied.values) == (note, note.code, note.values)
    assert json.loads(json.dumps([note])) == [str(note)]
    assert Provenance("dicom").noting("plain", note).notes == ("plain", note)


def test_values_are_mapped_or_removed() -> None:
    note = Note("{n}: {uid}, {text}, {label}.", n=2, uid="1.2.3.4.5", text="Smith", label="ContentTime 101112.5")
    clean = without_identity(note, mapped)
    assert clean == "2: 2.25.1000009, (removed), ContentTime (removed)."
    assert without_identity(clean, mapped).count("(removed)") == 2
    assert without_identity(Note("{when}", when=20240229), mapped) == "(removed)"


@pytest.mark.parametrize(
    ("plain", "clean"),
    [
        ("3 copies of slices that are there already dropped.", None),
        ("A single slice: its Slice Thickness of 2.5 mm is taken as the spacing.", None),
        ("Gantry/Detector Tilt is 12.5 degrees, but the slices are stacked along their normal.", None),
        ("Volume 2 of 3 in the series: EchoTime 4.6.", None),
        ("Volume 2 of 3: AcquisitionDateTime 20240229101112.", "Volume 2 of 3: AcquisitionDateTime (removed)."),
        ("Volume 1 of 2: ContentTime from 1.01112e+05.", "Volume 1 of 2: ContentTime (removed)."),
        (
            "Volume 1 of 2: SeriesDescription Smith, EchoTime 5.",
            "Volume 1 of 2: SeriesDescription (removed), EchoTime 5.",
        ),
        ("FrameOfReferenceUID 1.2.840.99.7.", "FrameOfReferenceUID 2.25.1000012."),
        ("Slice 1.2.840.99.1, then 1.2.840.99.22.", "Slice 2.25.1000012, then 2.25.1000013."),
        ("Named 'Smith, Jane' on 2024-02-29 at 10:11:12.", "Named (removed) on (removed) at (removed)."),
        ("Number 19330303 left out, 2.25.123456789 too.", "Number (removed) left out, 2.25.1000014 too."),
        ("Odd {braces} stay harmless.", "Odd (braces) stay harmless."),
    ],
)
def test_plain_text_is_searched(plain: str, clean: str | None) -> None:
    assert without_identity(plain, mapped) == (plain if clean is None else clean)
