"""Tiny models: npz files as published, and the folder they are converted to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.encoders.tips.checkpoints import HEADS, make_npz_pair, make_tokenizer


@pytest.fixture(scope="session", autouse=True)
def needs_the_extra() -> None:
    pytest.importorskip("transformers", reason="needs tips-med[tips]")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors this small are slower on several threads, and very slow on a machine that is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    path = Path(__file__).parents[2] / "fixtures" / "tipsv2_golden.json"
    return json.loads(path.read_text())


@pytest.fixture(scope="session")
def tokenizer_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def npz_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Random towers of one model as published."""
    return make_npz_pair(tmp_path_factory.mktemp("npz"))


@pytest.fixture(scope="session")
def tips_folder(npz_pair: tuple[Path, Path], tokenizer_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted folder; tests that damage it copy it first."""
    from tips_med.encoders.tips import convert_npz

    return convert_npz(*npz_pair, tokenizer_model, tmp_path_factory.mktemp("model") / "tips", heads=HEADS)
