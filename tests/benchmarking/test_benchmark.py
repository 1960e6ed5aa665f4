"""The command: what it reports, what it refuses, and that its stages are those of an answer."""

from __future__ import annotations

import getpass
import json
import socket
from importlib import import_module
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from tests.benchmarking.small import QUERIES, measured_here, written
from tips_med import cli
from tips_med.benchmarking import Benchmark, CurveSizes, run_benchmark, write_report
from tips_med.benchmarking.clock import Clock, peak_mib
from tips_med.benchmarking.markdown import stages_markdown
from tips_med.benchmarking.processes import _ended, error_from_dict, error_to_dict, measured_alone
from tips_med.benchmarking.report import FORMAT, STAGES
from tips_med.benchmarking.stages import encoded
from tips_med.benchmarking.table import benchmark_table
from tips_med.errors import ConfigError, MissingExtraError, QueryError, ReadError
from tips_med.grounding import encode
from tips_med.loading import open_model
from tips_med.readers import read_scan


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return written(tmp_path_factory.mktemp("benchmark"))


@pytest.fixture(scope="module")
def measured(files: dict[str, str]) -> Benchmark:
    """Of real processes."""
    return run_benchmark(files["scan"], QUERIES, runs=1, model=files["model"], device="cpu")


def test_the_stages_are_all_there_and_their_shares_are_the_whole(measured: Benchmark) -> None:
    assert tuple(stage.name for stage in measured.stages) == STAGES
    assert sum(stage.share for stage in measured.stages) == pytest.approx(1)
    for stage in measured.stages:
        assert stage.seconds >= 0
        assert stage.processor_seconds >= 0
        assert stage.seconds_of_runs == (stage.seconds,)
    peaks = [stage.peak_mib for stage in measured.stages]
    assert peaks == sorted(peaks), "the most so far never falls"
    total = sum(stage.seconds for stage in measured.stages)
    assert 0 < measured.first_answer_seconds <= total + 0.01, "a part of it, but for rounding"
    assert measured.stages[0].seconds > 0.3, "starting Python and importing PyTorch is a stage"
    scan = {"bundled": False, "shape": [6, 32, 48], "spacing_mm": [2.5, 2.0, 2.0], "slabs": [6, 24, 48]}
    assert measured.scan == scan, "slabs are cut to the body"
    assert measured.voxels_mib == pytest.approx(6 * 32 * 48 * 2 / 2**20, abs=0.06)


def test_scripts_find_the_same_keys_always(measured: Benchmark) -> None:
    told = json.loads(json.dumps(measured.to_dict(), allow_nan=False))
    assert told["format"] == FORMAT == "tips_med-benchmark-1"
    assert set(told) == {
        "format", "machine", "scan", "queries", "runs", "stages", "first_answer_seconds", "study_mib", "voxels_mib",
        "gpu", "curves", "peak_mib",
    }  # fmt: skip
    assert set(told["machine"]) == {
        "processor", "instructions", "cores", "threads", "memory_gib", "gpu", "precision", "torch", "python", "system",
        "load", "busy",
    }  # fmt: skip
    for stage in told["stages"]:
        assert set(stage) == {"name", "seconds", "processor_seconds", "share", "peak_mib", "seconds_of_runs"}
    assert told["gpu"] == {"skipped": "the processor was requested"}


def test_nothing_names_the_machine_its_user_or_a_folder(measured: Benchmark, files: dict[str, str]) -> None:
    said = json.dumps(measured.to_dict())
    assert socket.gethostname() not in said
    assert str(Path(files["scan"]).parent) not in said
    if len(getpass.getuser()) > 4:
        assert getpass.getuser() not in said


def test_the_tables_have_a_row_for_each_stage(measured: Benchmark) -> None:
    console = Console(width=120, record=True, file=StringIO())
    console.print(benchmark_table(measured))
    text = console.export_text()
    table = stages_markdown({"small": measured.to_dict(), "again": measured.to_dict()})
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1, "every row has all cells"
    for name in STAGES:
        assert name in text
        assert f"| {name} |" in table
    assert "GPU: not measured (the processor was requested)." in text
    assert "GPU: not measured (the processor was requested)." in table


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("run", "curves"):
        monkeypatch.setattr(f"tips_med.benchmarking.{module}.measured_alone", measured_here)


@pytest.mark.usefixtures("here")
def test_of_several_runs_the_fastest_counts(files: dict[str, str]) -> None:
    told = run_benchmark(files["scan"], QUERIES, runs=2, model=files["model"], device="cpu")
    for stage in told.stages:
        assert len(stage.seconds_of_runs) == 2
        assert stage.seconds == min(stage.seconds_of_runs)
    assert sum(stage.share for stage in told.stages) == pytest.approx(1)


