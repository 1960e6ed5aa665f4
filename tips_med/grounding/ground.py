"""Encode once, ask many times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import torch

from tips_med.encoders.base import Progress, TextFeatures
from tips_med.encoders.study import EncodedStudy
from tips_med.errors import ModalityError, QueryError, WeightsError
from tips_med.geometry import transform_points
from tips_med.grounding.answer import Grounding
from tips_med.grounding.instances import find_instances
from tips_med.grounding.presence import evidence, judge
from tips_med.grounding.regions import Lungs, allowed, lungs_of
from tips_med.grounding.wording import sentence
from tips_med.model import GroundingModel, load_model
from tips_med.query import Lexicon, Query
from tips_med.scan import Scan
from tips_med.shapes import Affine, Heat
from tips_med.slabs import SlabStack, crop_to_body, make_slabs

LEAST_ML = 0.02
"""Pieces smaller than this are not reported: a nodule of 3 mm has 0.014 ml."""


@cache
def default_model() -> GroundingModel:
    """The shipped model, loaded once."""
    return load_model()


@cache
def lexicon_named(name: str) -> Lexicon:
    """A lexicon, loaded once."""
    return Lexicon.load(name)


def encode(scan: Scan, model: GroundingModel | None = None, progress: Progress | None = None) -> EncodedStudy:
    """Does everything that costs, before any question is known.

    Args:
        scan: What to encode.
        model: The shipped one when None.
        progress: Called with (slabs done, slabs in all).

    Raises:
        ModalityError: The model was not trained on scans of this kind.
        ReadError: The scan is larger than any body.
    """
    model = model or default_model()
    scan = as_known_modality(scan, model)
    return encode_slabs(scan, crop_to_body(make_slabs(scan, model.image.slab_spec)), model, progress)


def as_known_modality(scan: Scan, model: GroundingModel) -> Scan:
    """The scan, if it is of a kind that the model was trained on.

    A NIfTI file does not say what it is; one whose values look like Hounsfield units is taken for CT, and says so.

    Raises:
        ModalityError: The scan is of another modality, or does not say and does not look like CT.
    """
    known = model.image.modalities
    if not known or scan.modality in known:
        return scan
    expected = f"{' or '.join(known)}, which the model {model.card.name!r} was trained on"
    if scan.modality != "OT":
        raise ModalityError(
            f"the scan is {scan.modality}", expected=expected, remedy="choose a model for this modality (--model)"
        )
    if "CT" not in known or not looks_like_hounsfield(scan):
        raise ModalityError(
            "the file does not say what kind of scan it is, and its values do not look like Hounsfield units "
            f"({_range(scan)})",
            expected=expected,
            remedy="if it is CT, rescale it to Hounsfield units, or read the DICOM series instead",
        )
    note = "The file does not say its modality; its values look like Hounsfield units, so it is taken for CT."
    return replace(scan, modality="CT", unit="HU", provenance=scan.provenance.noting(note))


def looks_like_hounsfield(scan: Scan) -> bool:
    """True when a scan holds air near -1000 and soft tissue near 0 to 100, as every CT of a body does."""
    values = scan.voxels[:: max(1, scan.shape[0] // 16), ::4, ::4]
    values = values[np.isfinite(values)]
    if not values.size:
        return False
    air, tissue = (values < -800).mean(), ((values > -200) & (values < 200)).mean()
    return bool(
        air > 0.01 and tissue > 0.05 and np.percentile(values, 99.9) < 4096 and np.percentile(values, 0.1) > -3100
    )


def _range(scan: Scan) -> str:
    finite = scan.voxels[np.isfinite(scan.voxels)]
    return f"from {finite.min():.0f} to {finite.max():.0f}" if finite.size else "none was measured"


def encode_slabs(scan: Scan, slabs: SlabStack, model: GroundingModel, progress: Progress | None = None) -> EncodedStudy:
    """The second half of ``encode``, for slabs that were cut in some other way."""
    features = model.image.encode(slabs, progress)
    seen = slabs.seen
    if features.fine is None:
        grid = (
            features.patches.shape[1],
            features.patches.shape[2],
        )  # not always y / patch: a tower may resize slices to its own grid
        seen = torch.nn.functional.adaptive_avg_pool2d(seen[:, None].float(), grid)[:, 0] >= 0.5
    return EncodedStudy(scan, features, seen, model.image.name, model.sha256)


def ground(study: EncodedStudy | Scan, query: str | Query, model: GroundingModel | None = None) -> Grounding:
    """Answers one query.

    Args:
        study: An encoded study (or a scan, which is encoded first).
        query: Free text, or a parsed query.
        model: The shipped one when None; must be the one that encoded the study.

    Raises:
        QueryError: Nothing in the query is understood, or the model was not trained to find it.
        WeightsError: The study was encoded by another model.
    """
    model = model or default_model()
    if isinstance(study, Scan):
        study = encode(study, model)
    if study.weights_sha256 != model.sha256:
        raise WeightsError(
            f"the study was encoded by weights {study.weights_sha256[:12]}",
            expected=model.sha256[:12],
            remedy="encode the scan again, or name that model with --model",
            code="other-weights",
        )
    understood = understand(query, model)
    text = model.text.embed([understood.phrase])[0]
    heat, lps_from_heat, lungs = probability_map(study, understood, text, model)
    calibration = model.card.calibration_of(term_of(understood))
    logit, peak = evidence(heat)
    presence = judge(logit, calibration, understood, assessable=lungs is None or lungs.seen)
    labels, instances = np.zeros(study.scan.shape, np.uint8), ()
    if presence.state != "absent":
        measured = lungs if lungs is not None and lungs.seen else None
        # Beside a finding that is there a piece must be more likely than not; where all is unsure, so are the pieces.
        least = 0.5 if presence.state == "present" else calibration.absent_below
        labels, instances = find_instances(heat, lps_from_heat, study.scan, measured, calibration, LEAST_ML, least)
    x, y, z = (float(v) for v in transform_points(lps_from_heat, np.array(peak))[0])
    return Grounding(
        query=understood,
        scan=study.scan,
        presence=presence,
        heat=heat,
        lps_from_heat=lps_from_heat,
        labels=labels,
        instances=instances,
        peak_lps=instances[0].peak_lps if instances else (x, y, z),
        token_heat=WordMaps(study, understood, text, model),
        sentence=sentence(understood, presence, instances, lungs),
        model=model.identity,
    )


def probability_map(
    study: EncodedStudy, query: Query, text: TextFeatures, model: GroundingModel
) -> tuple[Heat, Affine, Lungs | None]:
    """The map of a query, nought where its side and location rule it out; its place; and the lungs of the study.

    A model that does not know the lungs has nothing to check sides and heights by; its maps stay as they are.
    """
    heat = probability_of(study, text.pooled, model)
    lps_from_heat = study.features.lps_from_fine
    if lps_from_heat is None:
        lps_from_heat = study.features.lps_from_patch
    if "lung" not in model.card.structures:
        return heat, lps_from_heat, None
    lungs = _lungs(study, model)
    if lungs.seen:
        heat = np.where(allowed(query, lungs) | np.isnan(heat), heat, np.float32(0))
    return heat, lps_from_heat, lungs


def term_of(query: Query) -> str:
    """The term that a query's answer is calibrated for."""
    return query.finding.id if query.finding else query.structure.id if query.structure else ""


