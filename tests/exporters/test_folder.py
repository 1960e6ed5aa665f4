"""Results are written whole or not at all, and never over anything else."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exporters.patient import make_grounding, make_scan, with_text
from tips_med.errors import OutputError
from tips_med.exporters.base import Exporter
from tips_med.exporters.folder import check_writable, default_exporters, slug, write_answers
from tips_med.exporters.nifti import NiftiExporter
from tips_med.grounding import Grounding

MODEL = {"name": "compact-1", "weights": "0123abcd"}


class NoteExporter(Exporter):
    """Writes one small file, in a folder of its own."""

    def __init__(self, note: str = "note") -> None:
        self.note = note

    def export(self, grounding: Grounding, folder: Path) -> tuple[Path, ...]:
        path = folder / "notes" / "note.txt"
        path.parent.mkdir()
        path.write_text(self.note)
        return (path,)


class FailingExporter(Exporter):
    """Fails at its second answer, after it has written something."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.answers = error, 0

    def export(self, grounding: Grounding, folder: Path) -> tuple[Path, ...]:
        (folder / "half").write_text("half")
        self.answers += 1
        if self.answers == 2:
            raise self.error
        return (folder / "half",)


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder, hidden files too."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@pytest.fixture
def groundings() -> list[Grounding]:
    scan = make_scan()
    return [make_grounding(scan), make_grounding(scan, "no nodule in the left lung", state="absent")]


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder that may not be written to, not even by root, who gives up its powers meanwhile."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)


def test_everything_asked_for_is_there(groundings: list[Grounding], tmp_path: Path) -> None:
    out = tmp_path / "new" / "answers"
    done: list[tuple[int, int]] = []
    written = write_answers(groundings, out, MODEL, progress=lambda *d: done.append(d))
    first, second = "01-nodule-in-the-left-lung", "02-no-nodule-in-the-left-lung"
    names = ["figure.png", "heat.nii.gz", "mask.nii.gz"]
    expected = ["report.json", *(f"{first}/{n}" for n in names), *(f"{second}/{n}" for n in names)]
    assert [p.relative_to(out).as_posix() for p in written] == expected
    assert all(p.is_file() for p in written)
    assert set(snapshot(tmp_path / "new")) == {"answers", *(f"answers/{n}" for n in (*expected, first, second))}
    answers = json.loads((out / "report.json").read_text())["answers"]
    assert [a["folder"] for a in answers] == [first, second]
    assert [file for a in answers for file in a["files"]] == expected[1:]
    assert done == [(1, 2), (2, 2)]


def test_folder_can_be_read_by_whom_others_can(groundings: list[Grounding], tmp_path: Path) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    write_answers(groundings, tmp_path / "out", MODEL, exporters=[NoteExporter()])
    assert (tmp_path / "out").stat().st_mode == beside.stat().st_mode


