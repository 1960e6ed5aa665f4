"""Answers to queries."""

from tips_med.grounding.answer import Grounding, Instance, Presence
from tips_med.grounding.ground import encode, ground

__all__ = ["Grounding", "Instance", "Presence", "encode", "ground"]
