"""Maps of phrases and words over an encoded study, and what is found with them once: the chest."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping

import numpy as np
import torch

from tips_med.encoders.base import TextFeatures
from tips_med.encoders.study import EncodedStudy
from tips_med.errors import ReadError
from tips_med.grounding.encoding import features_of
from tips_med.grounding.thorax import SIDES, Thorax, arrays_of_thorax, find_thorax, thorax_of_arrays
from tips_med.grounding.wording import CHECKED
from tips_med.model import GroundingModel
from tips_med.query import Query, Term
from tips_med.shapes import Heat

CHEST_STRUCTURES = ("lung", "pleura", "hemithorax")
"""Structures in which findings of the lungs and the pleura are searched."""

MAX_CACHED_MAPS = 4
"""Maximum number of maps that an encoded study caches."""

SLABS_AT_ONCE = 4
"""Number of slabs that are scored at once: few enough for the processor's cache."""

ENCLOSING_STRUCTURES = ("thorax", "body")
"""Structures that contain these, and others that the model may not be trained on."""


def finding_maps(study: EncodedStudy, query: Query, model: GroundingModel) -> list[tuple[str, Heat]]:
    """The maps that answer a query, [slab y x], each with the term that it is calibrated for.

    A finding has one, and one more for each kind of it that the model knows: a mass is a lesion. What an attribute
    narrows is never surer than the same without it.
    """
    if query.finding is None:
        assert query.structure is not None  # a query without a finding has one
        maps = [_map(study, phrase, model) for phrase in structure_phrases(query.structure, query.side)]
        return [(query.structure.id, np.fmax.reduce(maps) if len(maps) > 1 else maps[0])]
    found = []
    for kind in _kinds(query, model):
        maps = [_map(study, phrase, model) for phrase in _phrases_of_kind(query, kind)]
        heat = np.fmin(*maps) if len(maps) > 1 else maps[0]
        found.append((calibration_key(query, kind), heat))
    return found


def phrases_of(query: Query, model: GroundingModel) -> list[str]:
    """The phrases whose maps answer a query."""
    if query.finding is None:
        return structure_phrases(query.structure, query.side) if query.structure is not None else []
    return [phrase for kind in _kinds(query, model) for phrase in _phrases_of_kind(query, kind)]


def _kinds(query: Query, model: GroundingModel) -> list[Term]:
    """The finding of a query, and the kinds of it that the model knows."""
    finding = query.finding
    assert finding is not None
    return [finding, *(model.lexicon.term(kind) for kind in finding.kinds if kind in model.card.findings)]


def _phrases_of_kind(query: Query, kind: Term) -> list[str]:
    """The usual words of a finding; and the same narrowed by attributes, if any is checked."""
    plain = canonical_phrase(query, kind)
    known = [attribute for attribute in query.attributes if attribute.id in CHECKED]
    if not known or plain == query.phrase:
        return [plain]
    return [plain, " ".join([*(word for attribute in known for word in attribute.forms[0].words), plain])]


def calibration_key(query: Query, term: Term) -> str:
    """What the calibration of a finding is stored under: its term, with the place where that is an unusual one.

    A lesion in the liver is ``lesion@liver``: what is known of lesions in the lung says nothing about it, and stays.
    """
    return f"{term.id}@{query.structure.id}" if in_unusual_place(query) and query.structure is not None else term.id


def in_unusual_place(query: Query) -> bool:
    """Whether a finding is searched elsewhere than in the chest, or in what encloses it."""
    place = query.structure
    if query.finding is None or place is None:
        return False
    return place.id not in (*CHEST_STRUCTURES, *ENCLOSING_STRUCTURES, query.finding.within)


def _map(study: EncodedStudy, phrase: str, model: GroundingModel) -> Heat:
    """The map of a phrase; the last few are cached with the study: the next query is often about the other side."""
    kept: dict[str, Heat] = study.cache.setdefault("maps", {})
    if phrase not in kept:
        while len(kept) >= MAX_CACHED_MAPS:
            del kept[next(iter(kept))]
        kept[phrase] = probability_map(study, model.text.embed([phrase])[0], model)
    return kept[phrase]


def canonical_phrase(query: Query, finding: Term) -> str:
    """The words of a finding that its map is made of: the usual ones; as typed where it lies in an unusual place."""
    if in_unusual_place(query):
        return query.phrase
    return " ".join(finding.forms[0].words)


def structure_phrases(structure: Term, side: str | None = None) -> list[str]:
    """The phrases whose highest scores make the map of a structure: one of a side, or all of them."""
    name = " ".join(structure.forms[0].words)
    if side in ("left", "right"):
        return [f"{side} {name}"]
    return [name, *(f"{side} {name}" for side in SIDES.values())] if structure.paired else [name]


