"""What an archive cannot be searched for is said, and never ranked by the embeddings of something else."""

from __future__ import annotations

import pytest

from tests.phantom import body
from tests.tiny import tiny_model, with_adapter
from tips_med.archive.describe import about_archive, describe
from tips_med.archive.lance import LanceStore
from tips_med.archive.ranking import rank
from tips_med.errors import QueryError
from tips_med.grounding import encode
from tips_med.grounding.ground import parse_query


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
