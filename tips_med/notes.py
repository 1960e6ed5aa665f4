"""Notes about a scan: sentences with a code and the values that came from the file, so that identity can be taken out.

>>> note = Note("Volume {phase}: {label}.", code="one-of-several", phase=2, label="ContentTime 101112")
>>> str(note)
'Volume 2: ContentTime 101112.'
>>> str(without_identity(note, uid=lambda known: "2.25.1"))
'Volume 2: ContentTime (removed).'
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

_REMOVED = "(removed)"
_UID = re.compile(r"(?<![\w.])(?:\d+(?:\.\d+){3,}|2\.25\.\d{5,})(?![\w.]*\w)")
_KEYWORD = re.compile(r"\b[A-Z][A-Za-z]{2,}\b")
_KEPT_KINDS = ("CS", "DS", "FD", "FL", "IS", "SL", "SS", "UL", "US")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|“[^”]*”|`[^`]*`")
_DATES = re.compile(r"(?<![\w.])\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?!\d)|(?<!\d)\d{1,2}[-/.]\d{1,2}[-/.]\d{4}(?!\d)")
_TIMES = re.compile(r"(?<!\d)\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?!\d)")
_LONG_NUMBERS = re.compile(r"(?<![\w.])\d{6,}(?:\.\d+)?(?!\w)")


class Note(str):
    """A sentence with its template, code and values; usable as a plain string.

    Args:
        template: Sentence with the names of values in braces.
        code: Short stable name of the note (``slices-missing``), for programs.
        values: Values from the file, by name. Numbers cannot identify the patient, a text can: dates, times and UIDs
            must be given as text.

    Attributes:
        code: Code as given; ``note`` for plain text.
        template: Template as given.
        values: Values as given.
    """

    code: str
    template: str
    values: dict[str, Any]

    def __new__(cls, template: str, *, code: str = "note", **values: Any) -> Note:
        """Renders the sentence."""
        made = super().__new__(cls, template.format(**values) if values else template)
        made.code, made.template, made.values = code, template, values
        return made

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        return (self.template,), {"code": self.code, **self.values}


def without_identity(note: str, uid: Callable[[str], str]) -> str:
    """A note without the identity of the patient and the time of the scan.

    Every value of a structured note is checked. Plain text (of an encoded study, say) is searched for identifying
    parts: UIDs, dates, times, long numbers, quoted text, and values that follow the name of a DICOM attribute of text
        or time.

    Args:
        note: Structured note or plain text.
        uid: Function that returns the replacement of a UID.
    """
    if isinstance(note, Note) and note.values:
        values = {name: _value(value, uid) for name, value in note.values.items()}
        return Note(note.template, code=note.code, **values)
    return Note(_searched(note, uid).replace("{", "(").replace("}", ")"), code=getattr(note, "code", "note"))


def without_quotes(text: str) -> str:
    """A text without what it quotes."""
    return _QUOTED.sub(_REMOVED, text)


def _value(value: Any, uid: Callable[[str], str]) -> Any:
    if isinstance(value, int | float) and abs(value) < 1e6:
        return value
    text = str(value)
    if _UID.fullmatch(text):
        return uid(text)
    return _searched(text, uid) if any(_kind(word) for word in _KEYWORD.findall(text)) else _REMOVED


def _searched(text: str, uid: Callable[[str], str]) -> str:
    """Plain text without identifying parts."""
    text = without_quotes(text)
    parts = re.split(r"(, |; |\.\s|\.$)", text)
    parts = [_without_values(part) for part in parts]
    mapped: list[str] = []

    def keep(found: re.Match[str]) -> str:
        mapped.append(uid(found[0]))
        return f"\0{chr(0xE000 + len(mapped) - 1)}\0"

    text = _UID.sub(keep, "".join(parts))
    for pattern in (_DATES, _TIMES, _LONG_NUMBERS):
        text = pattern.sub(_REMOVED, text)
    for n, known in enumerate(mapped):
        text = text.replace(f"\0{chr(0xE000 + n)}\0", known)
    return text


def _without_values(part: str) -> str:
    """A part of a sentence; what follows the name of an attribute goes, unless the attribute is a measure or a code."""
    for found in _KEYWORD.finditer(part):
        kind = _kind(found[0])
        rest = part[found.end() :]
        if kind and kind not in _KEPT_KINDS and rest.strip():
            if kind == "UI" and _UID.search(rest):
                continue
            return f"{part[: found.end()]} {_REMOVED}"
    return part


def _kind(word: str) -> str | None:
    """The value representation of the attribute of that keyword; None for an ordinary word."""
    tag = tag_for_keyword(word)
    return None if tag is None else dictionary_VR(tag)
