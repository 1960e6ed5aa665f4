"""The account says what was done and when, and names nobody."""

from __future__ import annotations

import hashlib
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tips_med.serving.node.audit import Audit


def test_each_event_is_a_line_with_its_time_and_a_keyed_hash(tmp_path: Path) -> None:
    audit = Audit(tmp_path)
    audit.note("started")
    audit.note("sent", "1.2.3", objects=4, reason="\N{LATIN SMALL LETTER E WITH ACUTE}")
    first, second = (json.loads(line) for line in (tmp_path / "audit.jsonl").read_text("ascii").splitlines())
    assert set(first) == {"time", "event"} and first["event"] == "started"
    assert second | {"time": ""} == {
        "time": "",
        "event": "sent",
        "study": audit.hashed("1.2.3"),
        "objects": 4,
        "reason": "\N{LATIN SMALL LETTER E WITH ACUTE}",
    }
    written = datetime.fromisoformat(second["time"])
    assert abs(datetime.now(UTC) - written) < timedelta(minutes=5) and written.utcoffset() == timedelta(0)
    assert stat.S_IMODE((tmp_path / "audit.jsonl").stat().st_mode) == 0o600


def test_a_uid_has_the_same_name_as_long_as_the_key_lies_there(tmp_path: Path) -> None:
    name = Audit(tmp_path).hashed("1.2.3")
    assert Audit(tmp_path).hashed("1.2.3") == name != Audit(tmp_path).hashed("1.2.4")
    assert len(name) == 32 and name != hashlib.sha256(b"1.2.3").hexdigest()[:32]
    assert stat.S_IMODE((tmp_path / "audit.key").stat().st_mode) == 0o600
    (tmp_path / "other").mkdir()
    assert Audit(tmp_path / "other").hashed("1.2.3") != name
