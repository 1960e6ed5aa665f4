"""The series among a set of files, and which of them is to be read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tips_med.errors import ReadError
from tips_med.readers.headers import Frame, Header, read_header
from tips_med.readers.objects import DIRECTORY_CLASS, IMAGE_CLASSES, class_name, refusal_code
from tips_med.readers.sources import DicomFiles


@dataclass(frozen=True)
class Series:
    """Files of one Series Instance UID."""

    uid: str
    headers: tuple[Header, ...]

    @property
    def head(self) -> Header:
        """The first file's header, which stands for the series."""
        return self.headers[0]

    @property
    def frames(self) -> list[Frame]:
        """All frames of all files."""
        return [frame for header in self.headers for frame in header.frames]

    @property
    def modality(self) -> str:
        """The modality that the files state, else the one their class stands for."""
        return self.head.modality or IMAGE_CLASSES.get(self.head.sop_class_uid, "OT")

    @property
    def is_image(self) -> bool:
        """Whether every file is a CT, MR or PET image."""
        return all(header.sop_class_uid in IMAGE_CLASSES for header in self.headers)

    @property
    def is_localizer(self) -> bool:
        """Whether every frame is a localizer (scout, topogram)."""
        return all(frame.localizer for frame in self.frames)

    @property
    def folder(self) -> Path:
        """Where the series lies: the folder of its first file, or the file itself when it is the only one."""
        return self.head.path if len(self.headers) == 1 else self.head.path.parent

    def describe(self) -> str:
        """One short phrase for messages; no patient identity."""
        extra = f' "{self.head.description}"' if self.head.description else ""
        kind = "localizer" if self.is_image and self.is_localizer else class_name(self.head.sop_class_uid)
        return f"{self.uid} ({kind}{extra}, {len(self.frames)} images)"


@dataclass(frozen=True)
class Catalog:
    """The series and other files in a set of files."""

    root: Path
    series: tuple[Series, ...]
    other_files: tuple[Path, ...] = ()
    damaged: tuple[ReadError, ...] = ()
    single: Path | None = None
    broken_links: int = 0


def scan_files(files: DicomFiles) -> Catalog:
    """Parses every file's header and groups them by series."""
    headers: list[Header] = []
    other: list[Path] = []
    damaged: list[ReadError] = []
    for path in _with_siblings(files):
        try:
            header = read_header(path)
        except ReadError as error:
            damaged.append(files.relabel(error))
            continue
        if header is None:
            other.append(path)
        elif header.sop_class_uid != DIRECTORY_CLASS:
            headers.append(header)
    # A dose report or a structure set may stand in the images' own series: it is no slice of theirs.
    by_uid: dict[tuple[str, bool], list[Header]] = defaultdict(list)
    for header in headers:
        by_uid[header.series_uid, header.sop_class_uid in IMAGE_CLASSES].append(header)
    series = tuple(
        Series(uid, tuple(group)) for (uid, _), group in sorted(by_uid.items(), key=lambda one: not one[0][1])
    )
    return Catalog(files.root, series, tuple(other), tuple(damaged), files.single, files.broken_links)


def _with_siblings(files: DicomFiles) -> Iterable[Path]:
    """A slice, or an object of several, stands for its series, so the files beside it are looked at too."""
    if files.single is None:
        return files.paths
    header = read_header(files.single)
    if header is None or not header.frames or header.sop_class_uid not in IMAGE_CLASSES:
        return files.paths
    return sorted(p for p in files.single.parent.iterdir() if p.is_file())


def pick_series(catalog: Catalog, uid: str | None) -> tuple[Series, list[str]]:
    """The series to read, and notes on what was left out.

    Raises:
        ReadError: ``no-such-series``, ``several-series``, ``no-dicom``, ``localizer``, ``damaged-file``, or the code
            of the one kind of object that is there (``secondary-capture``, ``radiotherapy-object``, ...).
    """
    if catalog.single is not None and uid is None and catalog.series:
        own = [s for s in catalog.series if any(h.path == catalog.single for h in s.headers)]
        uid = own[0].uid if own else None
    elif catalog.damaged and uid is None:
        raise catalog.damaged[0]
    if not catalog.series:
        if catalog.damaged:
            raise catalog.damaged[0]
        raise ReadError(
            f"none of the {len(catalog.other_files)} files is DICOM",
            path=catalog.root,
            expected="DICOM files; a NIfTI, NRRD or MHA file is named itself, not its folder",
            code="no-dicom",
        )
    if uid is not None:
        found = next((series for series in catalog.series if series.uid == uid), None)
        if found is None:
            raise ReadError(
                f"there is no series {uid}",
                path=catalog.root,
                expected="one of " + "; ".join(s.describe() for s in catalog.series[:12]),
                code="no-such-series",
            )
        return _of_one_study(_readable(found)), _notes(catalog, found)
    images = [series for series in catalog.series if series.is_image and not series.is_localizer]
    if not images:
        return _readable(catalog.series[0]), []
    if len(images) > 1:
        raise ReadError(
            f"holds {len(images)} series: " + "; ".join(s.describe() for s in images[:12]),
            path=catalog.root,
            expected="one series",
            remedy="choose one with --series UID (series=UID)",
            code="several-series",
        )
    return _of_one_study(images[0]), _notes(catalog, images[0])


def _of_one_study(series: Series) -> Series:
    """Refuses a Series Instance UID that two studies or two patients share."""
    for what, keys in (
        ("studies", {header.study_uid for header in series.headers if header.study_uid}),
        ("patients", {header.patient_key for header in series.headers if header.patient_key}),
    ):
        if len(keys) > 1:
            raise ReadError(
                f"the {len(series.headers)} files of the series {series.uid} belong to {len(keys)} {what}",
                path=series.folder,
                expected="one",
                remedy="sort the files into one folder for each, and name that folder",
                code=f"several-{what}",
            )
    return series


def _readable(series: Series) -> Series:
    if not series.is_image:
        header = next(h for h in series.headers if h.sop_class_uid not in IMAGE_CLASSES)
        raise ReadError(
            f"is a {class_name(header.sop_class_uid)}, no scan that can be searched",
            path=series.folder,
            expected="a CT, MR or PET series",
            code=refusal_code(header.sop_class_uid),
        )
    if series.is_localizer:
        raise ReadError(
            "holds only localizer images (scouts, topograms)",
            path=series.folder,
            expected="a series of slices",
            code="localizer",
        )
    return series


def _notes(catalog: Catalog, chosen: Series) -> list[str]:
    notes = []
    if catalog.single is not None and len(chosen.headers) > 1:
        notes.append(f"One slice was named; the {len(chosen.headers)} files of its series in that folder were read.")
    if catalog.other_files and catalog.single is None:
        notes.append(f"{len(catalog.other_files)} file(s) that are not DICOM left out.")
    if catalog.broken_links:
        notes.append(f"{catalog.broken_links} link(s) lead nowhere and were left out: part of the scan may be missing.")
    if catalog.single is None:
        kinds = Counter(
            "localizer" if s.is_image and s.is_localizer else class_name(s.head.sop_class_uid)
            for s in catalog.series
            if s is not chosen and s.uid != chosen.uid
        )
        own = [s for s in catalog.series if s is not chosen and s.uid == chosen.uid]
        notes += [
            f"{len(s.headers)} object(s) in the series itself left out: {class_name(s.head.sop_class_uid)}."
            for s in own
        ]
        notes += [f"{count} other series left out: {kind}." for kind, count in kinds.items()]
    return notes
