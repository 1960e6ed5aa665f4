"""The files behind a path: a folder, a file, a DICOMDIR, a zip archive."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pydicom

from tips_med.errors import ReadError
from tips_med.readers.bounded import BoundedFile
from tips_med.readers.layouts import looks_like_dicom

logger = logging.getLogger(__name__)

MAX_ZIP_BYTES = 16 << 30
MAX_ZIP_MEMBERS = 100_000
MAX_ZIP_RATIO = 100
"""An archive that grows by more than this, past the first 64 MiB, is taken for a bomb; DICOM deflates to a third."""

IMAGE_SUFFIXES = {".nii": "nifti", ".nii.gz": "nifti", ".nrrd": "nrrd", ".mha": "metaimage"}


@dataclass(frozen=True)
class DicomFiles:
    """Files that may be DICOM, in a stable order.

    Attributes:
        root: Path that the user named.
        paths: Paths of the files.
        single: Named slice, if the path is one slice.
        members: Name in the archive of each unpacked file.
        broken_links: Number of links in the folder that lead nowhere.
    """

    root: Path
    paths: tuple[Path, ...]
    single: Path | None = None
    members: Mapping[Path, str] = field(default_factory=dict)
    broken_links: int = 0

    def relabel(self, error: ReadError) -> ReadError:
        """The error with the name that the user knows: a member of the archive, not its unpacked copy."""
        if error.path is None or not self.members:
            return error
        name = self.members.get(error.path)
        if name is not None:
            error.found = f"{name}: {error.found}"
        if name is not None or any(error.path in copy.parents for copy in self.members):
            error.path = self.root
        return error


def image_format(path: Path) -> str | None:
    """``nifti``, ``nrrd`` or ``metaimage`` by the file's name, None for anything else."""
    name = path.name.lower()
    return next((kind for suffix, kind in IMAGE_SUFFIXES.items() if name.endswith(suffix)), None)


@contextmanager
def dicom_files(path: Path) -> Iterator[DicomFiles]:
    """The files to search for DICOM; an archive's are unpacked to a folder that lasts as long as the context.

    Raises:
        ReadError: ``not-found``, ``empty-folder``, ``not-a-scan``, or what ``zip`` and DICOMDIR refuse.
    """
    if not _exists(path):
        raise ReadError("does not exist", path=path, code="not-found", remedy="check the path")
    if path.is_dir():
        paths, broken = _walk(path)
        if not paths:
            found = f"holds nothing but {broken} link(s) that lead nowhere" if broken else "is an empty folder"
            raise ReadError(found, path=path, expected="files of a scan", code="empty-folder", remedy="check the path")
        yield DicomFiles(path, paths, broken_links=broken)
    elif not path.is_file():
        raise ReadError("is neither a file nor a folder", path=path, code="not-a-scan")
    elif zipfile.is_zipfile(path):
        with tempfile.TemporaryDirectory(prefix="tips-med-") as folder:
            files = DicomFiles(path, *_unzip(path, Path(folder)))
            try:
                yield files
            except ReadError as error:
                raise files.relabel(error) from error.__cause__
    else:
        yield _from_file(path)


def _walk(root: Path) -> tuple[tuple[Path, ...], int]:
    """All files in a folder and in those that links lead to, each folder once, and how many links lead nowhere."""
    found: list[Path] = []
    broken = 0
    for _, files, dead in walk_folders(root):
        found += files
        broken += dead
    return tuple(sorted(found)), broken


def walk_folders(root: Path, skip: Path | None = None) -> Iterator[tuple[Path, tuple[Path, ...], int]]:
    """Each folder at and below a path with the files that lie directly in it, in a stable order.

    Links are followed, and each folder is visited once.

    Args:
        root: Folder to begin at.
        skip: Folder that is left out with all below it; None for none.

    Yields:
        Folder, its files by name, and the number of its links that lead nowhere.
    """
    visited = set() if skip is None else {os.path.realpath(skip)}
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders.sort()
        found: list[Path] = []
        broken = 0
        for name in (*names, *folders):
            path = Path(folder, name)
            if path.is_file():
                found.append(path)
            elif path.is_symlink() and not path.exists():
                broken += 1
        yield Path(folder), tuple(sorted(found)), broken


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file system takes
        return False


