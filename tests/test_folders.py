from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from tips_med.folders import whole_file, whole_folder


def test_a_file_appears_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    place = tmp_path / "new" / "file.txt"
    with whole_file(place) as partial:
        partial.write_text("first")
        assert not place.exists()
    assert place.read_text() == "first"
    with pytest.raises(RuntimeError), whole_file(place) as partial:
        partial.write_text("half of it")
        raise RuntimeError
    assert place.read_text() == "first"
    assert [file.name for file in place.parent.iterdir()] == ["file.txt"]


def _write(place: Path, letter: str) -> None:
    for _ in range(20):
        with whole_file(place) as partial, partial.open("w") as file:
            for _ in range(50):
                file.write(letter * 100)
                file.flush()


def test_two_processes_at_one_file_leave_one_of_both_whole(tmp_path: Path) -> None:
    place = tmp_path / "file.txt"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(place, letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert place.read_text() in ("a" * 5000, "b" * 5000)
    assert list(tmp_path.iterdir()) == [place]


def test_a_folder_is_replaced_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    place = tmp_path / "model"
    for text in ("first", "second"):
        with whole_folder(place) as partial:
            (partial / f"{text}.txt").write_text(text)
        assert [file.name for file in place.iterdir()] == [f"{text}.txt"]
    with pytest.raises(RuntimeError), whole_folder(place) as partial:
        (partial / "third.txt").write_text("half of it")
        raise RuntimeError
    assert [file.name for file in place.iterdir()] == ["second.txt"]
    assert list(tmp_path.iterdir()) == [place]
