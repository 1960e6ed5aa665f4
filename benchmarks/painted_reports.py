"""Painted scans as DICOM, each with a report that a small writer made of what was painted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tips_med.exporters.nifti import write_volume
from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.acquisition import acquire
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.deform import Deformation, sample_deformed_crop
from tips_med.synthesis.findings import Canvas, Painted
from tips_med.synthesis.findings.solid_organs import KIDNEYS, paint_cyst, paint_lesion
from tips_med.synthesis.organs import LABELS
from tips_med.synthesis.phantom import make_phantom

SHAPE = (24, 112, 160)
SPACING_MM = (2.5, 2.0, 2.0)
SERIES = 3


@dataclass(frozen=True)
class Case:
    """A painted scan.

    Attributes:
        name: Its patient.
        split: ``train``, ``val`` or ``test``.
        scan: DICOM folder.
        report: What the writer says of it.
        mask: All renal cysts, NIfTI; None where there are none.
        kidneys: Both kidneys with their cysts, NIfTI: 1 right, 2 left.
    """

    name: str
    split: str
    scan: Path
    report: str
    mask: Path | None
    kidneys: Path


def paint_cases(out: Path, counts: dict[str, int], seed: int) -> list[Case]:
    """Paints the scans that are not there yet."""
    cases = []
    for split, count in counts.items():
        for number in range(count):
            cases.append(_case(out / "scans" / f"{split}-{number:03d}", split, number, seed + len(cases)))
    return cases


def _case(folder: Path, split: str, number: int, seed: int) -> Case:
    report, mask = folder / "report.txt", folder / "cysts.nii.gz"
    if not report.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # Held-out scans all have one, since what is measured is where it is; every third one to train on has none.
        kind = ("one", "none", "two", "both", "one", "none")[number % 6] if split == "train" else None
        kind = kind or ("one", "two", "both", "one")[number % 4]
        rng = np.random.default_rng(seed)
        body, tries = _kidney_level(seed), 0
        while not _paint(folder, kind, body, seed, rng):
            tries += 1
            if tries % 10 == 0:  # a body with little room
                body = _kidney_level(seed + 100_000 * tries)
    text = report.read_text("utf-8")
    there = mask if mask.exists() else None
    return Case(folder.name, split, folder / "dicom", text, there, folder / "kidneys.nii.gz")


def _paint(folder: Path, kind: str, body: Anatomy, seed: int, rng: np.random.Generator) -> bool:
    """Paints and writes one scan; False where there was no room, so that it has to be tried again."""
    crop = sample_deformed_crop(body, SHAPE, Deformation(mirrored=0.5), rng)
    if crop.lungs is None or crop.organs is None:
        return False
    organs = crop.organs
    kidneys = np.select([organs == label for label in KIDNEYS.values()], list(KIDNEYS), 0).astype(np.uint8)
    if min((kidneys == side).sum() for side in KIDNEYS) < 2000:
        return False
    canvas = Canvas(crop.volume_hu, crop.lungs, SPACING_MM, rng, crop.ignored.copy(), organs)
    side = int(rng.choice([RIGHT, LEFT]))
    wanted = {"none": [], "one": [side], "two": [side] * 2, "both": [RIGHT, LEFT]}[kind]
    painted = [paint_cyst(canvas, where) for where in wanted]
    cysts = [one for one in painted if one is not None and one.mask.sum() >= 8]
    if len(cysts) < len(wanted):
        return False
    # What is no renal cyst and looks like one at first sight: cysts and lesions of the liver, tumours of the kidney.
    others = [paint(canvas) for paint in (paint_lesion, paint_lesion)] + _hepatic_cysts(canvas, rng)
    volume = acquire(canvas.volume_hu, SPACING_MM, rng, 0.7)
    affine = np.eye(4)
    affine[:3, :3] = np.diag(SPACING_MM)[::-1]
    affine[2, 3] = rng.uniform(-50, 50)
    affine[1, 3], affine[0, 3] = crop.offset_mm
    write_volume(kidneys, affine, folder / "kidneys.nii.gz")
    if cysts:
        masks = np.any([one.mask for one in cysts], axis=0)
        write_volume(masks.astype(np.uint8), affine, folder / "cysts.nii.gz")
    write_dicom(folder / "dicom", volume, affine, seed)
    (folder / "report.txt").write_text(_report(kind, cysts, [one for one in others if one], rng), "utf-8")
    return True


def _kidney_level(seed: int) -> Anatomy:
    """The part of a phantom that holds its kidneys."""
    whole = make_phantom(seed, SPACING_MM, above_mm=-200.0)
    assert whole.organs is not None  # a phantom has all of its organs labelled
    level = np.flatnonzero(np.isin(whole.organs, list(KIDNEYS.values())).any(axis=(1, 2)))
    cut = slice(max(0, int(level[0]) - 2), int(level[-1]) + 3)
    arrays = {name: getattr(whole, name)[cut] for name in ("volume_hu", "lungs", "lesions", "ignored", "organs")}
    return replace(whole, **arrays)


def _hepatic_cysts(canvas: Canvas, rng: np.random.Generator) -> list[Painted | None]:
    """A cyst of the liver in half of the scans that show it."""
    if rng.random() < 0.5 or canvas.organs is None:
        return []
    there = canvas.organs
    canvas.organs = np.where(there == LABELS["liver"], there, 0)
    made = paint_cyst(canvas)
    canvas.organs = there
    return [made]


def image_number(slab: int) -> int:
    """Instance Number of a slab: scanners count from the head, and slabs run to it."""
    return SHAPE[0] - slab


def _report(kind: str, cysts: list[Painted], others: list[Painted], rng: np.random.Generator) -> str:
    """A report in one of several styles."""
    lines = [_of_cysts(kind, cysts, rng)]
    for one in others:
        organ = f"{one.side} kidney" if one.side else "liver"
        lines.append(f"{one.finding.capitalize()} in the {organ}.")
    lines = list(dict.fromkeys(lines))
    rng.shuffle(lines)
    style = int(rng.integers(3))
    if style == 0:
        return "INDICATION: Pain.\nFINDINGS: " + " ".join(lines) + " No ascites.\nIMPRESSION: As above."
    if style == 1:
        return "\n".join(f"- {line}" for line in lines)
    return "Findings:\n" + "\n".join([*lines, "No hydronephrosis."])


def _of_cysts(kind: str, cysts: list[Painted], rng: np.random.Generator) -> str:
    """The sentence about renal cysts. It cites the image that shows most of the largest one, or the next to it."""

    def pick(*texts: str) -> str:
        return texts[int(rng.integers(len(texts)))]

    if not cysts:
        return pick("No renal cyst.", "No renal cysts are seen.", "There is no cyst in the kidneys.")
    largest = max(cysts, key=lambda one: int(one.mask.sum()))
    slab = int(largest.mask.sum(axis=(1, 2)).argmax())
    size_mm = axial_long_axis_mm(largest.mask[slab])
    image = image_number(min(max(slab + int(rng.integers(-1, 2)), 0), SHAPE[0] - 1))
    size = pick(f"{size_mm:.0f} mm", f"{size_mm / 10:.1f} cm")
    where = pick(f"(series {SERIES}, image {image})", f"(image {image})", f"(im {image})")
    side = largest.side
    if kind == "both":
        return pick(
            f"Bilateral renal cysts measuring up to {size} {where}.",
            f"Cysts in both kidneys, up to {size} {where}.",
        )
    if kind == "two":
        return pick(
            f"Two cysts in the {side} kidney measuring up to {size} {where}.",
            f"There are 2 {side} renal cysts, up to {size} {where}.",
        )
    return pick(
        f"Cyst in the {side} kidney measuring {size} {where}.",
        f"{side} renal cyst, {size} {where}.".capitalize(),
        f"There is a renal cyst measuring {size} {where}.",
    )


def axial_long_axis_mm(plane: np.ndarray) -> float:
    """The longest axis of a mask in a slice, from outer edge to outer edge."""
    points = np.argwhere(plane) * np.array(SPACING_MM[1:])
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    return float(apart.max() + SPACING_MM[1])


def write_dicom(folder: Path, volume_hu: np.ndarray, lps_from_kji: np.ndarray, seed: int) -> None:
    """Writes an axial series, its images numbered from the head."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series, frame = (generate_uid(entropy_srcs=[str(seed), what]) for what in ("study", "series", "frame"))
    spacing = np.linalg.norm(lps_from_kji[:3, :3], axis=0)
    for k, plane in enumerate(np.rint(volume_hu).clip(-1024, 3071).astype(np.int16)):
        header = pydicom.Dataset()
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = CTImageStorage
        uid = generate_uid(entropy_srcs=[str(seed), str(k)])
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = uid
        header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = study, series, frame
        header.Modality, header.PatientID, header.PatientName = "CT", f"{seed}", "Painted"
        header.PatientBirthDate = header.PatientSex = header.StudyDate = header.StudyTime = header.StudyID = ""
        header.AccessionNumber = header.ReferringPhysicianName = header.Manufacturer = ""
        header.SeriesNumber, header.InstanceNumber = SERIES, image_number(k)
        header.Rows, header.Columns = plane.shape
        header.PixelSpacing, header.SliceThickness = [float(spacing[1]), float(spacing[2])], float(spacing[0])
        header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        header.ImagePositionPatient = [float(n) for n in lps_from_kji[:3, 3] + k * lps_from_kji[:3, 0]]
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated = header.BitsStored = 16
        header.HighBit, header.PixelRepresentation = 15, 1
        header.RescaleIntercept, header.RescaleSlope, header.RescaleType = 0, 1, "HU"
        header.PixelData = plane.tobytes()
        header.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)
