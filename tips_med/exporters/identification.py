"""What is at a place: as JSON for programs, and as a table for the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from tips_med.exporters.report import concept_entry, plain_json, point_entry
from tips_med.grounding import Fit, Identification
from tips_med.grounding.what import OMISSIONS

FORMAT = "tips-med-identification/1"
"""Name and version of the format; the number rises when a reader would break."""

_STYLE = {"likely": "bold", "unsure": "italic", "uncalibrated": "italic", "unlikely": "dim"}


def identification_entry(found: Identification) -> dict[str, Any]:
    """The terms that fit a place, in JSON's own types; a number that is not finite becomes None."""
    return plain_json(
        {
            "format": FORMAT,
            "research_use_only": True,
            "at_lps": point_entry(found.at_lps),
            "region": found.region,
            "lobes": list(found.lobes),
            "side": found.side,
            "mean_hu": found.mean_hu,
            "measured_fraction": found.measured_fraction,
            "findings": [_fit_entry(fit) for fit in found.findings],
            "structures": [_fit_entry(fit) for fit in found.structures],
            "omitted": [concept_entry(term) for term in found.omitted],
            "reasons": [{"code": reason, "meaning": OMISSIONS[reason]} for reason in found.reasons],
            "unknown": [concept_entry(term) for term in found.unknown],
            "sentence": found.sentence,
            "model": {"name": found.model},
        }
    )


def identification_table(found: Identification) -> Table:
    """One row for every term that was compared, the best first; readable at 80 columns."""
    about = f"{len(found.unknown)} other findings of the lexicon are not known to this model."
    table = Table(caption=f"{about} Research use only, not a medical device.", caption_justify="left")
    for name in ("Term", "Fits", "Probability", "Score", "Marked"):
        table.add_column(name, justify="left" if name in ("Term", "Fits") else "right")
    for group in (found.findings, found.structures):
        for fit in group:
            number = "-" if fit.probability is None else f"{fit.probability:.2f}"
            cells = (fit.term.name, fit.state, number, f"{fit.score:.2f}", f"{100 * fit.marked_fraction:.0f}%")
            table.add_row(*(Text(cell, style=_STYLE[fit.state]) for cell in cells))
        table.add_section()
    for term in found.omitted:
        table.add_row(Text(term.name), Text("not compared"), *(Text("-") for _ in range(3)))
    return table


def _fit_entry(fit: Fit) -> dict[str, Any]:
    term = concept_entry(fit.term)
    assert term is not None
    return term | {
        "state": fit.state,
        "probability": fit.probability,
        "score": fit.score,
        "marked_fraction": fit.marked_fraction,
    }
