"""Where is it? A radiologist's words go in; voxels, slices, side, volume and an honest answer come out.

    >>> import tips_med
    >>> scan = tips_med.read_scan("chest.nii.gz")
    >>> study = tips_med.encode(scan)
    >>> answer = tips_med.ground(study, "mass in the left lung")
    >>> answer.presence.state, answer.peak_lps

Research use only, not a medical device.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tips_med.encoders.study import EncodedStudy
    from tips_med.errors import TipsMedError
    from tips_med.exporters.folder import write_answers
    from tips_med.followup import Comparison, compare
    from tips_med.grounding import Grounding, Identification, encode, ground, what
    from tips_med.model import GroundingModel, load_model
    from tips_med.query import Lexicon, Query
    from tips_med.readers import inspect_path, read_scan
    from tips_med.scan import Scan

__version__ = "0.1.0"

_HOME = {
    "Comparison": "tips_med.followup",
    "EncodedStudy": "tips_med.encoders.study",
    "Grounding": "tips_med.grounding",
    "GroundingModel": "tips_med.model",
    "Identification": "tips_med.grounding",
    "Lexicon": "tips_med.query",
    "Query": "tips_med.query",
    "Scan": "tips_med.scan",
    "TipsMedError": "tips_med.errors",
    "compare": "tips_med.followup",
    "encode": "tips_med.grounding",
    "ground": "tips_med.grounding",
    "inspect_path": "tips_med.readers",
    "load_model": "tips_med.model",
    "read_scan": "tips_med.readers",
    "what": "tips_med.grounding",
    "write_answers": "tips_med.exporters.folder",
}

__all__ = [
    "Comparison", "EncodedStudy", "Grounding", "GroundingModel", "Identification", "Lexicon", "Query", "Scan",
    "TipsMedError", "compare", "encode", "ground", "inspect_path", "load_model", "read_scan", "what", "write_answers",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Imports a public name at its first use, so that ``import tips_med`` does not wait for torch."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
