"""Folders that are written to while an answer is made; they are never named."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tips_med.doctor.examination import Check
from tips_med.doctor.machine import GIB

NEEDED_GIB = 1.0
"""Room for an unpacked archive of a series, or for what a conversion writes."""


def temporary(folder: Path | None = None) -> Check:
    """The temporary folder: can it be written to, and is there room?

    Args:
        folder: Folder to look at; the system's if left out.
    """
    advice = "set TMPDIR to a folder that can be written to, on a disk with room"
    try:
        folder = folder or Path(tempfile.gettempdir())
    except OSError:
        return Check("files", "temporary folder", "fault", "there is none that can be written to", advice)
    if not _is_writable(folder):
        return Check("files", "temporary folder", "fault", "cannot be written to", advice)
    free_gib = shutil.disk_usage(folder).free / GIB
    found, data = f"{free_gib:.1f} GiB free", {"free_gib": round(free_gib, 1)}
    if free_gib < NEEDED_GIB:
        return Check("files", "temporary folder", "hint", found, advice, data)
    return Check("files", "temporary folder", "ok", found, data=data)


def cache(folder: Path | None = None) -> Check:
    """The cache of fonts and of downloaded models: can it be written to?

    Args:
        folder: Folder to look at; that of the XDG base directories if left out.
    """
    if folder is None:
        try:
            folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        except RuntimeError:
            folder = Path("/nonexistent")
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not _is_writable(place):
        advice = "set XDG_CACHE_HOME and MPLCONFIGDIR to a folder that can be written to; each start is slow without"
        return Check("files", "cache", "hint", "cannot be written to", advice)
    return Check("files", "cache", "ok", "can be written to")


def _is_writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
    except OSError:
        return False
    return True
