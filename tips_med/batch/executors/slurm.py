"""Workers on a Slurm cluster, through submitit: one array of jobs, each of which answers its share of the scans.

The scheduler sees one submission, and one ``squeue`` every ten seconds, however many scans there are. What becomes of
them is read from the workers' logs in the batch's folder, which all nodes share. A job whose node dies, or that is
preempted, is put back into the queue and goes on where it stopped: scans that are done are skipped.
"""

from __future__ import annotations

import json
import logging
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tips_med.batch.executors.base import Executor, Outcome
from tips_med.batch.executors.local import LocalExecutor
from tips_med.batch.folder import BatchFolder
from tips_med.batch.work import Answering
from tips_med.discovery import FoundScan
from tips_med.errors import ConfigError, MissingExtraError

log = logging.getLogger(__name__)

_JOB = "job.json"
_JOBS = 10


@dataclass(frozen=True)
class SlurmOptions:
    """Options of a Slurm cluster.

    Attributes:
        partition: Partition; the cluster's default if left out.
        jobs: Number of jobs of the array, 1 or more; 10 if left out.
        simultaneous: Largest number of jobs that run at a time, 1 or more.
        cpus: Number of cores of a job; its workers share them.
        gpus: Number of GPUs of a job.
        memory_gib: Memory of a job in GiB.
        minutes: Time limit of a job in minutes; one that meets it goes on in a new job.
        requeues: Number of times that a job may meet its time limit.
        account: Account that is charged.
        qos: Quality of service.
        constraint: Features that nodes must have.
        extra: Further options of sbatch, by name.
        poll_s: Seconds between two looks at the queue.
    """

    partition: str | None = None
    jobs: int | None = None
    simultaneous: int = 256
    cpus: int = 4
    gpus: int = 0
    memory_gib: int = 8
    minutes: int = 240
    requeues: int = 10
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    extra: dict[str, str] = field(default_factory=dict)
    poll_s: float = 10.0


NO_SLURM = SlurmOptions()
"""What is there where nothing was asked of Slurm."""


class SlurmExecutor(Executor):
    """Jobs of a Slurm cluster.

    Args:
        options: Options of the cluster.
        folder: Folder for the jobs' scripts and logs, which all nodes share.
        workers: Number of processes of a job, 1 or more.

    Raises:
        MissingExtraError: submitit is not installed.
        ConfigError: There is no Slurm here.
    """

    def __init__(self, options: SlurmOptions, folder: Path, workers: int = 1) -> None:
        self.options, self.folder, self.workers = options, folder, workers
        try:
            from submitit import SlurmExecutor as Submitter
        except ModuleNotFoundError as error:
            raise MissingExtraError("jobs on Slurm", "submitit", "slurm") from error
        try:
            self._submitter = Submitter(folder=folder, max_num_timeout=options.requeues)
        except RuntimeError as error:
            raise ConfigError(
                f"there is no Slurm here ({error})", expected="sbatch and squeue", remedy="run it on a login node"
            ) from error
        self._submitter.update_parameters(**self._parameters())

    def run(self, scans: Sequence[FoundScan], work: Answering) -> Iterator[Outcome]:
        """See ``Executor.run``. A driver that is stopped leaves its jobs at work, and waits for them when run again."""
        batch = BatchFolder(work.out)
        left = {scan.key: scan for scan in scans}
        tail = _LogTail(batch.log_path("").parent, work.settings.digest)
        earlier = self._earlier(work)
        if earlier is not None:
            log.info("waiting for the jobs %s of an earlier run", earlier)
            yield from self._until_over(earlier, left, tail)
            for key in [key for key in left if batch.is_done(key, work.settings.digest)]:
                yield Outcome(key, "answered")
                del left[key]
        if left:
            yield from self._until_over(self._submit(list(left.values()), work), left, tail)
        for key in left:
            yield _outcome(batch, key, work.settings.digest)

    def _until_over(self, job: str, left: dict[str, FoundScan], tail: _LogTail) -> Iterator[Outcome]:
        running = True
        while running:
            time.sleep(self.options.poll_s)
            running = is_queued(job)  # first, so that what was written before the end is read after it
            for outcome in tail.new():
                if left.pop(outcome.key, None) is not None:
                    yield outcome
            running = running and bool(left)

    def _submit(self, scans: Sequence[FoundScan], work: Answering) -> str:
        jobs = min(self.options.jobs or _JOBS, len(scans))
        shares = [ScanShare(tuple(scans[n::jobs]), work, self.workers) for n in range(jobs)]
        made = self._submitter.map_array(_answer_share, shares) if jobs > 1 else [self._submitter.submit(shares[0])]
        job = str(made[0].job_id).partition("_")[0]
        content = {"job": job, "settings": work.settings.digest}
        (self.folder / _JOB).write_text(json.dumps(content), "utf-8")
        log.info("submitted job %s: %d scans in %d jobs; logs in %s", job, len(scans), jobs, self.folder)
        return job

    def _earlier(self, work: Answering) -> str | None:
        """The array of an earlier run, where it is still in the queue."""
        with suppress(OSError, ValueError, KeyError):
            content = json.loads((self.folder / _JOB).read_text("utf-8"))
            if content["settings"] == work.settings.digest and is_queued(content["job"]):
                return str(content["job"])
        return None

    def _parameters(self) -> dict[str, Any]:
        options = self.options
        named = {"partition": options.partition, "account": options.account, "qos": options.qos}
        named |= {"constraint": options.constraint, "gpus_per_node": options.gpus or None}
        return {
            "job_name": "tips-med",
            "time": options.minutes,
            "cpus_per_task": options.cpus,
            "mem": f"{options.memory_gib}G",
            "array_parallelism": options.simultaneous,
            "use_srun": False,
            "additional_parameters": {"requeue": True, **options.extra},
            **{name: value for name, value in named.items() if value is not None},
        }


