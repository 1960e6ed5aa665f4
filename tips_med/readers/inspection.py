"""The series at a path, their problems, and which one would be read: no pixels are decoded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tips_med.errors import ReadError
from tips_med.geometry import axis_letters, spacing_mm
from tips_med.readers.catalog import Catalog, Series, pick_series, scan_files
from tips_med.readers.dicom import plan_reading
from tips_med.readers.objects import class_name
from tips_med.readers.parts import part_names
from tips_med.readers.pixels import PixelReader
from tips_med.readers.reading import read_scan
from tips_med.readers.sources import DicomFiles, dicom_files, image_format
from tips_med.readers.stacking import Stack
from tips_med.readers.volumes import Volume, split_volumes

_RECOVERIES = {"missing-slice": "fill_gaps", "gantry-tilt": "untilt"}


@dataclass(frozen=True)
class ReadingProblem:
    """A reason for refusal, and its remedy.

    Attributes:
        code: Short stable name of the reason.
        text: All of it in one sentence, with the path.
        found: What was found; like the next two, empty where there is nothing to say.
        expected: What was expected.
        remedy: What to do about it.
    """

    code: str
    text: str
    found: str = ""
    expected: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class VolumeReport:
    """One volume of a series.

    Attributes:
        phase: Number of the volume, from 1, as in ``read_scan(phase=...)``.
        label: Value that distinguishes it from the other volumes; empty when alone.
        shape: Number of slices, rows, columns; None where they cannot be stacked.
        spacing_mm: Spacing in mm: between slices, rows, columns.
        orientation: Directions of slices, rows and columns: ``SPL`` for a plain axial scan.
        problems: Problems that prevent reading; empty when there are none.
        notes: Notes for the scan's provenance.
    """

    phase: int
    label: str
    images: int
    shape: tuple[int, int, int] | None
    spacing_mm: tuple[float, float, float] | None
    orientation: str | None
    problems: tuple[ReadingProblem, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeriesReport:
    """One series.

    Attributes:
        readable: Whether it would be read as it is, once chosen.
        parts: Names of the structures of an RTSTRUCT or SEG, for the column ``part`` of a manifest.
    """

    uid: str
    kind: str
    modality: str
    description: str
    files: int
    volumes: tuple[VolumeReport, ...] = ()
    problems: tuple[ReadingProblem, ...] = ()
    parts: tuple[str, ...] = ()

    @property
    def readable(self) -> bool:
        """Whether it would be read as it is, without any further option."""
        return not self.problems and len(self.volumes) == 1 and not self.volumes[0].problems


@dataclass(frozen=True)
class Inspection:
    """The content of a path.

    Attributes:
        path: Inspected path.
        series: Reports of the series; a file that is not DICOM counts as one.
        would_read: UID of the series (the path, for other formats) that ``read_scan(path)`` would read; None if none.
        reason: Reason for that choice, or for none.
        other_files: Number of files that are not DICOM.
        damaged: Files that begin as DICOM and cannot be parsed.
    """

    path: str
    series: tuple[SeriesReport, ...]
    would_read: str | None
    reason: str
    other_files: int = 0
    damaged: tuple[ReadingProblem, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, ``readable`` of every series included."""
        plain = asdict(self)
        for entry, report in zip(plain["series"], self.series, strict=True):
            entry["readable"] = report.readable
        return plain

    def rows(self) -> list[dict[str, str]]:
        """One row of texts for every volume, for a table: the keys are the headings."""
        rows = []
        for report in self.series:
            for volume in report.volumes or (None,):
                rows.append(_row(report, volume, self.would_read))
        return rows


def _row(report: SeriesReport, volume: VolumeReport | None, would_read: str | None) -> dict[str, str]:
    problems = list(report.problems) + (list(volume.problems) if volume else [])
    several = len(report.volumes) > 1
    return {
        "read": "yes" if report.uid == would_read else "",
        "series": report.uid,
        "kind": report.kind,
        "description": "; ".join(filter(None, (report.description, ", ".join(report.parts)))),
        "images": str(volume.images if volume else report.files),
        "phase": f"{volume.phase} of {len(report.volumes)}: {volume.label}" if volume and several else "",
        "size": " x ".join(map(str, volume.shape)) if volume and volume.shape else "",
        "spacing (mm)": " x ".join(f"{x:.4g}" for x in volume.spacing_mm) if volume and volume.spacing_mm else "",
        "orientation": (volume.orientation or "") if volume else "",
        "problem": "; ".join(f"{p.code}: {p.text}" for p in problems),
    }


