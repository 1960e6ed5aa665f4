"""What the reader notes about a scan tells neither when it was made nor which it was, once identity is taken out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.deidentification.planted import ALL, STUDY_DAY, words_in
from tests.readers.awkward.catalog import CASES
from tests.readers.awkward.writing import ROOT, Slice, make_series, store, write_series
from tips_med.deidentification import Deidentifier
from tips_med.errors import ReadError
from tips_med.notes import Note
from tips_med.readers import read_scan

KEY = bytes(range(32))


def test_no_note_of_any_awkward_scan_holds_a_date_or_a_uid(tmp_path: Path) -> None:
    private, seen = Deidentifier(KEY), set()
    for number, case in enumerate(CASES):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            scan = read_scan(case.write(folder).path, **case.options)
        except ReadError:
            continue
        seen |= set(scan.provenance.notes)
        notes = " ".join(private.scan(scan).provenance.notes)
        assert not words_in(notes, (ROOT, STUDY_DAY, "2020")), case.name
    assert len(seen) > 10, "the cases are noted about"


def several(tag: str, values: tuple[str, str]) -> list[Slice]:
    """Two volumes at the same places, which an attribute tells apart."""
    made = []
    for n, value in enumerate(values):
        for k, item in enumerate(make_series()):
            store(item, item.values * (1 - 0.1 * n))
            made.append(item.set(SOPInstanceUID=f"{ROOT}.8.{n}.{k}", InstanceNumber=100 * n + k, **{tag: value}))
    return made


@pytest.mark.parametrize(
    ("tag", "values"),
    [
        ("AcquisitionDateTime", (STUDY_DAY + "101112", STUDY_DAY + "101213")),
        ("AcquisitionTime", ("101112", "101213")),
        ("FrameOfReferenceUID", (f"{ROOT}.3.1", f"{ROOT}.3.2")),
        ("ContentTime", ("101112.5", "101213.5")),
    ],
)
def test_the_note_that_tells_volumes_apart_is_kept_without_what_tells_them(
    tmp_path: Path, tag: str, values: tuple[str, str]
) -> None:
    scan = read_scan(write_series(tmp_path / "series", several(tag, values)), phase=2)
    told = " ".join(scan.provenance.notes)
    assert values[1].removesuffix(".5") in told
    private = Deidentifier(KEY)
    clean = " ".join(private.scan(scan).provenance.notes)
    assert not words_in(clean, (*ALL, "101112", "101213"))
    assert "Volume 2 of 2" in clean and tag in clean
    if tag == "FrameOfReferenceUID":
        assert private.uid(values[1]) in clean
    stored = replace(scan, provenance=replace(scan.provenance, notes=tuple(str(n) for n in scan.provenance.notes)))
    assert " ".join(private.scan(stored).provenance.notes) == clean, "as from an encoded study, where notes are text"
    assert all(isinstance(note, Note) for note in private.scan(scan).provenance.notes)