@dataclass(frozen=True)
class ScanShare:
    """What one job does; submitit calls ``checkpoint`` before the time limit, and puts what it gives into the queue.

    Attributes:
        scans: Scans to answer; those that are done are skipped.
        work: What makes workers.
        workers: Number of processes.
    """

    scans: tuple[FoundScan, ...]
    work: Answering
    workers: int

    def __call__(self) -> int:
        """Answers the scans; the number of those that were not skipped."""
        batch = BatchFolder(self.work.out)
        left = [scan for scan in self.scans if not batch.is_done(scan.key, self.work.settings.digest)]
        # A process of its own for each worker: a scan that takes more memory than there is ends that one alone.
        return sum(1 for _ in LocalExecutor(self.workers).run(left, self.work))

    def checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        """The same again."""
        from submitit.helpers import DelayedSubmission

        del args, kwargs
        return DelayedSubmission(self)


def _answer_share(share: ScanShare) -> int:
    return share()


class _LogTail:
    """New lines in the logs of all workers, from now on.

    Args:
        folder: Folder of the logs.
        settings: Hash of the settings whose lines are read.
    """

    def __init__(self, folder: Path, settings: str) -> None:
        self.folder, self.settings = folder, settings
        self._read = {path: path.stat().st_size for path in folder.glob("*.jsonl")} if folder.is_dir() else {}

    def new(self) -> Iterator[Outcome]:
        """What the workers have said since the last call."""
        for path in sorted(self.folder.glob("*.jsonl")) if self.folder.is_dir() else ():
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            for line in whole.splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    said = json.loads(line)
                    if said["settings"] == self.settings:
                        yield Outcome(said["key"], said["state"], said["code"], float(said["seconds"]))


def is_queued(job: str) -> bool:
    """Whether a job, or one of an array, waits or runs; also while the controller does not answer.

    Args:
        job: Job ID, of an array that of the whole.
    """
    command = ["squeue", "--noheader", "--format=%T", f"--jobs={job}"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=60)  # noqa: S603 (an ID of ours)
    except (OSError, subprocess.TimeoutExpired):
        return True
    if asked.returncode:
        return "Invalid job id" not in asked.stderr
    return bool(asked.stdout.strip())


def _outcome(batch: BatchFolder, key: str, settings: str) -> Outcome:
    """What became of a study whose worker's words were lost."""
    if batch.is_done(key, settings):
        return Outcome(key, "answered")
    failure = batch.failure(key, settings)
    return Outcome(key, "unfinished") if failure is None else Outcome(key, "failed", failure.refusal.code)
