"""Every study is answered once, whatever fails in between."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from tests.serving.node.pieces import DOWN, REFUSES, RULES, MemoryArchive, answer_simply, study
from tips_med.errors import ReadError
from tips_med.serving.node.audit import Audit
from tips_med.serving.node.ledger import Ledger
from tips_med.serving.node.receiver import safe_name
from tips_med.serving.node.rules import Rule
from tips_med.serving.node.worker import Answerer, Worker


class Desk:
    """A worker with all that it needs; ``restart`` is what a crash leaves."""

    def __init__(self, folder: Path, answerer: Answerer = answer_simply, rules: Sequence[Rule] = RULES) -> None:
        self.folder, self.answerer, self.rules = folder, answerer, rules
        self.archive = MemoryArchive()
        for part in ("incoming", "results"):
            (folder / part).mkdir()
        self.restart()

    def restart(self) -> None:
        self.ledger = Ledger(self.folder / "ledger.sqlite")
        self.worker = Worker(
            self.folder,
            self.ledger,
            self.archive,
            self.rules,
            self.answerer,
            Audit(self.folder),
            quiet_s=0.0,
            pause_s=0.0,
        )
        self.worker.tidy()

    def bring(self, images: Sequence[Dataset]) -> None:
        for image in images:
            key, name = safe_name(image.StudyInstanceUID), safe_name(image.SOPInstanceUID) + ".dcm"
            (self.folder / "incoming" / key).mkdir(exist_ok=True)
            image.save_as(self.folder / "incoming" / key / name, enforce_file_format=True)
            self.ledger.add(key, image.StudyInstanceUID, name)

    def work(self, steps: int = 20) -> None:
        for _ in range(steps):
            if not self.worker.step():
                return
        pytest.fail("the worker comes to no end")

    def files(self, part: str) -> list[Path]:
        return [path for path in (self.folder / part).rglob("*") if path.is_file()]


def test_a_study_is_answered_once_and_its_files_go(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.bring(study(1))
    desk.bring(study(2))
    desk.work()
    assert len(desk.archive.stored) == 2
    assert desk.ledger.counts() == {"receiving": 0, "sending": 0, "done": 2, "quarantined": 0}
    assert desk.files("incoming") == desk.files("results") == []
    assert not desk.worker.step()
    desk.restart()
    assert list((tmp_path / "incoming").iterdir()) == [], "empty folders do not pile up"


def test_a_study_is_left_alone_until_it_is_quiet(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.worker.quiet_s = 3600.0
    desk.bring(study(1))
    assert not desk.worker.step()


def test_a_study_that_no_rule_fits_is_done_without_results(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rules=[Rule(["nodule"], modality="MR")])
    desk.bring(study(1))
    desk.work()
    assert desk.archive.stored == []
    assert desk.ledger.counts()["done"] == 1
    assert "no-series-fits" in (tmp_path / "audit.jsonl").read_text()


def test_an_archive_that_is_down_is_waited_for(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.bring(study(1))
    desk.archive.failing = DOWN
    for _ in range(12):
        desk.worker.step()
    assert desk.ledger.counts()["sending"] == 1
    desk.archive.failing = None
    desk.work()
    assert len(desk.archive.stored) == 1


def test_an_archive_that_refuses_is_asked_a_few_times(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.bring(study(1))
    desk.archive.failing = REFUSES
    desk.work()
    assert desk.ledger.counts()["quarantined"] == 1
    desk.restart()
    assert [file.name for file in desk.files("results")] == ["sr.dcm"], "results are kept for a person to look at"


def test_a_study_that_cannot_be_read_is_set_aside_with_its_images(tmp_path: Path) -> None:
    tries = []

    def fail(images: Path, series_uid: str, queries: Sequence[str], out: Path) -> None:
        tries.append(series_uid)
        raise ReadError("of Planted^Marker", code="missing-slice")

    desk = Desk(tmp_path, fail)
    desk.bring(study(1))
    desk.work()
    desk.restart()
    assert len(tries) == 3
    assert desk.ledger.counts()["quarantined"] == 1
    assert len(desk.files("incoming")) == 3
    audit = (tmp_path / "audit.jsonl").read_text()
    assert "missing-slice" in audit
    assert "Marker" not in audit
    desk.worker.answerer = answer_simply
    desk.bring(study(1, slices=4)[3:])
    desk.work()
    assert len(desk.archive.stored) == 1, "a new image brings the study back"


def test_killed_while_answering_it_is_answered_again_and_in_the_end_set_aside(tmp_path: Path) -> None:
    def die(images: Path, series_uid: str, queries: Sequence[str], out: Path) -> None:
        (out / "sr.dcm").write_bytes(b"half")
        raise KeyboardInterrupt  # passes through all that the worker catches, as the end of the process does

    desk = Desk(tmp_path, die)
    desk.bring(study(1))
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            desk.worker.step()
        desk.restart()
        assert desk.files("results") == []
    desk.work()
    assert desk.ledger.counts()["quarantined"] == 1


@pytest.mark.parametrize("arrived", [True, False])
def test_killed_while_sending_nothing_is_sent_twice(tmp_path: Path, arrived: bool) -> None:
    desk = Desk(tmp_path)
    desk.bring(study(1))
    desk.worker.step()
    if arrived:
        desk.archive.cut_off = KeyboardInterrupt()
    else:
        desk.archive.failing = KeyboardInterrupt()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        desk.worker.step()
    desk.archive.failing = None
    desk.restart()
    desk.work()
    assert len(desk.archive.stored) == 1
    assert desk.ledger.counts()["done"] == 1


def test_an_image_that_comes_while_the_answer_is_made_is_part_of_it(tmp_path: Path) -> None:
    seen = []

    def slowly(images: Path, series_uid: str, queries: Sequence[str], out: Path) -> None:
        seen.append(len(list(images.glob("*.dcm"))))
        if len(seen) == 1:
            desk.bring(study(1, slices=4)[3:])
        answer_simply(images, series_uid, queries, out)

    desk = Desk(tmp_path, slowly)
    desk.bring(study(1))
    desk.work()
    assert seen == [3, 4]
    assert len(desk.archive.stored) == 1


def test_an_image_that_comes_later_opens_the_study_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.bring(study(1))
    desk.work()
    for image in study(1):
        assert desk.ledger.knows(safe_name(image.SOPInstanceUID) + ".dcm")
    late = study(1, slices=5)[3:]
    desk.bring(late)
    desk.work()
    assert len(desk.archive.stored) == 2


def test_images_that_come_while_results_are_sent_are_asked_too(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    store, late = desk.archive.store, study(1, slices=5)[3:]

    def store_slowly(files: Sequence[Path]) -> None:
        desk.bring(late)
        late.clear()
        store(files)

    desk.archive.store = store_slowly  # type: ignore[method-assign]
    desk.bring(study(1))
    desk.work()
    assert len(desk.archive.stored) == 2
    assert desk.ledger.counts()["done"] == 1
    assert desk.files("incoming") == desk.files("results") == []


def told(desk: Desk) -> list[dict[str, object]]:
    """What the account says, without its times."""
    lines = (desk.folder / "audit.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "time"} for line in lines]


def test_each_step_is_accounted_for(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.bring(study(1))
    desk.archive.failing = REFUSES
    desk.work()
    name = desk.worker.audit.hashed(study(1)[0].StudyInstanceUID)
    assert told(desk) == [
        {"event": "answered", "study": name, "series": 1, "images": 3},
        {"event": "failed", "study": name, "reason": "refused", "attempt": 1},
        {"event": "failed", "study": name, "reason": "refused", "attempt": 2},
        {"event": "quarantined", "study": name, "reason": "refused", "state": "sending"},
    ]
    desk.archive.failing = None
    desk.bring(study(2))
    desk.work()
    other = desk.worker.audit.hashed(study(2)[0].StudyInstanceUID)
    assert told(desk)[-1] == {"event": "sent", "study": other, "objects": 1}


def test_pauses_double_up_to_five_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(images: Path, series_uid: str, queries: Sequence[str], out: Path) -> None:
        raise ValueError("of Planted^Marker")

    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    desk = Desk(tmp_path, fail)
    desk.worker.pause_s, desk.worker.attempts = 100.0, 5
    desk.bring(study(1))
    waited = []
    with caplog.at_level(logging.WARNING, "tips_med"):
        while desk.ledger.counts()["quarantined"] == 0:
            began = now[0]
            while not desk.worker.step():
                now[0] += 50.0
            waited.append(now[0] - began)
    assert waited == [0.0, 100.0, 200.0, 300.0, 300.0]
    assert {one.get("reason") for one in told(desk)} == {"ValueError"}
    assert "Marker" not in caplog.text


def test_all_queries_and_all_series_are_asked_and_all_results_sent(tmp_path: Path) -> None:
    asked = []

    def note(images: Path, series_uid: str, queries: Sequence[str], out: Path) -> None:
        asked.append((series_uid, list(queries)))
        answer_simply(images, series_uid, queries, out)

    desk = Desk(tmp_path, note, [Rule(["nodule", "mass"], modality="CT"), Rule(["effusion"])])
    second = study(1)
    for n, image in enumerate(second):
        image.SeriesInstanceUID, image.SOPInstanceUID = "1.2.9", f"1.2.9.{n}"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    beats = []
    desk.worker.beat = lambda: beats.append(1)
    desk.bring([*study(1), *second])
    desk.work()
    queries = ["nodule", "mass", "effusion"]
    assert sorted(asked) == sorted([("1.2.9", queries), (study(1)[0].SeriesInstanceUID, queries)])
    assert len({sop for _, _, sop in desk.archive.stored}) == 2
    assert len(beats) == 4, "before each series and each result"


def test_a_failed_answer_leaves_no_half_results(tmp_path: Path) -> None:
    def half(images: Path, series_uid: str, queries: Sequence[str], out: Path) -> None:
        answer_simply(images, series_uid, queries, out)
        raise ReadError("is damaged", code="damaged")

    desk = Desk(tmp_path, half)
    desk.bring(study(1))
    desk.worker.step()
    assert list((tmp_path / "results").iterdir()) == []
    assert len(desk.files("incoming")) == 3


def test_what_was_sent_before_a_failure_is_not_sent_again(tmp_path: Path) -> None:
    def twice(images: Path, series_uid: str, queries: Sequence[str], out: Path) -> None:
        for part in ("a", "b"):
            (out / part).mkdir()
            answer_simply(images, series_uid, queries, out / part)

    desk = Desk(tmp_path, twice)
    store, sent = desk.archive.store, []

    def second_fails(files: Sequence[Path]) -> None:
        sent.extend(file.parent.name for file in files)
        if len(sent) == 2:
            raise DOWN
        store(files)

    desk.archive.store = second_fails  # type: ignore[method-assign]
    desk.bring(study(1))
    desk.work()
    assert sent == ["a", "b", "b"]
    assert len(desk.archive.stored) == 2
