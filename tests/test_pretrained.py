"""Models as folders: what is written, what is read again, and what is refused."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
import yaml

from tests.tiny import tiny_nets
from tips_med import cli
from tips_med.card import Calibration, ModelCard
from tips_med.errors import OutputError, QueryError, WeightsError
from tips_med.grounding.ground import parse_query
from tips_med.loading import open_model, save_with_card
from tips_med.model import GroundingModel, load_model
from tips_med.model_files import save_model

CARD = ModelCard("toy", ("mass",), licence="CC-BY-4.0", data=("three phantoms",), calibration={"mass": Calibration()})


@pytest.fixture
def model(tmp_path):
    save_model(tmp_path / "toy.safetensors", *tiny_nets(), CARD)
    return load_model(tmp_path / "toy.safetensors")


@pytest.fixture
def folder(model, tmp_path):
    return model.save_pretrained(tmp_path / "folder")


def front_matter(folder):
    return yaml.safe_load((folder / "README.md").read_text("utf-8").split("---\n")[1])


def test_a_folder_has_no_pickle_and_the_same_weights(model, folder):
    assert sorted(file.name for file in folder.iterdir()) == [
        "README.md", "config.json", "lexicon.yaml", "model.safetensors",
    ]  # fmt: skip
    again = GroundingModel.from_pretrained(folder)
    assert again.sha256 == model.sha256  # so that a study that was encoded before can still be asked
    assert again.card == CARD
    assert again.lexicon.text == model.lexicon.text
    assert open_model(str(folder), "cpu").sha256 == model.sha256
    assert GroundingModel.from_pretrained(again.save_pretrained(folder)).sha256 == model.sha256


def test_weights_that_were_changed_in_memory_are_written_as_they_are(model, tmp_path):
    with torch.no_grad():
        model.head.bias.bias.fill_(7.0)
    again = GroundingModel.from_pretrained(model.save_pretrained(tmp_path / "changed"))
    assert again.sha256 != model.sha256
    assert again.head.bias.bias.item() == 7.0


def test_the_lexicon_travels_with_the_model(folder):
    file = folder / "lexicon.yaml"
    file.write_text(file.read_text("utf-8").replace("abbreviations:", "abbreviations:\n  qqq: mass", 1), "utf-8")
    model = GroundingModel.from_pretrained(folder)
    assert parse_query("qqq", model).finding.id == "mass"
    with pytest.raises(QueryError):
        parse_query("qqq", dataclasses.replace(model, language=None))
    # A file has no place for it.
    with pytest.raises(OutputError, match="no place for the lexicon"):
        save_with_card(model, str(folder), CARD, folder.with_suffix(".safetensors"))
    other = dataclasses.replace(CARD, name="other")
    again = open_model(str(save_with_card(model, str(folder), other, folder.with_name("other"))), "cpu")
    assert again.card.name == "other"
    assert parse_query("qqq", again).finding.id == "mass"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "holds no config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds no model.safetensors"),
        (lambda folder: (folder / "lexicon.yaml").unlink(), "lexicon.yaml: no such file"),
        (lambda folder: (folder / "config.json").write_text("[]"), "is not the configuration"),
        (lambda folder: (folder / "config.json").write_text('{"library_name": "x", "format": "y"}'), "a model of x"),
        (lambda folder: edit_threshold(folder / "config.json"), "says another card than model.safetensors"),
        (lambda folder: (folder / "lexicon.yaml").write_text("name: x\nterms: {finding: {}}"), "does not know 'mass'"),
        (lambda folder: add_word(folder / "lexicon.yaml"), "has the word 'zorp', which the model has not"),
    ],
)
def test_a_folder_whose_files_do_not_belong_together_is_refused(change, said, folder):
    change(folder)
    with pytest.raises(WeightsError, match=said):
        GroundingModel.from_pretrained(folder)


def edit_threshold(file):
    config = json.loads(file.read_text("utf-8"))
    config["card"]["calibration"]["mass"]["present_above"] = 0.1
    file.write_text(json.dumps(config), "utf-8")


def add_word(file):
    content = yaml.safe_load(file.read_text("utf-8"))
    content["terms"]["finding"]["mass"]["forms"].insert(0, "zorp")
    file.write_text(yaml.safe_dump(content), "utf-8")


def test_a_folder_of_something_else_is_not_overwritten(model, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="something else"):
        model.save_pretrained(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_name_without_a_folder_is_no_download(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="rite hf://owner/name to download"):
        GroundingModel.from_pretrained("owner/name")


def test_the_card_says_what_it_is_and_no_figure_that_is_not_of_these_weights(folder):
    front = front_matter(folder)
    assert (front["license"], front["library_name"]) == ("cc-by-4.0", "tips_med")
    assert "model-index" not in front
    page = (folder / "README.md").read_text("utf-8")
    assert "three phantoms" in page
    assert "No figures of these weights are known" in page
    assert "Research use only" in page


def test_the_command_line_writes_and_takes_a_folder(model, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["export", "--to", "hugging-face", "--model", str(model.file), "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out.replace("\n", "")
    assert open_model(str(out), "cpu").sha256 == model.sha256
    assert cli.main(["export", "--to", "monai-bundle", "--model", str(out), "--out", str(out)]) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.shipped
def test_the_shipped_model_has_the_figures_that_were_measured_with_it(tmp_path):
    from benchmarks.model_index import OUT, results

    shipped = load_model()
    ours = json.loads(OUT.read_text("utf-8"))
    assert ours["results"], "no figure belongs to these weights"
    assert ours == {"weights_sha256": shipped.sha256, "results": results(shipped.sha256)}
    folder = shipped.save_pretrained(tmp_path / "shipped")
    assert GroundingModel.from_pretrained(folder).sha256 == shipped.sha256
    hub = pytest.importorskip("huggingface_hub", reason="needs tips-med[hub]")
    card = hub.ModelCard.load(folder / "README.md")
    figures = {one.metric_name: one.metric_value for one in card.data.eval_results}
    assert figures == {m["name"]: m["value"] for one in ours["results"] for m in one["metrics"]}
    assert card.data.license == "apache-2.0"
