"""From text to tokens: normalised, but each still knows where it stood in the text as typed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_ALIKE = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u2032", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb\u2033", '"'),
    "\u00d7": "x",
    "\u2215": "/",
    "\u2044": "/",
}
_NUMBER = r"(?:\d+(?:\.\d{1,3}|,\d{1,2})?|\.\d{1,2})(?!\d)"
_UNIT = r"(?:mms?|cms?|m\.m|c\.m|milli?met(?:er|re)s?|centimet(?:er|re)s?)\b"
_SIZE = re.compile(rf"({_NUMBER})(?:\s*-?\s*({_UNIT}))?")
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)"
)
_NO = r"\.?\s*(?:no\.?|numbers?|\#|:)?\s*"
_SERIES = rf"\b(?:series|ser|se|sequence){_NO}(?P<series_N>\d{{1,5}})"
_IMAGE = (
    rf"\b(?:images?|imgs?|im|slices?|frames?){_NO}"
    rf"(?P<images_N>\d{{1,4}}(?:\s*(?:-|to|and|,|&)\s*(?:images?\s*|im\s*)?\d{{1,4}}(?!\s*-?\s*{_UNIT}|[\d.]))*)(?:\s*/\s*\d{{1,4}}\b)?"
)
_BETWEEN = r"[\s,;:/&-]*(?:and|of|on|in)?\s*(?:the\s+)?"
_CITED = "|".join(
    part.replace("_N", str(number))
    for number, part in enumerate(
        (
            rf"{_SERIES}{_BETWEEN}{_IMAGE}",
            rf"{_IMAGE}{_BETWEEN}{_SERIES}",
            rf"\b(?:series|se|ser)/(?:image|im|img){_NO}(?P<series_N>\d{{1,5}})\s*/\s*(?P<images_N>\d{{1,4}})",
            _IMAGE,
            _SERIES,
        )
    )
)
_TOKEN = re.compile(
    rf"""
    (?P<cited> (?:{_CITED}) (?!\s*-?\s*{_UNIT}|\d) )
    | (?P<date> (?<![\w.,/]) (?:
        \d{{1,4}}[/.-]\d{{1,2}}[/.-]\d{{2,4}} | \d{{1,2}}(?:st|nd|rd|th)?\s+{_MONTH}\.?,?\s+\d{{2,4}}
        | {_MONTH}\.?\s+\d{{1,2}}(?:st|nd|rd|th)?,?\s+\d{{4}} | {_MONTH}\.?,?\s+\d{{4}}
        | \d{{1,2}}:\d\d(?::\d\d)? | (?:19|20)\d\d (?!\s*-?\s*{_UNIT}) | \d{{1,2}}/\d{{4}}
      ) (?![\w/]) )
    | (?P<size> (?<![\w.,/]) {_NUMBER} (?: (?:\s*-?\s*{_UNIT})? \s*(?:x|by|-|to)\s* {_NUMBER} ){{0,2}} \s*-?\s*{_UNIT} )
    | (?P<minus> \(\s*-\s*\) | (?<=\s) - \s* $ )
    | (?P<word> \d{{1,2}}(?:st|nd|rd|th)\b | [^\W\d_]+(?:'[^\W\d_]+)*\d* | \d+(?:[.,]\d+)* )
    | (?P<mark> [^\w\s.,;:!?()\[\]{{}}"'\-*|\\#…•_] )
    """,
    re.VERBOSE,
)
MINUS = "(-)"
"""The word of a minus that stands for "negative"."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MOST_IMAGES = 64
"""A longer range of images is not where something lies."""

_LONGEST_MM = 2000.0
"""Longer than any patient: no size, but a slip of the keyboard."""


@dataclass(frozen=True)
class Citation:
    """Images that a text cites.

    Attributes:
        series: Series Number; None where only images are cited.
        images: Instance Numbers, in order; empty where only a series is cited.
    """

    series: int | None
    images: tuple[int, ...]


@dataclass(frozen=True)
class Token:
    """A word, a mark or a size.

    Attributes:
        word: Normalised word: lowercase, plain dashes and quotes, no possessive.
        start: Index of its first character in the text as typed.
        end: Index after its last character.
        size_mm: The length it states, if it is a size.
        cited: The series and the images that it cites, if it does: "series 3, image 142".
        date: Whether it is a date or a time of day.
        mended: What was typed, where a typing error was mended.
    """

    word: str
    start: int
    end: int
    size_mm: float | None = None
    cited: Citation | None = None
    date: bool = False
    mended: str = ""


def words_of(text: str) -> tuple[str, ...]:
    """Gives the words of a text as they are matched.

    Args:
        text: Text, such as ``Ground-glass opacity``.

    Returns:
        ``("ground", "glass", "opacity")``.
    """
    return tuple(token.word for token in tokenize(text))


def tokenize(text: str) -> list[Token]:
    """Splits a text into words, marks and sizes.

    Punctuation and hyphens only separate; marks that change a meaning (``<``, ``/``) become tokens of their own.

    Args:
        text: Any text; dashes, quotes, ligatures and full-width characters are made plain first.

    Returns:
        The tokens in order, with their place in ``text``.
    """
    plain, places = _plain(text)
    tokens = []
    for match in _TOKEN.finditer(plain):
        start, end = places[match.start()], places[match.end() - 1] + 1
        if match["cited"]:
            tokens.append(Token(match["cited"], start, end, cited=_citation(match)))
            continue
        if match["date"]:
            tokens.append(Token(match["date"], start, end, date=True))
            continue
        if match["size"]:
            size_mm = _size_mm(match["size"])
            if size_mm is not None:
                tokens.append(Token(match["size"], start, end, size_mm))
                continue
        if match["minus"]:
            tokens.append(Token(MINUS, start, end))
        elif match["word"] and match["word"].endswith("'s"):
            tokens.append(Token(match["word"][:-2], start, end))
        else:
            tokens.append(Token(match[0], start, end))
    return tokens


def _plain(text: str) -> tuple[str, Sequence[int]]:
    """Plain characters, and for each its index in the text as typed."""
    if text.isascii():
        return _CONTROL.sub(" ", text.lower()), range(len(text))
    plain, places = [], []
    for index, character in enumerate(text):
        if unicodedata.category(character) == "Cf":  # soft hyphens, joiners, marks of direction
            continue
        for one in _ALIKE.get(character) or _fraction(character, plain) or _compatible(character):
            plain.append(" " if unicodedata.category(one) == "Cc" else _ALIKE.get(one, one))
            places.append(index)
    return "".join(plain), places


def _compatible(character: str) -> str:
    return unicodedata.normalize("NFKC", character).lower()


def _fraction(character: str, before: list[str]) -> str:
    """A character such as a half as decimals, after a whole number or alone; empty for any other character."""
    if not unicodedata.decomposition(character).startswith("<fraction>"):
        return ""
    value = unicodedata.numeric(character, -1.0)
    if not 0 < value < 1:
        return ""
    decimals = f"{value:.2f}".rstrip("0")
    return decimals[1:] if before and before[-1].isdigit() else decimals


def _citation(match: re.Match[str]) -> Citation:
    found = {name[:-1]: value for name, value in match.groupdict().items() if value and name[-1].isdigit()}
    images = tuple(int(number) for number in re.findall(r"\d+", found.get("images", "")))
    if "-" in found.get("images", "") and len(images) == 2 and images[0] < images[1] <= images[0] + _MOST_IMAGES:
        images = tuple(range(images[0], images[1] + 1))
    return Citation(int(found["series"]) if "series" in found else None, images)


def _size_mm(text: str) -> float | None:
    """The longest length in a text such as ``3.2 cm x 21 mm``; None when it can't be a length in a patient."""
    parts = _SIZE.findall(text)
    last_unit = parts[-1][1]
    lengths = [
        round(float(number.replace(",", ".")) * (10.0 if (unit or last_unit).startswith("c") else 1.0), 2)
        for number, unit in parts
    ]
    return max(lengths) if min(lengths) > 0.0 and max(lengths) <= _LONGEST_MM else None
