"""Tiny TIPS checkpoints in the published layout, with random weights or filled by the golden file's rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

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
