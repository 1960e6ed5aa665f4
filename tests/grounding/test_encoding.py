"""What an adapter makes of a scan is made when it is asked, once, and is what it would have been from the start."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipelines.encode import encode as encode_file
from pipelines.ground import ground as ground_file
from tests.phantom import body
from tests.server.running import write_scan
from tests.tiny import tiny_model, with_adapter
from tips_med.encoders.study import FORMAT, EncodedStudy
from tips_med.errors import ReadError, WeightsError
from tips_med.grounding import Grounding, encode, ground, what
from tips_med.grounding.encoding import encode_slabs, features_of, finding_adapters, make_features, patches_of
from tips_med.grounding.ground import adapters_of
from tips_med.model import GroundingModel
from tips_med.slabs import make_slabs

PLACE = (60.0, 0.0, 20.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> GroundingModel:
    """It has an adapter for the liver, and another one for the spleen."""
    folder = tmp_path_factory.mktemp("models")
    first = with_adapter(tiny_model(folder), folder / "first", ["liver"])
    return with_adapter(first, folder / "second", ["spleen"], structures=("lung", "liver", "spleen"))


@pytest.fixture(scope="module")
def eager(model) -> EncodedStudy:
    return encode(body(), model, adapters="all")


@pytest.fixture
def passes(model, monkeypatch) -> list[tuple[int, ...]]:
    """Which decoders ran in each pass over a scan."""
    told: list[tuple[int, ...]] = []
    real = model.image.encode_several

    def counted(slabs, numbers, progress=None):
        told.append(tuple(numbers))
        return real(slabs, numbers, progress)

    monkeypatch.setattr(model.image, "encode_several", counted)
    return told


def assert_same(ours: Grounding, theirs: Grounding) -> None:
    np.testing.assert_array_equal(ours.heat, theirs.heat)
    np.testing.assert_array_equal(ours.labels, theirs.labels)
    assert (ours.presence, ours.sentence, ours.peak_lps) == (theirs.presence, theirs.sentence, theirs.peak_lps)
    assert list(ours.token_heat) == list(theirs.token_heat)
    for word, heat in theirs.token_heat.items():
        np.testing.assert_array_equal(ours.token_heat[word], heat)


def test_an_adapter_is_made_by_the_first_question_that_it_answers(model, eager, passes):
    study = encode(body(), model)
    for query, taught in (("nodule", set()), ("right lung", set()), ("liver", {1}), ("nodule", {1}), ("liver", {1})):
        assert_same(ground(study, query, model), ground(eager, query, model))
        assert set(study.taught) == taught
    assert_same(ground(study, "spleen", model), ground(eager, "spleen", model))
    assert passes == [(0,), (1,), (2,)]
    for number, features in eager.taught.items():
        own = study.taught[number]
        assert own.adapter == features.adapter == number
        assert torch.equal(own.patches, features.patches)
        assert own.fine is not None and features.fine is not None
        assert torch.equal(own.fine, features.fine)


def test_a_scan_that_is_asked_is_encoded_in_one_pass(model, eager, passes, tmp_path):
    assert_same_but_words(ground(body(), "liver", model), ground(eager, "liver", model))
    ground(body(), "nodule", model)
    assert passes == [(0, 1), (0,)]


def assert_same_but_words(ours: Grounding, theirs: Grounding) -> None:
    """Of a scan, whose study is gone."""
    np.testing.assert_array_equal(ours.heat, theirs.heat)
    assert ours.sentence == theirs.sentence


@pytest.mark.parametrize(
    ("queries", "expected"), [([], ()), (["nodule"], ()), (["liver"], (1,)), (["spleen", "no nodule", "liver"], (1, 2))]
)
def test_the_adapters_of_queries_are_known_before_a_scan_is_read(model, queries, expected):
    assert adapters_of([model.lexicon.parse(query) for query in queries], model) == expected


def test_a_place_is_compared_with_what_adapters_know(model, eager, passes):
    study = encode(body(), model)
    ours, theirs = what(study, PLACE, model), what(eager, PLACE, model)
    assert {fit.term.id for fit in ours.structures} == {"lung", "liver", "spleen"}
    assert ours == theirs
    assert passes == [(0,), (1, 2)]
    outside = encode(body(), model)
    what(outside, (-140.0, -90.0, 100.0), model)  # air
    assert not outside.taught


@pytest.mark.parametrize("adapters", [(), (2,), "all"])
def test_a_stored_study_has_what_it_had_and_makes_the_rest(model, eager, passes, tmp_path, adapters):
    study = encode(body(), model, adapters=adapters)
    loaded = EncodedStudy.load(study.save(tmp_path / "study.safetensors"))
    had = {1, 2} if adapters == "all" else set(adapters)
    assert set(loaded.taught) == had
    del passes[:]
    for query in ("liver", "spleen", "nodule"):
        assert_same(ground(loaded, query, model), ground(eager, query, model))
    assert passes == [(number,) for number in (1, 2) if number not in had]


def test_a_study_of_the_version_before_is_refused_with_the_reason(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "old.safetensors", {"format": "tips_med-study-3"})
    with pytest.raises(ReadError, match=rf"another version \(tips_med-study-3\).*{FORMAT}.*(?i:encode the scan again)"):
        EncodedStudy.load(tmp_path / "old.safetensors")


def test_many_threads_and_views_of_a_study_make_an_adapter_once(model, eager, passes):
    study = encode(body(), model)
    begin = threading.Barrier(6)

    def asked(_: int) -> Grounding:
        view = replace(study, cache={}, kept={})
        begin.wait()
        return ground(view, "liver", model)

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(asked, range(6)))
    assert passes == [(0,), (1,)]
    for answer in answers:
        assert_same_but_words(answer, ground(eager, "liver", model))


def test_slabs_that_were_cut_in_another_way_are_never_cut_again(model):
    scan = body(shape=(80, 130, 130))
    slabs = make_slabs(scan, model.image.slab_spec)  # with all the air around the body
    assert set(encode_slabs(scan, slabs, model).taught) == {1, 2}
    lacking = encode_slabs(scan, slabs, model, adapters=(1,))
    ground(lacking, "liver", model)
    with pytest.raises(ReadError, match='not cut from its scan.*adapters="all"') as refused:
        ground(lacking, "spleen", model)
    assert refused.value.code == "other-slabs"


def test_adapters_that_a_model_has_not_are_refused(model, eager):
    with pytest.raises(WeightsError, match="no adapter 3") as refused:
        encode(body(), model, adapters=(1, 3))
    assert refused.value.code == "no-adapter"
    other = replace(eager, weights_sha256="f" * 64, taught={})
    with pytest.raises(WeightsError, match="encoded by weights ffff"):
        make_features(other, "all", model)


def test_patches_of_adapters_follow_those_of_the_model(model, eager):
    study = encode(body(), model)
    assert patches_of(study, model, ()) is study.features.patches
    whole = patches_of(study, model)
    expected = [eager.features, eager.taught[1], eager.taught[2]]
    assert torch.equal(whole, torch.cat([one.patches for one in expected], dim=-1))
    assert features_of(study, 0, model) is study.features


def test_adapters_of_organs_alone_answer_no_finding(model, tmp_path):
    assert finding_adapters(model) == ()
    mixed = with_adapter(model, tmp_path / "third", ["heart", "pericardial effusion"], ["pericardial", "effusion"])
    assert finding_adapters(mixed) == (3,)


def test_progress_counts_every_part_of_the_network(model):
    told = []
    encode(body(), model, lambda done, total: told.append((done, total)), adapters="all")
    slabs = len(make_slabs(body(), model.image.slab_spec).seen)
    assert told == sorted(told)
    assert told[-1] == (4 * slabs, 4 * slabs)  # convolutions, and three decoders


def test_commands_encode_what_they_ask_and_store_all(model, passes, tmp_path):
    scan, weights = str(write_scan(body(), tmp_path / "scan.nii.gz")), str(model.file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.ground.open_model_at", lambda *_: model)
        patch.setattr("pipelines.encode.open_model", lambda *_: model)
        ground_file(scan, ["nodule", "spleen"], tmp_path / "out", weights, modality="CT")
        stored = encode_file(scan, tmp_path / "study.safetensors", weights, modality="CT")
        ground_file(str(stored), ["liver"], tmp_path / "out", weights)
    assert set(EncodedStudy.load(stored).taught) == {1, 2}
    assert passes == [(0, 2), (0, 1, 2)]