def understand(query: str | Query, model: GroundingModel) -> Query:
    """Parses a query and checks that the model was trained to find what it asks for.

    Raises:
        QueryError: It was not, or nothing was understood.
    """
    parsed = lexicon_named(model.card.lexicon).parse(query) if isinstance(query, str) else query
    asked = parsed.finding or parsed.structure
    known = model.card.findings if parsed.finding else model.card.structures
    if known and (asked is None or asked.id not in known):
        lexicon = lexicon_named(model.card.lexicon)
        names = [lexicon.term(term).name for term in (*model.card.findings, *model.card.structures)]
        raise QueryError(
            f"the query {parsed.text!r} asks for {asked.name if asked else 'nothing in particular'}",
            expected=f"what the model {model.card.name!r} was trained to find: {', '.join(names)}",
            remedy="ask for one of these, or name another model with --model",
            code="not-trained",
        )
    return parsed


def probability_of(study: EncodedStudy, text: torch.Tensor, model: GroundingModel) -> Heat:
    """Probabilities of one text embedding, [slab y x]; NaN where nothing was seen."""
    heat = _logits(study, text, model).sigmoid()
    heat[~study.seen] = torch.nan
    return heat.numpy()


@torch.inference_mode()
def _logits(study: EncodedStudy, text: torch.Tensor, model: GroundingModel) -> torch.Tensor:
    features = study.features
    if features.fine is None:
        return model.head.patch_scores(text, features.patches.float())[0]
    parts = []
    for patches, fine in zip(features.patches.split(16), features.fine.split(16)):
        parts.append(model.head.fine_scores(text, patches.float(), fine.float())[0])
    return torch.cat(parts)


def _lungs(study: EncodedStudy, model: GroundingModel) -> Lungs:
    """The lungs of a study, found once and kept with it."""
    if "lungs" not in study.cache:
        right, left = (
            probability_of(study, text.pooled, model) for text in model.text.embed(["right lung", "left lung"])
        )
        affine = study.features.lps_from_fine
        study.cache["lungs"] = lungs_of(right, left, affine if affine is not None else study.features.lps_from_patch)
    return study.cache["lungs"]


class WordMaps(Mapping[str, Heat]):
    """For every part of the query that means something, its own map: the mean of its words' scores.

    A map is made when it is first asked for: whoever only wants the answer does not wait for those of its words.
    """

    def __init__(self, study: EncodedStudy, query: Query, text: TextFeatures, model: GroundingModel) -> None:
        self._study, self._text, self._model = study, text, model
        self._rows: dict[str, list[int]] = {}
        self._made: dict[str, Heat] = {}
        for number, span in enumerate(query.spans):
            rows = [n for n, word in enumerate(query.words) if word.span == number]
            if rows and span.role not in ("function", "measurement"):
                self._rows[span.text] = rows

    def __getitem__(self, part: str) -> Heat:
        """The map of one part of the query, [slab y x]; NaN where nothing was seen."""
        if part not in self._made:
            tokens = self._text.tokens
            scores = [_logits(self._study, tokens[row : row + 1], self._model) for row in self._rows[part]]
            heat = (torch.stack(scores).mean(0)).sigmoid()
            heat[~self._study.seen] = torch.nan
            self._made[part] = heat.numpy()
        return self._made[part]

    def __iter__(self) -> Iterator[str]:
        """The parts, in the query's order."""
        return iter(self._rows)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._rows)
