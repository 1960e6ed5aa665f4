"""All answers in one folder, written whole or not at all.

``DIR/report.json`` and, for each query, ``DIR/NN-slug/`` with its volumes and its figure. Everything is written beside
its place first and moved there at the end by renaming, so that a full disk, a killed job or a bug leaves the
earlier content. A folder that holds anything but earlier results is never written to.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from tips_med.errors import OutputError
from tips_med.exporters.base import Exporter
from tips_med.exporters.nifti import NiftiExporter
from tips_med.exporters.report import FORMAT, write_report
from tips_med.grounding import Declined, Grounding

logger = logging.getLogger(__name__)

REPORT = "report.json"
_PARTIAL = ".tips-med-partial-"
_EARLIER = ".tips-med-earlier-"
_SLUG_LENGTH = 40
_LISTS = {FORMAT.partition("/")[0]: "answers", "tips-med-comparison": "comparisons"}
"""Where the reports of each format list their files."""


def default_exporters() -> tuple[Exporter, ...]:
    """NIfTI volumes and a figure.

    Raises:
        MissingExtraError: When matplotlib is not installed.
    """
    from tips_med.exporters.figure import FigureExporter

    return NiftiExporter(), FigureExporter()


def check_writable(out: str | Path) -> Path:
    """Makes sure, before any long work, that results can be written to a folder; leaves nothing there.

    Args:
        out: A folder that does not exist yet, is empty, or holds earlier results, which will be replaced.

    Returns:
        Its absolute path, links followed.

    Raises:
        OutputError: ``not-a-folder``, ``not-ours`` (it holds other files) or ``not-writable``.
    """
    try:
        folder = Path(out).expanduser().resolve()
        if folder.is_dir():
            with _alone_in(folder):
                _refuse_foreign(folder)
        nearest = next(p for p in (folder, *folder.parents) if p.exists())
        if not nearest.is_dir():
            raise OutputError("is a file", path=nearest, expected="a folder", code="not-a-folder")
        with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=nearest) as made:
            (Path(made) / folder.name).mkdir()  # the name itself may be too long for the file system
    except (OSError, ValueError, RuntimeError) as e:
        raise _not_writable(Path(str(out).replace("\0", "?")), e) from e
    return folder


def write_answers(
    groundings: Sequence[Grounding],
    out: str | Path,
    model: Mapping[str, Any],
    *,
    exporters: Sequence[Exporter] | None = None,
    declined: Sequence[Declined] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Writes all answers about one scan.

    Args:
        groundings: Answers in the order of the queries; all about the same scan.
        out: Folder to write to; see ``check_writable``. Earlier results in it are replaced as a whole.
        model: Description of the model in the report.
        exporters: Exporters to run for each answer; ``default_exporters()`` when None.
        declined: Queries that got no answer; the report lists them.
        progress: Called with (answers done, total answers).

    Returns:
        The files written, the report first.

    Raises:
        OutputError: When they cannot be written; the folder then has its earlier content, and nothing else.
    """
    if not groundings:
        raise OutputError("there is no answer to write", path=out, remedy="ask at least one query", code="no-answer")
    if any(g.scan is not groundings[0].scan for g in groundings):
        raise OutputError(
            "the answers are about several scans",
            path=out,
            remedy="write one folder for each scan",
            code="several-scans",
        )
    if exporters is None:
        exporters = default_exporters()
    return write_folder(out, lambda folder: _write_into(folder, groundings, model, exporters, declined, progress))


def write_folder(out: str | Path, write: Callable[[Path], Sequence[Path]]) -> list[Path]:
    """Lets results appear in a folder, all of them or none.

    Args:
        out: Folder to write to; see ``check_writable``. Earlier results in it are replaced as a whole.
        write: Writes into an empty folder, and gives the paths relative to it. One of them is ``report.json``, which
            lists the others.

    Returns:
        The files written.

    Raises:
        OutputError: When they cannot be written; the folder then has its earlier content, and nothing else.
    """
    folder = check_writable(out)
    missing_parents = [p for p in folder.parents if not p.exists()]
    # An existing folder is filled from within: it may be a mount point, or one whose parent is not ours to write to.
    partial = (folder if folder.exists() else folder.parent) / f"{_PARTIAL}{uuid4().hex}"
    try:
        partial.mkdir(parents=True)
        written = write(partial)
        if not _take_place(partial, folder):
            with _alone_in(folder):
                _refuse_foreign(folder)
                _swap_content(partial, folder)
    except OSError as e:
        raise _not_writable(folder, e) from e
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        for parent in missing_parents:
            with suppress(OSError):
                parent.rmdir()  # goes only when it stayed empty
    return [folder / path for path in written]


