"""Batches by processes of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.batch.archive import (
    QUERIES,
    Here,
    answered,
    answering,
    other_weights,
    poisoned,
    read_rows,
    rule,
    slow,
    table_without_times,
    write_archive,
    write_poison,
)
from tests.packaging.conftest import ROOT
from tips_med.batch import LocalExecutor, run_batch
from tips_med.batch.folder import BatchFolder
from tips_med.batch.run import Shard
from tips_med.errors import ConfigError, OutputError, TipsMedError
from tips_med.exporters.report import schema


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder)
    (folder / "1" / "readme.txt").write_text("no scan")
    (folder / "DOE^JANE").mkdir()
    (folder / "DOE^JANE" / "broken.nii.gz").write_bytes(b"no scan at all")
    return folder


@pytest.fixture(scope="module")
def batch(archive, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "batch"
    return run_batch(archive, answering(out), LocalExecutor(2)), out


def test_every_scan_is_answered_once_and_what_is_not_read_is_named(batch):
    import jsonschema

    result, out = batch
    assert (result.scans, result.answered, result.now, result.unfinished) == (5, 4, 4, 0)
    assert not result.complete
    assert sorted(answered(out).values()) == [1, 1, 1, 1]
    rows = read_rows(out / "answers.csv")
    assert len(rows) == 8
    assert {row["query"] for row in rows} == set(QUERIES)
    found = {row["study"]: row for row in rows if row["query"] == QUERIES[0]}
    assert sorted(row["answer"] for row in found.values()) == ["absent", "present", "present", "present"]
    for row in found.values():
        if row["answer"] == "present":
            assert row["side"] == "left"
            assert float(row["peak_x_mm"]) > 30
            assert float(row["volume_ml"]) > 1
    for key in found:
        report = json.loads((BatchFolder(out).place(key) / "report.json").read_text())
        jsonschema.validate(report, schema())
    refused = read_rows(out / "refused.csv")
    assert [(row["path"], row["code"]) for row in refused] == [("DOE^JANE/broken.nii.gz", "damaged-file")]


def test_no_path_is_in_what_may_be_shared(batch):
    _, out = batch
    private = {"refused.csv", "scans.csv"}
    for name in private:
        assert (out / name).stat().st_mode & 0o077 == 0
    for file in out.rglob("*"):
        if file.is_file() and file.name not in private:
            assert b"DOE" not in file.read_bytes(), file.name
            assert "DOE" not in str(file)


def test_parquet_has_the_rows_of_the_csv_with_types(batch):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs tips-med[archive]")
    table = parquet.read_table(batch[1] / "answers.parquet")
    rows = read_rows(batch[1] / "answers.csv")
    assert table.column_names == list(rows[0])
    for own, written in zip(table.to_pylist(), rows, strict=True):
        assert {name: "" if value is None else str(value) for name, value in own.items()} == written
    assert str(table.schema.field("volume_ml").type) == "double"
    assert str(table.schema.field("holds").type) == "bool"


def test_the_same_command_again_answers_nothing_again(batch, archive, monkeypatch):
    monkeypatch.setattr(Here, "run", lambda *_: pytest.fail("work was given out"))
    before = table_without_times(batch[1])
    again = run_batch(archive, answering(batch[1]), Here())
    assert (again.answered, again.now) == (4, 0)
    assert [one.code for one in again.refused] == ["damaged-file"]
    assert table_without_times(batch[1]) == before


def test_failures_are_tried_again_only_with_retry(archive, tmp_path):
    source = tmp_path / "in"
    write_archive(source, 1)
    bad = source / "9" / "ct.nii.gz"
    bad.parent.mkdir()
    bad.write_bytes(b"half of a scan")
    out = tmp_path / "out"
    first = run_batch(source, answering(out), Here())
    assert [(one.code, one.path) for one in first.refused] == [("damaged-file", Path("9/ct.nii.gz"))]
    write_poison(bad)  # whole by now
    key = first.refused[0].key
    assert run_batch(source, answering(out), Here()).now == 0
    second = run_batch(source, answering(out), Here(), retry=True)
    assert (second.now, second.answered, second.complete) == (1, 2, True)
    assert BatchFolder(out).failure(key, answering(out).settings.digest) is None


def test_other_settings_are_refused_or_answer_all_anew(archive, tmp_path):
    out = tmp_path / "out"
    source = write_archive(tmp_path / "in", 2)
    run_batch(source, answering(out), Here())
    others = answering(out, queries=("mass",))
    with pytest.raises(ConfigError, match=r"other settings \(queries\).*--again") as told:
        run_batch(source, others, Here())
    assert told.value.code == "other-settings"
    assert run_batch(source, others, Here(), again=True).now == 2
    rows = read_rows(out / "answers.csv")
    assert [row["query"] for row in rows] == ["mass", "mass"]
    assert not (out / "partial").exists()
    with pytest.raises(ConfigError):
        run_batch(source, answering(out), Here())


def test_a_worker_with_other_weights_stops_the_batch(tmp_path):
    source = write_archive(tmp_path / "in", 1)
    with pytest.raises(TipsMedError) as told:
        run_batch(source, answering(tmp_path / "out", other_weights), LocalExecutor(1))
    assert told.value.code == "other-weights"


def test_a_folder_of_other_files_is_left_alone(archive, tmp_path):
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(OutputError, match="other files"):
        run_batch(archive, answering(tmp_path), Here())


def test_a_scan_that_kills_its_workers_is_given_up_and_the_others_are_answered(tmp_path):
    source = write_archive(tmp_path / "in", 2)
    write_poison(source / "8" / "ct.nii.gz")
    result = run_batch(source, answering(tmp_path / "out", poisoned), LocalExecutor(1))
    assert result.answered == 2
    assert [(one.code, one.path) for one in result.refused] == [("worker-died", Path("8/ct.nii.gz"))]
    assert "more memory" in result.refused[0].remedy


def test_a_killed_worker_is_replaced_and_every_scan_answered_once(tmp_path):
    source, out = write_archive(tmp_path / "in", 5), tmp_path / "out"
    killed = []

    class Watched(LocalExecutor):
        def run(self, scans, work):
            for outcome in super().run(scans, work):
                if not killed:
                    victim = next(one for one in psutil.Process().children() if "spawn_main" in " ".join(one.cmdline()))
                    os.kill(victim.pid, signal.SIGKILL)
                    killed.append(victim.pid)
                yield outcome

    result = run_batch(source, answering(out, slow), Watched(2))
    assert killed
    assert (result.answered, result.complete) == (5, True)
    assert set(answered(out).values()) == {1}
    assert len(answered(out)) == 5


_DRIVER = """
import sys
from pathlib import Path
from tests.batch.archive import answering, slow
from tips_med.batch import LocalExecutor, run_batch
if __name__ == "__main__":
    run_batch(Path(sys.argv[1]), answering(Path(sys.argv[2]), slow), LocalExecutor(2))
