"""The precision that is chosen, where a CPU knows bfloat16: by measurement, once."""

from __future__ import annotations

import json

import pytest
import torch

from tips_med.encoders import precision

CPU = torch.device("cpu")


@pytest.fixture
def probes(monkeypatch, tmp_path):
    """A CPU with instructions for bfloat16 and an empty cache; what is probed, and how long it takes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    seconds, made = {True: 0.1, False: 0.2}, []

    def probe(*, bfloat16):
        made.append(bfloat16)
        return seconds[bfloat16]

    monkeypatch.setattr(precision, "seconds_of_probe", probe)
    precision.has_fast_bfloat16.cache_clear()
    yield seconds, made
    precision.has_fast_bfloat16.cache_clear()


@pytest.mark.parametrize(("half", "full", "expected"), [(0.1, 0.2, True), (0.2, 0.1, False)])
def test_the_quicker_one_is_taken_and_kept(probes, half, full, expected, tmp_path):
    seconds, made = probes
    seconds.update({True: half, False: full})
    assert precision.has_fast_bfloat16(CPU) is expected
    precision.has_fast_bfloat16.cache_clear()
    seconds.update({True: full, False: half})
    assert precision.has_fast_bfloat16(CPU) is expected  # from the cache, in another process
    assert len(made) == 2
    assert list(json.loads((tmp_path / "tips_med" / "precision.json").read_text()).values()) == [expected]


@pytest.mark.parametrize("content", ["", "[1]", '{"x": 3}', "\x00"])
def test_a_damaged_cache_is_measured_again(probes, content, tmp_path):
    (tmp_path / "tips_med").mkdir()
    (tmp_path / "tips_med" / "precision.json").write_text(content)
    assert precision.has_fast_bfloat16(CPU) is True


def test_a_cache_that_cannot_be_written_stops_nothing(probes, tmp_path):
    (tmp_path / "tips_med").write_text("a file where the folder should be")
    assert precision.has_fast_bfloat16(CPU) is True


def test_a_cpu_without_instructions_is_not_probed(probes, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert precision.has_fast_bfloat16(CPU) is False
    assert not probes[1]


def test_the_probe_runs_in_both_precisions():
    assert precision.seconds_of_probe(bfloat16=False) > 0
    assert precision.seconds_of_probe(bfloat16=True) > 0
