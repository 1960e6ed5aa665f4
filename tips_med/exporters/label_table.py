"""Names, colours and codes of an answer's instances, the same in every viewer's file."""

from __future__ import annotations

from dataclasses import dataclass

from highdicom.sr import CodedConcept

from tips_med.exporters.dicom import codes
from tips_med.exporters.dicom.seg import identifier_of
from tips_med.grounding import Grounding, Instance

_COLOURS_RGB = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""Told apart by any kind of colour vision (Okabe and Ito, Color Universal Design, 2008)."""


@dataclass(frozen=True)
class LabelEntry:
    """One instance as a viewer shows it.

    Attributes:
        label: Its value in the label map, from 1.
        name: In the lexicon's words: ``nodule 1 (left)``. Nothing that was typed stands in it.
        rgb: Its colour, 0 to 255.
        instance: What was found.
        category: Segmented property category (CID 7150).
        kind: Segmented property type.
        region: The structure that it was looked for in; None when none was named, or it has no verified code.
        laterality: Its side, for structures that the body has two of.
    """

    label: int
    name: str
    rgb: tuple[int, int, int]
    instance: Instance
    category: CodedConcept
    kind: CodedConcept
    region: CodedConcept | None
    laterality: CodedConcept | None


def label_table(grounding: Grounding) -> tuple[LabelEntry, ...]:
    """One entry an instance, in the order of the labels; empty when nothing was found."""
    query = grounding.query
    return tuple(
        LabelEntry(
            label=one.label,
            name=identifier_of(grounding, n, one.side),
            rgb=_COLOURS_RGB[(n - 1) % len(_COLOURS_RGB)],
            instance=one,
            category=codes.category(query),
            kind=codes.sought(query),
            region=codes.region(query),
            laterality=codes.laterality(query, one.side),
        )
        for n, one in enumerate(sorted(grounding.instances, key=lambda each: each.label), 1)
    )
