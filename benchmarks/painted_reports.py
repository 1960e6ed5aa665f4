"""Painted scans as DICOM, each with a report that a small writer made of what was painted."""

from __future__ import annotations

from dataclasses import dataclass
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
from tips_med.synthesis.findings import Canvas, Painted, known_findings
from tips_med.synthesis.findings.canvas import blob, inside_lung, painted, soft
from tips_med.synthesis.findings.nodules import paint_nodule
from tips_med.synthesis.phantom import make_phantom

SHAPE = (20, 96, 144)
SPACING_MM = (2.5, 2.0, 2.0)
FIRST_SEEDS = {"train": 0, "val": 1000, "test": 3000}
SERIES = 3
NUMBERS = ("zero", "one", "two", "three")
SIDES = {RIGHT: "right", LEFT: "left"}


@dataclass(frozen=True)
class Case:
    """A painted scan.

    Attributes:
        name: Its patient.
        split: ``train``, ``val`` or ``test``.
        scan: DICOM folder.
        report: What the writer says of it.
        mask: All bullae, NIfTI; None where there are none.
        lungs: Both lungs with all that is in them, NIfTI: 1 right, 2 left.
    """

    name: str
    split: str
    scan: Path
    report: str
    mask: Path | None
    lungs: Path


def paint_cases(out: Path, counts: dict[str, int], seed: int) -> list[Case]:
    """Paints the scans that are not there yet."""
    cases = []
    for split, count in counts.items():
        for number in range(count):
            offset = FIRST_SEEDS[split] + number
            cases.append(_case(out / "scans" / f"{split}-{number:03d}", split, number, seed + offset))
    return cases


def _case(folder: Path, split: str, number: int, seed: int) -> Case:
    report, mask = folder / "report.txt", folder / "bullae.nii.gz"
    if not report.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # Held-out scans all have one, since what is measured is where it is; every third one to train on has none.
        kind = ("one", "none", "two", "both", "one", "none")[number % 6] if split == "train" else None
        kind = kind or ("one", "two", "both", "one")[number % 4]
        rng = np.random.default_rng(seed)
        body, tries = make_phantom(seed, SPACING_MM, below_mm=20.0), 0
        while not _paint(folder, kind, body, seed, rng):
            tries += 1
            if tries % 10 == 0:  # a body with little room
                body = make_phantom(seed + 100_000 * tries, SPACING_MM, below_mm=20.0)
    text = report.read_text("utf-8")
    there = mask if mask.exists() else None
    return Case(folder.name, split, folder / "dicom", text, there, folder / "lungs.nii.gz")


def _paint(folder: Path, kind: str, body: Anatomy, seed: int, rng: np.random.Generator) -> bool:
    """Paints and writes one scan; False where there was no room, so that it has to be tried again."""
    crop = sample_deformed_crop(body, SHAPE, Deformation(mirrored=0.5), rng)
    if crop.lungs is None or min((crop.lungs == side).sum() for side in SIDES) < 6000:
        return False
    lungs = crop.lungs.copy()
    canvas = Canvas(crop.volume_hu, crop.lungs, SPACING_MM, rng, crop.ignored.copy(), crop.organs)
    side = int(rng.choice([RIGHT, LEFT]))
    wanted = {"none": [], "one": [side], "two": [side] * int(rng.integers(2, 4)), "both": [RIGHT, LEFT]}[kind]
    for where in wanted:
        canvas.add(paint_bulla(canvas, where))
    if len(canvas.found) < len(wanted):
        return False
    _distract(canvas, rng)
    bullae = [one for one in canvas.found if one.finding == "bulla"]
    others = [one for one in canvas.found if one.finding != "bulla"]
    volume = acquire(canvas.volume_hu, SPACING_MM, rng, 0.7)
    affine = np.eye(4)
    affine[:3, :3] = np.diag(SPACING_MM)[::-1]
    affine[2, 3] = rng.uniform(-50, 50)
    affine[1, 3], affine[0, 3] = crop.offset_mm
    write_volume(canvas.follow(lungs), affine, folder / "lungs.nii.gz")
    if bullae:
        masks = np.any([one.mask for one in bullae], axis=0)
        write_volume(masks.astype(np.uint8), affine, folder / "bullae.nii.gz")
    write_dicom(folder / "dicom", volume, affine, seed)
    (folder / "report.txt").write_text(_report(kind, bullae, others, rng), "utf-8")
    return True