def test_earlier_results_are_replaced_as_a_whole(groundings: list[Grounding], tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_answers(groundings, out, MODEL, exporters=[NoteExporter("old")])
    write_answers(groundings[:1], out, MODEL, exporters=[NoteExporter("new")])
    content = snapshot(out)
    assert content["01-nodule-in-the-left-lung/notes/note.txt"] == b"new"
    assert not any(name.startswith("02-") for name in content)
    assert set(os.listdir(out)) == {"report.json", "01-nodule-in-the-left-lung"}


def test_empty_folder_is_filled_in_place(groundings: list[Grounding], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    node = out.stat().st_ino
    write_answers(groundings, out, MODEL, exporters=[NoteExporter()])
    assert out.stat().st_ino == node, "it may be a mount point"
    assert os.listdir(tmp_path) == ["out"]


def test_link_to_a_folder_is_followed(groundings: list[Grounding], tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write_answers(groundings, tmp_path / "link", MODEL, exporters=[NoteExporter()])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "report.json").is_file()


@pytest.mark.parametrize("name", ["thesis.docx", "report.json", "sub/scan.dcm", ".hidden"])
def test_other_files_are_never_touched(name: str, groundings: list[Grounding], tmp_path: Path) -> None:
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text('{"my": "own"}')
    before = snapshot(tmp_path)
    with pytest.raises(OutputError, match="no earlier results") as caught:
        write_answers(groundings, tmp_path / "out", MODEL, exporters=[NoteExporter()])
    assert caught.value.code == "not-ours"
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", ["mine.txt", "01-nodule-in-the-left-lung/mine.txt"])
def test_other_files_among_earlier_results_are_kept(name: str, groundings: list[Grounding], tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_answers(groundings, out, MODEL, exporters=[NoteExporter()])
    (out / name).write_text("mine")
    before = snapshot(out)
    with pytest.raises(OutputError, match=r"mine\.txt"):
        check_writable(out)
    with pytest.raises(OutputError, match=r"mine\.txt"):
        write_answers(groundings, out, MODEL, exporters=[NoteExporter("new")])
    assert snapshot(out) == before


def test_a_file_that_appears_meanwhile_is_kept(groundings: list[Grounding], tmp_path: Path) -> None:
    class Intruder(NoteExporter):
        def export(self, grounding: Grounding, folder: Path) -> tuple[Path, ...]:
            (tmp_path / "out").mkdir(exist_ok=True)
            (tmp_path / "out" / "mine.txt").write_text("mine")
            return super().export(grounding, folder)

    with pytest.raises(OutputError, match=r"mine\.txt"):
        write_answers(groundings, tmp_path / "out", MODEL, exporters=[Intruder()])
    assert snapshot(tmp_path) == {"out": None, "out/mine.txt": b"mine"}


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OutputError),
        (OutputError("not in this form"), OutputError),
        (RuntimeError("a bug"), RuntimeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
@pytest.mark.parametrize("earlier", [True, False])
def test_failure_half_way_changes_nothing(
    error: BaseException, raised: type[BaseException], earlier: bool, groundings: list[Grounding], tmp_path: Path
) -> None:
    out = tmp_path / "a" / "b" / "out"
    if earlier:
        write_answers(groundings, out, MODEL, exporters=[NoteExporter()])
    before = snapshot(tmp_path)
    with pytest.raises(raised):
        write_answers(groundings, out, MODEL, exporters=[FailingExporter(error)])
    assert snapshot(tmp_path) == before


def test_failure_while_moving_puts_all_back(
    groundings: list[Grounding], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write_answers(groundings, out, MODEL, exporters=[NoteExporter("old")])
    before = snapshot(out)
    rename, calls = Path.rename, []

    def failing(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) == 5:  # after the three old entries and one new one
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OutputError, match="Input/output error"):
        write_answers(groundings, out, MODEL, exporters=[NoteExporter("new")])
    assert snapshot(out) == before


def test_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    for path in (tmp_path / "out", tmp_path / "out" / "deeper" / "still"):
        with pytest.raises(OutputError, match=r"out: is a file") as caught:
            check_writable(path)
        assert caught.value.code == "not-a-folder"


@pytest.mark.parametrize("name", ["x" * 300, "nul\0byte", "x" * 300 + "/deeper"])
def test_impossible_names(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        check_writable(f"{tmp_path}/{name}")
    assert caught.value.code == "not-writable"


def test_locked_folder_is_refused(locked: Path) -> None:
    for path in (locked, locked / "out", "/proc/tips_med"):
        with pytest.raises(OutputError, match="cannot be written to") as caught:
            check_writable(path)
        assert caught.value.code == "not-writable"


def test_looking_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    before = snapshot(tmp_path)
    assert check_writable(tmp_path / "empty") == (tmp_path / "empty").resolve()
    assert check_writable(str(tmp_path / "new" / "out")) == tmp_path.resolve() / "new" / "out"
    assert snapshot(tmp_path) == before


def test_answers_about_several_scans_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="several scans"):
        write_answers([make_grounding(), make_grounding()], tmp_path / "out", MODEL, exporters=[NoteExporter()])
    with pytest.raises(OutputError, match="no answer"):
        write_answers([], tmp_path / "out", MODEL, exporters=[NoteExporter()])
    assert os.listdir(tmp_path) == []


def test_same_question_twice_gets_two_folders(grounding: Grounding, tmp_path: Path) -> None:
    write_answers([grounding, grounding], tmp_path / "out", MODEL, exporters=[NoteExporter()])
    assert {"01-nodule-in-the-left-lung", "02-nodule-in-the-left-lung"} <= set(os.listdir(tmp_path / "out"))


def test_hundred_answers_stay_in_order(grounding: Grounding, tmp_path: Path) -> None:
    write_answers([grounding] * 100, tmp_path / "out", MODEL, exporters=[NoteExporter()])
    folders = sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_dir())
    assert (folders[0][:4], folders[-1][:4]) == ("001-", "100-")


def test_default_is_volumes_and_a_figure() -> None:
    volumes, figure = default_exporters()
    assert isinstance(volumes, NiftiExporter)
    assert type(figure).__name__ == "FigureExporter"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Ground-glass opacity, left lung", "ground-glass-opacity-left-lung"),
        ("œdème pulmonaire à gauche", "deme-pulmonaire-a-gauche"),
        ("肺", "query"),
        ("../../etc/passwd", "etc-passwd"),
        ("", "query"),
        ("spiculated mass in the left lower lobe of the lung", "spiculated-mass-in-the-left-lower-lobe"),
    ],
)
def test_slug_of(text: str, name: str) -> None:
    assert slug(text) == name


@given(st.text(max_size=120))
def test_any_text_has_a_safe_slug(text: str) -> None:
    name = slug(text)
    assert 1 <= len(name) <= 40
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert name[0] != "-"
    assert name[-1] != "-"


def test_odd_queries_have_their_folder(grounding: Grounding, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_answers([with_text(grounding, "../肺/nodule")], out, MODEL, exporters=[NoteExporter()])
    assert (out / "01-nodule" / "notes" / "note.txt").is_file()


def test_two_that_write_to_one_folder_leave_the_results_of_one(groundings: list[Grounding], tmp_path: Path) -> None:
    out, wrong = tmp_path / "out", []

    def write(note: str) -> None:
        for _ in range(15):
            try:
                write_answers(groundings, out, MODEL, exporters=[NoteExporter(note)])
            except OutputError as error:
                wrong.append(error)

    writers = [threading.Thread(target=write, args=(note,)) for note in ("one", "two")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert wrong == []
    assert len({path.read_text() for path in out.rglob("note.txt")}) == 1
    listed = {file for answer in json.loads((out / "report.json").read_text())["answers"] for file in answer["files"]}
    assert {name for name, content in snapshot(out).items() if content is not None} == {*listed, "report.json"}
    assert not [path for path in tmp_path.iterdir() if path != out]
