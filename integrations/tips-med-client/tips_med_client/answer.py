"""An answer as the server reports it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """The answer to one query.

    Attributes:
        entry: All of it: an entry of ``answers`` in the report, whose schema ships with tips_med.
    """

    entry: dict[str, Any]

    @property
    def query(self) -> str:
        """The query, as understood."""
        return str(self.entry["query"])

    @property
    def declined(self) -> str | None:
        """Why there is no answer; None where there is one. Without one, only ``query`` and ``entry`` can be read."""
        told = self.entry.get("declined")
        return None if told is None else str(told["reason"])

    @property
    def id(self) -> str:
        """Id of the answer on the server."""
        return str(self.entry["id"])

    @property
    def sentence(self) -> str:
        """The answer in words."""
        return str(self.entry["sentence"])

    @property
    def presence(self) -> str:
        """``present``, ``absent`` or ``unsure``."""
        return str(self.entry["presence"])

    @property
    def probability(self) -> float | None:
        """Calibrated probability, 0 to 1; None where the model has no calibration for it."""
        return self.entry["probability"]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Codes for limits of the answer, such as ``outside-field-of-view``."""
        return tuple(one["code"] for one in self.entry["reasons"])

    @property
    def instances(self) -> list[dict[str, Any]]:
        """What was found, surest first: side, region, volume_ml, long_axis_mm, slices, mean_hu, peak_lps."""
        return list(self.entry["instances"])

    @property
    def peak_lps(self) -> tuple[float, float, float] | None:
        """Position of the strongest evidence, LPS in mm."""
        peak = self.entry["peak_lps"]
        return None if peak is None else (peak[0], peak[1], peak[2])

    @property
    def words(self) -> list[str]:
        """Words of the query that have a map of their own."""
        return [one["word"] for one in self.entry["urls"]["words"]]

    def url(self, kind: str) -> str:
        """Path of a file on the server: ``mask``, ``heat``, ``labels``, ``not-assessed``, ``figure``, ``seg``, ``sr``.

        Raises:
            KeyError: The answer has no such file.
        """
        url = self.entry["urls"].get(kind)
        if not isinstance(url, str):
            raise KeyError(f"the answer to {self.query!r} has no {kind}")
        return url

    def word_url(self, word: str) -> str:
        """Path of a word's own map.

        Raises:
            KeyError: The query has no such word, or it means nothing by itself.
        """
        for one in self.entry["urls"]["words"]:
            if one["word"] == word:
                return str(one["url"])
        raise KeyError(word)
