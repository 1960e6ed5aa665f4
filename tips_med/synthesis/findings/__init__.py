"""Findings painted into anatomy, each with its physics and its look.

To add one, write a painter and declare it as a ``Finding`` beside it: here, or in a package of your own with an entry
point of the group ``tips_med.findings``. Its words and codes are a term of the lexicon.
"""

from __future__ import annotations

from functools import cache

from tips_med.errors import ConfigError
from tips_med.plugins import load_plugins
from tips_med.synthesis.findings.airspace import CONSOLIDATION, GROUND_GLASS_OPACITY
from tips_med.synthesis.findings.calcification import CALCIFICATION
from tips_med.synthesis.findings.canvas import EVERYWHERE, SIDES, Canvas, Painted, fill_air
from tips_med.synthesis.findings.cavity import CAVITY
from tips_med.synthesis.findings.collapse import ATELECTASIS
from tips_med.synthesis.findings.declaration import Finding, Painter
from tips_med.synthesis.findings.emphysema import EMPHYSEMA
from tips_med.synthesis.findings.fibrosis import HONEYCOMBING, RETICULATION
from tips_med.synthesis.findings.nodules import MASS, NODULE
from tips_med.synthesis.findings.pericardium import PERICARDIAL_EFFUSION
from tips_med.synthesis.findings.pleura import PLEURAL_EFFUSION, PNEUMOTHORAX
from tips_med.synthesis.findings.solid_organs import CYST, LESION

__all__ = ["BUILT_IN", "EVERYWHERE", "SIDES", "Canvas", "Finding", "Painted", "Painter", "fill_air", "known_findings"]

BUILT_IN = (
    NODULE,
    MASS,
    GROUND_GLASS_OPACITY,
    CONSOLIDATION,
    PLEURAL_EFFUSION,
    PNEUMOTHORAX,
    EMPHYSEMA,
    RETICULATION,
    HONEYCOMBING,
    ATELECTASIS,
    CAVITY,
    CALCIFICATION,
    PERICARDIAL_EFFUSION,
    CYST,
    LESION,
)
"""The findings of this package.

Heart, liver and kidney have to be labelled for ``pericardial_effusion``, ``cyst`` and ``lesion``. ``cavity`` and
``calcification`` come with their mother, which is what is returned: they are in its ``more``.
"""


@cache
def known_findings() -> dict[str, Finding]:
    """All findings that can be painted, by term: those of this package, and those that installed packages add.

    Raises:
        ConfigError: Two declare one term, or what a package adds is not a ``Finding``.
    """
    found = {finding.term: finding for finding in BUILT_IN}
    for name, finding in load_plugins("findings").items():
        if not isinstance(finding, Finding) or finding.term in found:
            raise ConfigError(
                f"the entry point {name!r} of tips_med.findings gives {finding!r:.80}",
                expected="a Finding of a term that no other one has",
                code="broken-plugin",
            )
        found[finding.term] = finding
    return found