def inspect_path(path: str | Path) -> Inspection:
    """Lists the series at a path, and which one would be read and why.

    Geometry is judged as ``read_scan`` judges it. Pixels are read only where slices share a position, so a file with
    damaged compressed pixels is not noticed here.

    Raises:
        ReadError: where there is nothing to inspect: ``not-found``, ``empty-folder``, ``not-a-scan``, or what an
            archive or a DICOMDIR is refused for.
    """
    path = Path(path)
    if image_format(path) is not None and path.is_file():
        return _inspect_image(path)
    with dicom_files(path) as files:
        return inspect_files(files)


def inspect_files(files: DicomFiles) -> Inspection:
    """Lists the series among some files, as ``inspect_path`` does for all files at a path."""
    catalog = scan_files(files)
    reports = tuple(_series_report(series, files) for series in catalog.series)
    would_read, reason = _choice(catalog, reports)
    return Inspection(
        path=str(files.root),
        series=reports,
        would_read=would_read,
        reason=reason,
        other_files=len(catalog.other_files),
        damaged=tuple(_problem(error) for error in catalog.damaged),
    )


def _problem(error: ReadError) -> ReadingProblem:
    return ReadingProblem(error.code, str(error), error.found, error.expected or "", error.remedy or "")


def _choice(catalog: Catalog, reports: tuple[SeriesReport, ...]) -> tuple[str | None, str]:
    try:
        chosen, notes = pick_series(catalog, None)
    except ReadError as error:
        return None, str(error)
    report = next(report for report in reports if report.uid == chosen.uid)
    if report.readable:
        return chosen.uid, " ".join(["It is the only series of slices.", *notes])
    problems = [*report.problems, *(p for volume in report.volumes for p in volume.problems)]
    return None, problems[0].text if problems else "the series holds several volumes: choose one with --phase N"


def _series_report(series: Series, files: DicomFiles) -> SeriesReport:
    localizer = series.is_image and series.is_localizer
    kind = "localizer" if localizer else class_name(series.head.sop_class_uid)
    head = series.head
    facts = (series.uid, kind, series.modality, head.description, len(series.headers))
    if not series.is_image or localizer:
        return SeriesReport(
            *facts,
            problems=(ReadingProblem("localizer" if localizer else "not-a-volume", f"a {kind}", f"a {kind}"),),
            parts=part_names(head.path) if series.modality in ("RTSTRUCT", "SEG") else (),
        )
    volumes, _ = split_volumes(series.frames)
    reports = tuple(_volume_report(series, files, volume, n, len(volumes)) for n, volume in enumerate(volumes, 1))
    problems = ()
    if len(volumes) > 1:
        text = f"holds {len(volumes)} volumes: choose one with --phase N (phase=N)"
        found, _, remedy = text.partition(": ")
        problems = (ReadingProblem("several-phases", text, found, "one volume", remedy),)
    return SeriesReport(*facts, volumes=reports, problems=problems)


def _volume_report(series: Series, files: DicomFiles, volume: Volume, number: int, count: int) -> VolumeReport:
    """Tries to stack the volume, recovering what can be recovered, to learn of every problem in turn."""
    problems: list[ReadingProblem] = []
    options = {"fill_gaps": False, "untilt": False}
    stack: Stack | None = None
    notes: list[str] = []
    with PixelReader() as reader:
        while stack is None:
            try:
                stack, notes = plan_reading(series, reader, phase=number if count > 1 else None, **options)
            except ReadError as error:
                problems.append(_problem(files.relabel(error)))
                option = _RECOVERIES.get(error.code)
                if option is None or options[option]:
                    break
                options[option] = True
    if stack is None:
        return VolumeReport(number, volume.label, len(volume.frames), None, None, None, tuple(problems))
    k, j, i = (float(s) for s in spacing_mm(stack.lps_from_kji))
    return VolumeReport(
        phase=number,
        label=volume.label,
        images=len(volume.frames),
        shape=stack.shape,
        spacing_mm=(k, j, i),
        orientation=axis_letters(stack.lps_from_kji),
        problems=tuple(problems),
        notes=(*notes, *stack.notes),
    )


def _inspect_image(path: Path) -> Inspection:
    kind = image_format(path) or ""
    try:
        scan = read_scan(path)
    except ReadError as error:
        report = SeriesReport(str(path), kind, "OT", "", 1, problems=(_problem(error),))
        return Inspection(str(path), (report,), None, str(error))
    volume = VolumeReport(1, "", 1, scan.shape, scan.spacing_mm, scan.orientation, notes=scan.provenance.notes)
    report = SeriesReport(str(path), kind, scan.modality, "", 1, volumes=(volume,))
    return Inspection(str(path), (report,), str(path), "It is the file that was named.")
