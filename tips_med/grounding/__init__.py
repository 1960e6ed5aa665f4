"""Answers to queries."""

from tips_med.grounding.answer import Coverage, Decision, Declined, Grounding, Instance, Reason
from tips_med.grounding.ground import encode, ground, parse_queries

__all__ = ["Coverage", "Decision", "Declined", "Grounding", "Instance", "Reason", "encode", "ground", "parse_queries"]
