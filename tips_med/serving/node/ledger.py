"""What has come in and how far it has got: one SQLite file that survives ``kill -9`` at any moment."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (
    key TEXT PRIMARY KEY, uid TEXT NOT NULL, state TEXT NOT NULL, changed REAL NOT NULL, due REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS instances (
    name TEXT PRIMARY KEY, key TEXT NOT NULL, pending INTEGER NOT NULL DEFAULT 1);
CREATE TABLE IF NOT EXISTS outbox (
    path TEXT PRIMARY KEY, key TEXT NOT NULL, place INTEGER NOT NULL, series_uid TEXT NOT NULL, sop_uid TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting');
CREATE TABLE IF NOT EXISTS polled (
    key TEXT PRIMARY KEY, uid TEXT NOT NULL, fingerprint TEXT NOT NULL, seen REAL NOT NULL, due REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL DEFAULT 'seen');
"""

STATES = ("receiving", "sending", "done", "quarantined")


@dataclass(frozen=True)
class LedgerStudy:
    """A study in the ledger.

    Attributes:
        key: Safe name on disk.
        uid: Study Instance UID.
        state: State of the study: ``receiving`` (images arrive, or it waits its turn), ``sending``, ``done`` or
            ``quarantined``.
        changed: Time of its last new image, or of its end, in seconds since 1970.
        attempts: Number of attempts in its present state.
    """

    key: str
    uid: str
    state: str
    changed: float
    attempts: int


@dataclass(frozen=True)
class Outgoing:
    """A result on its way: ``waiting``, ``tried`` (it may have arrived) or ``sent``."""

    path: Path
    series_uid: str
    sop_uid: str
    state: str


@dataclass(frozen=True)
class Polled:
    """A study that was seen in an archive.

    Attributes:
        key: Safe name on disk.
        uid: Study Instance UID.
        fingerprint: Fingerprint of its series and their numbers of images.
        attempts: Number of attempts to fetch this fingerprint.
    """

    key: str
    uid: str
    fingerprint: str
    attempts: int


