"""Queries of an archive: every scan answered once, by processes here or on a cluster, whatever is killed meanwhile."""

from tips_med.batch.executors.base import Executor, Outcome
from tips_med.batch.executors.local import LocalExecutor
from tips_med.batch.run import BatchResult, run_batch
from tips_med.batch.settings import BatchSettings
from tips_med.batch.work import Answering

__all__ = ["Answering", "BatchResult", "BatchSettings", "Executor", "LocalExecutor", "Outcome", "run_batch"]
