"""Fetches a study or a series into a folder of its own."""

from __future__ import annotations

from pathlib import Path

from tips_med.folders import new_folder
from tips_med.serving.archive import Archive, ArchiveError
from tips_med.serving.bounds import Bounds
from tips_med.serving.intake import is_uid, take_in


def fetch_series(
    archive: Archive, study_uid: str, out: Path, series_uid: str | None = None, bounds: Bounds | None = None
) -> int:
    """Fetches a study, or one series, into a folder: whole or not at all.

    Files are numbered; no name that a peer chose reaches the file system.

    Args:
        archive: Archive that has the study.
        study_uid: Study Instance UID.
        out: Path of a new or empty folder.
        series_uid: Series Instance UID; the whole study when None.
        bounds: Limits on size and disk.

    Returns:
        The number of fetched instances.

    Raises:
        ArchiveError: ``bad-uid``, ``no-such-study``, ``incomplete``, or what the archive raises.
        OutputError: The folder cannot be written to, or the bounds do not allow it.
    """
    for uid in (study_uid, series_uid):
        if uid is not None and not is_uid(uid):
            raise ArchiveError(f"{uid!r} is no UID", expected="digits and dots, at most 64", code="bad-uid")
    with new_folder(out) as folder:
        expected = set(archive.instances(study_uid, series_uid))
        if not expected:
            raise ArchiveError(
                f"{archive.address} has no {'series' if series_uid else 'study'} {series_uid or study_uid}",
                remedy="check the UIDs, and that the archive has received it",
                code="no-such-study",
            )
        return take_in(
            archive,
            study_uid,
            series_uid,
            folder,
            name=lambda _, number: f"{number:06d}.dcm",
            bounds=bounds or Bounds(),
            expected=expected,
        )
