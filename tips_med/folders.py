"""Files and folders that appear when everything in them is there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tips_med.errors import OutputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file beside its place, which takes it when all went well, and is gone otherwise.

    Its name is its own, so that two processes that write one file leave one of both whole. Folders on the way are made.

    Args:
        path: Final path of the file; an existing file is replaced.

    Raises:
        OSError: It cannot be written or moved there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name[:200]}.{uuid4().hex}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder beside its place, which takes it when all went well, and is gone otherwise.

    An existing folder is replaced: it is renamed first, and restored when the new one cannot be moved there.

    Args:
        out: Final path of the folder.

    Raises:
        OSError: It cannot be written or moved there.
    """
    partial = out.with_name(f".{out.name[:200]}.{uuid4().hex}")
    old = out.with_name(f"{partial.name}.old")
    try:
        partial.mkdir(parents=True)
        yield partial
        if out.exists():
            out.rename(old)
        try:
            partial.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside its place, which is moved there when all went well, and is gone otherwise.

    Args:
        out: Path of a new or empty folder.

    Raises:
        OutputError: ``not-empty``, or ``not-writable``.
    """
    partial = out.with_name(f".{out.name}.{uuid4().hex}")
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputError("is not empty", path=out, expected="a new or empty folder", code="not-empty")
        partial.mkdir(parents=True)
        yield partial
        partial.replace(out)  # an empty folder may be replaced
    except OSError as error:
        raise OutputError(f"cannot be written to ({error.strerror or error})", path=out, code="not-writable") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
