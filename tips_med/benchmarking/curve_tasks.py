"""Single points of the curves, each in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle, islice, product
from typing import Any

import torch

from tips_med.benchmarking.clock import Clock
from tips_med.benchmarking.long_body import long_body
from tips_med.benchmarking.stages import encoded
from tips_med.encoders.study import EncodedStudy
from tips_med.errors import QueryError
from tips_med.grounding.ground import ground, parse_query
from tips_med.lexicon.terms import Form, Term
from tips_med.loading import open_model, pick_device
from tips_med.model import GroundingModel
from tips_med.query import Lexicon
from tips_med.readers import read_scan

SIDES = ("", "left", "right")
THIRDS = ("", "upper", "middle", "lower")
FURTHER = 4
"""Number of questions that the mean of a further one is taken of, for each number of slices."""

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"


def measure_slices(clock: Clock, slices: int, scan: str, model: str | None, device: str) -> dict[str, Any]:
    """Slabs, encoding and questions of a body of so many slices.

    Args:
        clock: Runs since this process was started.
        slices: Number of slices.
        scan: Scan whose slices are repeated.
        model: As ``open_model`` takes it.
        device: ``auto``, ``cpu`` or ``cuda``.
    """
    opened = open_model(model, device)
    body = long_body(read_scan(scan), slices)
    clock.done("before")
    study = encoded(body, opened, clock, pick_device(device))
    first, *further = questions(opened)[: 1 + FURTHER]
    clock.go_on()
    ground(study, first, opened)
    clock.done("first question")
    for text in further:
        ground(study, text, opened)
    clock.done("further question", times=len(further))
    return {
        "slices": slices,
        "slabs": len(study.seen),
        "before_mib": clock.so_far("before")["peak_mib"],
        **_stages(clock, ("slabs", "encode", "first question", "further question")),
    }


def measure_questions(clock: Clock, counts: Sequence[int], scan: str, model: str | None, device: str) -> dict[str, Any]:
    """Seconds of one question after so many others.

    Args:
        clock: Runs since this process was started.
        counts: Numbers of questions after which the mean is reported, rising.
        scan: Scan to ask.
        model: As ``open_model`` takes it.
        device: ``auto``, ``cpu`` or ``cuda``.
    """
    opened = open_model(model, device)
    study = _asked_once(scan, opened, clock, pick_device(device))
    different = questions(opened)
    asked = islice(cycle(different), 1, None)  # the first one was asked
    points, done, seconds, spent = [], 0, 0.0, 0.0
    for count in counts:
        clock.go_on()
        for query in islice(asked, count - done):
            ground(study, query, opened)
        clock.done("questions")
        seconds, spent, done = (
            seconds + clock.stages["questions"]["seconds"],
            spent + clock.stages["questions"]["processor_seconds"],
            count,
        )
        points.append(
            {
                "questions": count,
                "different": min(count, len(different)),
                "seconds_each": round(seconds / count, 4),
                "processor_seconds_each": round(spent / count, 4),
                "peak_mib": clock.so_far("questions")["peak_mib"],
            }
        )
    return {"points": points}


def measure_lexicon(clock: Clock, terms: int, count: int, scan: str, model: str | None, device: str) -> dict[str, Any]:
    """Seconds of one question with a lexicon of so many terms.

    Args:
        clock: Runs since this process was started.
        terms: Number of terms: made-up findings are added to those of the model's lexicon.
        count: Number of questions.
        scan: Scan to ask.
        model: As ``open_model`` takes it.
        device: ``auto``, ``cpu`` or ``cuda``.
    """
    opened = open_model(model, device)
    study = _asked_once(scan, opened, clock, pick_device(device))
    own = len(opened.lexicon.terms)
    opened = replace(opened, language=grown_lexicon(opened.lexicon, max(terms, own)))
    texts = list(islice(cycle(questions(opened)), 1, 1 + count))  # the first one was asked
    clock.go_on()
    for text in texts:
        parse_query(text, opened)
    clock.done("understand", times=count)
    for text in texts:
        ground(study, text, opened)
    clock.done("question", times=count)
    return {"terms": len(opened.lexicon.terms), **_stages(clock, ("understand", "question"))}


def measure_threads(clock: Clock, count: int, scan: str, model: str | None, device: str) -> dict[str, Any]:
    """Stages with the threads that this process has.

    Args:
        clock: Runs since this process was started.
        count: Number of further questions.
        scan: Scan to encode.
        model: As ``open_model`` takes it.
        device: ``auto``, ``cpu`` or ``cuda``.
    """
    opened = open_model(model, device)
    study = _asked_once(scan, opened, clock, pick_device(device))
    texts = list(islice(cycle(questions(opened)), 1, 1 + count))  # the first one was asked
    clock.go_on()
    for text in texts:
        ground(study, text, opened)
    clock.done("further question", times=count)
    stages = ("slabs", "encode", "first question", "further question")
    return {"threads": torch.get_num_threads(), **_stages(clock, stages)}


def questions(model: GroundingModel) -> list[str]:
    """Different questions that a model answers, such that no two of one finding follow each other."""
    known = []
    names = [model.lexicon.term(term).name for term in model.card.findings or model.card.structures]
    for third, side, denied, name in product(THIRDS, SIDES, ("", "no "), names):
        place = f" in the {third} third of the {side} lung".replace("  ", " ") if third else f" {side} lung"
        text = f"{denied}{name}{place if side or third else ''}"
        try:
            parse_query(text, model)
        except QueryError:
            continue
        known.append(text)
    return known


def grown_lexicon(lexicon: Lexicon, terms: int) -> Lexicon:
    """A lexicon with made-up findings, of two words each, until it has so many terms."""
    content = lexicon.content
    grown = dict(content.terms)
    for words in _made_up():
        if len(grown) >= terms:
            break
        name = "_".join(words)
        grown.setdefault(name, Term(name, "finding", " ".join(words), (Form(" ".join(words), words),)))
    return Lexicon(replace(content, terms=grown))


def _made_up() -> Iterator[tuple[str, str]]:
    syllables = ["".join(pair) for pair in product(_CONSONANTS, _VOWELS)]
    for parts in product(syllables, repeat=4):
        yield "x" + parts[0] + parts[1] + "q", "x" + parts[2] + parts[3] + "q"


def _asked_once(scan: str, model: GroundingModel, clock: Clock, device: torch.device) -> EncodedStudy:
    """An encoded study in which the chest was found already."""
    volume = read_scan(scan)
    clock.done("before")
    study = encoded(volume, model, clock, device)
    ground(study, questions(model)[0], model)
    clock.done("first question")
    return study


def _stages(clock: Clock, names: Sequence[str]) -> dict[str, Any]:
    return {"stages": {name: clock.so_far(name) for name in names}}