"""


def test_a_killed_batch_goes_on_where_it_was(tmp_path):
    source, out = write_archive(tmp_path / "in", 6), tmp_path / "out"
    script = tmp_path / "driver.py"
    script.write_text(_DRIVER)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen([sys.executable, str(script), str(source), str(out)], env=environment, cwd=tmp_path)
    end = time.monotonic() + 50
    while len(answered(out)) < 2:
        assert driver.poll() is None, "the batch ended too early"
        assert time.monotonic() < end, "nothing was answered"
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    before = {file: file.stat().st_mtime_ns for file in out.rglob("study.json")}
    assert 2 <= len(before) < 6
    result = run_batch(source, answering(out), LocalExecutor(2))
    assert (result.answered, result.complete) == (6, True)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert set(answered(out).values()) == {1}
    assert len(answered(out)) == 6
    assert not (out / "partial").exists()


def test_shards_share_one_list_and_a_last_run_writes_the_table(archive, batch, tmp_path):
    out = tmp_path / "out"
    listed = run_batch(archive, answering(out), Here(), list_only=True)
    assert (listed.scans, listed.unfinished) == (5, 5)
    counts = []
    for number in (1, 0):
        part = run_batch(archive, answering(out), Here(), shard=Shard(number, 2))
        counts.append(part.now)
        assert not (out / "answers.csv").exists()
    assert sum(counts) == 4
    last = run_batch(archive, answering(out), Here())
    assert (last.answered, last.now) == (4, 0)
    assert set(answered(out).values()) == {1}
    assert table_without_times(out) == table_without_times(batch[1])


@pytest.mark.parametrize("text", ["2/2", "1", "a/b", "-1/2", "0/0"])
def test_a_wrong_shard_is_refused(text):
    with pytest.raises(ConfigError, match="no shard"):
        Shard.parse(text)


def test_manifests_name_scans_and_each_is_answered_once(archive, tmp_path):
    manifest = tmp_path / "m.csv"
    rows = [f"{archive}/{n}/ct.nii.gz,mass" for n in (0, 1, 0)] + [f"{archive}/nowhere.nii.gz,mass"]
    manifest.write_text("\n".join(["scan,phrase", *rows]) + "\n")
    result = run_batch(manifest, answering(tmp_path / "out"), Here())
    assert (result.scans, result.answered) == (3, 2)
    assert [one.code for one in result.refused] == ["not-found"]


def test_encoded_studies_are_answered_without_encoding(archive, batch, tmp_path):
    from tips_med.grounding import encode
    from tips_med.readers import read_scan

    encode(read_scan(archive / "0" / "ct.nii.gz"), rule()).save(tmp_path / "in" / "study.safetensors")
    result = run_batch(tmp_path / "in", answering(tmp_path / "out"), Here())
    assert result.answered == 1
    record = BatchFolder(tmp_path / "out").record(next(iter(answered(tmp_path / "out"))))
    assert record is not None
    assert "encode" not in record["seconds"]
    direct = {tuple(row[1:]) for row in table_without_times(batch[1])}
    assert {tuple(row[1:]) for row in table_without_times(tmp_path / "out")} <= direct
