"""Pictures of the cases that are worth a look."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from tips_med.evaluation.suite import EvaluatedRow

Kind = Literal["outlined", "absent"]


@dataclass(frozen=True)
class Picture:
    """A picture of a case.

    Attributes:
        kind: ``outlined`` for a finding that is there, with an outline; ``absent`` for one that is not, and was marked.
        value: What it is chosen by: Dice, or the marked volume in ml.
        file: Name of its file.
        facts: Summary of the case.
    """

    kind: Kind
    value: float
    file: str
    facts: dict[str, Any]


class Gallery:
    """Pictures of the best and the worst cases by Dice and of the largest false positives, drawn as they come.

    Pictures that are no longer among them are deleted.

    Args:
        folder: Folder for the pictures.
        each: Number of best cases, of worst ones and of false positives, 0 or more.

    Raises:
        MissingExtraError: When matplotlib is not installed and pictures are requested.
    """

    def __init__(self, folder: Path, each: int = 3) -> None:
        if each:
            import_module("tips_med.exporters.figure")  # a missing matplotlib is reported now, not after the work
        self.folder, self.each = folder, each
        self.shown: list[Picture] = []

    def empty_copy(self) -> Gallery:
        """A gallery of the same place and size without pictures."""
        return Gallery(self.folder, self.each)

    def add(self, case: EvaluatedRow) -> None:
        """Draws a case that is worth a look so far; cases without a truth, and absent ones that are clean, are not."""
        if case.truth is None or not self.each:
            return
        facts = case.facts()
        present = bool(case.truth.any())
        value = facts["dice"] if present else facts["marked_ml"]
        if not present and not value:
            return
        picture = Picture("outlined" if present else "absent", float(value), f"line-{case.line}.png", facts)
        if picture in _chosen([*self.shown, picture], self.each):
            from tips_med.exporters.figure import write_figure

            self.folder.mkdir(parents=True, exist_ok=True)
            write_figure(case.grounding, self.folder / picture.file, case.truth)
            self._keep([*self.shown, picture])

    def take_over(self, other: Gallery) -> None:
        """Takes the pictures of another gallery of the same folder, and keeps the chosen ones of both."""
        self._keep([*self.shown, *other.shown])

    def _keep(self, pictures: list[Picture]) -> None:
        self.shown = _chosen(pictures, self.each)
        for gone in pictures:
            if gone not in self.shown:
                (self.folder / gone.file).unlink(missing_ok=True)

    def worst(self) -> list[Picture]:
        """The outlined findings with the lowest Dice, the lowest first; none of them is among the best."""
        outlined = self._sorted("outlined")
        return outlined[: len(outlined) - len(self.best())][: self.each]

    def best(self) -> list[Picture]:
        """The outlined findings with the highest Dice, the highest first."""
        outlined = self._sorted("outlined")
        return outlined[::-1][: min(self.each, len(outlined) // 2)]

    def false_positives(self) -> list[Picture]:
        """Findings that are not there, with the most volume marked, the most first."""
        return self._sorted("absent")[::-1]

    def _sorted(self, kind: Kind) -> list[Picture]:
        return sorted((one for one in self.shown if one.kind == kind), key=_order)


def _order(picture: Picture) -> tuple[float, int]:
    return picture.value, picture.facts["line"]


def _chosen(pictures: list[Picture], each: int) -> list[Picture]:
    outlined = sorted((one for one in pictures if one.kind == "outlined"), key=_order)
    absent = sorted((one for one in pictures if one.kind == "absent"), key=_order)
    if len(outlined) > 2 * each:
        outlined = outlined[:each] + outlined[-each:]
    return outlined + absent[-each:]
