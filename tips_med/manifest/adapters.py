"""Manifests from public layouts: Medical Segmentation Decathlon, TotalSegmentator, ReXGroundingCT."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tips_med.manifest.rows import ManifestError, Row

LAYOUTS = ("decathlon", "totalsegmentator", "rexgroundingct")


def rows_of(
    layout: str, folder: Path, phrases: Mapping[str, str] | None = None, images: Path | None = None
) -> list[Row]:
    """The rows of one of the known layouts.

    Args:
        layout: One of ``LAYOUTS``.
        folder: Root folder of the dataset.
        phrases: Phrase for each label name, for Decathlon and TotalSegmentator: ``{"cancer": "lung mass"}``; other
            names are used as they are.
        images: Folder of the CT volumes from CT-RATE, for ReXGroundingCT; searched with subfolders.

    Raises:
        ManifestError: The layout is not known, or the folder is not of it.
    """
    if layout == "decathlon":
        return from_decathlon(folder, phrases or {})
    if layout == "totalsegmentator":
        return from_totalsegmentator(folder, phrases or {})
    if layout == "rexgroundingct":
        return from_rexgroundingct(folder, images or folder)
    raise ManifestError(f"no layout {layout!r}", expected=", ".join(LAYOUTS), code="layout")


def from_decathlon(folder: Path, phrases: Mapping[str, str]) -> list[Row]:
    """A task of the Medical Segmentation Decathlon (Antonelli 2022): ``dataset.json``, ``imagesTr``, ``labelsTr``.

    Cases are patients. A tenth of them, chosen by a hash of the name, is ``val`` and a tenth ``test``; the task's own
    test images have no labels and are left out. Label 0 and labels called background are not queried.
    """
    about = _json(folder / "dataset.json")
    try:
        labels = {int(value): str(name) for value, name in about["labels"].items()}
        pairs = [(folder / case["image"], folder / case["label"]) for case in about["training"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _foreign(folder / "dataset.json", "a Decathlon task", error) from error
    rows = []
    for image, mask in pairs:
        patient = image.name.removesuffix(".nii.gz")
        values = _values(mask)
        for value, name in labels.items():
            if value and name.lower() != "background":
                label = "present" if value in values else "absent"
                rows.append(Row(image, _phrase(name, phrases), mask, str(value), label, patient, split_of(patient)))
    return rows


def from_totalsegmentator(folder: Path, phrases: Mapping[str, str]) -> list[Row]:
    """The TotalSegmentator dataset (Wasserthal 2023): ``sNNNN/ct.nii.gz``, ``sNNNN/segmentations/NAME.nii.gz``.

    Splits are those of ``meta.csv``, where it is there, else by a hash as for Decathlon. An empty mask means
    that the structure is not in the scan: the dataset covers all of its structures in all scans.
    """
    scans = sorted(folder.glob("*/ct.nii.gz"))
    if not scans:
        raise _foreign(folder, "TotalSegmentator's folders sNNNN/ct.nii.gz")
    splits = {}
    if (folder / "meta.csv").is_file():
        text = (folder / "meta.csv").read_text(encoding="utf-8-sig").splitlines()
        splits = {row.get("image_id"): row.get("split") for row in csv.DictReader(text, delimiter=";")}
    rows = []
    for scan in scans:
        patient = scan.parent.name
        split = splits.get(patient) or split_of(patient)
        for mask in sorted((scan.parent / "segmentations").glob("*.nii.gz")):
            name = mask.name.removesuffix(".nii.gz")
            label = "present" if _values(mask) - {0} else "absent"
            rows.append(Row(scan, _phrase(name, phrases), mask, None, label, patient, split))
    return rows


@dataclass(frozen=True)
class ReXCase:
    """A scan of ReXGroundingCT with its findings.

    Attributes:
        name: File name of the CT volume, and of its mask: ``train_12_a_1.nii.gz``.
        split: ``train``, ``val`` or ``test``.
        findings: Sentence of each finding, in the order of the mask's first axis.
    """

    name: str
    split: str
    findings: tuple[str, ...]

    @property
    def patient(self) -> str:
        """``train_12`` for ``train_12_a_1.nii.gz``."""
        return "_".join(self.name.split("_")[:2])


def read_rexgroundingct(dataset: Path) -> list[ReXCase]:
    """The cases of ReXGroundingCT's ``dataset.json``, or of the challenge's (``MICCAI_challenge_dataset.json``).

    Raises:
        ManifestError: It is of another layout, or findings are not numbered from 0.
    """
    about = _json(dataset)
    cases = []
    try:
        for split, entries in about.items():
            for case in entries:
                name, findings = Path(str(case["name"])).name, {int(n): str(t) for n, t in case["findings"].items()}
                if sorted(findings) != list(range(len(findings))):
                    raise _foreign(dataset, f"findings of {name} that are numbered from 0")
                cases.append(ReXCase(name, str(split), tuple(findings[n] for n in range(len(findings)))))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _foreign(dataset, "ReXGroundingCT's splits of cases with findings", error) from error
    return cases


def find_volumes(images: Path) -> dict[str, Path]:
    """The CT volumes of CT-RATE in a folder and its subfolders, by name."""
    return {path.name: path for path in images.rglob("*.nii.gz") if "segmentations" not in path.parts}


def from_rexgroundingct(folder: Path, images: Path) -> list[Row]:
    """ReXGroundingCT (arXiv:2507.22030): ``dataset.json`` of findings, ``segmentations/NAME`` of [finding h w d].

    A finding without a mask (of the hidden test set) becomes a weak pair.
    """
    places = find_volumes(images)
    rows = []
    for case in read_rexgroundingct(folder / "dataset.json"):
        mask = folder / "segmentations" / case.name
        outlined = mask.is_file()
        for number, phrase in enumerate(case.findings):
            rows.append(
                Row(
                    scan=places.get(case.name, images / case.name),
                    phrase=phrase,
                    mask=mask if outlined else None,
                    part=f"first:{number}" if outlined else None,
                    label="present",
                    patient=case.patient,
                    split=case.split,
                )
            )
    return rows


def _phrase(name: str, phrases: Mapping[str, str]) -> str:
    """``lung_upper_lobe_left`` reads ``left lung upper lobe``."""
    if name in phrases:
        return phrases[name]
    words = name.replace("_", " ").split()
    if words and words[-1] in ("left", "right"):
        words = [words[-1], *words[:-1]]
    return " ".join(words)


def split_of(patient: str) -> str:
    """The split of a patient, by a hash of its name: a tenth ``val``, a tenth ``test``."""
    tenth = hashlib.sha256(patient.encode()).digest()[0] % 10
    return {0: "test", 1: "val"}.get(tenth, "train")


def _values(mask: Path) -> set[int]:
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    try:
        return {int(value) for value in np.unique(np.asarray(nib.load(mask).dataobj))}  # type: ignore[attr-defined]
    except (OSError, EOFError, ImageFileError) as error:
        raise ManifestError(f"cannot be read ({error})", path=mask, code="mask-unreadable") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ManifestError(f"cannot be read ({error})", path=path, code="layout") from error
    if not isinstance(about, dict):
        raise _foreign(path, "an object")
    return about


def _foreign(path: Path, expected: str, error: Exception | None = None) -> ManifestError:
    return ManifestError(
        "is of another layout" + (f" ({error})" if error else ""), path=path, expected=expected, code="layout"
    )
