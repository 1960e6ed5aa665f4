"""A model that was exported as ONNX: encodes scans, answers questions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tips_med_runtime.answer import Answer
from tips_med_runtime.assessment import Assessment, assess, calibrated_phrase
from tips_med_runtime.card import BALANCED, Calibration, OperatingPointName, card_from_dict
from tips_med_runtime.errors import ModalityError, WeightsError
from tips_med_runtime.files import checked, read_description
from tips_med_runtime.geometry import transform_points
from tips_med_runtime.grid import SlabSpec
from tips_med_runtime.grounding.instances import find_instances
from tips_med_runtime.grounding.modality import looks_like_hounsfield
from tips_med_runtime.grounding.organs import largest_pieces, sided_by_midline
from tips_med_runtime.grounding.thorax import Thorax, find_thorax
from tips_med_runtime.language import Language
from tips_med_runtime.networks import Networks, adapter_of
from tips_med_runtime.query import Query
from tips_med_runtime.scan import Scan
from tips_med_runtime.shapes import Heat
from tips_med_runtime.study import Progress, Study, encode, open_study

MIN_VOLUME_ML = 0.02
"""Components smaller than this are not reported: a nodule of 3 mm has 0.014 ml."""

MAX_CACHED_MAPS = 4
"""Number of maps that a study keeps."""


class Runtime:
    """Answers questions with a folder that ``tips-med export --to onnx`` wrote.

    Args:
        folder: The folder.
        operating_point: ``sensitive``, ``balanced`` or ``specific``.
        threads: Threads of ONNX Runtime; its own choice when None.
        block: Number of slabs that are encoded at a time; more are faster, and take more memory.

    Raises:
        WeightsError: The folder is incomplete, was changed, or is of another format.
        ConfigError: The model has no such operating point.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        operating_point: OperatingPointName = BALANCED,
        threads: int | None = None,
        block: int = 32,
    ) -> None:
        self._folder, self._threads, self._block = Path(folder), threads, block
        told = read_description(self._folder)
        try:
            self.card = card_from_dict(told["card"]).at(operating_point)
            self.weights_sha256 = str(told["weights_sha256"])
            image = told["image"]
            raw = image["slabs"]
            slab, row, column = (float(mm) for mm in raw["spacing_mm"])
            windows = tuple((float(low), float(high)) for low, high in raw["windows_hu"])
            self._spec = SlabSpec((slab, row, column), windows, int(raw["neighbours"]), int(raw["patch"]))
            self._multiple, self._reach = int(image["multiple"]), int(image["reach_slabs"])
            self.modalities = tuple(str(one) for one in image["modalities"])
            self.language = Language(told["language"])
            self._parts = [(told["graphs"], told["vocabulary"])]
            self._parts += [(one["graphs"], one["vocabulary"]) for one in told["adapters"]]
            self._taught = [tuple(one["phrases"]) for one in told["adapters"]]
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"its description is not understood ({error})", path=folder, code="format") from error
        self._networks: dict[int, Networks] = {}

    @property
    def identity(self) -> str:
        """Name and short hash, and the operating point unless it is balanced; as tips_med writes it."""
        point = self.card.operating_point
        return f"{self.card.name} ({self.weights_sha256[:12]}{'' if point == BALANCED else f', {point}'})"

    def encode(self, scan: Scan, progress: Progress | None = None) -> Study:
        """Does the costly work once: any number of questions may follow.

        Args:
            scan: Scan in any orientation, CT in Hounsfield units.
            progress: Called with (slabs done, all slabs).

        Raises:
            ModalityError: It is of another modality, or states none and does not look like CT.
            ReadError: Its axes are not perpendicular, or it is larger than any body.
        """
        study = open_study(checked(self._known(scan)), self._spec, self.weights_sha256)
        self._encode(study, 0, progress)
        return study

    def ask(self, study: Study, text: str) -> Answer:
        """Answers one question.

        Args:
            study: From ``encode``.
            text: Such as ``mass in the left lung``.

        Raises:
            QueryError: It has words that are not understood here, or asks for what the model does not find.
            WeightsError: The study was encoded by other weights.
        """
        query = self.parse(text)
        if study.weights_sha256 != self.weights_sha256:
            raise WeightsError(
                f"the study was encoded by weights {study.weights_sha256[:12]}",
                expected=self.weights_sha256[:12],
                remedy="encode the scan again",
                code="other-weights",
            )
        found = assess(study, query, self.card, self.language, lambda phrase: self._map(study, phrase), self._thorax)
        return self._answer(study, query, found)

    def parse(self, text: str) -> Query:
        """Understands a question, without a scan.

        Raises:
            QueryError: It is not understood whole, or not answered here.
        """
        query = self.language.parse(text)
        for phrase in calibrated_phrase(query, self.card, self.language):
            self._of(phrase).pooled(phrase)
        return query

    def _answer(self, study: Study, query: Query, found: Assessment) -> Answer:
        decision = found.decision
        labels, instances = np.zeros(study.scan.shape, np.uint8), ()
        kept = [side for side, one in decision.sides.items() if one.state != "absent"] if decision.sides else []
        kept = kept if decision.sides else ["searched"]
        if (decision.state != "absent" or "one-side-only" in decision.reasons) and kept:
            where = np.any([found.regions[name].mask for name in kept], axis=0)
            heat = np.where(where | np.isnan(found.heat), found.heat, np.float32(0))
            calibration = found.calibration or Calibration()
            # Beside a finding that is there a component must be more likely than not; where all is unsure, so are they.
            min_score = 0.5 if decision.state == "present" else calibration.absent_below if found.calibration else 0.0
            labels, instances = find_instances(
                heat,
                study.lps_from_cell,
                study.scan,
                found.thorax,
                calibration,
                MIN_VOLUME_ML,
                min_score,
                lobar=query.finding is not None and (query.finding.within or "lung") == "lung",
            )
            organ = query.structure
            if query.finding is None and organ is not None and found.thorax is None:
                if organ.paired:
                    instances = sided_by_midline(instances, organ.name, study.body, study.lps_from_cell)
                if organ.whole:
                    both = organ.paired and query.side not in ("left", "right")
                    labels, instances = largest_pieces(labels, instances, both)
        x, y, z = (float(v) for v in transform_points(study.lps_from_cell, np.array(found.peak))[0])
        peak = instances[0].peak_lps if instances else (x, y, z)
        return Answer(
            query, study.scan, decision, found.heat, study.lps_from_cell, labels, instances, peak, self.identity
        )

    def _known(self, scan: Scan) -> Scan:
        if scan.modality == "CT" and "CT" in self.modalities and scan.unit not in ("HU", ""):
            raise ModalityError(f"the values of this CT are in {scan.unit}", expected="Hounsfield units", code="unit")
        if scan.modality in self.modalities:
            return scan
        if scan.modality != "OT":
            raise ModalityError(f"the scan is {scan.modality}", expected=" or ".join(self.modalities))
        if not looks_like_hounsfield(scan):
            raise ModalityError(
                "its values do not look like Hounsfield units, and nothing states that it is CT",
                expected=" or ".join(self.modalities),
                remedy="if it is CT in Hounsfield units, state the modality CT",
            )
        return replace(scan, modality="CT", unit="HU")

    def _of(self, phrase: str) -> Networks:
        return self._network(adapter_of(phrase.split(), self._taught))

    def _network(self, number: int) -> Networks:
        if number not in self._networks:
            graphs, vocabulary = self._parts[number]
            self._networks[number] = Networks(self._folder, graphs, vocabulary, self._threads)
        return self._networks[number]

    def _encode(self, study: Study, number: int, progress: Progress | None = None) -> None:
        if number not in study.features:
            networks = self._network(number)
            study.features[number] = encode(
                study, networks, self._spec, self._multiple, self._reach, self._block, progress
            )

    def _map(self, study: Study, phrase: str) -> Heat:
        """Scores of a phrase, [slab y x]; NaN where nothing was seen. The last few are kept."""
        if phrase not in study.maps:
            number = adapter_of(phrase.split(), self._taught)
            self._encode(study, number)
            while len(study.maps) >= MAX_CACHED_MAPS:
                del study.maps[next(iter(study.maps))]
            logits = self._network(number).scores(phrase, study.features[number])
            heat = (1 / (1 + np.exp(-logits.clip(-80, 80)))).astype(np.float32)
            heat[~study.seen] = np.nan
            study.maps[phrase] = heat
        return study.maps[phrase]

    def _thorax(self, study: Study) -> Thorax:
        """The chest of a study, found once."""
        if study.thorax is None:
            names = ["right lung", "left lung"]
            if "hemithorax" in self.card.structures:
                names += ["right hemithorax", "left hemithorax"]
            maps = [self._map(study, name) for name in names]
            cavities = (maps[2], maps[3]) if len(maps) == 4 else None
            study.thorax = find_thorax(maps[0], maps[1], study.lps_from_cell, study.body, study.seen, cavities)
        return study.thorax
