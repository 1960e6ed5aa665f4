"""The folder of a batch: which study is done, which failed, which was begun. Files are the only state there is.

Any number of processes on any number of machines may share it. A study is done when its folder is there, which comes
by one renaming; of two processes that answer one study at a time, the first one's answer stays.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from tips_med.batch.settings import BatchSettings
from tips_med.discovery import Discovery, FoundScan, Refusal
from tips_med.errors import ConfigError, OutputError
from tips_med.folders import whole_file

SETTINGS, SCANS, REFUSED, KEY = "settings.json", "scans.csv", "refused.csv", "batch.key"
STUDIES, FAILED, PARTIAL, LOG = "studies", "failed", "partial", "log"
RECORD = "study.json"
RECORD_FORMAT = "tips-med-batch-study/1"
MAX_STARTS = 3
"""A study that was begun so often and neither ended nor failed has killed its workers."""

_SCAN_COLUMNS = ("study", "path", "series", "folders")


def _is_foreign(path: Path) -> bool:
    """Whether a file is not of a batch that another process has just begun here."""
    return path.name != KEY and not path.name.startswith(".")


@dataclass(frozen=True)
class Failure:
    """A study that was not answered.

    Attributes:
        refusal: Why.
        settings: Hash of the settings it failed with.
        attempts: Number of attempts so far.
    """

    refusal: Refusal
    settings: str
    attempts: int


class BatchFolder:
    """Paths and states in a batch's folder.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self, settings: BatchSettings, *, again: bool = False) -> None:
        """Makes the folder and keeps the settings; those of an earlier run must be the same.

        Args:
            settings: Settings of this run.
            again: Take other settings than those of the earlier run: every study is then answered anew.

        Raises:
            OutputError: ``not-ours``, ``not-writable``.
            ConfigError: ``other-settings``.
        """
        path = self.root / SETTINGS
        try:
            if path.is_file():
                earlier = BatchSettings.load(path)
                if different := settings.differences(earlier):
                    if not again:
                        raise ConfigError(
                            f"holds answers that were made with other settings ({', '.join(different)})",
                            path=self.root,
                            expected="the same settings, to go on",
                            remedy="choose another folder with --out, or add --again to answer every scan anew",
                            code="other-settings",
                        )
                    settings.save(path)
                return
            if self.root.exists() and (not self.root.is_dir() or any(map(_is_foreign, self.root.iterdir()))):
                raise OutputError(
                    "holds other files",
                    path=self.root,
                    expected="a new or empty folder, or that of an earlier batch",
                    remedy="choose another folder with --out",
                    code="not-ours",
                )
            settings.save(path)
        except OSError as error:
            raise self._not_writable(error) from error

    def write_scans(self, found: Discovery) -> None:
        """Keeps the list of scans: which study is which file. Only its owner may read it.

        Raises:
            OutputError: It cannot be written.
        """
        rows = (
            (scan.key, str(scan.path), scan.series or "", json.dumps([str(folder) for folder in scan.folders]))
            for scan in found.scans
        )
        self._write_private(SCANS, _SCAN_COLUMNS, rows)

    def read_scans(self, root: Path) -> tuple[FoundScan, ...] | None:
        """The list that ``write_scans`` kept; None where there is none.

        Args:
            root: Folder that relative paths start at.

        Raises:
            ConfigError: It is damaged.
        """
        path = self.root / SCANS
        try:
            with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                return tuple(
                    FoundScan(
                        row["study"],
                        Path(row["path"]),
                        root,
                        row["series"] or None,
                        tuple(Path(folder) for folder in json.loads(row["folders"])),
                    )
                    for row in csv.DictReader(file, strict=True)
                )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise ConfigError(
                f"is no list of scans ({error})", path=path, remedy="delete it to search the folder again"
            ) from error

    def write_refused(self, refused: Sequence[Refusal]) -> None:
        """Keeps the list of what was not answered and why. Only its owner may read it, for it has paths.

        Raises:
            OutputError: It cannot be written.
        """
        columns = ("path", "study", "code", "found", "expected", "remedy")
        rows = ((str(one.path), one.key, one.code, one.found, one.expected, one.remedy) for one in refused)
        self._write_private(REFUSED, columns, rows)

    def place(self, key: str) -> Path:
        """Folder of a study; 256 folders share them, for file systems that are slow with large ones."""
        return self.root / STUDIES / key[1:3] / key

    def record(self, key: str) -> dict[str, Any] | None:
        """What is known of an answered study; None while it is not."""
        try:
            content = json.loads((self.place(key) / RECORD).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) and content.get("format") == RECORD_FORMAT else None

    def is_done(self, key: str, settings: str) -> bool:
        """Whether a study is answered, with settings of this hash."""
        record = self.record(key)
        return record is not None and record.get("settings") == settings

    def failure(self, key: str, settings: str) -> Failure | None:
        """Why a study was not answered, with settings of this hash; None where it was, or was not tried."""
        try:
            content = json.loads(self._failed(key).read_text("utf-8"))
            if content["settings"] != settings:
                return None
            refusal = Refusal(**{**content["refusal"], "path": Path()})
            return Failure(refusal, settings, int(content["attempts"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def fail(self, refusal: Refusal, settings: str) -> None:
        """Notes that a study was not answered; its path is not kept here.

        Raises:
            OutputError: It cannot be written.
        """
        earlier = self.failure(refusal.key, settings)
        attempts = 1 if earlier is None else earlier.attempts + 1
        content = {"refusal": {**asdict(refusal), "path": ""}, "settings": settings, "attempts": attempts}
        try:
            with whole_file(self._failed(refusal.key)) as partial:
                partial.write_text(json.dumps(content), "utf-8")
            self._started(refusal.key).unlink(missing_ok=True)
        except OSError as error:
            raise self._not_writable(error) from error

    def begin(self, key: str) -> int:
        """Notes that a study is begun.

        Returns:
            How often it has been begun now without coming to an end.

        Raises:
            OutputError: It cannot be written.
        """
        path = self._started(key)
        try:
            starts = 1
            with suppress(OSError, ValueError):
                starts = int(path.read_text("ascii")) + 1
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(starts), "ascii")
        except OSError as error:
            raise self._not_writable(error) from error
        return starts

    @contextmanager
    def new_study(self, key: str, settings: str) -> Iterator[Path]:
        """A folder that becomes that of the study when all went well.

        An earlier answer, with other settings, is replaced. Of two processes that answer it at a time the first one's
        stays.

        Args:
            key: Key of the study.
            settings: Hash of the settings, which its record has.

        Raises:
            OutputError: It cannot be moved there.
        """
        partial, old = (self.root / PARTIAL / f"{key}.{uuid4().hex}" for _ in range(2))
        place = self.place(key)
        try:
            partial.mkdir(parents=True)
            yield partial
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists() and not self.is_done(key, settings):
                place.rename(old)
            partial.rename(place)
        except OSError as error:
            if not self.is_done(key, settings):  # by another process
                raise self._not_writable(error) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
        for note in (self._failed(key), self._started(key)):
            note.unlink(missing_ok=True)

    def clear_partial(self) -> None:
        """Deletes what killed workers left; only for when every study is done or failed."""
        shutil.rmtree(self.root / PARTIAL, ignore_errors=True)

    def log_path(self, worker: str) -> Path:
        """File to which a worker writes a line for each study."""
        return self.root / LOG / f"{worker}.jsonl"

    def _failed(self, key: str) -> Path:
        return self.root / FAILED / f"{key}.json"

    def _started(self, key: str) -> Path:
        return self.root / PARTIAL / f"{key}.started"

    def _write_private(self, name: str, columns: Sequence[str], rows: Iterator[Sequence[str]]) -> None:
        def opener(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600)

        try:
            with (
                whole_file(self.root / name) as partial,
                open(partial, "w", encoding="utf-8", errors="surrogateescape", newline="", opener=opener) as file,
            ):
                writer = csv.writer(file)
                writer.writerow(columns)
                writer.writerows(rows)
        except OSError as error:
            raise self._not_writable(error) from error

    def _not_writable(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot be written to ({error.strerror or error})",
            path=self.root,
            remedy="choose another folder with --out, or make room there, and run the same command again",
            code="not-writable",
        )
