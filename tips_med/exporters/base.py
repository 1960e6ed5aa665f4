"""The small interface behind which every kind of output stands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from tips_med.grounding import Grounding


class Exporter(ABC):
    """Writes one answer in one form; a DICOM SEG or a structured report plugs in by deriving from this.

    An exporter is made once, before any scan is read, so that a missing extra or setting is reported early.
    """

    @abstractmethod
    def export(self, grounding: Grounding, folder: Path) -> tuple[Path, ...]:
        """Writes an answer's files.

        Args:
            grounding: The answer.
            folder: An existing folder of this answer alone. It is a temporary one that is renamed when everything is
                written, so files must not contain its path.

        Returns:
            The files written, each directly or deeper inside ``folder``.

        Raises:
            OutputError: When this answer cannot be put in this form.
        """
