"""Tiny models: npz files as published, and the folder they are converted to."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.encoders.tips.checkpoints import HEADS, VOCABULARY, fill_at_random, text_shapes, vision_shapes, write_npz


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
    """A SentencePiece model of the published kind (BPE, bytes for what is unknown, 0 as padding), but tiny."""
    sentencepiece = pytest.importorskip("sentencepiece")
    sentences = ["ground glass opacity left lung", "pleural effusion right lower lobe", "a ct scan of an axial image"]
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences * 4),
        model_writer=written,
        model_type="bpe",
        vocab_size=340,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    path.write_bytes(written.getvalue())
    return path


@pytest.fixture(scope="session")
def npz_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Random towers of one model as published."""
    folder = tmp_path_factory.mktemp("npz")
    vision = write_npz(folder / "vision.npz", fill_at_random(vision_shapes(), 1))
    text = write_npz(folder / "text.npz", fill_at_random(text_shapes(VOCABULARY), 2), temperature=np.float32(0.00478))
    return vision, text


@pytest.fixture(scope="session")
def tips_folder(npz_pair: tuple[Path, Path], tokenizer_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted folder; tests that damage it copy it first."""
    from tips_med.encoders.tips import convert_npz

    return convert_npz(*npz_pair, tokenizer_model, tmp_path_factory.mktemp("model") / "tips", heads=HEADS)
