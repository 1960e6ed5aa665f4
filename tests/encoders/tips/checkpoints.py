"""Tiny TIPS checkpoints in the published layout, with random weights or filled by the golden file's rule."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

WIDTH, PATCH, GRID, HEADS = 32, 14, 4, 2
VOCABULARY = 400

Arrays = dict[str, np.ndarray]


def vision_shapes(swiglu: bool = False, layers: int = 2) -> dict[str, tuple[int, ...]]:
    """Published names and shapes of a tiny image tower, written out by hand from the golden file's list."""
    d = WIDTH
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, d),
        "pos_embed": (1, 1 + GRID * GRID, d),
        "register_tokens": (1, 1, d),
        "mask_token": (1, d),
        "patch_embed.proj.weight": (d, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (d,),
        "norm.weight": (d,),
        "norm.bias": (d,),
    }
    mlp = (
        {"w12.weight": (176, d), "w12.bias": (176,), "w3.weight": (d, 88), "w3.bias": (d,)}
        if swiglu
        else {"fc1.weight": (128, d), "fc1.bias": (128,), "fc2.weight": (d, 128), "fc2.bias": (d,)}
    )
    for n in range(layers):
        block = {
            "norm1.weight": (d,),
            "norm1.bias": (d,),
            "attn.qkv.weight": (3 * d, d),
            "attn.qkv.bias": (3 * d,),
            "attn.proj.weight": (d, d),
            "attn.proj.bias": (d,),
            "ls1.gamma": (d,),
            "norm2.weight": (d,),
            "norm2.bias": (d,),
            "ls2.gamma": (d,),
            **{f"mlp.{name}": shape for name, shape in mlp.items()},
        }
        shapes |= {f"blocks.{n}.{name}": shape for name, shape in block.items()}
    return shapes


def text_shapes(vocabulary: int = 50, layers: int = 2) -> dict[str, tuple[int, ...]]:
    """Published names and shapes of a tiny text tower, but for the temperature."""
    d = WIDTH
    shapes: dict[str, tuple[int, ...]] = {
        "token_embedding.weight": (vocabulary, d),
        "ln_final.weight": (d,),
        "ln_final.bias": (d,),
    }
    for n in range(layers):
        block = {
            "attn.in_proj_weight": (3 * d, d),
            "attn.in_proj_bias": (3 * d,),
            "attn.out_proj.weight": (d, d),
            "attn.out_proj.bias": (d,),
            "ln_1.weight": (d,),
            "ln_1.bias": (d,),
            "ln_2.weight": (d,),
            "ln_2.bias": (d,),
            "mlp.c_fc.weight": (64, d),
            "mlp.c_fc.bias": (64,),
            "mlp.c_proj.weight": (d, 64),
            "mlp.c_proj.bias": (d,),
        }
        shapes |= {f"transformer.resblocks.{n}.{name}": shape for name, shape in block.items()}
    return shapes


def fill_by_rule(shapes: dict[str, tuple[int, ...]]) -> Arrays:
    """The golden file's rule."""
    filled = {}
    for i, key in enumerate(sorted(shapes)):
        numel = int(np.prod(shapes[key]))
        value = 0.2 * np.sin(0.7 * (i + 1) + 0.31 * np.arange(numel, dtype=np.float64))
        parent = key.rsplit(".", 2)[-2] if "." in key else ""
        if key.endswith(".gamma") or (key.endswith(".weight") and parent.startswith(("norm", "ln_"))):
            value = value + 1
        filled[key] = value.reshape(shapes[key]).astype(np.float32)
    return filled


def fill_at_random(shapes: dict[str, tuple[int, ...]], seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    return {key: rng.normal(0, 0.2, shape).astype(np.float32) for key, shape in shapes.items()}


def write_npz(path: Path, arrays: Arrays, **more: Any) -> Path:
    np.savez(path, **arrays, **more)
    return path


def make_tokenizer(folder: Path) -> Path:
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
    path = folder / "tokenizer.model"
    path.write_bytes(written.getvalue())
    return path


def make_npz_pair(folder: Path) -> tuple[Path, Path]:
    """Random towers of one model as published."""
    vision = write_npz(folder / "vision.npz", fill_at_random(vision_shapes(), 1))
    text = write_npz(folder / "text.npz", fill_at_random(text_shapes(VOCABULARY), 2), temperature=np.float32(0.00478))
    return vision, text


def make_folder(folder: Path) -> Path:
    """A folder of a tiny random model, as the hub lays it out."""
    from tips_med.encoders.tips import convert_npz

    folder.mkdir(parents=True, exist_ok=True)
    return convert_npz(*make_npz_pair(folder), make_tokenizer(folder), folder / "tips", heads=HEADS)
