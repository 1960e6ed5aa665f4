"""Workers on a Ray cluster: actors that hold the model, with a GPU each or without."""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tips_med.batch.executors.base import Executor, Outcome
from tips_med.batch.work import Answering, Worker
from tips_med.discovery import FoundScan
from tips_med.errors import ConfigError, MissingExtraError, TipsMedError

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 10.0

MAX_IDLE_DEATHS = 3
"""Actors that die one after the other before they can be given a study: something else than a study is wrong."""


class RayExecutor(Executor):
    """Actors of a Ray cluster.

    An actor that dies with its node is replaced where there is room, and its study given out again. Studies are given
    only to actors that have loaded their model, so none waits for a node that does not come back.

    Args:
        address: Address of the cluster: ``auto``, or ``HOST:PORT``; ``local`` starts one on this machine.
        workers: Number of actors without a GPU, 0 or more.
        gpu_workers: Number of actors with a GPU each, 0 or more.
        cores: Number of cores of each actor; 1 when None.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: There would be no actor.
    """

    def __init__(self, address: str, workers: int = 1, gpu_workers: int = 0, cores: int | None = None) -> None:
        try:
            import ray
        except ModuleNotFoundError as error:
            raise MissingExtraError("actors on Ray", "ray", "ray") from error
        if workers < 0 or gpu_workers < 0 or workers + gpu_workers < 1:
            raise ConfigError(
                f"{workers} workers and {gpu_workers} with a GPU",
                expected="1 or more of them",
                remedy="set --workers 1",
            )
        self._ray: Any = ray
        self.address, self.cores = address, cores or 1
        self.kinds = ["cuda"] * gpu_workers + ["cpu"] * workers

    def run(self, scans: Sequence[FoundScan], work: Answering) -> Iterator[Outcome]:
        """See ``Executor.run``."""
        ray, ours = self._ray, not self._ray.is_initialized()
        if ours:
            _reach(self.address)
            try:
                ray.init(self.address, log_to_driver=False, configure_logging=False, include_dashboard=False)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise ConfigError(
                    f"there is no Ray cluster at {self.address} ({error})", expected="auto, or HOST:PORT", code="ray"
                ) from error
        try:
            yield from self._answered(deque(scans), work)
        finally:
            if ours:
                ray.shutdown()

    def _answered(self, waiting: deque[FoundScan], work: Answering) -> Iterator[Outcome]:
        ray, deaths = self._ray, 0
        asked: dict[Any, _Asked] = {}
        for device in self.kinds[: len(waiting)]:
            self._begin(device, work, asked)
        try:
            while asked:
                (done, *_), _ = ray.wait(list(asked), num_returns=1)
                one = asked.pop(done)
                try:
                    said = ray.get(done)
                except (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError):
                    if one.scan is None:
                        deaths += 1
                    else:
                        waiting.appendleft(one.scan)
                    log.warning("a worker of the Ray cluster died; it is replaced")
                    if deaths >= MAX_IDLE_DEATHS:
                        raise ConfigError(
                            f"{deaths} workers died before they could begin a study",
                            remedy="see the logs of the Ray cluster",
                            code="worker-died",
                        ) from None
                    if waiting:
                        self._begin(one.device, work, asked)
                    continue
                except ray.exceptions.RayTaskError as error:
                    if isinstance(error.cause, TipsMedError):
                        raise error.cause from None
                    raise
                if isinstance(said, Outcome):
                    deaths = 0
                    yield said
                if waiting:
                    scan = waiting.popleft()
                    asked[one.actor.answer.remote(scan)] = _Asked(one.actor, one.device, scan)
                else:
                    ray.kill(one.actor)
                    if not any(other.scan for other in asked.values()):
                        break  # the others have no model yet, and nothing is left for them
        finally:
            for one in asked.values():
                ray.kill(one.actor)

    def _begin(self, device: str, work: Answering, asked: dict[Any, _Asked]) -> None:
        """Asks the cluster for an actor, which may take as long as the cluster is full."""
        options: dict[str, Any] = {"num_cpus": self.cores, "num_gpus": int(device == "cuda")}
        actor = self._ray.remote(**options)(_Actor).remote(work, self.cores, device)
        asked[actor.ready.remote()] = _Asked(actor, device, None)


def _reach(address: str) -> None:
    """Makes sure that something listens at ``HOST:PORT``: Ray itself would try for minutes.

    Raises:
        ConfigError: Nothing does.
    """
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"there is no Ray cluster at {address} ({error})", expected="auto, or HOST:PORT", code="ray"
        ) from error


@dataclass(frozen=True)
class _Asked:
    """An actor that has been asked to begin, or to answer a scan."""

    actor: Any
    device: str
    scan: FoundScan | None


class _Actor:
    """A worker, as the cluster knows it."""

    def __init__(self, work: Answering, cores: int, device: str) -> None:
        self.work, self.cores, self.device = work, cores, device
        self.worker: Worker | None = None

    def ready(self) -> str:
        """Loads the model; an error of it is then that of a call, and not the death of the actor."""
        self.worker = self.work.start(self.cores, self.device)
        return "ready"

    def answer(self, scan: FoundScan) -> Outcome:
        assert self.worker is not None
        return self.worker.answer(scan)
