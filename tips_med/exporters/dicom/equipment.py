"""Who made a result: software, version, model and its weights; and that it is for research use only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from highdicom import UID, AlgorithmIdentificationSequence
from highdicom.sr import AlgorithmIdentification
from pydicom.sr.codedict import codes

import tips_med
from tips_med.grounding import Grounding

MANUFACTURER = "tips_med"
NOTICE = "AI output for research use only, not a medical device"
DESCRIPTION = "tips_med AI result, research use only"
SERIES_NUMBERS = {"SEG": 9701, "SR": 9702, "SC": 9703, "KO": 9704, "PM": 9705, "RTSTRUCT": 9706, "CAPTURES": 9710}


@dataclass(frozen=True)
class Equipment:
    """The algorithm, for the objects of one answer.

    Attributes:
        model: Name and short hash of the weights, as in the answer.
        weights_sha256: SHA-256 of the weights, whole where known, else the short form; ``unknown`` without either.
    """

    model: str
    weights_sha256: str

    @classmethod
    def of(cls, grounding: Grounding, weights_sha256: str | None = None) -> Equipment:
        """The algorithm that gave an answer."""
        short = re.search(r"\b[0-9a-f]{8,64}\b", grounding.model)
        return cls(grounding.model, weights_sha256 or (short.group() if short else "unknown"))

    @property
    def parameters(self) -> dict[str, str]:
        """Parameters of the algorithm identification besides name and version."""
        return {"model": self.model, "weights_sha256": self.weights_sha256}

    @property
    def arguments(self) -> dict[str, Any]:
        """Enhanced General Equipment (PS3.3 C.7.5.2), as highdicom's constructors take it."""
        return {
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": self.model[:64],
            "software_versions": tips_med.__version__,
            "device_serial_number": self.weights_sha256[:64],
        }

    def for_segment(self) -> AlgorithmIdentificationSequence:
        """Segmentation Algorithm Identification Sequence."""
        return AlgorithmIdentificationSequence(
            MANUFACTURER, codes.DCM.ArtificialIntelligence, tips_med.__version__, parameters=self.parameters
        )

    def for_report(self) -> AlgorithmIdentification:
        """Algorithm Identification (TID 4019)."""
        return AlgorithmIdentification(
            MANUFACTURER,
            tips_med.__version__,
            parameters=[f"{name}={value}" for name, value in self.parameters.items()],
            family=codes.DCM.ArtificialIntelligence,
        )


@dataclass(frozen=True)
class SeriesPlan:
    """Target series of the objects: one for each kind of object.

    Attributes:
        uids: Series Instance UID by modality (``SEG``, ``SR``, ``SC``, ``KO``, ``PM``, ``RTSTRUCT``).
        instance_number: Number of the answer among those about the same scan, from 1.
    """

    uids: dict[str, str]
    instance_number: int = 1

    @classmethod
    def new(cls) -> SeriesPlan:
        """Series that no object is in yet."""
        return cls({kind: str(UID()) for kind in SERIES_NUMBERS})

    def place(self, kind: str) -> dict[str, Any]:
        """Series, number and a new SOP Instance UID, as highdicom's constructors take them."""
        return {
            "series_instance_uid": self.uids[kind],
            "series_number": SERIES_NUMBERS[kind],
            "sop_instance_uid": str(UID()),
            "instance_number": self.instance_number,
        }
