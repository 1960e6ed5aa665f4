"""Searches an archive: ranks by what is stored, then asks the best studies themselves."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tips_med.archive.conditions import Condition
from tips_med.archive.likeness import AlikePlace, most_alike
from tips_med.archive.pictures import picture_of_answer, picture_of_place
from tips_med.archive.ranking import Relevance, check_weights, indexed_terms, instances_of, rank
from tips_med.archive.record import About, StudyRecord
from tips_med.archive.store import Store
from tips_med.archive.studies import Studies
from tips_med.archive.vectors import POOLED_RADIUS_MM, directions
from tips_med.encoders.base import Progress
from tips_med.encoders.study import EncodedStudy
from tips_med.errors import ReadError, TipsMedError
from tips_med.grounding import Grounding, ground
from tips_med.model import GroundingModel
from tips_med.query import Query

_NEAR_MM = 25.0
_LIKE_CANDIDATES = 3


@dataclass(frozen=True)
class Place:
    """A place of what was searched, in one scan.

    Attributes:
        side: Side of the patient; empty where it has none, or it is not known.
        region: Region in words.
        volume_ml: Volume in ml.
        long_axis_mm: Longest distance within one slice, mm; None where it was not measured.
        slices: First and last slice, counted from 0; None where it is not known.
        peak_lps: Position of the strongest evidence, LPS in mm.
        finding: Finding, in words; empty where it is the one that was searched.
    """

    side: str
    region: str
    volume_ml: float
    long_axis_mm: float | None
    slices: tuple[int, int] | None
    peak_lps: tuple[float, float, float]
    finding: str = ""


@dataclass(frozen=True)
class Hit:
    """A scan that was found.

    Attributes:
        key: Key of the study.
        verified: Whether the study itself was asked. Otherwise all below is what the index has of it.
        state: ``present``, ``absent`` or ``unsure``; None for a search by likeness, and where it was not asked.
        score: Probability of what was searched, 0 to 1; for a search by likeness the cosine.
        places: Places of it, the surest first.
        reasons: Codes for why the state is not more than it is; for what could not be asked the code of the reason.
        sentence: The answer in words; empty where it was not asked.
        peak_lps: Position of the strongest evidence, LPS in mm; None where it was not asked.
        modality: DICOM modality code.
        thickness_mm: Distance between slices, mm.
        slices: Number of slices.
        year: Year of the study; None where it is not known.
        picture: JPEG of the slice with the strongest evidence; None where it was not asked.
    """

    key: str
    verified: bool
    state: str | None
    score: float
    places: tuple[Place, ...]
    reasons: tuple[str, ...]
    sentence: str
    peak_lps: tuple[float, float, float] | None
    modality: str
    thickness_mm: float
    slices: int
    year: int | None
    picture: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Found:
    """The result of a search.

    Attributes:
        searched: What was searched, in words.
        condition: Condition on scans, as typed; empty without one.
        hits: Scans, the best first.
        studies: Number of studies that were ranked.
        model: Name and short hash of the model.
        certain: Whether no study that was not asked can be better than the last hit. False where the index knows only a
            bound, and the number of studies to ask was used up.
    """

    searched: str
    condition: str
    hits: tuple[Hit, ...]
    studies: int
    model: str
    certain: bool


def search_words(
    store: Store,
    query: Query,
    model: GroundingModel,
    studies: Studies,
    *,
    archive: str,
    top: int = 20,
    verify: int | None = None,
    where: Condition | None = None,
    condition: str = "",
    pictures: bool = True,
    progress: Progress | None = None,
) -> Found:
    """Finds the scans that a query fits best, and where in each.

    The index gives every study a relevance that asking it cannot raise. So studies are asked in that order until the
    wanted number is found that no other one can beat.

    Args:
        store: Archive.
        query: Query, as parsed and checked.
        model: The model that indexed it.
        studies: Opens encoded studies; a hit that cannot be opened stays as the index has it.
        archive: Name of the archive, for messages.
        top: Number of scans to find, 1 or more.
        verify: Maximum number of studies to ask; twice ``top`` when None.
        where: Condition on scans.
        condition: The condition, as typed.
        pictures: Whether to draw a picture of each hit.
        progress: Called with (studies asked, studies to ask at most).

    Raises:
        WeightsError: The archive was indexed by other weights.
    """
    about = check_weights(store.about, model, archive)
    ranking = rank(store, query, model, top, where)
    limit = 2 * top if verify is None else verify
    terms = indexed_terms(query, about, model)
    records = store.records([one.key for one in ranking.candidates[: max(limit, top)]])
    made: list[tuple[Relevance, Hit]] = []
    certain = ranking.bound
    for number, candidate in enumerate(ranking.candidates):
        best = sorted((relevance for relevance, _ in made), reverse=True)[:top]
        if len(best) == top and best[-1] >= _rounded(candidate.relevance):
            break
        if number >= max(limit, top):
            certain = False
            break
        record = records.get(candidate.key)
        if record is None:  # taken away by a writer at this moment
            continue
        if number < limit:
            made.append(_asked(record, candidate.relevance, query, terms, model, studies, pictures))
            if progress:
                progress(number + 1, min(limit, len(ranking.candidates)))
        else:
            made.append((candidate.relevance, _unasked(record, candidate.relevance, query, terms, "not-asked")))
            certain = False
    made.sort(key=lambda pair: pair[0], reverse=True)
    hits = tuple(hit for _, hit in made[:top])
    return Found(query.text, condition, hits, ranking.studies, model.identity, certain)


def _rounded(relevance: Relevance) -> Relevance:
    """A bound a little lower than it is: what was stored was rounded."""
    return relevance[0], relevance[1], relevance[2] - 1e-4


def _asked(
    record: StudyRecord,
    stored: Relevance,
    query: Query,
    terms: tuple[str, ...],
    model: GroundingModel,
    studies: Studies,
    pictures: bool,
) -> tuple[Relevance, Hit]:
    try:
        study = studies.open(record.key)
        answer = ground(study, query, model)
    except TipsMedError as error:
        return stored, _unasked(record, stored, query, terms, error.code)
    presence = answer.presence
    met = "size-mismatch" not in presence.reasons and stored[1]
    value = 1 - answer.probability if query.negated else answer.probability
    hit = Hit(
        **_of_record(record),
        verified=True,
        state=presence.state,
        score=answer.probability,
        places=_places(answer),
        reasons=tuple(presence.reasons),
        sentence=answer.sentence,
        peak_lps=answer.peak_lps,
        picture=picture_of_answer(answer) if pictures else None,
    )
    return (stored[0], met, value), hit


def _places(answer: Grounding) -> tuple[Place, ...]:
    return tuple(
        Place(one.side or "", one.region, one.volume_ml, one.long_axis_mm, one.slices, one.peak_lps)
        for one in answer.instances
    )


def _unasked(record: StudyRecord, stored: Relevance, query: Query, terms: tuple[str, ...], code: str) -> Hit:
    places = tuple(
        Place(one.side, one.region, one.volume_ml, one.long_axis_mm, None, one.peak_lps)
        for one in instances_of(record, query, terms)
    )
    score = 1 - stored[2] if query.negated else stored[2]
    return Hit(
        **_of_record(record),
        verified=False,
        state=None,
        score=score,
        places=places,
        reasons=(code,),
        sentence="",
        peak_lps=places[0].peak_lps if places else None,
    )


def _of_record(record: StudyRecord) -> dict:
    return {
        "key": record.key,
        "modality": record.modality,
        "thickness_mm": record.thickness_mm,
        "slices": record.slices,
        "year": record.year,
    }


def search_alike(
    store: Store,
    vector: np.ndarray,
    model: GroundingModel,
    studies: Studies,
    *,
    archive: str,
    searched: str,
    radius_mm: float = POOLED_RADIUS_MM,
    own_key: str = "",
    top: int = 20,
    verify: int | None = None,
    where: Condition | None = None,
    condition: str = "",
    pictures: bool = True,
    progress: Progress | None = None,
) -> Found:
    """Finds the scans with a place most like a region of a scan.

    The vectors of the index choose three times as many studies as are wanted; the regions about all
    patches of these, as large as the one that is searched, are then compared.

    Args:
        store: Archive.
        vector: Embedding of the region, see ``region_vector``.
        model: The model that made it, and the archive.
        studies: Opens encoded studies.
        archive: Name of the archive, for messages.
        searched: The region in words.
        radius_mm: Radius of the region, mm.
        own_key: Key of the scan that the region is of, which is left out.
        top: Number of scans to find, 1 or more.
        verify: Maximum number of studies to compare in full; three times ``top`` when None.
        where: Condition on scans.
        condition: The condition, as typed.
        pictures: Whether to draw a picture of each hit.
        progress: Called with (studies compared, studies to compare).

    Raises:
        WeightsError: The archive was indexed by other weights.
    """
    about = check_weights(store.about, model, archive)
    centre = np.array(about.centre, np.float32)
    direction = directions(vector[None], centre)[0][0]
    limit = _LIKE_CANDIDATES * top if verify is None else verify
    nearest = store.nearest(direction, max(limit, top) + 1, where)
    nearest = [(key, cosine) for key, cosine in nearest if key != own_key][: max(limit, top)]
    records = store.records([key for key, _ in nearest])
    made = []
    for n, (key, cosine) in enumerate(nearest, start=1):
        if key in records:
            made.append(
                _compared(records[key], cosine, direction, radius_mm, about, model, studies, pictures, ask=n <= limit)
            )
        if progress:
            progress(n, len(nearest))
    made.sort(key=lambda hit: (hit.verified, hit.score), reverse=True)
    return Found(searched, condition, tuple(made[:top]), store.count(where), model.identity, False)


def _compared(
    record: StudyRecord,
    cosine: float,
    direction: np.ndarray,
    radius_mm: float,
    about: About,
    model: GroundingModel,
    studies: Studies,
    pictures: bool,
    *,
    ask: bool,
) -> Hit:
    code = "not-asked"
    study: EncodedStudy | None = None
    found: AlikePlace | None = None
    if ask:
        try:
            study = studies.open(record.key)
            if study.weights_sha256 != about.weights_sha256:
                raise ReadError("the study was encoded by other weights", code="other-weights")
            found = most_alike(study, direction, np.array(about.centre, np.float32), radius_mm, model)
        except TipsMedError as error:
            code = error.code
    if found is None or study is None:
        best = (record.vectors.directions @ direction).argmax()
        x, y, z = (float(value) for value in record.vectors.lps[best])
        unasked = {"verified": False, "state": None, "places": (), "reasons": (code,), "sentence": ""}
        return Hit(**_of_record(record), **unasked, score=cosine, peak_lps=(x, y, z))
    places = [Place(found.side, found.region, found.volume_ml, None, None, found.lps)]
    for one in record.instances:
        if np.linalg.norm(np.array(one.peak_lps) - found.lps) <= _NEAR_MM:
            name = model.lexicon.term(one.term).name
            places.append(Place(one.side, one.region, one.volume_ml, one.long_axis_mm, None, one.peak_lps, name))
    return Hit(
        **_of_record(record),
        verified=True,
        state=None,
        score=found.cosine,
        places=tuple(places),
        reasons=(),
        sentence="",
        peak_lps=found.lps,
        picture=picture_of_place(study.scan, found.lps) if pictures else None,
    )
