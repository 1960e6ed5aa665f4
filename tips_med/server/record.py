"""What the server knows of a study, in memory and as a file that is always whole."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tips_med.folders import whole_file

StudyState = Literal["queued", "reading", "encoding", "ready", "failed", "cancelled"]
ENDED = ("ready", "failed", "cancelled")
FILE = "study.json"


@dataclass
class StudyRecord:
    """A study on the server, without anything that names the patient.

    Attributes:
        id: Hash of its content and of how it is read, 32 hexadecimal digits.
        kind: Kind of its source: ``nifti``, ``dicom`` (a zip archive), ``dicomweb`` or ``local``.
        options: How it is read: ``series``, ``phase``, ``fill_gaps``, ``untilt``, ``modality``; of ``dicomweb`` also
            ``url``, ``study``, of ``local`` also ``path``.
        state: State of the study.
        done: Slabs encoded so far.
        total: Slabs to encode; 0 when not known yet.
        error: Why it failed, see ``error_entry``.
        about: What is known of the scan once it was read: shape, spacing, what was seen of the chest, and whether
            results can be written as DICOM (``dicom``).
        weights_sha256: Weights that encoded it; empty before.
        used: Time of its last use, in seconds since 1970.
    """

    id: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    state: StudyState = "queued"
    done: int = 0
    total: int = 0
    error: dict[str, Any] | None = None
    about: dict[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""
    used: float = field(default_factory=time.time)

    def entry(self) -> dict[str, Any]:
        """The study as clients see it."""
        return {
            "id": self.id,
            "url": f"/v1/studies/{self.id}",
            "state": self.state,
            "done": self.done,
            "total": self.total,
            "error": self.error,
            "dicom": False,
            **self.about,
        }

    def write(self, folder: Path) -> None:
        """Writes the record into the study's folder, whole or not at all."""
        with whole_file(folder / FILE) as partial:
            partial.write_text(json.dumps(asdict(self)), "utf-8")


def read_record(folder: Path) -> StudyRecord | None:
    """The record in a study's folder; None where there is none that can be read."""
    try:
        record = StudyRecord(**json.loads((folder / FILE).read_text("utf-8")))
        return record if record.id == folder.name else None
    except (OSError, ValueError, TypeError):
        return None
