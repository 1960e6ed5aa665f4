"""What a batch asks, and how: its answers depend on this and on the scans alone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import tips_med
from tips_med.errors import ConfigError
from tips_med.folders import whole_file

FORMAT = "tips-med-batch/1"

Outputs = Literal["table", "masks", "all"]


@dataclass(frozen=True)
class BatchSettings:
    """Settings of a batch.

    Attributes:
        queries: Queries as typed.
        weights_sha256: SHA-256 of the weights that answer.
        model: Name of the model.
        outputs: What each study's folder holds beside report and thumbnails: ``table`` nothing, ``masks`` the masks,
            ``all`` what ``tips-med ground`` writes.
        exporter: Names of further exporters, separated by commas; None for none.
        fill_gaps: Whether missing slices are left empty.
        untilt: Whether a tilted gantry's slices are resampled.
        modality: Modality of files that state none; None to leave it to the file.
        deidentify: Whether UIDs are replaced in results.
        operating_point: Operating point of the answers.
        version: Version of tips_med.
    """

    queries: tuple[str, ...]
    weights_sha256: str
    model: str
    outputs: Outputs = "masks"
    exporter: str | None = None
    fill_gaps: bool = False
    untilt: bool = False
    modality: str | None = None
    deidentify: bool = False
    operating_point: str = "balanced"
    version: str = tips_med.__version__

    @cached_property
    def digest(self) -> str:
        """A hash of all of it, which every study's record carries."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Writes them, whole or not at all.

        Raises:
            OSError: They cannot be written there.
        """
        with whole_file(path) as partial:
            partial.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path) -> BatchSettings:
        """Reads what ``save`` wrote.

        Raises:
            ConfigError: It is damaged, or of another format.
        """
        try:
            content: dict[str, Any] = json.loads(path.read_text("utf-8"))
            if content.pop("format") != FORMAT:
                raise ValueError("another format")
            return cls(**{**content, "queries": tuple(content["queries"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"is not the settings of a batch ({error})", path=path, expected=FORMAT, code="batch-settings"
            ) from error

    def differences(self, other: BatchSettings) -> list[str]:
        """Names of the settings in which two differ."""
        return [one.name for one in fields(self) if getattr(self, one.name) != getattr(other, one.name)]
