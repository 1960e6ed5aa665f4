"""What an archive must not hold: the secret of its keys, and where each encoded study lies.

Both stay in a folder of their own beside the archive, readable by its owner only. Paths often name patients; with them,
and only with them, a key leads back to a scan. An archive without this folder can be searched, but nothing of it can be
opened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tips_med.archive.keys import key_of
from tips_med.encoders.study import EncodedStudy
from tips_med.errors import OutputError, ReadError
from tips_med.secret import secret_key

_KEY, _PLACES, _STUDIES = "key", "places.sqlite", "studies"


class Studies:
    """The encoded studies of an archive, by key, in its private folder.

    Args:
        folder: Path; made when something is first written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def exists(self) -> bool:
        """Whether there is a secret already."""
        return (self.folder / _KEY).is_file()

    def secret(self) -> bytes:
        """The secret of the keys, made if it is missing.

        Raises:
            OutputError: It cannot be made.
            ConfigError: Its file holds something else.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot be written ({error.strerror or error})", path=self.folder) from error
        return secret_key(self.folder / _KEY)

    def new_file(self, key: str) -> Path:
        """Where the study of a scan that was encoded for the archive is kept."""
        return self.folder / _STUDIES / f"{key}.safetensors"

    def remember(self, key: str, path: Path) -> None:
        """Keeps where a study lies, and what its file looks like; an earlier place is replaced.

        Raises:
            OutputError: It cannot be written.
        """
        try:
            with self._opened() as connection, connection:
                connection.execute(
                    "create table if not exists places (key text primary key, path text not null, state text not null)"
                )
                row = (key, str(path.resolve()), _state(path))
                connection.execute("insert or replace into places values (?, ?, ?)", row)
            (self.folder / _PLACES).chmod(0o600)
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"cannot be written ({error})", path=self.folder) from error

    def key_of_file(self, path: Path) -> str | None:
        """The key of a file that has not changed since it was remembered; None for any other."""
        found = self._ask("select key, state from places where path = ?", str(path.resolve()))
        return next((key for key, state in found if state == _state(path)), None)

    def path(self, key: str) -> Path | None:
        """Where the study of a key lies; None where it is not known. The path may tell whose it is."""
        found = self._ask("select path, state from places where key = ?", key)
        return Path(found[0][0]) if found else None

    def open(self, key: str) -> EncodedStudy:
        """Loads the study of a key.

        Raises:
            ReadError: ``place-unknown``, ``moved`` or ``replaced``; or it is damaged. No message names the file.
        """
        path = self.path(key)
        if path is None:
            raise ReadError(
                f"where the study {key[:12]} lies is not known here",
                remedy="search where it was indexed, or name its private folder with --private",
                code="place-unknown",
            )
        remedy = "index it again where it is now"
        if not path.is_file():
            raise ReadError(f"the study {key[:12]} is no longer where it was", remedy=remedy, code="moved")
        try:
            study = EncodedStudy.load(path)
        except ReadError as error:
            raise ReadError(f"the study {key[:12]} cannot be read", remedy=error.remedy, code=error.code) from error
        if key_of(study, self.secret()) != key:
            raise ReadError(f"the file of {key[:12]} holds another scan now", remedy=remedy, code="replaced")
        return study

    def _ask(self, query: str, value: str) -> list[tuple[str, str]]:
        if not (self.folder / _PLACES).is_file():
            return []
        try:
            with self._opened() as connection:
                return connection.execute(query, (value,)).fetchall()
        except sqlite3.Error as error:
            raise OutputError(f"cannot be read ({error})", path=self.folder) from error

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.folder / _PLACES, timeout=30)
        try:
            yield connection
        finally:
            connection.close()


def _state(path: Path) -> str:
    """What tells that a file has changed."""
    found = path.stat()
    return f"{found.st_size}-{found.st_mtime_ns}"


def studies_of(archive: str, private: Path | None) -> Studies:
    """The studies of an archive: in the given private folder, or in ``ARCHIVE.private`` beside it.

    Raises:
        OutputError: An archive elsewhere (a URL) has nothing beside it, and none is given.
    """
    if private is not None:
        return Studies(private)
    if "://" in archive:
        raise OutputError(
            "an archive elsewhere has no private folder beside it",
            path=archive,
            expected="a folder on this machine, for the secret of the keys and the places of the studies",
            remedy="name one with --private",
            code="no-private-folder",
        )
    path = Path(archive)
    return Studies(path.with_name(path.name + ".private"))
