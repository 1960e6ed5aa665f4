"""Scans under a folder, or of a manifest: each that would be read, and what is refused, without the patient's identity.

A folder is searched by the strict reader's own eyes: headers are parsed, pixels are not. A DICOM series is one scan
wherever its files lie; a NIfTI, NRRD or MetaImage file, an encoded study and a zip archive are one each, and are
opened when they are read.
"""

from __future__ import annotations

import hmac
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from tips_med.encoders.study import EncodedStudy, is_study
from tips_med.errors import ReadError, TipsMedError
from tips_med.manifest import read_manifest
from tips_med.notes import without_identity
from tips_med.readers import read_scan, read_series
from tips_med.readers.inspection import ReadingProblem, SeriesReport, inspect_files
from tips_med.readers.sources import DicomFiles, image_format, walk_folders
from tips_med.scan import Scan

MANIFESTS = (".csv", ".tsv", ".jsonl")
_KEY_DIGITS = 20


def study_key(secret: bytes, identity: str) -> str:
    """A name for a scan that does not tell whose it is: ``s`` and 20 hexadecimal digits of a keyed hash.

    It is safe as a file name, and no spreadsheet takes it for a number. Of 100,000 scans two have one key with a
    probability of 4e-15.

    Args:
        secret: 32 bytes, see ``tips_med.secret.secret_key``. The same secret gives the same names.
        identity: What the scan is known by: its Series Instance UID, or its path.
    """
    return (
        "s" + hmac.digest(secret, f"scan:{identity}".encode("utf-8", "surrogateescape"), "sha256").hex()[:_KEY_DIGITS]
    )


@dataclass(frozen=True)
class FoundScan:
    """A scan that can be read.

    Attributes:
        key: Its name in results, see ``study_key``.
        path: File, or folder; from the root that was searched, if it lies there.
        root: Folder that relative paths start at.
        series: Series Instance UID of a series found in a folder; None otherwise.
        folders: Folders that hold the files of that series directly, relative to ``root``; empty otherwise.
    """

    key: str
    path: Path
    root: Path
    series: str | None = None
    folders: tuple[Path, ...] = ()

    @property
    def is_encoded(self) -> bool:
        """Whether it is an encoded study, which only the weights that encoded it can be asked about."""
        return is_study(self.root / self.path)

    def read(self, *, fill_gaps: bool = False, untilt: bool = False) -> Scan:
        """Reads it strictly.

        Args:
            fill_gaps: See ``tips_med.read_scan``.
            untilt: See ``tips_med.read_scan``.

        Raises:
            ReadError: See ``tips_med.read_scan``.
        """
        if self.series is not None:
            folders = [self.root / folder for folder in self.folders]
            return read_series(folders, self.series, fill_gaps=fill_gaps, untilt=untilt)
        return read_scan(self.root / self.path, fill_gaps=fill_gaps, untilt=untilt)

    def load(self) -> EncodedStudy:
        """Loads it, where it is an encoded study.

        Raises:
            ReadError: It is damaged, or of another version.
        """
        return EncodedStudy.load(self.root / self.path)


@dataclass(frozen=True)
class Refusal:
    """Something that is not read, and why. Neither its words nor its key tell whose it is; its path may.

    Attributes:
        path: File or folder, as in ``FoundScan``.
        code: Short stable name of the reason: ``missing-slice``.
        found: What was found.
        expected: What was expected; empty where there is nothing to say.
        remedy: What to do about it; empty where there is nothing to say.
        key: Name of the scan in results; empty for what is no scan.
    """

    path: Path
    code: str
    found: str
    expected: str = ""
    remedy: str = ""
    key: str = ""


@dataclass(frozen=True)
class Discovery:
    """What lies under a folder, or is named by a manifest.

    Attributes:
        scans: Scans to read, by key.
        refused: What is not read.
        other_files: Number of files that are no scans at all, such as texts.
    """

    scans: tuple[FoundScan, ...]
    refused: tuple[Refusal, ...] = ()
    other_files: int = 0


