"""Answers to queries."""

from tips_med.grounding.answer import Coverage, Decision, Declined, Grounding, Instance, Reason
from tips_med.grounding.candidates import Candidate, find_candidates
from tips_med.grounding.ground import encode, ground, parse_queries
from tips_med.grounding.what import Fit, Identification, what

__all__ = [
    "Candidate", "Coverage", "Decision", "Declined", "Fit", "Grounding", "Identification", "Instance", "Reason",
    "encode", "find_candidates", "ground", "parse_queries", "what",
]  # fmt: skip