def slug(text: str) -> str:
    """A short ASCII name for a query: ``ground-glass-opacity-left-lung``; ``query`` when nothing of it is left."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = "-".join(re.findall("[a-z0-9]+", ascii_text))
    if len(name) > _SLUG_LENGTH:
        cut = name[: _SLUG_LENGTH + 1]
        name = cut.rpartition("-")[0] or cut[:_SLUG_LENGTH]
    return name or "query"


def _write_into(
    folder: Path,
    groundings: Sequence[Grounding],
    model: Mapping[str, Any],
    exporters: Sequence[Exporter],
    declined: Sequence[Declined],
    progress: Callable[[int, int], None] | None,
) -> list[Path]:
    """Writes everything into an empty folder; the paths, relative to it."""
    digits = max(2, len(str(len(groundings))))
    names, files = [], []
    for n, grounding in enumerate(groundings, 1):
        name = f"{n:0{digits}}-{slug(grounding.query.text)}"
        answer = folder / name
        answer.mkdir()
        for exporter in exporters:
            exporter.export(grounding, answer)
        names.append(name)
        files.append(sorted(p.relative_to(folder).as_posix() for p in answer.rglob("*") if p.is_file()))
        if progress is not None:
            progress(n, len(groundings))
    write_report(groundings[0].scan, groundings, model, folder / REPORT, folders=names, files=files, declined=declined)
    return [Path(REPORT), *(Path(file) for answer_files in files for file in answer_files)]


def _take_place(partial: Path, folder: Path) -> bool:
    """Gives a finished folder its name, if there is none of that name with something in it."""
    if folder.exists():
        return False
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        return False  # another process was faster
    return True


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Holds a folder against other processes that would replace its content; waits for one that does."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _swap_content(partial: Path, folder: Path) -> None:
    """Replaces the content of ``folder`` by that of ``partial``, on the same disk; restores it when that fails."""
    earlier = folder / f"{_EARLIER}{uuid4().hex}"
    earlier.mkdir()
    moved: list[tuple[Path, Path]] = []

    def move(source: Path, target: Path) -> None:
        source.rename(target)
        moved.append((source, target))

    try:
        for path in sorted(p for p in folder.iterdir() if not _is_temporary(p)):
            move(path, earlier / path.name)
        for path in sorted(partial.iterdir()):
            move(path, folder / path.name)
    except BaseException:
        for source, target in reversed(moved):
            target.rename(source)
        earlier.rmdir()
        raise
    shutil.rmtree(earlier, ignore_errors=True)


def _refuse_foreign(folder: Path) -> None:
    """Raises when a folder holds anything that is not named by an earlier report in it."""
    if not folder.is_dir():
        raise OutputError("is a file", path=folder, expected="a folder", code="not-a-folder")
    own = [p for p in folder.iterdir() if not _is_temporary(p)]  # another process may be at work on the rest
    found = {p.name for p in own}
    if not found:
        return
    ours = _earlier_files(folder)
    tree = (p for top in own for p in (top, *(top.rglob("*") if top.is_dir() and not top.is_symlink() else ())))
    foreign = sorted(p.relative_to(folder).as_posix() for p in tree if p.is_symlink() or not p.is_dir())
    foreign = [name for name in foreign if name not in ours]
    if foreign or not ours:
        named = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
        raise OutputError(
            f"holds files that are no earlier results ({named or ', '.join(sorted(found))})",
            path=folder,
            expected="a new or empty folder, or one with earlier results only",
            remedy="choose another folder, or move these files away",
            code="not-ours",
        )


def _earlier_files(folder: Path) -> set[str]:
    """The files that an earlier report in a folder lists, and itself; none when it is not a report of ours."""
    try:
        content = json.loads((folder / REPORT).read_text("utf-8"))
        listed = _LISTS.get(str(content["format"]).partition("/")[0])
        if listed is None:
            return set()
        return {REPORT, *(str(file) for answer in content[listed] for file in answer.get("files", []))}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _is_temporary(path: Path) -> bool:
    return path.name.startswith((_PARTIAL, _EARLIER))


def _not_writable(path: Path, error: Exception) -> OutputError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return OutputError(
        f"cannot be written to ({reason})",
        path=path,
        remedy="choose another folder with --out, or make room there",
        code="not-writable",
    )