def find_scans(
    source: str | Path,
    secret: bytes,
    *,
    skip: Path | None = None,
    match: str | None = None,
    fill_gaps: bool = False,
    untilt: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Discovery:
    """Finds every scan in a folder and in those below it, or those that a manifest names, each once.

    Args:
        source: Folder, or manifest (``.csv``, ``.tsv``, ``.jsonl``). What a manifest names is opened when it is read,
            as by ``evaluate``: a folder of several series is refused then.
        secret: Secret of the keys, see ``study_key``.
        skip: Folder that is not searched, such as that of the results.
        match: Pattern of the paths, from the folder, of files that are taken, such as ``*/ct.nii.gz``; DICOM is taken
            whatever it is called. None for all.
        fill_gaps: Take series with missing slices, see ``tips_med.read_scan``.
        untilt: Take series of a tilted gantry, see ``tips_med.read_scan``.
        progress: Called with (folders done, folders found).

    Raises:
        ReadError: ``not-found``, ``not-a-scan``, or ``no-scan`` where there is nothing to read and nothing refused.
        ManifestError: The manifest cannot be read.
    """
    source = Path(source)
    if source.suffix.lower() in MANIFESTS and not source.is_dir():
        return _of_manifest(source, secret)
    if not source.exists():
        raise ReadError("does not exist", path=source, code="not-found", remedy="check the path")
    if not source.is_dir():
        raise ReadError("is one file", path=source, expected="a folder, or a manifest", code="not-a-scan")
    recovered = frozenset(code for code, wanted in (("missing-slice", fill_gaps), ("gantry-tilt", untilt)) if wanted)
    search = _Search(source.resolve(), secret, recovered, match)
    for done, (folder, files, _) in enumerate(walk_folders(search.root, skip), start=1):
        search.look_into(folder, files)
        if progress:
            progress(done, done)
    found = search.finish()
    if not found.scans and not found.refused:
        raise ReadError(
            f"holds no scan among {found.other_files} file(s)" if found.other_files else "is an empty folder",
            path=source,
            expected="DICOM, .nii, .nii.gz, .nrrd, .mha, a zip archive of DICOM, or encoded studies",
            code="no-scan",
        )
    return found


def without_identity_of(error: TipsMedError, secret: bytes, path: Path, key: str = "") -> Refusal:
    """A refusal in words that do not tell whose scan it is: texts and dates from the file are taken out."""
    problem = ReadingProblem(error.code, "", error.found, error.expected or "", error.remedy or "")
    return _refusal(problem, secret, path, key)


def _refusal(problem: ReadingProblem, secret: bytes, path: Path, key: str = "") -> Refusal:
    def plain(text: str) -> str:
        if path.suffix.lower() == ".zip":  # names of members come first
            text = text.rpartition(": ")[2]
        for name in (str(path), path.name):
            text = text.replace(name, "the file") if len(name) > 1 else text
        return str(without_identity(text, lambda uid: study_key(secret, uid)))

    return Refusal(path, problem.code, plain(problem.found), plain(problem.expected), plain(problem.remedy), key)


def _of_manifest(path: Path, secret: bytes) -> Discovery:
    root = path.resolve().parent
    scans: dict[str, FoundScan] = {}
    for row in read_manifest(path):
        own = row.scan_key
        place = own.relative_to(root) if own.is_relative_to(root) else own
        key = study_key(secret, place.as_posix())
        scans.setdefault(key, FoundScan(key, place, root))
    return Discovery(tuple(scans[key] for key in sorted(scans)))


@dataclass
class _Search:
    """A search of a folder, folder by folder, so that the headers of one are in memory at a time."""

    root: Path
    secret: bytes
    recovered: frozenset[str]
    match: str | None = None
    scans: list[FoundScan] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    series: dict[str, list[tuple[Path, SeriesReport]]] = field(default_factory=lambda: defaultdict(list))
    spoilt: dict[Path, int] = field(default_factory=dict)
    other_files: int = 0

    def look_into(self, folder: Path, files: Iterable[Path]) -> None:
        """Takes note of what lies directly in a folder."""
        others: list[Path] = []
        for file in files:
            if image_format(file) is not None or is_study(file) or file.suffix.lower() == ".zip":
                place = file.relative_to(self.root)
                if self.match is not None and not fnmatchcase(place.as_posix(), self.match):
                    self.other_files += 1
                    continue
                self.scans.append(FoundScan(study_key(self.secret, place.as_posix()), place, self.root))
            else:
                others.append(file)
        if not others:
            return
        found = inspect_files(DicomFiles(folder, tuple(others)))
        self.other_files += found.other_files
        place = folder.relative_to(self.root)
        if found.damaged:
            self.spoilt[place] = len(found.damaged)
            self.refused += [_refusal(problem, self.secret, place) for problem in found.damaged]
        for report in found.series:
            if report.volumes:
                self.series[report.uid].append((place, report))
            else:
                self._refuse(place, report)

    def finish(self) -> Discovery:
        """All that was found, series that lie in several folders put together."""
        for uid, parts in self.series.items():
            places = tuple(dict.fromkeys(place for place, _ in parts))
            report = parts[0][1] if len(parts) == 1 else self._together(uid, places)
            self._take(report, places)
        self.scans.sort(key=lambda scan: scan.key)
        self.refused.sort(key=lambda one: (one.path, one.code))
        return Discovery(tuple(self.scans), tuple(self.refused), self.other_files)

    def _together(self, uid: str, places: tuple[Path, ...]) -> SeriesReport:
        paths = (path for place in places for path in sorted((self.root / place).iterdir()) if path.is_file())
        found = inspect_files(DicomFiles(self.root / places[0], tuple(paths)))
        return next(report for report in found.series if report.uid == uid and report.volumes)

    def _take(self, report: SeriesReport, places: tuple[Path, ...]) -> None:
        damaged = sum(self.spoilt.get(place, 0) for place in places)
        if damaged:
            found = f"{damaged} file(s) beside it cannot be parsed, and may be slices of it"
            problem = ReadingProblem("damaged-file", "", found, "", "copy the folder again, or take these files away")
            self.refused.append(_refusal(problem, self.secret, places[0], study_key(self.secret, report.uid)))
        elif len(report.volumes) == 1 and {one.code for one in _problems(report)} <= self.recovered:
            self.scans.append(FoundScan(study_key(self.secret, report.uid), places[0], self.root, report.uid, places))
        else:
            self._refuse(places[0], report)

    def _refuse(self, place: Path, report: SeriesReport) -> None:
        """Refuses a series for the first of its problems, which is what reading it would say."""
        key = study_key(self.secret, report.uid) if report.volumes else ""
        self.refused.append(_refusal(_problems(report)[0], self.secret, place, key))


def _problems(report: SeriesReport) -> list[ReadingProblem]:
    return [*report.problems, *(problem for volume in report.volumes for problem in volume.problems)]
