# Copied from tips_med/body/__init__.py by copies.py: change it there.
"""The body in a scan, found by density and shape alone: its outline, the edges that cut it, and its midline.

Nothing here knows a word or a trained weight, so it can check what those say: which side a lung is on, and whether an
answer lies in a patient or under the table.
"""

from tips_med_runtime.body.body import Body, find_body, unknown_body
from tips_med_runtime.body.midline import Midline
from tips_med_runtime.body.outline import CUT_EDGES, Edge

__all__ = ["CUT_EDGES", "Body", "Edge", "Midline", "find_body", "unknown_body"]
