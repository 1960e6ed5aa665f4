"""Conditions on scans: ``thickness_mm <= 2 and (date >= 2024 or modality = 'MR')``.

The text is never evaluated. It is parsed by the grammar below into comparisons of known columns with numbers and words,
and stores write their own query from these::

    condition:  conjunction ("or" conjunction)*
    conjunction: part ("and" part)*
    part:       "not" part | "(" condition ")" | comparison
    comparison: COLUMN ("=" | "==" | "!=" | "<" | "<=" | ">" | ">=") (NUMBER | WORD | 'WORD' | "WORD")
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, cast

from tips_med.errors import QueryError

Operator = Literal["=", "!=", "<", "<=", ">", ">="]

COLUMNS: dict[str, type] = {"thickness_mm": float, "slices": int, "date": int, "modality": str}
"""Columns that a condition may name, and what they are compared with. ``date`` is the year of the study."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)(?![\w.-])|(?P<word>[A-Za-z_]\w*)|'(?P<one>[^']*)'|\"(?P<two>[^\"]*)\""
    r"|(?P<sign><=|>=|==|!=|<|>|=|\(|\))|(?P<other>\S+))"
)
_SIGNS = ("=", "==", "!=", "<", "<=", ">", ">=")
_MODALITY = re.compile(r"[A-Z0-9_]{1,16}")
_MAX_LENGTH, _MAX_DEPTH = 1000, 20
_EXAMPLE = "such as: thickness_mm <= 2 and date >= 2024"


@dataclass(frozen=True)
class Comparison:
    """A column compared with a value.

    Attributes:
        column: Name of the column.
        operator: Comparison.
        value: Value of the column's type.
    """

    column: str
    operator: Operator
    value: float | int | str


@dataclass(frozen=True)
class Not:
    """The opposite of a condition; a scan whose value is not known meets neither."""

    part: Condition


@dataclass(frozen=True)
class Several:
    """Several conditions, of which all or any have to be met."""

    join: Literal["and", "or"]
    parts: tuple[Condition, ...]


Condition = Comparison | Not | Several


def parse_condition(text: str) -> Condition:
    """Parses a condition.

    Raises:
        QueryError: ``bad-condition``: it is not of the grammar, or names a column or a value that is not known.
    """
    if len(text) > _MAX_LENGTH:
        raise _refusal(f"has {len(text)} characters", f"at most {_MAX_LENGTH}")
    parser = _Parser(text)
    condition = parser.condition(0)
    if parser.kind != "end":
        raise _refusal(f"goes on with {parser.shown} where it should end", "and, or, or nothing")
    return condition


class _Parser:
    """Recursive descent, one token ahead."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self.kind, self.text = next(self._tokens)

    @property
    def shown(self) -> str:
        """The next token, for messages."""
        return "its end" if self.kind == "end" else repr(self.text)

    def condition(self, depth: int) -> Condition:
        return self._several("or", lambda: self._several("and", lambda: self._part(depth)))

    def _several(self, join: Literal["and", "or"], part: Callable[[], Condition]) -> Condition:
        parts = [part()]
        while self._is_word(join):
            self._advance()
            parts.append(part())
        return parts[0] if len(parts) == 1 else Several(join, tuple(parts))

    def _part(self, depth: int) -> Condition:
        if depth > _MAX_DEPTH:
            raise _refusal(f"is nested more than {_MAX_DEPTH} times", "a shorter condition")
        if self._is_word("not"):
            self._advance()
            return Not(self._part(depth + 1))
        if (self.kind, self.text) == ("sign", "("):
            self._advance()
            inner = self.condition(depth + 1)
            if (self.kind, self.text) != ("sign", ")"):
                raise _refusal(f"has {self.shown} where a parenthesis should close", ")")
            self._advance()
            return inner
        return self._comparison()

    def _comparison(self) -> Comparison:
        column = self.text
        if self.kind != "word" or column not in COLUMNS:
            raise _refusal(f"has {self.shown} where a column should be", ", ".join(COLUMNS))
        self._advance()
        if self.kind != "sign" or self.text not in _SIGNS:
            raise _refusal(f"has {self.shown} after {column}", "one of " + " ".join(_SIGNS))
        operator = cast(Operator, "=" if self.text == "==" else self.text)
        self._advance()
        value = self._value(column)
        if isinstance(value, str) and operator not in ("=", "!="):
            raise _refusal(f"compares {column} by {operator}", f"{column} = or !=")
        self._advance()
        return Comparison(column, operator, value)

    def _value(self, column: str) -> float | int | str:
        wanted = COLUMNS[column]
        if wanted is str:
            value = self.text.upper()
            if self.kind in ("word", "text") and _MODALITY.fullmatch(value):
                return value
            raise _refusal(f"has {self.shown} as {column}", "a DICOM modality code, such as CT")
        if self.kind == "number" and (wanted is float or self.text.isdecimal()):
            if column == "date" and len(self.text) != 4:
                raise _refusal(f"has the date {self.text}", "a year of four digits: of dates, an archive keeps no more")
            if len(self.text) <= 9:
                return wanted(self.text)
        if column == "date":
            raise _refusal(f"has the date {self.shown}", "a year, such as 2024: of dates, an archive keeps no more")
        raise _refusal(f"has {self.shown} as {column}", "a number" if wanted is float else "a whole number")

    def _is_word(self, word: str) -> bool:
        return self.kind == "word" and self.text.lower() == word

    def _advance(self) -> None:
        self.kind, self.text = next(self._tokens)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    for found in _TOKEN.finditer(text.rstrip()):
        kind = str(found.lastgroup)
        yield ("text" if kind in ("one", "two") else kind), found[kind]
    while True:
        yield "end", ""


def _refusal(found: str, expected: str) -> QueryError:
    return QueryError(
        f"the condition {found}", expected=expected, remedy=f"write a condition {_EXAMPLE}", code="bad-condition"
    )
