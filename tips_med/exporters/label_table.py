"""Names, colours and codes of an answer's instances, the same in every viewer's file."""

from __future__ import annotations

from dataclasses import dataclass

from highdicom.sr import CodedConcept

from tips_med.exporters.dicom import codes
from tips_med.exporters.dicom.seg import identifier_of
from tips_med.exporters.label_colours import colour_of
from tips_med.grounding import Grounding, Instance


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
            rgb=colour_of(n),
            instance=one,
            category=codes.category(query),
            kind=codes.sought(query),
            region=codes.region(query),
            laterality=codes.laterality(query, one.side),
        )
        for n, one in enumerate(sorted(grounding.instances, key=lambda each: each.label), 1)
    )
