"""Studies of an archive are fetched whole when they are quiet, and none is answered twice."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from tests.serving.node.pieces import DOWN, REFUSES, RULES, MemoryArchive, answer_simply, study
from tips_med.errors import ConfigError
from tips_med.exporters.dicom.equipment import DESCRIPTION
from tips_med.serving.archive import ArchiveError
from tips_med.serving.bounds import Bounds
from tips_med.serving.node import Node, NodeSettings, PollSettings, Rule
from tips_med.serving.node.audit import Audit
from tips_med.serving.node.ledger import Ledger
from tips_med.serving.node.poller import Poller
from tips_med.serving.node.worker import Worker

EAGER = PollSettings(every_s=0.0)


class Desk:
    """A poller and a worker on one folder and one archive; ``restart`` is what a crash leaves."""

    def __init__(self, folder: Path, archive: MemoryArchive, rules: Sequence[Rule] = RULES, **options: object) -> None:
        self.folder, self.archive, self.rules, self.options = folder, archive, rules, options
        self.seen: list[int] = []
        for part in ("incoming", "results"):
            (folder / part).mkdir()
        self.restart()

    def restart(self) -> None:
        self.ledger = Ledger(self.folder / "ledger.sqlite")
        audit = Audit(self.folder)
        patience = {"quiet_s": 0.0, "pause_s": 0.0}
        self.worker = Worker(self.folder, self.ledger, self.archive, self.rules, self._answer, audit, **patience)
        self.worker.tidy()
        settings = {**patience, "bounds": Bounds(min_free_bytes=0), **self.options}
        self.poller = Poller(self.folder, self.ledger, self.archive, audit, EAGER, **settings)  # type: ignore[arg-type]

    def _answer(self, images: Path, series_uid: str, queries: Sequence[str], out: Path) -> None:
        self.seen.append(len(list(images.glob("*.dcm"))))
        answer_simply(images, series_uid, queries, out)

    def look(self) -> None:
        """Looks at the archive, and then no more until asked to."""
        self.poller._next_look = 0.0
        self.poller.look_if_due()
        self.poller._next_look = float("inf")

    def work(self, looks: int = 1) -> None:
        """As the node does, until there is nothing to do."""
        for _ in range(looks):
            self.look()
            for _ in range(50):
                if not self.worker.step() and not self.poller.step():
                    break
            else:
                pytest.fail("it comes to no end")

    def files(self, part: str) -> list[Path]:
        return [path for path in (self.folder / part).rglob("*") if path.is_file()]

    @property
    def said(self) -> str:
        return (self.folder / "audit.jsonl").read_text()


def test_every_study_is_fetched_and_answered_once_however_often_it_is_seen(tmp_path: Path) -> None:
    desk = Desk(tmp_path, MemoryArchive([*study(1), *study(2, slices=4)]))
    desk.work(looks=4)
    assert sorted(desk.seen) == [3, 4]
    assert len(desk.archive.stored) == 2
    assert desk.files("incoming") == desk.files("fetched") == desk.files("results") == []
    desk.restart()
    desk.work(looks=2)
    assert len(desk.archive.stored) == 2


def test_an_unchanged_archive_costs_one_request_a_look(tmp_path: Path) -> None:
    desk = Desk(tmp_path, MemoryArchive(study(1)))
    desk.work(looks=2)
    before = desk.archive.asked
    desk.work(looks=3)
    assert desk.archive.asked == before + 3


def test_only_series_of_the_modality_are_fetched_and_results_never(tmp_path: Path) -> None:
    other = study(1, slices=2)
    for n, one in enumerate(other):
        one.Modality, one.SeriesInstanceUID, one.SOPInstanceUID = "SEG", "1.2.7", f"1.2.7.{n}"
    desk = Desk(tmp_path, MemoryArchive([*study(1), *other, *study(3, Modality="MR")]))
    desk.work(looks=2)
    assert desk.seen == [3]


def test_a_study_that_grows_is_not_quiet_and_is_answered_whole_in_the_end(tmp_path: Path) -> None:
    images = study(1, slices=5)
    desk = Desk(tmp_path, MemoryArchive(images[:3]))
    desk.look()
    desk.archive.held.append(images[3])
    assert desk.poller.step(), "seen to have changed, so not fetched"
    assert not desk.files("incoming")
    assert not (tmp_path / "audit.jsonl").exists(), "that it grows is no failure"
    desk.work()
    desk.archive.held.append(images[4])
    desk.work()
    assert desk.seen == [4, 5]


def test_a_study_must_stay_the_same_for_a_while(tmp_path: Path) -> None:
    desk = Desk(tmp_path, MemoryArchive(study(1)), quiet_s=3600.0)
    desk.work(looks=3)
    assert desk.seen == []


class Dies(MemoryArchive):
    """Ends the process in the middle of a series."""

    dying = True

    def sent(self, study_uid: str, series_uid: str | None) -> Iterator[Dataset]:
        for n, one in enumerate(super().sent(study_uid, series_uid)):
            if n == 2 and self.dying:
                raise KeyboardInterrupt  # passes through all that is caught, as the end of the process does
            yield one


def test_killed_while_fetching_it_is_fetched_again_whole(tmp_path: Path) -> None:
    archive = Dies(study(1, slices=4))
    desk = Desk(tmp_path, archive)
    desk.look()
    with pytest.raises(KeyboardInterrupt):
        desk.poller.step()
    desk.restart()
    assert desk.files("fetched") == desk.files("incoming") == []
    archive.dying = False
    desk.work()
    assert desk.seen == [4]


def test_killed_at_each_fetch_it_is_set_aside_in_the_end(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Dies(study(1, slices=4)))
    for _ in range(3):
        desk.look()
        with pytest.raises(KeyboardInterrupt):
            desk.poller.step()
        desk.restart()
    desk.work(looks=2)
    assert desk.seen == [] and '"quarantined"' in desk.said


def test_killed_between_moving_and_entering_it_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path, MemoryArchive(study(1)))
    desk.look()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(desk.ledger, "enqueue", die)
        with pytest.raises(KeyboardInterrupt):
            desk.poller.step()
    assert len(desk.files("incoming")) == 3
    desk.restart()
    assert desk.files("incoming") == []
    desk.work()
    assert desk.seen == [3]


def test_a_lost_ledger_does_not_lead_to_second_answers(tmp_path: Path) -> None:
    desk = Desk(tmp_path, MemoryArchive(study(1)))
    desk.work()
    for file in tmp_path.glob("ledger.sqlite*"):
        file.unlink()
    desk.restart()
    desk.archive.held += study(2)
    desk.work(looks=2)
    assert desk.seen == [3, 3]
    assert [uid for uid, _, _ in desk.archive.stored] == [study(n)[0].StudyInstanceUID for n in (1, 2)]
    assert '"answered-before"' in desk.said


def test_answers_that_go_elsewhere_under_other_uids_are_found_there(tmp_path: Path) -> None:
    answers = MemoryArchive(study(7, slices=1, Modality="SR"))
    answers.held[0].SeriesDescription = DESCRIPTION
    place = {study(1)[0].StudyInstanceUID: study(7)[0].StudyInstanceUID}
    desk = Desk(
        tmp_path, MemoryArchive([*study(1), *study(2)]), answers=answers, result_study=lambda uid: place.get(uid, uid)
    )
    desk.work()
    assert [uid for uid, _, _ in desk.archive.stored] == [study(2)[0].StudyInstanceUID]


class Short(MemoryArchive):
    """Says that it has more than it gives."""

    def sent(self, study_uid: str, series_uid: str | None) -> Iterator[Dataset]:
        yield from list(super().sent(study_uid, series_uid))[:-1]


class Other(MemoryArchive):
    """Gives what was not asked for."""

    def sent(self, study_uid: str, series_uid: str | None) -> Iterator[Dataset]:
        yield from study(5)


class Hostile(MemoryArchive):
    """Has instances whose UID is a path."""

    def sent(self, study_uid: str, series_uid: str | None) -> Iterator[Dataset]:
        for one in super().sent(study_uid, series_uid):
            with pytest.warns(UserWarning, match="UI"):
                one.SOPInstanceUID = "../../../etc"
            yield one


@pytest.mark.parametrize(("kind", "reason"), [(Short, "incomplete"), (Other, "not-asked-for"), (Hostile, "bad-uid")])
def test_what_cannot_be_fetched_is_tried_a_few_times_and_set_aside(
    tmp_path: Path, kind: type[MemoryArchive], reason: str
) -> None:
    desk = Desk(tmp_path, kind(study(1)))
    desk.work(looks=3)
    assert desk.seen == []
    assert desk.said.count(f'"reason": "{reason}"') == 3
    assert desk.said.count('"quarantined"') == 1
    assert desk.files("fetched") == desk.files("incoming") == []


def told(desk: Desk) -> list[dict[str, object]]:
    """What the account says, without its times."""
    return [{key: value for key, value in json.loads(line).items() if key != "time"} for line in desk.said.splitlines()]


def test_each_try_is_accounted_for(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Short(study(1)))
    desk.work()
    name = desk.poller.audit.hashed(study(1)[0].StudyInstanceUID)
    assert told(desk) == [
        {"event": "not-fetched", "study": name, "reason": "incomplete", "attempt": 1},
        {"event": "not-fetched", "study": name, "reason": "incomplete", "attempt": 2},
        {"event": "quarantined", "study": name, "reason": "incomplete", "state": "polled"},
    ]
    desk.archive.held += study(2, slices=4)
    desk.poller.archive = MemoryArchive(study(2, slices=4))
    desk.work()
    other = desk.poller.audit.hashed(study(2)[0].StudyInstanceUID)
    assert {"event": "fetched", "study": other, "images": 4} in told(desk)


def test_a_study_that_changes_after_it_was_set_aside_is_fetched(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Short(study(1)))
    desk.work()
    desk.poller.archive = MemoryArchive(study(1, slices=4))
    desk.work()
    assert desk.seen == [4]


def test_pauses_double_and_an_archive_that_is_down_is_looked_at_as_often_as_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    desk = Desk(tmp_path, Short(study(1)), pause_s=100.0, attempts=5)
    desk.look()
    waited = []
    while '"quarantined"' not in desk.said if (tmp_path / "audit.jsonl").exists() else True:
        began = now[0]
        while not desk.poller.step():
            now[0] += 50.0
        waited.append(now[0] - began)
    assert waited == [0.0, 100.0, 200.0, 300.0, 300.0]
    desk.archive.failing = DOWN
    desk.poller.settings = PollSettings(every_s=150.0)
    desk.poller._next_look = 0.0
    looks = []
    for _ in range(120):
        before = desk.archive.asked
        desk.poller.look_if_due()
        looks += [now[0]] if desk.archive.asked > before else []
        now[0] += 10.0
    assert [b - a for a, b in zip(looks, looks[1:])] == [150.0, 200.0, 300.0, 300.0]


def test_each_modality_is_looked_for_within_the_window(tmp_path: Path) -> None:
    asked = []

    class Notes(MemoryArchive):
        def studies(self, modality: str, since: date, most: int):
            asked.append((modality, since, most))
            return super().studies(modality, since, most)

    desk = Desk(tmp_path, Notes([*study(1), *study(2, Modality="MR")]))
    desk.poller.settings = PollSettings(modalities=("CT", "MR"), window_days=3, max_studies=7)
    desk.look()
    assert asked == [(kind, date.today() - timedelta(days=3), 7) for kind in ("CT", "MR")]
    assert desk.poller.last_look is not None
    assert desk.poller.step() and desk.poller.step() and not desk.poller.step()
    assert len(desk.files("incoming")) == 6


def test_what_is_too_large_is_not_taken(tmp_path: Path) -> None:
    desk = Desk(tmp_path, MemoryArchive(study(1)), bounds=Bounds(1000, 0))
    desk.work()
    assert desk.seen == [] and '"too-large"' in desk.said


def test_a_full_disk_and_an_archive_that_is_down_are_waited_for(tmp_path: Path) -> None:
    desk = Desk(tmp_path, MemoryArchive(study(1)), bounds=Bounds(min_free_bytes=1 << 60))
    for _ in range(6):
        desk.look()
        desk.poller.step()
    assert desk.said.count('"no-room"') == 6 and '"quarantined"' not in desk.said
    desk.poller.bounds = Bounds(min_free_bytes=0)
    desk.archive.failing = DOWN
    for _ in range(6):
        desk.look()
        desk.poller.step()
    assert desk.said.count('"not-polled"') == 6 and '"quarantined"' not in desk.said
    desk.archive.failing = REFUSES
    desk.look()
    desk.archive.failing = None
    desk.work()
    assert desk.seen == [3]


def test_an_archive_that_does_not_accept_the_way_is_no_fault_of_a_study(tmp_path: Path) -> None:
    desk = Desk(tmp_path, MemoryArchive(study(1)))
    desk.look()
    desk.archive.failing = ArchiveError("does not accept C-GET", code="not-accepted")
    for _ in range(6):
        assert desk.poller.step()
    assert desk.said.count('"reason": "not-accepted"') == 6 and '"quarantined"' not in desk.said
    desk.archive.failing = None
    desk.work()
    assert desk.seen == [3]


def test_what_an_archive_makes_a_library_do_does_not_end_the_node(tmp_path: Path) -> None:
    desk = Desk(tmp_path, MemoryArchive(study(1)))
    desk.archive.failing = ValueError("of Planted^Marker")
    desk.look()
    assert '"reason": "ValueError"' in desk.said and "Marker" not in desk.said
    desk.archive.failing = None
    desk.work()
    assert desk.seen == [3]


def test_a_study_that_makes_a_library_fail_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    class Breaks(MemoryArchive):
        def sent(self, study_uid: str, series_uid: str | None) -> Iterator[Dataset]:
            if study_uid == study(1)[0].StudyInstanceUID:
                raise ValueError("of Planted^Marker")
            yield from super().sent(study_uid, series_uid)

    desk = Desk(tmp_path, Breaks([*study(1), *study(2, slices=4)]))
    desk.work()
    assert desk.seen == [4]
    assert [line.get("reason") for line in told(desk) if line["event"] in ("not-fetched", "quarantined")] == [
        "ValueError"
    ] * 3
    assert "Marker" not in desk.said


def test_told_to_stop_it_leaves_a_study_for_the_next_time(tmp_path: Path) -> None:
    stopping = [True]
    desk = Desk(tmp_path, MemoryArchive(study(1)), stopped=lambda: stopping[0])
    for _ in range(5):
        desk.look()
        assert desk.poller.step()
    assert desk.files("fetched") == []
    stopping[0] = False
    desk.work()
    assert desk.seen == [3]


def test_the_ledger_forgets_what_was_finished_long_ago(tmp_path: Path) -> None:
    desk = Desk(tmp_path, MemoryArchive([*study(1), *study(2)]))
    desk.work()
    assert desk.ledger.purge(before=0.0) == 0
    assert desk.ledger.purge(before=float("inf")) == 2
    assert desk.ledger.counts()["done"] == 0
    desk.work()
    assert len(desk.archive.stored) == 2, "the reports in the archive tell"


def test_settings_that_would_answer_twice_or_never_are_refused(tmp_path: Path) -> None:
    def node(**settings: object) -> None:
        Node(tmp_path, MemoryArchive(), RULES, answer_simply, NodeSettings(**settings))  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match="no archive is polled"):
        node()
    with pytest.raises(ConfigError, match="forgotten after 3"):
        node(poll=PollSettings(window_days=5), keep_days=3)