def _from_file(path: Path) -> DicomFiles:
    try:
        with path.open("rb") as stream:
            start = stream.read(4096)
    except OSError as error:
        raise ReadError("cannot be opened", path=path, code="unreadable-file") from error
    if not looks_like_dicom(start):
        raise ReadError(
            "is no format that can be read",
            path=path,
            expected="DICOM (a folder, a file, a DICOMDIR or a zip archive), .nii, .nii.gz, .nrrd or .mha",
            code="not-a-scan",
        )
    if b"1.2.840.10008.1.3.10" in start:
        return _from_dicomdir(path)
    return DicomFiles(path, (path,), single=path)


def _from_dicomdir(path: Path) -> DicomFiles:
    """The files that a DICOMDIR refers to (PS3.3 F.3); one that is not there is a refusal."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with BoundedFile(path) as stream:
                records = pydicom.dcmread(stream).DirectoryRecordSequence
            ids = [record.get("ReferencedFileID") for record in records]
    except Exception as error:  # pydicom raises whatever the damaged bytes lead it to
        raise ReadError("is a DICOMDIR that cannot be parsed", path=path, code="damaged-file") from error
    root = path.parent.resolve()
    paths, missing = [], 0
    for parts in ids:
        if not parts:
            continue
        parts = [parts] if isinstance(parts, str) else [str(part) for part in parts]
        file = _existing(root.joinpath(*parts))
        if any(part in ("..", ".") or "/" in part or "\0" in part for part in parts) or not file.is_relative_to(root):
            raise ReadError("refers to files outside its own folder", path=path, code="unsafe-archive")
        if file.is_file():
            paths.append(file)
        else:
            missing += 1
    if missing or not paths:
        raise ReadError(
            f"refers to {missing} file(s) that are not there" if missing else "refers to no file",
            path=path,
            remedy="copy the whole medium, or name the folder instead of the DICOMDIR",
            code="missing-file",
        )
    return DicomFiles(path, tuple(paths))


def _existing(path: Path) -> Path:
    """The path itself, or in lower case, as some operating systems copy discs."""
    if path.is_file():
        return path
    lower = path.parent.parent / path.parent.name.lower() / path.name.lower()
    return lower if lower.is_file() else path


def _unzip(path: Path, folder: Path) -> tuple[tuple[Path, ...], None, dict[Path, str]]:
    """Members of an archive, written under numbered names, so that no member's name reaches the file system."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check_members(path, members)
            free = shutil.disk_usage(folder).free
            if sum(member.file_size for member in members) > free:
                raise ReadError("needs more room than is left on the disk", path=path, code="too-large")
            copies = {folder / f"{n:06d}": member for n, member in enumerate(members)}
            paths = tuple(_extract(archive, member, copy) for copy, member in copies.items())
            return paths, None, {copy: member.filename for copy, member in copies.items()}
    except ReadError:
        raise
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise ReadError(
            f"is an archive that cannot be unpacked ({error})", path=path, code="damaged-archive"
        ) from error
    except Exception as error:  # zlib.error, lzma errors and whatever a damaged archive leads to
        raise ReadError("is a damaged archive", path=path, code="damaged-archive") from error


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    unsafe = [m.filename for m in members if ".." in PurePosixPath(m.filename.replace("\\", "/")).parts]
    unsafe += [m.filename for m in members if m.filename.startswith(("/", "\\")) or ":" in m.filename[:3]]
    if unsafe:
        raise ReadError("holds members whose names lead outside it", path=path, code="unsafe-archive")
    if any(member.flag_bits & 1 for member in members):
        raise ReadError("is encrypted", path=path, remedy="unpack it first", code="encrypted-archive")
    total = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    bomb = total > (64 << 20) and total > MAX_ZIP_RATIO * max(packed, 1)
    if bomb or total > MAX_ZIP_BYTES or len(members) > MAX_ZIP_MEMBERS:
        raise ReadError(
            f"would unpack to {total / 2**30:.3g} GiB in {len(members)} files from {packed / 2**20:.3g} MiB",
            path=path,
            remedy="unpack it yourself if you trust it, and name the folder",
            code="too-large",
        )


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> Path:
    """Writes one member, never more of it than the size in the archive's directory."""
    left = member.file_size
    with archive.open(member) as source, target.open("wb") as sink:
        while block := source.read(min(1 << 20, left + 1)):
            left -= len(block)
            if left < 0:
                raise zipfile.BadZipFile("a member is longer than its size in the directory")
            sink.write(block)
    return target
