"""Damaged files end in a Scan or a named refusal; ``python -m tests.readers.fuzz`` tries more."""

from __future__ import annotations

import os
import sys

import pytest

from tests.readers.fuzz import fuzz

FILES = int(os.environ.get("TIPS_MED_FUZZ_FILES", "300"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory through /proc and fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_no_traceback_no_hang_no_crash() -> None:
    told: list[str] = []
    counts = fuzz(FILES, seed=20261124, tell=told.append)
    assert told == []
    assert all(outcome.startswith(("read", "refused: ")) for outcome in counts), counts
    assert counts["read"] > FILES // 20, "mutations that leave the file readable must be among them"
    assert len(counts) > 5, "mutations must reach many kinds of damage"
