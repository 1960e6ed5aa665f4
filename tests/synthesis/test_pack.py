"""Packs of anatomies: what is in them comes back, they are bounded, and they tell nothing of where they came from."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tips_med.errors import ConfigError, OutputError, ReadError
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.pack import MIB, read_pack_index, read_packed, write_pack

GRID = (2.5, 2.0, 2.0)


def anatomy(name: str = "one", seed: int = 0) -> Anatomy:
    rng = np.random.default_rng(seed)
    shape = (5, 16, 24)
    volume = rng.integers(-1024, 3072, shape).astype(np.int16)
    volume[:, :4] = -1024
    lungs = rng.integers(0, 3, shape).astype(np.uint8)
    lesions = (rng.random(shape) < 0.1).astype(np.uint8)
    return Anatomy(name, volume, lungs, lesions, (12.5,), rng.random(shape) < 0.1, GRID)


def same(one: Anatomy, other: Anatomy) -> bool:
    first, second = one.to_arrays(), other.to_arrays()
    return first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)


def test_what_is_packed_comes_back_as_it_was(tmp_path: Path) -> None:
    full_range = np.random.default_rng(2).integers(-(2**15), 2**15, (3, 4, 5)).astype(np.int16)
    bodies = [anatomy(), replace(anatomy("two", 1), lungs=None), replace(anatomy("wide"), volume_hu=full_range)]
    index = write_pack(tmp_path / "pack.zip", bodies, outlined_by="abc")
    assert read_pack_index(tmp_path / "pack.zip") == index
    assert (index.names, index.spacing_mm, index.outlined_by) == (("one", "two", "wide"), GRID, "abc")
    for body in bodies:
        again = read_packed(tmp_path / "pack.zip", body.name)
        assert same(again, body)
        assert (again.name, again.volume_hu.dtype, again.ignored.dtype) == (body.name, np.int16, bool)


@pytest.mark.parametrize("step", [2, 4, 8])
def test_rounding_moves_no_value_by_more_than_half_a_step_and_keeps_what_was_not_measured(tmp_path: Path, step: int):
    body = anatomy()
    write_pack(tmp_path / "pack.zip", [body], rounded_hu=step)
    again = read_packed(tmp_path / "pack.zip", "one")
    assert np.abs(again.volume_hu.astype(int) - body.volume_hu).max() == step // 2
    assert (again.volume_hu[:, :4] == -1024).all()
    assert np.array_equal(again.to_arrays()["lungs"], body.to_arrays()["lungs"])


def test_a_pack_that_would_be_too_large_is_not_written_and_its_size_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"1 anatomies takes 0\.0 MiB; expected at most 0\.0 MiB") as caught:
        write_pack(tmp_path / "pack.zip", [anatomy()], max_bytes=100)
    assert caught.value.code == "pack-size"
    assert not list(tmp_path.iterdir())
    write_pack(tmp_path / "pack.zip", [anatomy()], max_bytes=MIB)
    assert (tmp_path / "pack.zip").stat().st_size <= MIB


def test_a_pack_tells_names_and_nothing_else_of_where_it_came_from(tmp_path: Path) -> None:
    folder = tmp_path / "somebody"
    write_pack(folder / "pack.zip", [anatomy("public-case-7")])
    with zipfile.ZipFile(folder / "pack.zip") as archive:
        inside = b"".join(archive.read(name) for name in archive.namelist())
        told = json.loads(archive.read("pack.json"))
        assert archive.namelist() == ["anatomies/public-case-7.safetensors", "pack.json"]
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert told.keys() == {"format", "names", "spacing_mm", "rounded_hu", "outlined_by"}
    assert b"somebody" not in inside
    assert str(tmp_path).encode() not in inside + (folder / "pack.zip").read_bytes()
    # Nothing of when or where: the same bodies make the same file.
    write_pack(tmp_path / "again.zip", [anatomy("public-case-7")])
    assert (tmp_path / "again.zip").read_bytes() == (folder / "pack.zip").read_bytes()


def test_what_is_no_pack_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pack.zip"
    file.write_bytes(b"no zip")
    with pytest.raises(ReadError, match="no pack of anatomies"):
        read_pack_index(file)
    write_pack(file, [anatomy()])
    with pytest.raises(ReadError, match="nobody"):
        read_packed(file, "nobody")
    damaged = bytearray(file.read_bytes())
    damaged[200:240] = bytes(40)
    file.write_bytes(bytes(damaged))
    with pytest.raises(ReadError, match="no pack of anatomies"):
        read_packed(file, "one")


def test_a_pack_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pack(tmp_path / "pack.zip", [anatomy()])
    monkeypatch.setattr("tips_med.synthesis.pack.MAX_ANATOMY_BYTES", 1000)
    with pytest.raises(ReadError, match="more than"):
        read_packed(tmp_path / "pack.zip", "one")


def test_what_cannot_be_one_pack_is_refused(tmp_path: Path) -> None:
    coarse = replace(anatomy("coarse"), spacing_mm=(8.0, 5.0, 5.0))
    for bodies, told in (([], "0 grids"), ([anatomy(), coarse], "2 grids"), ([anatomy(), anatomy()], "two anatomies")):
        with pytest.raises(ConfigError, match=told):
            write_pack(tmp_path / "pack.zip", bodies)
    with pytest.raises(ConfigError, match="3 HU"):
        write_pack(tmp_path / "pack.zip", [anatomy()], rounded_hu=3)
    assert not list(tmp_path.iterdir())