@pytest.mark.usefixtures("here")
def test_the_command_writes_its_files_and_prints(files: dict[str, str], tmp_path: Path, capsys) -> None:
    options = ["--query", *QUERIES, "--runs", "1", "--model", files["model"], "--device", "cpu"]
    out = tmp_path / "out"
    curves = ["--curves", "queries", "threads", "--sizes.queries", "[1,2]", "--sizes.threads", "[1]"]
    curves += ["--sizes.repeats", "2"]
    assert cli.main(["benchmark", files["scan"], *options, *curves, "--out", str(out), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "From the command to the first answer" in said
    assert "Curve: threads" in said
    told = json.loads((out / "benchmark.json").read_text())
    assert [point["questions"] for point in told["curves"]["queries"]] == [1, 2]
    assert (out / "benchmark.md").read_text().startswith("| stage | scan, 6 x 32 x 48 |")
    assert (out / "queries.png").stat().st_size > 1000
    assert cli.main(["benchmark", files["scan"], *options, "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == 1


def test_without_a_scan_the_bundled_one_is_measured(monkeypatch: pytest.MonkeyPatch, capsys, measured) -> None:
    asked = []
    module = import_module(cli.pipeline("benchmark").__module__)
    monkeypatch.setattr(module, "run_benchmark", lambda scan, *_: asked.append(scan) or measured)
    assert cli.main(["benchmark"]) == 0
    assert asked == ["sample"]


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"queries": ("nodule",)}, QueryError, "1 query to benchmark; expected two or more"),
        ({"runs": 0}, ConfigError, "0 runs; expected 1 or more"),
        ({"curves": ("slabs",)}, ConfigError, "no curve 'slabs'; expected some of slices, queries, lexicon, threads"),
        ({"queries": ("nodule", "zorp")}, QueryError, "no word of 'zorp'"),
        ({"scan": "nowhere.nii.gz"}, ReadError, "nowhere.nii.gz: does not exist"),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_cannot_be_measured_is_refused(change, kind, said, files: dict[str, str]) -> None:
    with pytest.raises(kind, match=said):
        run_benchmark(**({**files, "queries": QUERIES, "runs": 1, "device": "cpu"} | change))


def test_an_encoded_study_is_no_scan_to_read(files: dict[str, str], tmp_path: Path) -> None:
    study = encode(read_scan(files["scan"]), open_model(files["model"], "cpu")).save(tmp_path / "study.safetensors")
    with pytest.raises(ReadError, match="no format that can be read"):
        measured_here("stages", {"scan": str(study), "queries": QUERIES, "model": files["model"], "device": "cpu"})


def test_the_user_is_told_in_one_line_by_the_process_that_measures(tmp_path: Path, capsys) -> None:
    assert cli.main(["benchmark", str(tmp_path / "nowhere.nii.gz"), "--runs", "1", "--quiet"]) == 2
    said = capsys.readouterr().err.strip()
    assert "nowhere.nii.gz: does not exist" in said
    assert len(said.splitlines()) == 1


def test_a_folder_that_cannot_be_written_to_is_told_before_any_work(tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("in the way")
    assert cli.main(["benchmark", "--out", str(tmp_path / "file"), "--quiet"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_process_that_ends_is_told() -> None:
    with pytest.raises(ConfigError, match="a run ended with exit code 1: KeyError: 'nothing'"):
        measured_alone("nothing", {})
    assert "it may have been the memory" in str(_ended(-9, "").remedy)


@pytest.mark.parametrize(
    "error",
    [
        ReadError("no slices", path="a/b", expected="some", remedy="look", code="empty"),
        QueryError("no word of 'zorp' is known"),
        ConfigError("no device", expected="a GPU"),
    ],
)
def test_errors_come_over_as_they_are(error) -> None:
    again = error_from_dict(json.loads(json.dumps(error_to_dict(error))))
    assert type(again) is type(error)
    assert (str(again), again.code) == (str(error), error.code)


def test_an_error_about_a_missing_extra_comes_over_as_its_text() -> None:
    error = MissingExtraError("figures", "matplotlib", "figures")
    again = error_from_dict(error_to_dict(error))
    assert str(again) == str(error)
    assert again.code == "missing-extra"


def test_the_stages_are_what_encode_does(files: dict[str, str]) -> None:
    """They are called one by one, to be timed apart; the study must be the one that everyone else gets."""
    model, scan = open_model(files["model"], "cpu"), read_scan(files["scan"])
    clock = Clock()
    parts, whole = encoded(scan, model, clock, torch.device("cpu")), encode(scan, model)
    assert set(clock.stages) == {"slabs", "encode"}
    assert torch.equal(parts.features.patches, whole.features.patches)
    assert parts.features.fine is not None and whole.features.fine is not None
    assert torch.equal(parts.features.fine, whole.features.fine)
    np.testing.assert_array_equal(parts.body.inside, whole.body.inside)
    assert parts.weights_sha256 == whole.weights_sha256


def test_a_clock_counts_each_stage_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([10.0, 14.0, 14.0, 20.0, 29.0, 29.0])
    monkeypatch.setattr("tips_med.benchmarking.clock.time.monotonic", lambda: next(now))
    clock = Clock()
    clock.done("first")  # at 14
    clock.go_on()  # at 20: what was done since does not count
    clock.done("second", times=3)  # at 29
    assert clock.stages["first"]["seconds"] == 4
    assert clock.stages["second"]["seconds"] == 3
    assert 10 < peak_mib() < 1e6


def test_sizes_of_curves_rise() -> None:
    for wrong in ({"slices": (0, 1)}, {"queries": (10, 1)}, {"terms": (1, 1)}, {"repeats": 0}):
        with pytest.raises(ConfigError, match="sizes"):
            CurveSizes(**wrong)


def test_earlier_files_are_replaced(measured: Benchmark, tmp_path: Path) -> None:
    for _ in range(2):
        written = write_report(measured, tmp_path / "out")
    assert sorted(path.name for path in written) == ["benchmark.json", "benchmark.md"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["benchmark.json", "benchmark.md"]
