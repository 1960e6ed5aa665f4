"""One awkward thing to read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.readers.awkward.phantom import Truth


@dataclass(frozen=True)
class Written:
    """What was written: the path to read, and the truths a reader may return (none: there is no right volume)."""

    path: Path
    truths: tuple[Truth, ...] = ()


@dataclass(frozen=True)
class Case:
    """An awkward path.

    Attributes:
        name: Shown in the table.
        write: Writes it into an empty folder.
        refusal: The code under which it is refused; None when it is read.
        options: What recovers a refused case, for ``read_scan``.
        recovered: Which of the truths the recovered volume agrees with.
        note: Words that the notes of the scan (or of the recovered scan) hold.
    """

    name: str
    write: Callable[[Path], Written]
    refusal: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    recovered: int = 0
    note: str = ""