def probability_map(study: EncodedStudy, text: TextFeatures, model: GroundingModel, slabs: slice = slice(None)) -> Heat:
    """Probabilities of a phrase in some slabs, [slab y x]; NaN where nothing was seen."""
    return _heat(study, _logits(study, text.pooled, text.adapter, model, slabs), slabs)


@torch.inference_mode()
def _heat(study: EncodedStudy, logits: torch.Tensor, slabs: slice = slice(None)) -> Heat:
    """Probabilities of logits, in their memory; NaN where nothing was seen."""
    heat = logits.sigmoid_()
    if not study.all_seen:
        heat[~study.seen[slabs]] = torch.nan
    return heat.numpy()


@torch.inference_mode()
def _logits(
    study: EncodedStudy, text: torch.Tensor, adapter: int, model: GroundingModel, slabs: slice = slice(None)
) -> torch.Tensor:
    features = features_of(study, adapter, model)
    grid = (features.patches if features.fine is None else features.fine).shape[:3]
    start, stop, _ = slabs.indices(grid[0])
    scores = torch.empty(stop - start, *grid[1:])
    for first in range(start, stop, SLABS_AT_ONCE):
        last = min(first + SLABS_AT_ONCE, stop)
        scores[first - start : last - start] = model.scores(text, features, slabs=slice(first, last))[0]
    return scores


def study_thorax(study: EncodedStudy, model: GroundingModel) -> Thorax:
    """The chest of a study, found once and kept with it."""
    if "thorax" not in study.cache:
        study.cache["thorax"] = thorax_of_arrays(study.kept) or _find_thorax(study, model)
        study.kept.update(arrays_of_thorax(study.cache["thorax"]))
    return study.cache["thorax"]


def prepare(study: EncodedStudy, model: GroundingModel) -> None:
    """Finds what all queries about the chest share, to be stored with the study."""
    if "lung" in model.card.structures:
        study_thorax(study, model)


def chest_phrases(model: GroundingModel) -> list[str]:
    """The phrases whose maps the chest is found by."""
    names = ["right lung", "left lung"]
    return [*names, "right hemithorax", "left hemithorax"] if "hemithorax" in model.card.structures else names


def _find_thorax(study: EncodedStudy, model: GroundingModel) -> Thorax:
    maps = [probability_map(study, text, model) for text in model.text.embed(chest_phrases(model))]
    affine = study.features.lps_from_fine
    affine = study.features.lps_from_patch if affine is None else affine
    cavities = (maps[2], maps[3]) if len(maps) == 4 else None
    return find_thorax(maps[0], maps[1], affine, study.body, study.seen.numpy(), cavities)


class WordMaps(Mapping[str, Heat]):
    """For every part of the query that means something, its own map: the mean of its words' scores.

    A map is made when it is first read. An answer does not keep the study alive for it: who drops the study before
    reading a map cannot read it any more.
    """

    def __init__(self, study: EncodedStudy, query: Query, model: GroundingModel) -> None:
        self._study, self._phrase, self._model = weakref.ref(study), query.phrase, model
        self._rows: dict[str, list[int]] = {}
        self._made: dict[str, Heat] = {}
        for number, span in enumerate(query.spans):
            rows = [n for n, word in enumerate(query.words) if word.span == number]
            if rows and span.role not in ("function", "measurement"):
                self._rows[span.text] = rows

    def __getitem__(self, part: str) -> Heat:
        """The map of one part of the query, [slab y x]; NaN where nothing was seen.

        Raises:
            KeyError: The query has no such part.
            ReadError: The study is gone.
        """
        if part not in self._made:
            self._made[part] = self.slabs(part, slice(None))
        return self._made[part]

    def slabs(self, part: str, slabs: slice) -> Heat:
        """Some slabs of the map of one part of the query, without the work of all of it; see ``self[part]``."""
        if part in self._made:
            return self._made[part][slabs]
        rows = self._rows[part]
        study = self._study()
        if study is None:
            raise ReadError(
                f"the map of {part!r} cannot be made any more: its study was dropped",
                remedy="keep the EncodedStudy for as long as maps of words are read",
                code="study-gone",
            )
        text = self._model.text.embed([self._phrase])[0]
        scores = [_logits(study, text.tokens[row : row + 1], text.adapter, self._model, slabs) for row in rows]
        return _heat(study, torch.stack(scores).mean(0), slabs)

    def __iter__(self) -> Iterator[str]:
        """The parts, in the query's order."""
        return iter(self._rows)

    def __len__(self) -> int:
        """The number of parts."""
        return len(self._rows)
