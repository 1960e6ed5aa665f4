"""Batches on a real Slurm, on the loopback interface."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from tests.batch.archive import Here, answered, answering, slow, table_without_times, write_archive
from tests.batch.slurm_cluster import Cluster, slurm_cluster, why_not
from tests.packaging.conftest import ROOT
from tips_med.batch import run_batch
from tips_med.batch.executors.slurm import SlurmExecutor, SlurmOptions, is_queued
from tips_med.errors import ConfigError

pytest.importorskip("submitit", reason="needs tips-med[slurm]")

OPTIONS = SlurmOptions(partition="chest", jobs=2, cpus=1, memory_gib=1, minutes=10, poll_s=0.5)


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(reason)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    try:
        with slurm_cluster(tmp_path / "cluster") as running:
            yield running
    except OSError as error:
        pytest.skip(f"no network namespace can be made here ({error})")


def test_a_node_dies_and_every_scan_is_answered_once(cluster, tmp_path):
    source, out = write_archive(tmp_path / "in", 8), tmp_path / "out"

    def power_cut() -> None:
        """One node dies after its first answers, and Slurm gives its job to the other one."""
        while len(answered(out)) < 2:
            time.sleep(0.2)
        cluster.kill_node("n1")
        while "down" not in cluster.states().get("n1", ""):
            time.sleep(0.2)
        begun.append(len(answered(out)))
        # A job that is requeued waits for two minutes, lest it meet what ended it; an operator can shorten that.
        job = subprocess.run(
            ["squeue", "-h", "-t", "PD", "-o", "%i"], capture_output=True, text=True, check=True
        ).stdout
        subprocess.run(["scontrol", "update", f"JobId={job.strip()}", "StartTime=now"], check=True)

    begun: list[int] = []
    operator = threading.Thread(target=power_cut)
    operator.start()
    executor = SlurmExecutor(OPTIONS, out / "slurm")
    result = run_batch(source, answering(out, slow), executor)
    operator.join()
    assert begun
    assert begun[0] < 8, "the node died after all was done"
    assert (result.answered, result.complete) == (8, True)
    assert set(answered(out).values()) == {1}
    assert len(answered(out)) == 8
    plain = tmp_path / "plain"
    run_batch(source, answering(plain), Here())
    assert table_without_times(out) == table_without_times(plain)


def test_a_driver_that_comes_back_waits_for_the_jobs_of_the_first(cluster, tmp_path):
    source, out = write_archive(tmp_path / "in", 3), tmp_path / "out"
    work = answering(out, slow)

    class Gone(SlurmExecutor):
        """One whose driver is killed once its jobs are submitted."""

        def _until_over(self, job, left, tail):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(source, work, Gone(OPTIONS, out / "slurm"))

    class Second(SlurmExecutor):
        def _submit(self, scans, work):
            pytest.fail("submitted again")

    result = run_batch(source, work, Second(OPTIONS, out / "slurm"))
    assert (result.answered, result.complete) == (3, True)
    assert set(answered(out).values()) == {1}


def test_no_job_is_no_queued_job(cluster):
    assert not is_queued("4711")


def test_without_slurm_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no Slurm here"):
        SlurmExecutor(OPTIONS, tmp_path / "slurm")
