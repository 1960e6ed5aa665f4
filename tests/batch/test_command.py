"""``tips-med batch``."""

from __future__ import annotations

from importlib import import_module

import pytest

from tests.batch.archive import QUERIES, Here, answered, read_rows, rule, write_archive
from tips_med import cli


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """The rule model, in this process."""
    pipeline = import_module(cli.pipeline("batch").__module__)
    monkeypatch.setattr(pipeline, "open_model_at", lambda *_, **__: rule())
    monkeypatch.setattr(pipeline, "LocalExecutor", lambda workers, cores: Here())


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def test_a_folder_is_answered_and_the_files_are_named(tmp_path, capsys):
    source, out = write_archive(tmp_path / "in", 2), tmp_path / "out"
    command = ("batch", source, "--query", *QUERIES, "--out", out, "--outputs", "all", "--exporter", "slicer")
    assert run(*command) == 0
    said = capsys.readouterr()
    assert "2 scans: 2 answered (2 of them now)" in said.out
    assert "answers.csv" in said.out
    assert "index.html" in said.out
    assert len(read_rows(out / "answers.csv")) == 4
    for key in answered(out):
        (study,) = out.glob(f"studies/*/{key}")
        names = {path.name for path in (study / "01-mass-in-the-left-lung").iterdir()}
        assert {"heat.nii.gz", "mask.nii.gz", "figure.png", "thumbnail.jpg"} <= names
    assert run(*command) == 0
    assert "(0 of them now)" in capsys.readouterr().out


def test_what_is_not_answered_gives_exit_code_3_and_is_named(tmp_path, capsys):
    source = write_archive(tmp_path / "in", 1)
    (source / "DOE" / "x").mkdir(parents=True)
    (source / "DOE" / "x" / "a.nii.gz").write_bytes(b"no scan")
    assert run("batch", source, "--query", "mass", "zorp", "--out", tmp_path / "out") == 3
    said = capsys.readouterr()
    assert "1 damaged-file" in said.out
    assert "refused.csv" in said.out
    assert "zorp" in said.err
    assert "DOE" not in said.err + said.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "--query", "mass"], "does not exist"),
        (["{source}", "--query", "zorp"], "no word of 'zorp'"),
        (["{source}", "--query", "mass", "--shard", "3/3"], "no shard"),
        (["{source}", "--query", "mass", "--exporter", "none-such"], "no exporter"),
        (["{source}", "--query", "mass", "--ray", "127.0.0.1:1"], "no Ray cluster"),
    ],
)
def test_what_the_user_can_put_right_is_one_line_and_exit_code_2(arguments, said, tmp_path, capsys):
    if "--ray" in arguments:
        pytest.importorskip("ray", reason="needs tips-med[ray]")
    source = write_archive(tmp_path / "in", 1)
    given = [argument.format(source=source) for argument in arguments]
    assert run("batch", *given, "--out", tmp_path / "out", "--quiet") == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1


def test_any_option_of_slurm_asks_for_slurm(tmp_path, capsys, monkeypatch):
    pytest.importorskip("submitit", reason="needs tips-med[slurm]")
    source = write_archive(tmp_path / "in", 1)
    monkeypatch.setenv("PATH", str(tmp_path))
    command = ("batch", source, "--query", "mass", "--out", tmp_path / "out", "--quiet")
    assert run(*command, "--slurm.partition", "cpu", "--slurm.jobs", "200") == 2
    assert "no Slurm here" in capsys.readouterr().err
    assert run(*command, "--slurm.jobs", "10", "--ray", "auto") == 2
    assert "both --slurm and --ray" in capsys.readouterr().err


def test_other_settings_are_told_with_both_ways_out(tmp_path, capsys):
    source, out = write_archive(tmp_path / "in", 1), tmp_path / "out"
    assert run("batch", source, "--query", "mass", "--out", out, "--quiet") == 0
    assert run("batch", source, "--query", "nodule", "mass", "--out", out, "--quiet") == 2
    error = capsys.readouterr().err
    assert "other settings (queries)" in error
    assert "--out" in error
    assert "--again" in error
