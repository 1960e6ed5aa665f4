"""What has come in and how far it has got; times are given, so that nothing is waited for."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tips_med.serving.node.ledger import Ledger, Outgoing, Polled


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def out(name: str) -> Outgoing:
    return Outgoing(Path(name), f"series of {name}", f"uid of {name}", "waiting")


def at(monkeypatch: pytest.MonkeyPatch, now: float) -> None:
    monkeypatch.setattr(time, "time", lambda: now)


def test_an_image_is_entered_once_and_known_from_then_on(ledger: Ledger) -> None:
    assert not ledger.knows("1.dcm")
    for _ in range(2):
        ledger.add("a", "1.2", "1.dcm")
    assert ledger.knows("1.dcm")
    assert ledger.pending("a") == {"1.dcm"} and ledger.pending("b") == set()
    assert ledger.has_study("a") and not ledger.has_study("b")
    assert ledger.counts() == {"receiving": 1, "sending": 0, "done": 0, "quarantined": 0}


def test_the_study_that_has_been_quiet_longest_comes_first(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    for now, key in ((100.0, "a"), (101.0, "b"), (102.0, "a")):
        at(monkeypatch, now)
        ledger.add(key, f"uid of {key}", f"{key} {now}")
    at(monkeypatch, 110.0)
    assert ledger.next(9.5) is None
    study = ledger.next(9.0)
    assert study is not None
    assert (study.key, study.uid, study.state, study.changed, study.attempts) == (
        "b",
        "uid of b",
        "receiving",
        101.0,
        0,
    )


def test_results_are_sent_before_another_study_is_asked(ledger: Ledger) -> None:
    for key in ("a", "b", "c"):
        ledger.add(key, "1.2", f"{key}.dcm")
    ledger.to_send("b", {"b.dcm"}, [out("r")])
    study = ledger.next(0.0)
    assert study is not None and (study.key, study.state) == ("b", "sending")


def test_a_study_that_is_put_off_waits_and_counts(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, 100.0)
    ledger.add("a", "1.2", "1.dcm")
    ledger.postpone("a", 150.0, "no reason")
    ledger.postpone("a", 150.0, "no reason", counted=False)
    assert ledger.next(0.0) is None
    at(monkeypatch, 150.0)
    study = ledger.next(0.0)
    assert study is not None and study.attempts == 1
    ledger.add("a", "1.2", "2.dcm")
    study = ledger.next(0.0)
    assert study is not None and study.attempts == 0, "a new image begins anew"


def test_results_keep_their_order_and_state(ledger: Ledger) -> None:
    ledger.add("a", "1.2", "1.dcm")
    ledger.add("a", "1.2", "2.dcm")
    ledger.postpone("a", 1e12, "being answered")
    ledger.to_send("a", {"1.dcm"}, [out("z"), out("b")])
    study = ledger.next(0.0)
    assert study is not None and (study.state, study.attempts) == ("sending", 0)
    assert ledger.pending("a") == {"2.dcm"}
    ledger.mark(Path("z"), "tried")
    assert ledger.outgoing("a") == [Outgoing(Path("z"), "series of z", "uid of z", "tried"), out("b")]
    assert ledger.outgoing("other") == []


@pytest.mark.parametrize(("late", "state"), [(False, "done"), (True, "receiving")])
def test_an_image_that_comes_while_results_are_sent_waits_for_its_turn(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, late: bool, state: str
) -> None:
    at(monkeypatch, 100.0)
    ledger.add("a", "1.2", "1.dcm")
    ledger.to_send("a", {"1.dcm"}, [out("r")])
    ledger.postpone("a", 500.0, "unreachable")
    if late:
        at(monkeypatch, 200.0)
        ledger.add("a", "1.2", "2.dcm")
        assert ledger.states() == {"a": "sending"}
        assert ledger.next(0.0) is None, "the archive is down all the same"
    at(monkeypatch, 600.0)
    ledger.mark_finished("a", "done", taken=set())
    assert ledger.states() == {"a": state}
    assert ledger.outgoing("a") == []
    study = ledger.next(0.0)
    assert (study is None) is not late
    if study is not None:
        assert (study.changed, study.attempts) == (200.0, 0)


def test_a_study_without_results_is_done_with_all_that_was_looked_at(ledger: Ledger) -> None:
    ledger.add("a", "1.2", "1.dcm")
    ledger.mark_finished("a", "done", taken={"1.dcm"})
    assert ledger.states() == {"a": "done"} and ledger.pending("a") == set()


def test_a_study_that_is_set_aside_stays_there_until_a_new_image_comes(ledger: Ledger) -> None:
    ledger.add("a", "1.2", "1.dcm")
    ledger.mark_finished("a", "quarantined", "missing-slice")
    assert ledger.states() == {"a": "quarantined"} and ledger.next(0.0) is None
    assert ledger.pending("a") == {"1.dcm"}, "its images are kept"
    ledger.add("a", "1.2", "2.dcm")
    assert ledger.states() == {"a": "receiving"}


def test_what_is_fetched_whole_is_asked_at_once_and_all_of_it(ledger: Ledger) -> None:
    ledger.add("a", "1.2", "1.dcm")
    ledger.mark_finished("a", "done", taken={"1.dcm"})
    ledger.see("a", "1.2", "print", 0.0)
    ledger.enqueue("a", "1.2", ["1.dcm", "2.dcm"])
    assert ledger.pending("a") == {"1.dcm", "2.dcm"}
    study = ledger.next(3600.0)
    assert study is not None and (study.key, study.changed) == ("a", 0.0)
    assert ledger.next_polled(1e12) is None, "taken"


def test_what_is_fetched_while_results_are_sent_waits_for_its_turn(ledger: Ledger) -> None:
    ledger.enqueue("a", "1.2", ["1.dcm"])
    ledger.to_send("a", {"1.dcm"}, [out("r")])
    ledger.enqueue("a", "1.2", ["1.dcm", "2.dcm"])
    assert ledger.states() == {"a": "sending"}
    ledger.mark_finished("a", "done")
    assert ledger.states() == {"a": "receiving"}


def test_a_polled_study_is_fetched_when_it_has_been_the_same_for_long_enough(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, 1000.0)
    ledger.see("a", "1.2", "one", 100.0)
    ledger.see("a", "1.2", "one", 150.0)
    assert ledger.next_polled(99.0) is None
    assert ledger.next_polled(100.0) == Polled("a", "1.2", "one", 0), "seen again, and the same"
    ledger.postpone_polled("a", 2000.0, 1)
    assert ledger.next_polled(500.0) is None
    ledger.see("a", "1.2", "two", 160.0)
    assert ledger.next_polled(159.0) is None
    assert ledger.next_polled(160.0) == Polled("a", "1.2", "two", 0), "changed, it begins anew"
    ledger.postpone_polled("a", 1000.0, 2)
    ledger.postpone_polled("a", 1000.0, -1)
    assert ledger.next_polled(160.0) == Polled("a", "1.2", "two", 1)
    ledger.mark_polled("a", "quarantined")
    assert ledger.next_polled(160.0) is None


def test_the_polled_study_that_is_due_first_comes_first(ledger: Ledger) -> None:
    for key, seen in (("a", 3.0), ("b", 1.0), ("c", 2.0)):
        ledger.see(key, key, key, seen)
    ledger.postpone_polled("b", 5.0, 0)
    found = ledger.next_polled(10.0)
    assert found is not None and found.key == "c"


def test_only_what_was_finished_long_ago_is_forgotten(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    for now, key, state in ((10.0, "old", "done"), (30.0, "new", "done"), (10.0, "kept", "quarantined")):
        at(monkeypatch, now)
        ledger.add(key, key, f"{key}.dcm")
        ledger.mark_finished(key, state, taken={f"{key}.dcm"})
    ledger.see("old", "old", "print", 10.0)
    ledger.see("waits", "waits", "print", 10.0)
    ledger.mark_polled("old", "taken")
    assert ledger.purge(20.0) == 1
    assert ledger.states() == {"new": "done", "kept": "quarantined"}
    assert [ledger.knows(f"{key}.dcm") for key in ("old", "new", "kept")] == [False, True, True]
    waits = ledger.next_polled(1e12)
    assert waits is not None and waits.key == "waits"


def test_a_ledger_is_there_after_the_process_has_ended(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger.sqlite").add("a", "1.2", "1.dcm")
    again = Ledger(tmp_path / "ledger.sqlite")
    assert again.pending("a") == {"1.dcm"}
    again.close()
