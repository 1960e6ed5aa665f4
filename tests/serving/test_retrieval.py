"""C-GET and C-MOVE with archives that do less, more or other than they are asked: nothing hangs, nothing is kept."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tests.serving.node.pieces import study
from tests.serving.peers import FIND, GET, MOVE, by_get, by_move, free_port, peer
from tips_med.errors import ConfigError, OutputError, TipsMedError
from tips_med.serving.archive import MoveDestination
from tips_med.serving.bounds import Bounds
from tips_med.serving.fetching import fetch_series

# pynetdicom leaves sockets of broken associations to be freed.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

IMAGES = study(1, slices=4)
STUDY = str(IMAGES[0].StudyInstanceUID)
ROOM = Bounds(min_free_bytes=0)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Any:
    before = set(threading.enumerate())
    yield
    end = time.monotonic() + 10
    while left := [t for t in threading.enumerate() if t not in before and t.name == "tips-med-retrieve"]:
        assert time.monotonic() < end, left
        time.sleep(0.05)


def refused(fetch: Callable[[], object]) -> TipsMedError:
    began = time.monotonic()
    with pytest.raises(TipsMedError) as raised:
        fetch()
    assert time.monotonic() - began < 30, "it hung"
    assert raised.value.remedy, "it says what to do"
    return raised.value


def test_an_archive_without_c_get_is_named_and_not_waited_for(tmp_path: Path) -> None:
    with peer(IMAGES, services=[FIND, MOVE]) as archive:
        error = refused(lambda: fetch_series(by_get(archive), STUDY, tmp_path / "out"))
    assert error.code == "not-accepted" and "does not accept C-GET" in str(error) and "--receive-port" in str(error)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("services", [[], [GET]])
def test_an_archive_that_accepts_no_question_is_not_said_to_be_down(tmp_path: Path, services: list[str]) -> None:
    with peer(IMAGES, services=services) as archive:
        error = refused(lambda: fetch_series(by_get(archive), STUDY, tmp_path / "out"))
    assert error.code == "not-accepted" and "does not accept C-FIND" in str(error)


def test_by_c_get(tmp_path: Path) -> None:
    with peer(IMAGES) as archive:
        assert fetch_series(by_get(archive), STUDY, tmp_path / "out", bounds=ROOM) == 4
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{n:06d}.dcm" for n in range(1, 5)]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_by_c_move_to_any_address_under_any_title(tmp_path: Path, host: str) -> None:
    port = free_port()
    with peer(IMAGES, services=[FIND, MOVE], destination=(host, port)) as archive:
        receive = MoveDestination(port, host, title="RESEARCH")
        assert fetch_series(by_move(archive, receive), STUDY, tmp_path / "out", bounds=ROOM) == 4


def test_an_archive_that_sends_under_another_title_is_let_in_when_it_is_named(tmp_path: Path) -> None:
    port = free_port()
    with peer(IMAGES, destination=("127.0.0.1", port), title="SENDS") as archive:
        error = refused(lambda: fetch_series(by_move(archive, MoveDestination(port)), STUDY, tmp_path / "out"))
        assert "'SENDS' called" in str(error) and "--receive-from" in str(error)
        receive = MoveDestination(port, senders=["SENDS"])
        assert fetch_series(by_move(archive, receive), STUDY, tmp_path / "out", bounds=ROOM) == 4


def test_a_destination_that_the_archive_does_not_know_or_has_wrong_is_said(tmp_path: Path) -> None:
    port = free_port()
    with peer(IMAGES, destination=None) as archive:
        error = refused(lambda: fetch_series(by_move(archive, MoveDestination(port)), STUDY, tmp_path / "out"))
        assert "does not know TIPS_MED" in str(error)
    with peer(IMAGES, destination=("127.0.0.1", free_port())) as archive:
        error = refused(lambda: fetch_series(by_move(archive, MoveDestination(port)), STUDY, tmp_path / "out"))
        assert "cannot reach it" in str(error) and f"port {port}" in str(error)


def test_an_address_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    with peer(IMAGES) as archive:
        receive = MoveDestination(free_port(), "192.0.2.1")
        error = refused(lambda: fetch_series(by_move(archive, receive), STUDY, tmp_path / "out"))
    assert isinstance(error, ConfigError) and "--receive-host" in str(error)


@pytest.mark.parametrize("way", ["get", "move"])
def test_whoever_stops_early_leaves_no_thread_and_no_association(tmp_path: Path, way: str) -> None:
    port = free_port()
    many = study(2, slices=30)
    with peer(many, destination=("127.0.0.1", port)) as at:
        archive = by_get(at) if way == "get" else by_move(at, MoveDestination(port))
        for _ in range(2):
            with closing(archive.retrieve(str(many[0].StudyInstanceUID), tmp_path, bounds=ROOM)) as files:  # type: ignore[type-var]
                next(files)
        assert fetch_series(archive, str(many[0].StudyInstanceUID), tmp_path / "all", bounds=ROOM) == 30


@pytest.mark.parametrize("way", ["get", "move"])
def test_an_archive_that_says_nothing_is_left(tmp_path: Path, way: str) -> None:
    port = free_port()
    with peer(IMAGES, destination=("127.0.0.1", port), says_nothing_s=4) as at:
        archive = by_get(at, timeout_s=1.0) if way == "get" else by_move(at, MoveDestination(port), timeout_s=1.0)
        error = refused(lambda: fetch_series(archive, STUDY, tmp_path / "out"))
    assert error.code == "unreachable"


@pytest.mark.parametrize("way", ["get", "move"])
def test_an_archive_that_breaks_off_is_told_from_one_that_has_sent_all(tmp_path: Path, way: str) -> None:
    port = free_port()
    with peer(IMAGES, destination=("127.0.0.1", port), aborts=True) as at:
        archive = by_get(at) if way == "get" else by_move(at, MoveDestination(port))
        error = refused(lambda: fetch_series(archive, STUDY, tmp_path / "out"))
    assert error.code in ("unreachable", "incomplete")
    assert not (tmp_path / "out").exists()


def of_another_study(image: Dataset) -> Dataset:
    made = study(7)[0]
    made.SOPInstanceUID = image.SOPInstanceUID
    return made


def cut_off(image: Dataset) -> Dataset:
    made = study(1)[0]
    made.SOPInstanceUID, made.PixelData = image.SOPInstanceUID, image.PixelData
    made.Rows = image.Rows
    del made.PixelData
    return made


@pytest.mark.parametrize(("sends", "code"), [(of_another_study, "not-asked-for"), (cut_off, "truncated")])
@pytest.mark.parametrize("way", ["get", "move"])
def test_what_was_not_asked_for_or_is_cut_off_is_not_kept(
    tmp_path: Path, sends: Callable[[Dataset], Dataset], code: str, way: str
) -> None:
    port = free_port()
    with peer(IMAGES, destination=("127.0.0.1", port), sends=sends) as at:
        archive = by_get(at) if way == "get" else by_move(at, MoveDestination(port))
        assert refused(lambda: fetch_series(archive, STUDY, tmp_path / "out")).code == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", ["get", "move"])
def test_what_is_too_large_or_finds_no_room_is_refused_while_it_comes(tmp_path: Path, way: str) -> None:
    port = free_port()
    with peer(IMAGES, destination=("127.0.0.1", port)) as at:
        archive = by_get(at) if way == "get" else by_move(at, MoveDestination(port))
        for bounds, code in ((Bounds(1000, 0), "too-large"), (Bounds(min_free_bytes=1 << 60), "no-room")):
            error = refused(lambda bounds=bounds: fetch_series(archive, STUDY, tmp_path / "out", bounds=bounds))
            assert isinstance(error, OutputError) and error.code == code
    assert list(tmp_path.iterdir()) == []


def test_an_object_that_expands_beyond_the_bounds_is_refused(tmp_path: Path) -> None:
    port = free_port()

    def deflated(image: Dataset) -> Dataset:
        made = study(1)[0]
        made.Rows = made.Columns = 2000
        made.PixelData = bytes(2 * 2000 * 2000)
        made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        return made

    syntaxes = [DeflatedExplicitVRLittleEndian]
    with peer(IMAGES, destination=("127.0.0.1", port), sends=deflated, syntaxes=syntaxes) as at:
        archive = by_move(at, MoveDestination(port))
        bounds = Bounds(1 << 20, 0)
        assert refused(lambda: fetch_series(archive, STUDY, tmp_path / "out", bounds=bounds)).code == "too-large"


def test_any_exception_of_the_talking_thread_reaches_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd(Exception):
        pass

    def fail(*_: object) -> None:
        raise Odd

    with peer(IMAGES) as at:
        archive = by_get(at)
        monkeypatch.setattr(archive, "_get", fail)
        with pytest.raises(Odd):
            list(archive.retrieve(STUDY, tmp_path))


def test_other_libraries_log_as_before_once_all_is_said(tmp_path: Path) -> None:
    look = "import logging; print([(n, logging.getLogger(n).level, len(logging.getLogger(n).handlers)) "
    look += "for n in ('pynetdicom', 'retrying', 'dicomweb_client', 'pydicom', '')])"
    plain = "import pynetdicom, dicomweb_client, retrying; "
    ours = "import tips_med.serving.dimse, tips_med.serving.dicomweb, tips_med.serving.node, tips_med.readers; "
    said = [
        subprocess.run([sys.executable, "-c", code + look], check=True, capture_output=True, text=True).stdout
        for code in (plain, plain + ours)
    ]
    assert said[0] == said[1]
    before = logging.getLogger("pynetdicom").level
    with peer(IMAGES) as at:
        by_get(at).instances(STUDY)
    assert logging.getLogger("pynetdicom").level == before
