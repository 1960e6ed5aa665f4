"""Compares readers on the project's awkward series, whose truth in the patient is known.

Every reader gets the path that a case wrote, is used as its documentation shows, and is judged by what is found at
points in the patient, so that any axis order and any handedness count as right. Writes the table of docs/reading.md.

    python -m benchmarks.reading_table [--write docs/reading.md]

Needs monai, itk, SimpleITK and highdicom.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from pydicom.errors import InvalidDicomError

from tests.readers.awkward.case import Case, Written
from tests.readers.awkward.catalog import GROUPS
from tests.readers.awkward.phantom import agrees
from tips_med.errors import ReadError
from tips_med.geometry import RAS_FROM_LPS
from tips_med.readers import read_scan

Volume = tuple[np.ndarray, np.ndarray]
"""An array with three axes, and the affine from its indices to LPS."""

BEGIN, END = "<!-- table begins -->", "<!-- table ends -->"


class NotMeantError(Exception):
    """The reader has no way to be given such a path."""


def monai_pydicom(path: Path) -> Volume:
    """MONAI's PydicomReader on a folder or file."""
    from monai.data.image_reader import PydicomReader

    return _monai(PydicomReader(), path)


def monai_itk(path: Path) -> Volume:
    """MONAI's ITKReader on a folder or file."""
    from monai.data.image_reader import ITKReader

    return _monai(ITKReader(), path)


def _monai(reader: object, path: Path) -> Volume:
    if path.suffix in (".gz", ".nii", ".nrrd", ".mha") and "Pydicom" in type(reader).__name__:
        raise NotMeantError
    if path.suffix == ".zip" or path.name == "DICOMDIR":
        raise NotMeantError
    array, meta = reader.get_data(reader.read(str(path)))  # type: ignore[attr-defined]
    return np.asarray(array), RAS_FROM_LPS @ np.asarray(meta["affine"], dtype=np.float64)


def simpleitk(path: Path) -> Volume:
    """SimpleITK's ImageSeriesReader on a folder, as in its examples; ReadImage on a file."""
    if path.suffix == ".zip" or path.name == "DICOMDIR":
        raise NotMeantError
    if path.is_dir():
        reader = sitk.ImageSeriesReader()
        names = reader.GetGDCMSeriesFileNames(str(path))
        if not names:
            raise ValueError("no series found")
        reader.SetFileNames(names)
        image = reader.Execute()
    else:
        image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)
    size = image.GetDimension()
    direction = np.array(image.GetDirection()).reshape(size, size)
    affine = np.eye(size + 1)
    affine[:size, :size] = direction * np.array(image.GetSpacing())
    affine[:size, size] = image.GetOrigin()
    if size != 3:
        raise ValueError(f"{size} axes")
    return array.transpose(2, 1, 0), affine


def with_highdicom(path: Path) -> Volume:
    """Highdicom on every DICOM file that pydicom finds in the folder."""
    if path.suffix == ".zip" or path.name == "DICOMDIR" or path.suffix in (".gz", ".nii", ".nrrd", ".mha"):
        raise NotMeantError
    datasets = []
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        with contextlib.suppress(InvalidDicomError):
            datasets.append(pydicom.dcmread(file))
    if len(datasets) == 1 and "NumberOfFrames" in datasets[0]:
        volume = highdicom.Image.from_dataset(datasets[0]).get_volume()
    else:
        volume = highdicom.get_volume_from_series(datasets)
    return volume.array, volume.affine


def this_reader(path: Path) -> Volume:
    """The strict reader."""
    scan = read_scan(path)
    return scan.voxels, scan.lps_from_kji


READERS: dict[str, Callable[[Path], Volume]] = {
    "MONAI PydicomReader": monai_pydicom,
    "MONAI ITKReader": monai_itk,
    "SimpleITK": simpleitk,
    "highdicom": with_highdicom,
    "tips_med": this_reader,
}


def judge(reader: Callable[[Path], Volume], case: Case, written: Written) -> str:
    """``right``, ``wrong``, ``refused`` (with a code where there is one), ``read``, or ``-`` where not meant.

    ``read`` is a right volume where this project refuses: one of several without a choice, or no CT, MR or PET.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array, affine = reader(written.path)
    except NotMeantError:
        return "-"
    except ReadError as error:
        return f"refused: {error.code}"
    except Exception:
        return "refused"
    array = np.squeeze(array) if array.ndim > 3 else array
    faults = [agrees(array, affine, truth) for truth in written.truths]
    if not faults or all(faults):
        return "wrong"
    return "right" if case.refusal is None else "read"


def table() -> tuple[list[str], dict[str, Counter[str]]]:
    """The rows of the table, and how often each reader was what."""
    lines = ["| case | " + " | ".join(READERS) + " |", "|---|" + "---|" * len(READERS)]
    counts: dict[str, Counter[str]] = {name: Counter() for name in READERS}
    for group, cases in GROUPS.items():
        lines.append(f"| **{group}** |" + " |" * len(READERS))
        for case in cases:
            with tempfile.TemporaryDirectory() as folder:
                inner = Path(folder) / "case"
                inner.mkdir()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    written = case.write(inner)
                verdicts = [judge(reader, case, written) for reader in READERS.values()]
            for name, verdict in zip(READERS, verdicts, strict=True):
                counts[name][verdict.split(":")[0].split(",")[0]] += 1
            shown = ["**wrong**" if v == "wrong" else re.sub(": (.*)", r": `\1`", v) for v in verdicts]
            lines.append(f"| {case.name} | " + " | ".join(shown) + " |")
    return lines, counts


def summary(counts: dict[str, Counter[str]]) -> list[str]:
    """One row a reader."""
    rows = [
        f"| {name} | {c['right']} | {c['refused']} | {c['wrong']} | {c['read']} | {c['-']} |"
        for name, c in counts.items()
    ]
    return [
        "| reader | right | refused | wrong | read where this one refuses | not for it |",
        "|---|---:|---:|---:|---:|---:|",
        *rows,
    ]


def main() -> None:
    """Prints the tables, or writes them between the marks of a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path)
    page = parser.parse_args().write
    logging.disable(logging.CRITICAL)
    with Path(os.devnull).open("w") as nowhere, _stderr_to(nowhere.fileno()):
        lines, counts = table()
    text = "\n".join([*summary(counts), "", *lines])
    if page is None:
        print(text)
        return
    whole = page.read_text(encoding="utf-8")
    before, after = whole.split(BEGIN)[0], whole.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    print("\n".join(summary(counts)))


@contextlib.contextmanager
def _stderr_to(descriptor: int):
    """ITK writes its warnings to the process's standard error."""
    kept = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


if __name__ == "__main__":
    main()
