"""The sentences of a section: full stops, list items and lines, and what only looks like their end."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ABBREVIATIONS = r"(?:dr|mr|mrs|ms|prof|st|approx|ca|cf|e\.g|i\.e|vs|resp|no|fig|im|img|se|ser|max|min|incl|excl|s|p)"
_END = re.compile(
    r"""
    (?P<stop> [.!?;]+ (?=\s|$|["')\]]) | (?<=[a-z])\.(?=[A-Z]) )
    | (?P<item> \n[ \t]*(?:[-*\u2022\u2013>]|\(?\d{1,2}[.)]|[a-z][.)])[ \t]+ )
    | (?P<line> \n )
    """,
    re.VERBOSE,
)
_BULLET = re.compile(r"^\s*(?:[-*\u2022\u2013>]|\(?\d{1,2}[.)](?!\d)|[a-z]\))\s*")
_IDENTITY = re.compile(
    r"\b(?:electronically signed|dictated|signed by|reported by|approved by|verified by|dear (?:dr|colleague|sir)"
    r"|accession|mrn|date of birth|dob|discussed with|communicated (?:to|with)|telephone|phoned|sincerely|kind regards"
    r"|thank you for|copy to|referring (?:physician|doctor))\b",
    re.IGNORECASE,
)
_STARTS_LINE = re.compile(r"\s*(?:[A-Z][A-Za-z /,&-]{1,40}:|[A-Z0-9-])")


@dataclass(frozen=True)
class Sentence:
    """A sentence of a report.

    Attributes:
        start: Index of its first character in the report.
        end: Index after its last one.
        asks: Whether it ends with a question mark.
        personal: Whether it is about people and not about the scan.
    """

    start: int
    end: int
    asks: bool = False
    personal: bool = False


def split_sentences(text: str, start: int = 0, end: int | None = None) -> list[Sentence]:
    """Splits a stretch of a report.

    Args:
        text: The report.
        start: Where the stretch begins.
        end: Where it ends; the report's end when None.
    """
    end = len(text) if end is None else end
    borders, at = [], start
    for found in _END.finditer(text, start, end):
        if found["stop"] and _is_abbreviation(text, found.start()):
            continue
        if found["line"] and not _is_line_end(text, at, found.start(), found.end()):
            continue
        border = found.end() if found["stop"] else found.start()
        borders.append((at, border))
        at = found.end() if found["line"] else border
    borders.append((at, end))
    sentences = []
    for first, last in borders:
        bullet = _BULLET.match(text[first:last])
        first += bullet.end() if bullet else 0
        content = text[first:last]
        if content.strip(" \t\n.;-*"):
            first += len(content) - len(content.lstrip())
            sentences.append(
                Sentence(first, last, content.rstrip().endswith("?"), _IDENTITY.search(content) is not None)
            )
    return sentences


def _is_abbreviation(text: str, at: int) -> bool:
    before = re.search(rf"(?:^|[\s(]){_ABBREVIATIONS}$", text[max(0, at - 8) : at], re.IGNORECASE)
    word = re.search(r"[\w.]+$", text[max(0, at - 8) : at])
    initial = word is not None and len(word[0]) == 1 and word[0].isupper()
    number = re.search(r"(?:^|\n)\s*\d{1,2}$", text[max(0, at - 5) : at]) is not None
    if before is not None and word is not None and word[0].lower() in ("no", "s", "p", "max", "min"):
        return text[at + 1 : at + 3].strip()[:1].isdigit()
    return before is not None or initial or number


def _is_line_end(text: str, start: int, at: int, after: int) -> bool:
    """Whether a sentence ends with a line: not where a long line was only wrapped."""
    line = text[start:at].rsplit("\n", 1)[-1]
    following = text[after : after + 48]
    if not following.strip() or following[:1] == "\n":
        return True
    wrapped = len(line) > 60 and not re.match(r"\s*(?:[A-Z][\w /,&-]{1,40}:)", following)
    return not wrapped and _STARTS_LINE.match(following) is not None
