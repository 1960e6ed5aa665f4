"""A batch from beginning to end: find the scans, have them answered, write what came of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tips_med.batch.executors.base import Executor
from tips_med.batch.folder import KEY, BatchFolder
from tips_med.batch.page import write_page
from tips_med.batch.table import TableFormat, write_tables
from tips_med.batch.work import Answering
from tips_med.discovery import MANIFESTS, Discovery, FoundScan, Refusal, find_scans
from tips_med.errors import ConfigError
from tips_med.grounding import Declined
from tips_med.progress import StepFactory, no_progress
from tips_med.secret import secret_key

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """A part of the scans: every ``of``-th, from ``number``.

    Attributes:
        number: Which part, from 0.
        of: Number of parts.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From ``NUMBER/OF``.

        Raises:
            ConfigError: It is something else.
        """
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal() and int(number) < int(of)):
            raise ConfigError(
                f"{text!r} is no shard", expected="NUMBER/OF, from 0: 0/8 to 7/8 are eight shards", code="shard"
            )
        return cls(int(number), int(of))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True)
class BatchResult:
    """What came of a batch, or of a shard of it.

    Attributes:
        out: Folder of the batch.
        scans: Number of scans.
        answered: Number of scans that are answered, whenever that was.
        now: Number of those that were answered in this run.
        refused: What is not answered, with the reason: files and series, and scans that failed.
        unfinished: Number of scans that nothing is known of yet.
        declined: Queries that no scan is asked.
        files: Files written at the end.
    """

    out: Path
    scans: int
    answered: int
    now: int
    refused: tuple[Refusal, ...]
    unfinished: int
    declined: tuple[Declined, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every scan is answered, and nothing was refused."""
        return not self.refused and not self.unfinished

    def __str__(self) -> str:
        lines = [f"{self.scans} scans: {self.answered} answered ({self.now} of them now)"]
        failed = [one for one in self.refused if one.key]
        if self.unfinished:
            lines[0] += f", {self.unfinished} not yet"
        if self.refused:
            codes = Counter(one.code for one in self.refused)
            counted = ", ".join(f"{count} {code}" for code, count in codes.most_common())
            lines.append(f"{len(self.refused)} not answered ({len(failed)} of them scans): {counted}")
            lines.append(f"Each with file, reason and remedy: {self.out / 'refused.csv'}")
        lines += [f"Written: {file}" for file in self.files]
        return "\n".join(lines)


def run_batch(
    source: Path,
    work: Answering,
    executor: Executor,
    *,
    retry: bool = False,
    again: bool = False,
    shard: Shard | None = None,
    list_only: bool = False,
    match: str | None = None,
    tables: TableFormat = "auto",
    page_rows: int = 500,
    declined: Sequence[Declined] = (),
    steps: StepFactory = no_progress,
) -> BatchResult:
    """Answers every scan of a folder or manifest once, and writes one table and one page.

    Args:
        source: Folder or manifest, see ``tips_med.discovery.find_scans``.
        work: What is asked, and where the answers go.
        executor: Where the workers run.
        retry: Try again what failed in an earlier run.
        again: Answer everything anew where the settings are others than in the earlier run.
        shard: Part of the scans to answer; tables are then left to a run without one. None for all.
        list_only: Find the scans, write their list, and stop.
        match: Pattern of the files that are taken, such as ``*/ct.nii.gz``; DICOM is always taken. None for all.
        tables: ``csv``, ``parquet`` (CSV is written, too), or ``auto``: Parquet where pyarrow is installed.
        page_rows: Number of rows on the page, 0 or more.
        declined: Queries that no scan is asked, for the result.
        steps: Progress of the work.

    Raises:
        TipsMedError: Nothing is found, results cannot be written, or no worker can work.
    """
    folder = BatchFolder(work.out)
    digest = work.settings.digest
    folder.prepare(work.settings, again=again)
    with steps("looking for scans") as progress:
        found = _found(source, folder, work, match, None if shard is None else shard, progress)
    if list_only:
        return BatchResult(work.out, len(found.scans), 0, 0, found.refused, len(found.scans), tuple(declined))
    mine = found.scans if shard is None else found.scans[shard.number :: shard.of]
    pending = [
        scan
        for scan in mine
        if not folder.is_done(scan.key, digest) and (retry or folder.failure(scan.key, digest) is None)
    ]
    log.info("%d scans, %d to answer, %d refused", len(mine), len(pending), len(found.refused))
    now = 0
    with steps("answering") as progress:
        for done, outcome in enumerate(executor.run(pending, work) if pending else (), start=1):
            now += outcome.state == "answered"
            what = f"{outcome.state} {outcome.code}".strip()
            log.info("%d of %d: %s %s, %.1f s", done, len(pending), outcome.key, what, outcome.seconds)
            progress(done, len(pending))
    answered = [scan.key for scan in mine if folder.is_done(scan.key, digest)]
    failed = _failures(mine, set(answered), folder, digest)
    unfinished = len(mine) - len(answered) - len(failed)
    refused = (*(found.refused if shard is None else ()), *failed)
    files: list[Path] = []
    if shard is None:
        if not unfinished:
            folder.clear_partial()
        folder.write_refused(refused)
        with steps("writing the table"):
            records = _Records(folder, answered)
            files = write_tables(records, work.out, tables)
            files.append(write_page(records, refused, folder, work.settings, page_rows))
    return BatchResult(work.out, len(mine), len(answered), now, refused, unfinished, tuple(declined), tuple(files))


def batch_secret(out: Path, key: Path | None = None) -> bytes:
    """The secret of a batch's keys, made if missing.

    Args:
        out: Folder of the batch.
        key: File of the secret; in the batch's folder when None.

    Raises:
        ConfigError: The file holds no key.
        OutputError: It cannot be made.
    """
    return secret_key(out / KEY if key is None else key)


def _found(
    source: Path,
    folder: BatchFolder,
    work: Answering,
    match: str | None,
    shard: Shard | None,
    progress: Callable[[int, int], None],
) -> Discovery:
    """The scans: from the list for a shard, where there is one, so that all shards share it; else searched."""
    if shard is not None:
        root = source.resolve().parent if source.suffix.lower() in MANIFESTS else source.resolve()
        listed = folder.read_scans(root)
        if listed is not None:
            return Discovery(listed)
    settings = work.settings
    found = find_scans(
        source,
        work.secret,
        skip=folder.root,
        match=match,
        fill_gaps=settings.fill_gaps,
        untilt=settings.untilt,
        progress=progress,
    )
    folder.write_scans(found)
    folder.write_refused(found.refused)
    return found


class _Records:
    """The records of studies, read one by one: those of an archive together take gigabytes."""

    def __init__(self, folder: BatchFolder, keys: Sequence[str]) -> None:
        self.folder, self.keys = folder, keys

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (record for key in self.keys if (record := self.folder.record(key)) is not None)


def _failures(scans: Sequence[FoundScan], answered: set[str], folder: BatchFolder, digest: str) -> list[Refusal]:
    """Why scans were not answered, with their paths, which the records of failures do not have."""
    found = ((scan, folder.failure(scan.key, digest)) for scan in scans if scan.key not in answered)
    return [replace(failure.refusal, path=scan.path) for scan, failure in found if failure is not None]
