"""The whole examination: damaged weights, what it may not say, exit codes, table and JSON."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.phantom import rule_model
from tips_med import cli
from tips_med.doctor import Check, Examination, examine, packages
from tips_med.doctor.examination import in_words
from tips_med.doctor.model import language, weights
from tips_med.doctor.speed import precision, speed, threading
from tips_med.model import load_model

SHIPPED = Path(cli.tips_med.__file__).parent / "weights" / "chest_ct.safetensors"


@pytest.mark.shipped
def test_the_shipped_weights_are_those_that_were_measured() -> None:
    check, model = weights(None, "cpu")
    assert check.state == "ok"
    assert model is not None
    assert check.data == {"file": "chest_ct.safetensors", "sha256": model.sha256, "model": model.card.name}
    assert language(model).state == "ok"


@pytest.mark.shipped
@pytest.mark.parametrize("damage", ["missing", "cut off", "a byte changed", "not weights"])
def test_damaged_weights_are_a_fault(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = SHIPPED.read_bytes()
    if damage != "missing":
        changed = bytearray(whole[:100_000] if damage == "cut off" else whole)
        if damage == "a byte changed":
            changed[-1_000_000] ^= 0x55
        if damage == "not weights":
            changed = bytearray(b"<html>404</html>")
        (tmp_path / SHIPPED.name).write_bytes(changed)
    monkeypatch.setattr("tips_med.model._WEIGHTS", tmp_path)
    check, _ = weights(None, "cpu")
    assert check.state == "fault"
    assert "install tips-med again" in check.advice
    assert str(tmp_path) not in f"{check.found} {check.advice} {check.data}"


def test_weights_of_ones_own_are_not_called_altered(tmp_path: Path) -> None:
    missing, model = weights(str(tmp_path / "mine.safetensors"), "cpu")
    assert model is None
    assert missing.state == "fault"
    assert missing.found.startswith("mine.safetensors: WeightsError: no such file")


@pytest.mark.parametrize(
    ("float32_s", "bfloat16_s", "used", "state", "word"),
    [
        (0.10, 0.03, True, "ok", "quicker; bfloat16 is used"),
        (0.10, 0.80, False, "ok", "slower; float32 is used"),
        (0.10, 0.11, True, "ok", "as quick; bfloat16 is used"),
        (0.10, 0.15, True, "hint", "slower; bfloat16 is used"),
        (0.10, 0.05, False, "hint", "quicker; float32 is used"),
    ],
)
def test_whether_bfloat16_is_quick_is_measured_and_compared_with_what_is_used(
    float32_s: float, bfloat16_s: float, used: bool, state: str, word: str
) -> None:
    check = precision(float32_s, bfloat16_s, used)
    assert check.state == state
    assert word in check.found
    assert check.data["quick"] == (word.startswith("quicker"))
    assert bool(check.advice) == (state == "hint")
    if (float32_s, bfloat16_s) == (0.10, 0.15):
        assert "1.5 times as quick" in check.advice


def test_threads_that_slow_each_other_down_are_told() -> None:
    assert threading(0.1, 0.18, 2).state == "ok"
    check = threading(0.2, 0.1, 2)
    assert check.state == "hint"
    assert "OMP_NUM_THREADS=1" in check.advice


@pytest.mark.shipped
def test_the_probe_runs_the_real_tower() -> None:
    check = speed(load_model())[0]
    assert check.name == "bfloat16"
    assert check.data["float32_ms"] > 0
    assert check.data["bfloat16_ms"] > 0


def test_other_towers_are_not_probed() -> None:
    (check,) = speed(rule_model())
    assert "not probed" in check.found


def test_an_error_is_told_without_paths_and_names() -> None:
    error = OSError("/home/jane.doe/env/lib/libtorch.so: cannot open, asked on ward7-pc.hospital.example by jane.doe")
    said = in_words(error, ["jane.doe", "ward7-pc.hospital.example", "/home/jane.doe"])
    assert said == "OSError: libtorch.so: cannot open, asked on ... by ..."
    windows = in_words(ImportError(r"DLL load failed: C:\Users\jane\env\torch\lib\c10.dll"), [])
    assert windows == "ImportError: DLL load failed: c10.dll"
    assert in_words(ValueError("expected mg/ml or mm"), []) == "ValueError: expected mg/ml or mm"


def test_a_check_that_breaks_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Check:
        raise RuntimeError("of /opt/secret/place")

    monkeypatch.setattr(packages, "own_version", broken)
    monkeypatch.setattr("tips_med.doctor.all_checks._model", lambda *_: [])
    found = examine(probe_speed=False)
    assert not found.usable
    (fault,) = (check for check in found.checks if check.name == "tips_med")
    assert "RuntimeError: of place" in fault.found
    assert {check.topic for check in found.checks} >= {"versions", "device", "extras", "files"}


def test_a_package_that_cannot_be_imported_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    broken = "raise ImportError('/home/jane/env/libtorch_cpu.so: cannot open shared object file')"
    (tmp_path / "torch" / "__init__.py").write_text(broken)
    command = [sys.executable, "-m", "tips_med.cli", "doctor", "--json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(SHIPPED.parents[2])])}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 1
    faults = [check for check in json.loads(ran.stdout)["checks"] if check["state"] == "fault"]
    assert [check["found"] for check in faults] == ["ImportError: libtorch_cpu.so: cannot open shared object file"]
    assert "install the package that the error names again" in faults[0]["advice"]


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("hint", 0), ("missing", 0), ("fault", 1)])
def test_the_exit_code_says_whether_it_is_usable(
    state: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check = Check("model", "weights", state, "as found [bold]", "" if state == "ok" else "do this", {"sha256": "ab"})
    module = __import__(cli.pipeline("doctor").__module__, fromlist=["doctor"])
    monkeypatch.setattr(module, "examine", lambda *_, **__: Examination((check,)))
    assert cli.main(["doctor"]) == code
    said = capsys.readouterr().out
    assert "as found [bold]" in said
    assert ("> do this" in said) == (state != "ok")
    assert ("Not usable: weights." if code else "Usable.") in said
    assert cli.main(["doctor", "--json", "--skip-speed"]) == code
    told = json.loads(capsys.readouterr().out)
    assert told["format"] == "tips_med-doctor-1"
    assert told["usable"] == (code == 0)
    assert told["checks"][0]["data"] == {"sha256": "ab"}


@pytest.mark.shipped
def test_nothing_names_the_machine_its_user_or_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "planted-home"
    home.mkdir()
    for name in ("LOGNAME", "USER", "USERNAME"):
        monkeypatch.setenv(name, "planted-user")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setattr(socket, "gethostname", lambda: "planted-host")
    monkeypatch.chdir(home)
    cli.main(["doctor", "--json", "--skip-speed"])
    cli.main(["doctor", "--skip-speed", "--model", str(home / "mine.safetensors")])
    said = capsys.readouterr()
    assert "planted" not in said.out + said.err
    assert str(SHIPPED.parents[2]) not in said.out + said.err
