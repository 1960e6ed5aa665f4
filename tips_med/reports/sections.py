"""The sections of a report: only some of them say what the scan shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

SectionKind = Literal["findings", "impression", "other"]

_OTHER = (
    "indication|indications"
    "|clinical (?:history|information|indication|question|data|details|context|background|notes?)|history"
    "|reason(?: for (?:exam(?:ination)?|study|test))?|comparisons?|comparison (?:study|studies|exam)|technique"
    "|procedure|protocol|exam(?:ination)?|study|examination type|exam type|exam date|study date"
    "|date(?: of (?:exam|study|birth))?|time|patient(?: name| id)?|name|mrn|dob|age|sex|gender"
    "|accession(?: (?:no|number))?|referring(?: physician)?|referrer|ordering physician|requested by|radiologist"
    "|dictated(?: by)?|signed(?: by)?|electronically signed by|reported by|attending|resident|recommendations?|advice"
    "|contrast|dose|radiation dose|dlp|quality|limitations?|icd(?:-10)?|cc|copy to|hospital|department|institution"
    "|address|phone|request|question|medication|allergies|ct number|lung-rads|birads|bi-rads|management|plan"
    "|follow-?up recommendations?|diagnosis code|provider|physician|location|id|no"
)
_FINDINGS = (
    "findings?|body|report|result|results|description|observations?|ct chest|ct thorax|chest ct|ct|thorax ct"
    "|ldct lung cancer screening"
)
_IMPRESSION = "impressions?|conclusions?|summary|opinion|interpretation|assessment|diagnosis|comment|bottom line"
_HEADING = re.compile(
    rf"^[ \t]*(?:\d+[.)][ \t]*)?(?:(?P<other>{_OTHER})|(?P<findings>{_FINDINGS})|(?P<impression>{_IMPRESSION}))"
    r"[ \t]*(?::|[-\u2013\u2014](?=\s)|$)",
    re.IGNORECASE | re.MULTILINE,
)
_INLINE = re.compile(
    rf"(?<=[.;])[ \t]+(?:(?P<other>{_OTHER})|(?P<findings>{_FINDINGS})|(?P<impression>{_IMPRESSION}))[ \t]*:",
    re.IGNORECASE,
)


_ONE_LINE = re.compile(
    r"[ \t]*(?:"
    r"date|time|patient|name|mrn|dob|age|sex|gender|accession|referring|referrer|ordering|requested|radiologist"
    r"|dictated|signed|electronically|reported by|attending|resident|provider|physician|hospital|department"
    r"|institution|address|phone|copy|cc|id|no|exam|study|comparison|contrast|dose|lung-rads|location"
    r")",
    re.IGNORECASE,
)
"""Headings whose content ends with the line."""


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        kind: ``findings``, ``impression``, or ``other``: what says nothing of the scan itself.
        start: Index of its first character after the heading.
        end: Index after its last one.
    """

    kind: SectionKind
    start: int
    end: int


def split_sections(text: str) -> list[Section]:
    """Splits a report at its headings; what stands before the first one counts as findings."""
    marks = sorted(
        [(found.start(), found.end(), found) for pattern in (_HEADING, _INLINE) for found in pattern.finditer(text)],
        key=lambda mark: mark[:2],
    )
    sections: list[Section] = []
    kind: SectionKind = "findings"
    begin = 0
    for start, end, found in marks:
        if start < begin:
            continue
        sections.append(Section(kind, begin, start))
        kind = "other" if found["other"] else "findings" if found["findings"] else "impression"
        begin = end
    sections.append(Section(kind, begin, len(text)))
    return [section for section in _closed(text, sections) if text[section.start : section.end].strip()]


def _closed(text: str, sections: list[Section]) -> list[Section]:
    """Ends the sections that are no findings where an empty line ends them."""
    closed: list[Section] = []
    for section in sections:
        line = text.rfind("\n", 0, section.start) + 1
        short = _ONE_LINE.match(text[line : section.start]) is not None
        ends = r"\n" if short else r"\n[ \t]*\n"
        empty = re.search(ends, text[section.start : section.end]) if section.kind == "other" else None
        content = text[section.start : section.start + empty.start()].strip() if empty else ""
        if empty and content:
            middle = section.start + empty.end()
            closed += [Section("other", section.start, middle), Section("findings", middle, section.end)]
        else:
            closed.append(section)
    return closed
