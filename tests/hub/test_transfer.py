"""To and from a hub on the loopback, as another process with its own environment would go there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub.loopback import Hub, serving
from tests.tiny import tiny_nets
from tips_med.card import ModelCard
from tips_med.model import load_model
from tips_med.model_files import save_model

pytest.importorskip("huggingface_hub", reason="needs tips-med[hub]")

NAME = "clinic/tiny"
ASK = """
import json, sys
from tips_med import GroundingModel, TipsMedError
name, revision, push = sys.argv[1:4]
try:
    model = GroundingModel.from_pretrained(name, revision=revision or None)
    said = {"name": model.card.name, "sha256": model.sha256, "terms": len(model.lexicon.terms)}
    if push:
        said["commit"] = model.push_to_hub(push, token="secret")
except TipsMedError as error:
    said = {"code": error.code, "text": str(error)}
print(json.dumps(said))
"""


def folder(tmp_path: Path, name: str, seed: int = 0) -> Path:
    file = tmp_path / f"{name}.safetensors"
    save_model(file, *tiny_nets(seed), ModelCard(name, ("mass",)))
    return load_model(file).save_pretrained(tmp_path / name)


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def asked(tmp_path: Path, endpoint: str, name: str, revision: str = "", push: str = "", offline: bool = False) -> dict:
    names = ("PATH", "LANG", "PYTHONPATH")
    environment = {key: os.environ[key] for key in names if key in os.environ}
    environment |= {"HF_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), "HF_ENDPOINT": endpoint}
    environment |= {
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
    }
    command = [sys.executable, "-c", ASK, name, revision, push]
    done = subprocess.run(
        command, env=environment | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_revision_is_downloaded_kept_and_pushed_again(tmp_path):
    first, second = folder(tmp_path, "first"), folder(tmp_path, "second", seed=1)
    hub = Hub(NAME, files(first) | {"evil.pkl": b"never asked for"})
    pinned = hub.branches["main"]
    hub.commit(files(second), "main")
    with serving(hub) as endpoint:
        told = asked(tmp_path, endpoint, f"hf://{NAME}", pinned, push=f"hf://{NAME}")
        assert told["name"] == "first"
        assert told["sha256"] == load_model(first / "model.safetensors").sha256
        assert hub.branches["main"] in told["commit"]
        assert {k: v for k, v in hub.files("main")[1].items() if k != ".gitattributes"} == files(first)
        assert not any("evil" in one for one in hub.asked)

        before = len(hub.asked)
        again = asked(tmp_path, endpoint, f"hf://{NAME}", pinned, offline=True)
        assert again["sha256"] == told["sha256"]
        never_seen = asked(tmp_path, endpoint, f"hf://{NAME}", "v2", offline=True)
        assert never_seen["code"] == "offline"
        assert len(hub.asked) == before


def test_without_its_prefix_a_hub_name_asks_nobody_and_a_wrong_one_is_a_line(tmp_path):
    hub = Hub(NAME, files(folder(tmp_path, "first")))
    with serving(hub) as endpoint:
        told = asked(tmp_path, endpoint, NAME)
        assert told["code"] == "missing-weights"
        assert f"rite hf://{NAME} to download it" in told["text"]
        assert not hub.asked
        told = asked(tmp_path, endpoint, "hf://clinic/other")
        assert told["code"] == "missing-weights"
        assert "cannot be downloaded" in told["text"]


@pytest.mark.parametrize("name", ["hf://", "hf://alone", "hf://a/b/c", "hf://../b"])
def test_what_is_no_name_of_the_hub_is_refused_before_anything_is_asked(name):
    from tips_med.errors import WeightsError
    from tips_med.model import GroundingModel

    with pytest.raises(WeightsError, match="expected hf://owner/name"):
        GroundingModel.from_pretrained(name)
