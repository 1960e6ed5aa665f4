"""What an archive cannot be searched for is said, and never ranked by the embeddings of something else."""

from __future__ import annotations

import numpy as np
import pytest

from tests.phantom import body
from tests.tiny import tiny_model, with_adapter
from tips_med.archive.describe import about_archive, describe
from tips_med.archive.lance import LanceStore
from tips_med.archive.places import HEIGHTS, SIDES
from tips_med.archive.ranking import instances_of, rank
from tips_med.archive.record import StoredInstance, StudyRecord, Vectors
from tips_med.errors import QueryError
from tips_med.grounding import encode
from tips_med.grounding.ground import parse_query
from tips_med.query import Lexicon


def test_organs_of_an_adapter_cost_an_archive_nothing_and_are_refused(tmp_path):
    model = with_adapter(tiny_model(tmp_path), tmp_path / "taught", ["liver"])
    study = encode(body(), model)
    about = about_archive(study, model)
    assert "liver" in model.card.structures
    assert "liver" not in about.terms
    store = LanceStore(str(tmp_path / "archive"), create=True)
    store.put(describe(study, model, about, b"secret"), about)
    assert not study.taught
    assert about.width == study.features.patches.shape[-1]
    with pytest.raises(QueryError, match="no embeddings of organs") as refused:
        rank(store, parse_query("liver", model), model, 5)
    assert refused.value.code == "not-indexed"


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ("mass", {"deep", "near a fissure", "by height", "lingula or upper", "on both sides"}),
        ("mass in the right upper lobe", {"near a fissure", "by height"}),
        ("mass in the right middle lobe", {"near a fissure", "by height"}),
        ("mass in the right lower lobe", {"deep", "by height", "on both sides"}),
        ("mass in the left upper lobe", {"lingula or upper", "on both sides"}),
        ("mass in the left lower lobe", set()),
        ("mass in the lingula", {"lingula or upper", "on both sides"}),
        ("mass in the upper third of the right lung", set()),
    ],
)
def test_a_stored_instance_is_in_a_lobe_by_estimate_and_by_height_where_there_is_none(query, fits):
    """The middle third may belong to any lobe by height; an estimated lobe is surer."""
    place = (0.0, 0.0, 0.0)

    def stored(side: str, size_mm: float, lobes: tuple[str, ...]) -> StoredInstance:
        return StoredInstance("mass", side, f"middle third of the {side} lung", 9.0, size_mm, 0.9, place, place, lobes)

    instances = {
        "deep": stored("right", 30.0, ("right lower lobe",)),
        "near a fissure": stored("right", 31.0, ("right upper lobe", "right middle lobe")),
        "by height": stored("right", 32.0, ()),
        "lingula or upper": stored("left", 33.0, ("left upper lobe",)),
        "on both sides": stored("both", 34.0, ("right lower lobe", "left upper lobe")),
    }
    shape = (len(SIDES), len(HEIGHTS))
    nothing = Vectors(*(np.empty(size, np.float32) for size in ((0, 4), 0, (0, 3), 0, 0)))
    record = StudyRecord(
        key="a", modality="CT", thickness_mm=2.5, slices=9, year=None, evidence={}, known=np.ones(shape, bool),
        whole=np.ones(shape, bool), instances=tuple(instances.values()), vectors=nothing,
    )  # fmt: skip
    found = instances_of(record, Lexicon.load("chest_ct").parse(query), ("mass",))
    assert {name for name, one in instances.items() if one in found} == fits
