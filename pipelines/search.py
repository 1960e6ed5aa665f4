"""Searches an archive: which scans have it, and where in each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tips_med.archive.conditions import parse_condition
from tips_med.archive.keys import key_of
from tips_med.archive.lance import LanceStore
from tips_med.archive.ranking import check_weights
from tips_med.archive.results import check_place, write_results
from tips_med.archive.search import Found, search_alike, search_words
from tips_med.archive.studies import studies_of
from tips_med.archive.vectors import POOLED_RADIUS_MM, region_vector
from tips_med.encoders.study import EncodedStudy, is_study
from tips_med.errors import ConfigError, QueryError
from tips_med.grounding import encode as encode_scan
from tips_med.grounding.encoding import finding_adapters
from tips_med.grounding.ground import check_study, parse_query
from tips_med.grounding.modality import with_stated_modality
from tips_med.loading import open_model
from tips_med.progress import StepFactory, no_progress
from tips_med.readers import read_scan
from tips_med.sample import sample_path


def search(
    archive: str,
    text: str | None = None,
    like: str | None = None,
    at: str | None = None,
    radius_mm: float = POOLED_RADIUS_MM,
    top: int = 20,
    where: str | None = None,
    verify: int | None = None,
    model: str | None = None,
    device: str = "auto",
    private: Path | None = None,
    out: Path | None = None,
    json: bool = False,
    paths: bool = False,
    modality: Literal["CT", "MR"] | None = None,
    steps: StepFactory = no_progress,
) -> Searched:
    """Ranks the studies of an archive, asks the best ones themselves, and says where it is in each.

    Args:
        archive: Archive that ``index`` wrote: a folder, or the URL of one in an object store.
        text: Finding or structure to search, in words: "ground-glass opacity left lung".
        like: Scan, or encoded study, with a region to search the like of, in place of words.
        at: Centre of that region, LPS in mm, as --at=-52,14,-130 (peak_lps of an answer).
        radius_mm: Radius of that region, mm.
        top: Number of scans to find, 1 or more.
        where: Condition on scans, such as 'thickness_mm <= 2 and date >= 2024'. Columns are thickness_mm, slices,
            date (the year) and modality; and, or, not and parentheses join them.
        verify: Maximum number of studies to open and ask; twice top if left out. 0 shows what the index has.
        model: Model that indexed the archive; the shipped one if left out.
        device: auto, cpu or cuda.
        private: The archive's private folder, see ``index``.
        out: Folder for search.json and the page index.html. An earlier result in it is replaced.
        json: Print JSON in place of the table.
        paths: Show the files of the studies, too. A path may tell whose scan it is.
        modality: Modality of the file of like, where it does not state it: CT or MR.
        steps: Progress of the work; the command line shows a bar.

    Returns:
        The scans, the best first.

    Raises:
        QueryError: The query, the condition or the region is not understood.
        ArchiveError: There is no such archive.
    """
    region = _region(text, like, at, top)
    condition = None if where is None else parse_condition(where)
    if out is not None:
        check_place(out)
    store = LanceStore(archive)
    studies = studies_of(archive, private)
    with steps("loading the model"):
        opened = open_model(model, device)
        check_weights(store.about, opened, archive)
    if text is not None:
        query = parse_query(text, opened)
        with steps("searching") as progress:
            found = search_words(
                store,
                query,
                opened,
                studies,
                archive=archive,
                top=top,
                verify=verify,
                where=condition,
                condition=where or "",
                pictures=out is not None,
                progress=progress,
            )
    else:
        assert like is not None and region is not None
        with steps("encoding the region's scan"):
            if is_study(like):
                study = EncodedStudy.load(like)
            else:
                volume = read_scan(sample_path() if like == "sample" else like)
                study = encode_scan(with_stated_modality(volume, modality), opened, adapters=finding_adapters(opened))
        check_study(study, opened)
        vector = region_vector(study, region, radius_mm, opened)
        own_key = key_of(study, studies.secret()) if studies.exists else ""
        with steps("searching") as progress:
            found = search_alike(
                store,
                vector,
                opened,
                studies,
                archive=archive,
                searched=f"like the region of {radius_mm:g} mm about {', '.join(f'{v:g}' for v in region)} mm",
                radius_mm=radius_mm,
                own_key=own_key,
                top=top,
                verify=verify,
                where=condition,
                condition=where or "",
                pictures=out is not None,
                progress=progress,
            )
    files = {hit.key: str(path) for hit in found.hits if (path := studies.path(hit.key))} if paths else None
    if out is not None:
        with steps("writing"):
            write_results(found, out, files)
    return Searched(found, files, out)


@dataclass(frozen=True)
class Searched:
    """What was found, and where it was written.

    Attributes:
        found: The result.
        files: Files of the studies by key; None where they are not to be shown.
        out: Folder with the page; None without one.
    """

    found: Found
    files: dict[str, str] | None
    out: Path | None


def _region(text: str | None, like: str | None, at: str | None, top: int) -> tuple[float, float, float] | None:
    if (text is None) == (like is None):
        raise ConfigError(
            "both words and a region are given" if text else "there is nothing to search",
            expected='words, such as "nodule right lung", or --like SCAN with --at=x,y,z',
        )
    if top < 1:
        raise ConfigError(f"top is {top}", expected="1 or more")
    if like is None:
        if at is not None:
            raise ConfigError("a place is given without a scan", expected="--like SCAN with --at=x,y,z")
        return None
    try:
        x, y, z = (float(value) for value in (at or "").split(","))
    except ValueError as error:
        raise QueryError(
            f"the place is {at!r}", expected="three numbers, LPS in mm: --at=-52,14,-130", code="bad-region"
        ) from error
    return x, y, z
