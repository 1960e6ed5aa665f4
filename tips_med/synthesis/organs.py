"""The organs that an anatomy may have labels of."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

ORGANS = (
    "background",
    "heart",
    "aorta",
    "pulmonary_artery",
    "superior_vena_cava",
    "inferior_vena_cava",
    "trachea",
    "esophagus",
    "liver",
    "spleen",
    "kidney_right",
    "kidney_left",
    "stomach",
    "gallbladder",
    "pancreas",
    "spine",
    "rib_right",
    "rib_left",
    "sternum",
)
"""The label of an organ is its place in this list. The order is part of saved anatomies: append, never insert."""

LABELS = {organ: label for label, organ in enumerate(ORGANS)}

_PARTS = {
    "heart_myocardium": "heart",
    "heart_atrium_left": "heart",
    "heart_ventricle_left": "heart",
    "heart_atrium_right": "heart",
    "heart_ventricle_right": "heart",
}
"""Names of TotalSegmentator's classes that are parts of an organ here; vertebrae and ribs are known by their start."""


def swapped(organs: np.ndarray) -> np.ndarray:
    """Labels of a mirrored body: its right kidney is now the left one."""
    table = np.arange(len(ORGANS), dtype=np.uint8)
    for organ, label in LABELS.items():
        if organ.endswith("_right"):
            other = LABELS[organ.replace("_right", "_left")]
            table[label], table[other] = other, label
    return table[organs]


def from_named(labels: np.ndarray, names: Mapping[int, str]) -> np.ndarray:
    """Brings a label map of another project to the labels used here.

    Args:
        labels: Label map, integers [k j i].
        names: TotalSegmentator name of each label; unknown names become background.

    Returns:
        Labels as in ``ORGANS``, uint8 of the same shape.
    """
    table = np.zeros(max(int(labels.max()), *names) + 1, np.uint8)
    for label, name in names.items():
        organ = _PARTS.get(name, name)
        if name.startswith("vertebrae_"):
            organ = "spine"
        elif name.startswith(("rib_right", "rib_left")):
            organ = name[: name.rindex("_")]
        table[label] = LABELS.get(organ, 0)
    return table[labels]
