"""Elements of a data set, parsed one by one, so that a damaged one does not take the others with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset


@dataclass
class Elements:
    """Reads elements of one item, and remembers what could not be parsed."""

    items: Sequence[Dataset]
    problems: list[str] = field(default_factory=list)

    def raw(self, keyword: str) -> Any:
        """The value of the first item that has one; None where none has."""
        for item in self.items:
            try:
                value = item.get(keyword)
            except Exception as error:  # pydicom raises whatever the damaged bytes lead it to
                self.problems.append(f"{keyword} cannot be parsed ({type(error).__name__})")
                return None
            if value is not None and value != "":
                return value
        return None

    def text(self, keyword: str) -> str:
        """The value as text, several values joined by a backslash; empty where absent."""
        value = self.raw(keyword)
        if value is None:
            return ""
        if not isinstance(value, str) and isinstance(value, Sequence):
            return "\\".join(str(part) for part in value)
        return str(value).strip().rstrip("\0")

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """``count`` finite numbers; None where absent, and a problem noted where they are something else."""
        value = self.raw(keyword)
        if value is None:
            return None
        if isinstance(value, str):
            parts = value.strip("\0 ").split("\\")  # some write numbers in a VR of text
        else:
            parts = [value] if isinstance(value, (int, float)) or not isinstance(value, Sequence) else list(value)
        if not parts:
            return None
        try:
            numbers = tuple(float(part) for part in parts)
        except (TypeError, ValueError, OverflowError):
            self.problems.append(f"{keyword} is not a number")
            return None
        if len(numbers) != count or not all(math.isfinite(x) and abs(x) < 1e12 for x in numbers):
            self.problems.append(f"{keyword} should hold {count} finite number{'s' * (count > 1)}, holds {numbers!r}")
            return None
        return numbers

    def number(self, keyword: str) -> float | None:
        """One finite number, None where absent."""
        found = self.numbers(keyword, 1)
        return found[0] if found else None

    def integer(self, keyword: str, default: int = 0) -> int:
        """A whole number, ``default`` where absent."""
        found = self.number(keyword)
        return default if found is None else int(found)
