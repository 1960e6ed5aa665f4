"""Folders, archives, media and damaged files."""

from __future__ import annotations

import gc
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

from pydicom.fileset import FileSet

from tests.readers.awkward.case import Case, Written
from tests.readers.awkward.writing import ROOT, make_series, truth_of, write_file, write_series


def _nested(folder: Path) -> Written:
    slices = make_series()
    for n, item in enumerate(slices):
        write_file(folder / f"d{n % 3}" / "deeper" / f"{n}", item.dataset)
    return Written(folder, (truth_of(slices),))


def _junk(folder: Path) -> Written:
    slices = make_series()
    write_series(folder, slices)
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    (folder / "readme.txt").write_text("scanned on a Tuesday")
    (folder / "empty").write_bytes(b"")
    (folder / "zeros.bin").write_bytes(bytes(1000))
    (folder / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
    return Written(folder, (truth_of(slices),))


def _not_ascii(folder: Path) -> Written:
    slices = make_series()
    for item in slices:
        item.set(PatientName="Müller^Jürgen=山田^太郎", SeriesDescription="Thorax nativ 1,5 µm")
    inner = folder / "Übersicht 肺"
    return Written(write_series(inner, slices), (truth_of(slices),))


def _no_preamble(folder: Path) -> Written:
    slices = make_series()
    for n, item in enumerate(slices):
        write_file(folder / f"{n}.dcm", item.dataset, "1.2.840.10008.1.2", preamble=False)
    return Written(folder, (truth_of(slices),))


def _zip(folder: Path) -> Written:
    slices = make_series()
    write_series(folder / "inside", slices)
    with zipfile.ZipFile(folder / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((folder / "inside").iterdir()):
            archive.write(path, f"study/series/{path.name}")
    shutil.rmtree(folder / "inside")
    return Written(folder / "study.zip", (truth_of(slices),))


def _zip_leaving(folder: Path) -> Written:
    written = _zip(folder)
    with zipfile.ZipFile(written.path, "a") as archive:
        archive.writestr("../../outside.dcm", b"x")
    return Written(written.path)


def _zip_bomb(folder: Path) -> Written:
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for n in range(3):
            archive.writestr(f"{n}.dcm", bytes(40 << 20))
    return Written(folder / "bomb.zip")


def _dicomdir(lose: bool) -> Callable[[Path], Written]:
    def write(folder: Path) -> Written:
        slices = make_series()
        medium = FileSet()
        for item in slices:
            item.set(StudyDate="20200101", StudyTime="120000", StudyID="1", AccessionNumber="1")
            write_file(folder / "in" / "x.dcm", item.dataset)
            medium.add(folder / "in" / "x.dcm")
        medium.write(folder / "medium")
        with warnings.catch_warnings():  # pydicom leaves its temporary folder to the garbage collector
            warnings.simplefilter("ignore", ResourceWarning)
            del medium
            gc.collect()
        shutil.rmtree(folder / "in")
        if lose:
            next(p for p in sorted((folder / "medium").rglob("*")) if p.is_file() and p.name != "DICOMDIR").unlink()
        return Written(folder / "medium" / "DICOMDIR", () if lose else (truth_of(slices),))

    return write


def _one_file(folder: Path) -> Written:
    slices = make_series()
    write_series(folder, slices)
    return Written(folder / "IM0005.dcm", (truth_of(slices), truth_of(slices[4:5])))


def _cut(keep: float) -> Callable[[Path], Written]:
    def write(folder: Path) -> Written:
        write_series(folder, make_series())
        path = folder / "IM0006.dcm"
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])
        return Written(folder)

    return write


def _nothing(folder: Path) -> Written:
    (folder / "notes.txt").write_text("nothing here")
    return Written(folder)


def _broken_value(folder: Path) -> Written:
    slices = make_series()
    for item in slices:
        item.dataset.add_new(0x00280030, "LO", "1.25\\wide")
    return Written(write_series(folder, slices))


def _same_uid(folder: Path) -> Written:
    slices = make_series()
    for item in slices:
        item.set(SOPInstanceUID=f"{ROOT}.1.1")
    return Written(write_series(folder, slices), (truth_of(slices),))


CASES = [
    Case("nested folders, no suffix", _nested),
    Case("junk files in the folder", _junk, note="not DICOM"),
    Case("non-ASCII path and patient name", _not_ascii),
    Case("no preamble", _no_preamble),
    Case("zip archive", _zip),
    Case("zip with a member that leads outside", _zip_leaving, "unsafe-archive"),
    Case("zip bomb", _zip_bomb, "too-large"),
    Case("DICOMDIR", _dicomdir(False)),
    Case("DICOMDIR with a file missing", _dicomdir(True), "missing-file"),
    Case("one file of a series", _one_file, note="One slice was named"),
    Case("one file cut in its pixels", _cut(0.8), "truncated-file"),
    Case("one file cut in its header", _cut(0.15), "damaged-file"),
    Case("a value that is no number", _broken_value, "damaged-file"),
    Case("every slice with the same SOP Instance UID", _same_uid, note="SOP Instance UID"),
    Case("no DICOM at all", _nothing, "no-dicom"),
]
