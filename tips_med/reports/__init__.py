"""Whole reports: their sections, their sentences, and what these state."""

from tips_med.reports.coverage import Coverage, cover
from tips_med.reports.sections import Section, split_sections
from tips_med.reports.sentences import Sentence, split_sentences
from tips_med.reports.statements import Report, Statement, read_report

__all__ = [
    "Coverage",
    "Report",
    "Section",
    "Sentence",
    "Statement",
    "cover",
    "read_report",
    "split_sections",
    "split_sentences",
]
