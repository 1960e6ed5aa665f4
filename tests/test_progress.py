from __future__ import annotations

import logging

from tips_med import progress
from tips_med.progress import log_progress


def test_without_a_terminal_the_log_tells_how_far_it_is(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    clock = iter((0.0, 10.0, 31.0, 45.0, 62.0))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with log_progress("encoding") as tell:
        for done in range(1, 5):
            tell(done, 4)

    assert [record.getMessage() for record in caplog.records] == [
        "encoding: 2 of 4 after 31 s",
        "encoding: 4 of 4 after 62 s",
    ]