def paint_bulla(canvas: Canvas, side: int) -> Painted | None:
    """A bulla of 10 to 40 mm: air without lung in it, behind a wall of 1 to 2 mm (Hansell 2008)."""
    rng = canvas.rng
    diameter_mm = float(np.exp(rng.uniform(np.log(10), np.log(40))))
    made = blob(canvas, canvas.place(side), diameter_mm, rough=rng.uniform(0.02, 0.1), spiculated=False)
    if made is None:
        return None
    box, radius = made
    room = inside_lung(canvas, box)
    air = soft(radius, diameter_mm, edge_mm=1.5) * room
    wall_mm = rng.uniform(1.0, 2.0)
    wall = soft(radius, diameter_mm, edge_mm=1.0, at=1 + 2 * wall_mm / diameter_mm) * room * (1 - air)
    if (air > 0.5).sum() < 30:
        return None
    view = canvas.volume_hu[box]
    view += air * (rng.uniform(-995, -975) - view)
    view += 0.5 * wall * (rng.uniform(-500, -200) - view)
    return painted(canvas, "bulla", box, air > 0.5, [], diameter_mm)


def _distract(canvas: Canvas, rng: np.random.Generator) -> None:
    """What is no bulla: dark lung without a wall, a hole with a thick one, nodules."""
    canvas.add(paint_nodule(canvas))
    emphysema = rng.random() < 0.6
    if rng.random() < 0.5:
        canvas.add(known_findings()["cavity"].paint(canvas))
    if emphysema:
        canvas.add(known_findings()["emphysema"].paint(canvas))


def image_number(slab: int) -> int:
    """Instance Number of a slab: scanners count from the head, and slabs run to it."""
    return SHAPE[0] - slab


def _report(kind: str, bullae: list[Painted], others: list[Painted], rng: np.random.Generator) -> str:
    """A report in one of several styles."""
    lines = [_of_bullae(kind, bullae, rng)]
    lines += [f"{one.finding.capitalize()} in the {one.side} lung." for one in others]
    lines = list(dict.fromkeys(lines))
    rng.shuffle(lines)
    style = int(rng.integers(3))
    if style == 0:
        return "INDICATION: Cough.\nFINDINGS: " + " ".join(lines) + " No pleural effusion.\nIMPRESSION: As above."
    if style == 1:
        return "\n".join(f"- {line}" for line in lines)
    return "Findings:\n" + "\n".join([*lines, "No pneumothorax."])


def _of_bullae(kind: str, bullae: list[Painted], rng: np.random.Generator) -> str:
    """The sentence about bullae. It cites the image that shows most of the largest one, or the next to it."""

    def pick(*texts: str) -> str:
        return texts[int(rng.integers(len(texts)))]

    if not bullae:
        return pick("No bulla.", "No bullae are seen.", "There is no bulla.")
    largest = max(bullae, key=lambda one: int(one.mask.sum()))
    slab = int(largest.mask.sum(axis=(1, 2)).argmax())
    size_mm = axial_long_axis_mm(largest.mask[slab])
    image = image_number(min(max(slab + int(rng.integers(-1, 2)), 0), SHAPE[0] - 1))
    size = pick(f"{size_mm:.0f} mm", f"{size_mm / 10:.1f} cm")
    where = pick(f"(series {SERIES}, image {image})", f"(image {image})", f"(im {image})")
    side = largest.side
    if kind == "both":
        return pick(
            f"Bilateral bullae measuring up to {size} {where}.",
            f"Bullae in both lungs, up to {size} {where}.",
        )
    if kind == "two":
        number = pick(NUMBERS[len(bullae)], str(len(bullae)))
        return pick(
            f"{number.capitalize()} bullae in the {side} lung measuring up to {size} {where}.",
            f"There are {number} bullae in the {side} lung, up to {size} {where}.",
        )
    return pick(
        f"There is a bulla in the {side} lung measuring {size} {where}.",
        f"Bulla {side} lung, {size} {where}.",
        f"Bulla measuring {size} {where}.",
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
