"""Checks, and all of them together."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

FORMAT = "tips_med-doctor-1"

State = Literal["ok", "hint", "missing", "fault"]
"""``hint``: works, and could be better; ``missing``: not installed, which is a matter of choice; ``fault``: does not
work."""

_PATH = re.compile(r"(?<![\w/\\])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\:;,'\"()<>]+)*[/\\]([^\s/\\:;,'\"()<>]+)")
_SHORTEST_NAME = 3
"""Shorter names of users and machines are also parts of words."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        topic: Group that it is shown in: versions, device, extras, model, speed or files.
        name: What was looked at, such as ``memory``.
        state: How it is.
        found: What was found, in words.
        advice: What to do about it, one line; empty for what is as it should be.
        data: What was found, for programs.
    """

    topic: str
    name: str
    state: State
    found: str
    advice: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Examination:
    """All checks of an installation."""

    checks: tuple[Check, ...]

    @property
    def usable(self) -> bool:
        """Whether a scan can be asked: there is no fault."""
        return all(check.state != "fault" for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: format, whether it is usable, and the checks."""
        return {"format": FORMAT, "usable": self.usable, "checks": [asdict(check) for check in self.checks]}


def in_words(error: BaseException, secrets: Sequence[str] | None = None) -> str:
    """An error of any library in one line, as ``without_names`` leaves it.

    Args:
        error: The error.
        secrets: What must not be said; home, user and machine if left out.
    """
    text = without_names(str(getattr(error, "found", error)), secrets)
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def without_names(text: str, secrets: Sequence[str] | None = None) -> str:
    """A text in one line, without folders, the machine's name and the user's.

    Args:
        text: The text.
        secrets: What must not be said; home, user and machine if left out.
    """
    text = _PATH.sub(r"\1", " ".join(text.split()))
    for secret in sorted(_own_names() if secrets is None else secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_NAME:
            text = text.replace(secret, "...")
    return text


def _own_names() -> list[str]:
    names = [socket.gethostname(), socket.gethostname().partition(".")[0]]
    for ask in (lambda: str(Path.home()), lambda: Path.home().name, getpass.getuser):
        try:
            names.append(ask())
        except (KeyError, OSError, RuntimeError, ImportError):  # an account without a name or a home
            continue
    return names
