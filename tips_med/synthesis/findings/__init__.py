"""Findings painted into anatomy, each with its physics and its look: ``PAINTERS`` by their terms in the lexicon."""

from __future__ import annotations

from collections.abc import Callable

from tips_med.synthesis.findings.airspace import paint_consolidation, paint_ground_glass
from tips_med.synthesis.findings.calcification import paint_calcification
from tips_med.synthesis.findings.canvas import EVERYWHERE, SIDES, Canvas, Painted, fill_air
from tips_med.synthesis.findings.cavity import paint_cavity
from tips_med.synthesis.findings.collapse import paint_atelectasis
from tips_med.synthesis.findings.emphysema import paint_emphysema
from tips_med.synthesis.findings.fibrosis import paint_honeycombing, paint_reticulation
from tips_med.synthesis.findings.nodules import paint_mass, paint_nodule
from tips_med.synthesis.findings.pericardium import paint_pericardial_effusion
from tips_med.synthesis.findings.pleura import paint_effusion, paint_pneumothorax
from tips_med.synthesis.findings.solid_organs import paint_cyst, paint_lesion

__all__ = [
    "EVERYWHERE",
    "PAINTERS",
    "SIDES",
    "Canvas",
    "Painted",
    "Painter",
    "fill_air",
    "paint_atelectasis",
    "paint_calcification",
    "paint_cavity",
    "paint_consolidation",
    "paint_cyst",
    "paint_effusion",
    "paint_emphysema",
    "paint_ground_glass",
    "paint_honeycombing",
    "paint_lesion",
    "paint_mass",
    "paint_nodule",
    "paint_pericardial_effusion",
    "paint_pneumothorax",
    "paint_reticulation",
]

Painter = Callable[..., Painted | None]

PAINTERS: dict[str, Painter] = {
    "nodule": paint_nodule,
    "mass": paint_mass,
    "ground_glass_opacity": paint_ground_glass,
    "consolidation": paint_consolidation,
    "pleural_effusion": paint_effusion,
    "pneumothorax": paint_pneumothorax,
    "emphysema": paint_emphysema,
    "reticulation": paint_reticulation,
    "honeycombing": paint_honeycombing,
    "atelectasis": paint_atelectasis,
    "cavity": paint_cavity,
    "calcification": paint_calcification,
    "pericardial_effusion": paint_pericardial_effusion,
    "cyst": paint_cyst,
    "lesion": paint_lesion,
}
"""The findings that can be painted, by their term in the lexicon.

Heart, liver and kidney have to be labelled for ``pericardial_effusion``, ``cyst`` and ``lesion``. ``cavity`` and
``calcification`` come with their mother, which is what is returned: they are in its ``more``.
"""
