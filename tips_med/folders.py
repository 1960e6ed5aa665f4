"""Folders that appear when everything in them is there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tips_med.errors import OutputError


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside its place, which is moved there when all went well, and is gone otherwise.

    Args:
        out: A folder that does not exist yet, or is empty.

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