class Ledger:
    """Every method is one transaction, on disk when it returns.

    Args:
        path: Path of the SQLite file.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        for table in ("studies", "polled"):  # ledgers written before 0.2 name this state otherwise
            self._db.execute(f"UPDATE {table} SET state = 'quarantined' WHERE state = 'aside'")  # noqa: S608

    def knows(self, name: str) -> bool:
        """Whether an instance has been taken in before."""
        return bool(self._run("SELECT 1 FROM instances WHERE name = ?", name))

    def add(self, key: str, uid: str, name: str) -> None:
        """Takes in a new instance; a study that was finished is opened again for it."""
        now = time.time()
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT OR IGNORE INTO instances (name, key) VALUES (?, ?)", (name, key))
            self._db.execute(
                "INSERT INTO studies (key, uid, state, changed) VALUES (?, ?, 'receiving', ?) ON CONFLICT (key) DO "
                "UPDATE SET changed = excluded.changed, "
                "attempts = CASE state WHEN 'sending' THEN attempts ELSE 0 END, "
                "due = CASE state WHEN 'sending' THEN due ELSE 0 END, "
                "state = CASE state WHEN 'sending' THEN 'sending' ELSE 'receiving' END",
                (key, uid, now),
            )

    def next(self, quiet_s: float) -> LedgerStudy | None:
        """The study to work on: results to be sent first, then the one that has been quiet longest."""
        now = time.time()
        rows = self._run(
            "SELECT key, uid, state, changed, attempts FROM studies WHERE due <= ? AND "
            "(state = 'sending' OR (state = 'receiving' AND changed <= ?)) ORDER BY state DESC, due, changed LIMIT 1",
            now,
            now - quiet_s,
        )
        return LedgerStudy(*rows[0]) if rows else None

    def pending(self, key: str) -> set[str]:
        """Names of a study's instances that no answer is about yet."""
        return {row[0] for row in self._run("SELECT name FROM instances WHERE key = ? AND pending = 1", key)}

    def postpone(self, key: str, due: float, reason: str, *, counted: bool = True) -> None:
        """Puts a study off; a counted attempt brings it nearer to quarantine."""
        self._run(
            "UPDATE studies SET due = ?, reason = ?, attempts = attempts + ? WHERE key = ?", due, reason, counted, key
        )

    def to_send(self, key: str, taken: set[str], outgoing: Sequence[Outgoing]) -> None:
        """Results are on disk: from now on they are sent, and never made again."""
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("UPDATE instances SET pending = 0 WHERE name = ?", [(name,) for name in taken])
            self._db.executemany(
                "INSERT INTO outbox (path, key, place, series_uid, sop_uid) VALUES (?, ?, ?, ?, ?)",
                [(str(one.path), key, n, one.series_uid, one.sop_uid) for n, one in enumerate(outgoing)],
            )
            self._db.execute(
                "UPDATE studies SET state = 'sending', attempts = 0, due = 0, reason = '' WHERE key = ?", (key,)
            )

    def outgoing(self, key: str) -> list[Outgoing]:
        """A study's results, in the order of sending."""
        rows = self._run("SELECT path, series_uid, sop_uid, state FROM outbox WHERE key = ? ORDER BY place", key)
        return [Outgoing(Path(path), series, sop, state) for path, series, sop, state in rows]

    def mark(self, path: Path, state: str) -> None:
        """Notes that a result is being tried, or has been sent."""
        self._run("UPDATE outbox SET state = ? WHERE path = ?", state, str(path))

    def mark_finished(self, key: str, state: str, reason: str = "", taken: set[str] | None = None) -> None:
        """Ends work on a study; one that has got new images meanwhile waits for its turn again."""
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            if taken is not None:
                self._db.executemany("UPDATE instances SET pending = 0 WHERE name = ?", [(name,) for name in taken])
            self._db.execute("DELETE FROM outbox WHERE key = ?", (key,))
            left = self._db.execute("SELECT 1 FROM instances WHERE key = ? AND pending = 1 LIMIT 1", (key,)).fetchone()
            again = bool(left) and state == "done"
            self._db.execute(
                "UPDATE studies SET state = ?, reason = ?, attempts = 0, due = 0, "
                "changed = CASE WHEN ? THEN changed ELSE ? END WHERE key = ?",
                ("receiving" if again else state, reason, again, time.time(), key),
            )

    def see(self, key: str, uid: str, fingerprint: str, now: float) -> None:
        """Notes a study of an archive; one that is the same as when it was seen before stays as it is."""
        self._run(
            "INSERT INTO polled (key, uid, fingerprint, seen) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
            "fingerprint = excluded.fingerprint, seen = excluded.seen, due = 0, attempts = 0, state = 'seen' "
            "WHERE fingerprint != excluded.fingerprint",
            key,
            uid,
            fingerprint,
            now,
        )

    def next_polled(self, quiet_since: float) -> Polled | None:
        """The study to fetch: not taken yet, and the same for long enough."""
        rows = self._run(
            "SELECT key, uid, fingerprint, attempts FROM polled WHERE state = 'seen' AND seen <= ? AND due <= ? "
            "ORDER BY due, seen LIMIT 1",
            quiet_since,
            time.time(),
        )
        return Polled(*rows[0]) if rows else None

    def postpone_polled(self, key: str, due: float, attempts: int) -> None:
        """Fetches a study later; ``attempts`` is added to those counted."""
        self._run("UPDATE polled SET due = ?, attempts = attempts + ? WHERE key = ?", due, attempts, key)

    def mark_polled(self, key: str, state: str) -> None:
        """Leaves a study of an archive alone until it changes: ``taken`` or ``quarantined``."""
        self._run("UPDATE polled SET state = ? WHERE key = ?", state, key)

    def enqueue(self, key: str, uid: str, names: Sequence[str]) -> None:
        """Enters a fetched study whole, to be queried at once, including images that were queried before."""
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "INSERT INTO instances (name, key) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET pending = 1",
                [(name, key) for name in names],
            )
            self._db.execute(
                "INSERT INTO studies (key, uid, state, changed) VALUES (?, ?, 'receiving', 0) ON CONFLICT (key) DO "
                "UPDATE SET changed = CASE state WHEN 'sending' THEN changed ELSE 0 END, "
                "attempts = CASE state WHEN 'sending' THEN attempts ELSE 0 END, "
                "due = CASE state WHEN 'sending' THEN due ELSE 0 END, "
                "state = CASE state WHEN 'sending' THEN 'sending' ELSE 'receiving' END",
                (key, uid),
            )
            self._db.execute("UPDATE polled SET state = 'taken' WHERE key = ?", (key,))

    def has_study(self, key: str) -> bool:
        """Whether a study has been taken in before."""
        return bool(self._run("SELECT 1 FROM studies WHERE key = ?", key))

    def purge(self, before: float) -> int:
        """Drops what is known of studies that were finished before a time, so that the ledger does not grow for ever.

        Images of such a study that come again are new to the node.

        Returns:
            The number of dropped studies.
        """
        old = "key IN (SELECT key FROM studies WHERE state = 'done' AND changed < ?)"
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(f"DELETE FROM instances WHERE {old}", (before,))  # noqa: S608 (a constant)
            self._db.execute("DELETE FROM polled WHERE state != 'seen' AND seen < ?", (before,))
            return self._db.execute("DELETE FROM studies WHERE state = 'done' AND changed < ?", (before,)).rowcount

    def counts(self) -> dict[str, int]:
        """Studies by state."""
        found = dict(self._run("SELECT state, COUNT(*) FROM studies GROUP BY state"))
        return {state: int(found.get(state, 0)) for state in STATES}

    def states(self) -> dict[str, str]:
        """State of every study by key."""
        return dict(self._run("SELECT key, state FROM studies"))

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._db.close()

    def _run(self, statement: str, *values: object) -> list[tuple]:
        with self._lock:
            return self._db.execute(statement, values).fetchall()
