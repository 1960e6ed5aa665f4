"""Text of DICOM results; images are counted by Instance Number, as in a PACS."""

from __future__ import annotations

import re

from tips_med.exporters.dicom.source import SourceImages
from tips_med.geometry import axis_letters
from tips_med.grounding import Grounding
from tips_med.grounding.wording import subject_of
from tips_med.notes import without_quotes

_SLICES = re.compile(r"\bslices? (\d+)(?: to (\d+))?")
_ENDS = {"S": "the head", "I": "the feet", "L": "the left", "R": "the right", "A": "the front", "P": "the back"}


def subject(grounding: Grounding) -> str:
    """The queried term in the lexicon's own words, without free text of a user."""
    return subject_of(grounding.query)


def query_subject(grounding: Grounding) -> str:
    """The query as it was typed; in the lexicon's words where results are to hold no identity."""
    return subject(grounding) if grounding.scan.provenance.deidentified else grounding.query.text


def answer_sentence(grounding: Grounding, source: SourceImages) -> str:
    """The answer in words, its slices as the PACS counts them."""
    text = grounding.sentence
    if grounding.scan.provenance.deidentified:
        text = without_quotes(text)  # text of the user is in quotes

    def counted(found: re.Match[str]) -> str:
        first = int(found[1])
        return place(grounding, source, first, int(found[2] or first))

    return _SLICES.sub(counted, text)


def place(grounding: Grounding, source: SourceImages, first: int, last: int) -> str:
    """Slices ``first`` to ``last`` of the scan (k, from 0) as a reader of the series finds them.

    Returns:
        ``images 41 to 47`` by Instance Number, ``frames 3 to 9`` of a multi-frame object; where the source does not
        number its images, each once, the place in the stack and the end that it is counted towards.
    """
    count = len(source.by_slice)
    if source.is_multiframe:
        numbers = [n for n in source.frame_numbers[first : last + 1] if n]
        return _range("frame", numbers) if numbers else _range("slice", [first + 1, last + 1])
    every = [_number(image) for image in source.by_slice if image is not None]
    within = [_number(image) for image in source.by_slice[first : last + 1] if image is not None]
    known = [number for number in within if number is not None]
    if known and None not in every and len(set(every)) == len(every):
        return _range("image", known)
    end = _ENDS[axis_letters(grounding.scan.lps_from_kji)[0]]
    return f"{_range('slice', [first + 1, last + 1])} of {count}, counted towards {end}"


def number_of(source: SourceImages, k: int) -> int | None:
    """Number of a slice's image, or of its frame in a multi-frame object; None where it has none."""
    return source.frame_numbers[k] or None if source.is_multiframe else _number(source.by_slice[k])


def _number(image: object) -> int | None:
    number = getattr(image, "InstanceNumber", None)
    return None if number is None else int(number)


def _range(name: str, numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{name} {low}" if low == high else f"{name}s {low} to {high}"
