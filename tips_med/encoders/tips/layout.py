"""The published checkpoints' tensors: their names, shapes, and what they are called in transformers.

The names are those of the PyTorch code of google-deepmind/tips (``image_encoder.py``, ``text_encoder.py``), which the
npz files carry as they are and the hub's safetensors carry under ``vision_encoder.`` and ``text_encoder.``. Sizes are
read off the tensors' shapes; only the number of attention heads leaves no trace in them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tips_med.encoders.tips.extra import tipsv2
from tips_med.errors import WeightsError

if TYPE_CHECKING:
    from transformers.models.tipsv2 import Tipsv2Config

Shapes = Mapping[str, tuple[int, ...]]

VARIANTS = {384: "s14", 768: "b14", 1024: "l14", 1152: "so400m14", 1536: "g14"}
"""Published variants by width."""

HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16, 1536: 24}
"""Attention heads of the published variants by width, of both towers."""

MAX_TOKENS = 64
"""Tokens that the text tower was trained on."""


@dataclass(frozen=True)
class VisionLayout:
    """Sizes of an image tower.

    Attributes:
        width: Embedding size.
        layers: Transformer blocks.
        heads: Attention heads.
        hidden: Width inside the MLP (for SwiGLU, width of each of its two halves).
        swiglu: Whether the MLP is a SwiGLU (variant g).
        registers: Number of register tokens.
        grid: Patches along an edge of the image that the position embeddings are for.
        patch: Pixels along an edge of a patch.
    """

    width: int
    layers: int
    heads: int
    hidden: int
    swiglu: bool
    registers: int
    grid: int
    patch: int


@dataclass(frozen=True)
class TextLayout:
    """Sizes of a text tower.

    Attributes:
        width: Embedding size.
        layers: Transformer blocks.
        heads: Attention heads.
        hidden: Width inside the MLP.
        vocabulary: Number of tokens in the vocabulary.
    """

    width: int
    layers: int
    heads: int
    hidden: int
    vocabulary: int


@dataclass(frozen=True)
class Tensors:
    """Where one published tensor goes.

    Attributes:
        targets: Its names in transformers; a packed tensor is split along its first axis into as many equal parts.
        shape: Required shape.
    """

    targets: tuple[str, ...]
    shape: tuple[int, ...]


def vision_layout(shapes: Shapes, heads: int | None = None) -> VisionLayout:
    """Sizes of an image tower from the shapes of its published tensors.

    Args:
        shapes: Shape by published name.
        heads: Attention heads; known for the published widths.

    Raises:
        WeightsError: When these are not the tensors of a TIPS image tower.
    """
    patch_embed = _shape(shapes, "patch_embed.proj.weight", 4, "image")
    positions = _shape(shapes, "pos_embed", 3, "image")
    registers = _shape(shapes, "register_tokens", 3, "image")
    swiglu = "blocks.0.mlp.w12.weight" in shapes
    mlp = _shape(shapes, "blocks.0.mlp.w12.weight" if swiglu else "blocks.0.mlp.fc1.weight", 2, "image")
    width, grid = patch_embed[0], math.isqrt(positions[1] - 1)
    if grid * grid != positions[1] - 1 or grid == 0:
        raise WeightsError(
            f"pos_embed holds {positions[1]} positions", expected="one and those of a square grid of patches"
        )
    hidden = mlp[0] // 2 if swiglu else mlp[0]
    layers = _layers(shapes, "blocks.")
    return VisionLayout(width, layers, _heads(width, heads), hidden, swiglu, registers[1], grid, patch_embed[2])


def text_layout(shapes: Shapes, heads: int | None = None) -> TextLayout:
    """Sizes of a text tower from the shapes of its published tensors; see ``vision_layout``."""
    vocabulary, width = _shape(shapes, "token_embedding.weight", 2, "text")
    hidden = _shape(shapes, "transformer.resblocks.0.mlp.c_fc.weight", 2, "text")[0]
    return TextLayout(width, _layers(shapes, "transformer.resblocks."), _heads(width, heads), hidden, vocabulary)


def vision_tensors(layout: VisionLayout) -> dict[str, Tensors]:
    """Every tensor of a published image tower, by its published name."""
    d, h = layout.width, layout.hidden
    top = {
        "cls_token": Tensors(("embeddings.cls_token",), (1, 1, d)),
        "mask_token": Tensors(("embeddings.mask_token",), (1, d)),
        "register_tokens": Tensors(("embeddings.register_tokens",), (1, layout.registers, d)),
        "pos_embed": Tensors(("embeddings.position_embeddings",), (1, 1 + layout.grid**2, d)),
        **_weight_and_bias(
            "patch_embed.proj", ("embeddings.patch_embeddings.projection",), (d, 3, layout.patch, layout.patch)
        ),
        **_weight_and_bias("norm", ("layernorm",), (d,)),
    }
    for n in range(layout.layers):
        old, new = f"blocks.{n}", f"encoder.layer.{n}"
        qkv = tuple(f"{new}.attention.{part}_proj" for part in "qkv")
        top |= _weight_and_bias(f"{old}.norm1", (f"{new}.norm1",), (d,))
        top |= _weight_and_bias(f"{old}.attn.qkv", qkv, (3 * d, d))
        top |= _weight_and_bias(f"{old}.attn.proj", (f"{new}.attention.o_proj",), (d, d))
        top |= _weight_and_bias(f"{old}.norm2", (f"{new}.norm2",), (d,))
        for scale in (1, 2):
            top[f"{old}.ls{scale}.gamma"] = Tensors((f"{new}.layer_scale{scale}.lambda1",), (d,))
        if layout.swiglu:
            # The first half goes through SiLU and gates the second.
            halves = (f"{new}.mlp.gate_proj", f"{new}.mlp.up_proj")
            top |= _weight_and_bias(f"{old}.mlp.w12", halves, (2 * h, d))
            top |= _weight_and_bias(f"{old}.mlp.w3", (f"{new}.mlp.down_proj",), (d, h))
        else:
            top |= _weight_and_bias(f"{old}.mlp.fc1", (f"{new}.mlp.fc1",), (h, d))
            top |= _weight_and_bias(f"{old}.mlp.fc2", (f"{new}.mlp.fc2",), (d, h))
    return top


def text_tensors(layout: TextLayout) -> dict[str, Tensors]:
    """Every tensor of a published text tower, by its published name."""
    d, h = layout.width, layout.hidden
    top = {
        "token_embedding.weight": Tensors(("embeddings.token_embedding.weight",), (layout.vocabulary, d)),
        **_weight_and_bias("ln_final", ("final_layer_norm",), (d,)),
    }
    for n in range(layout.layers):
        old, new = f"transformer.resblocks.{n}", f"encoder.layers.{n}"
        for end, shape in (("weight", (3 * d, d)), ("bias", (3 * d,))):
            parts = tuple(f"{new}.self_attn.{part}_proj.{end}" for part in "qkv")
            top[f"{old}.attn.in_proj_{end}"] = Tensors(parts, shape)
        top |= _weight_and_bias(f"{old}.attn.out_proj", (f"{new}.self_attn.out_proj",), (d, d))
        top |= _weight_and_bias(f"{old}.ln_1", (f"{new}.layer_norm1",), (d,))
        top |= _weight_and_bias(f"{old}.ln_2", (f"{new}.layer_norm2",), (d,))
        top |= _weight_and_bias(f"{old}.mlp.c_fc", (f"{new}.mlp.fc1",), (h, d))
        top |= _weight_and_bias(f"{old}.mlp.c_proj", (f"{new}.mlp.fc2",), (d, h))
    return top


def tips_config(vision: VisionLayout, text: TextLayout, temperature: float) -> Tipsv2Config:
    """The configuration of transformers for two towers.

    Raises:
        WeightsError: When the towers do not belong together, or the temperature is not positive.
        MissingExtraError: The extra is not installed.
    """
    if vision.width != text.width:
        raise WeightsError(
            f"an image tower of width {vision.width} with a text tower of width {text.width}",
            expected="two towers of one model",
        )
    if not (math.isfinite(temperature) and temperature > 0):
        raise WeightsError(f"the temperature is {temperature}", expected="a positive number")
    ratio = 4.0 if vision.swiglu else vision.hidden / vision.width
    config = tipsv2().Tipsv2Config(
        vision_config={
            "hidden_size": vision.width,
            "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.heads,
            "mlp_ratio": ratio,
            "use_swiglu_ffn": vision.swiglu,
            "num_register_tokens": vision.registers,
            "image_size": vision.grid * vision.patch,
            "patch_size": vision.patch,
        },
        text_config={
            "vocab_size": text.vocabulary,
            "hidden_size": text.width,
            "intermediate_size": text.hidden,
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "max_position_embeddings": MAX_TOKENS,
        },
        temperature_init_value=temperature,
    )
    made = (int(vision.width * ratio * 2 / 3) + 7) // 8 * 8 if vision.swiglu else int(vision.width * ratio)
    if made != vision.hidden:
        raise WeightsError(f"an MLP of {vision.hidden} in an image tower of width {vision.width}", expected=f"{made}")
    return config


def variant(width: int) -> str:
    """The published name of a width, or one made of the width itself."""
    return VARIANTS.get(width, f"w{width}")


def _weight_and_bias(old: str, new: tuple[str, ...], shape: tuple[int, ...]) -> dict[str, Tensors]:
    return {
        f"{old}.weight": Tensors(tuple(f"{name}.weight" for name in new), shape),
        f"{old}.bias": Tensors(tuple(f"{name}.bias" for name in new), shape[:1]),
    }


def _shape(shapes: Shapes, key: str, axes: int, tower: str) -> tuple[int, ...]:
    if key not in shapes:
        raise WeightsError(
            f"no tensor {key!r} among {len(shapes)}",
            expected=f"the {tower} tower of a TIPS checkpoint with PyTorch names",
            remedy=_hint(shapes, tower),
            code="other-model",
        )
    if len(shapes[key]) != axes or 0 in shapes[key]:
        raise WeightsError(f"{key} has the shape {list(shapes[key])}", expected=f"{axes} axes", code="other-model")
    return shapes[key]


def _hint(shapes: Shapes, tower: str) -> str | None:
    if ("token_embedding.weight" if tower == "image" else "patch_embed.proj.weight") in shapes:
        return "check that the image and the text checkpoint were not exchanged"
    if any("/" in key for key in shapes):
        return "take the PyTorch checkpoint; this looks like the one for Scenic (JAX)"
    return None


def _layers(shapes: Shapes, prefix: str) -> int:
    numbers = {key[len(prefix) :].split(".")[0] for key in shapes if key.startswith(prefix)}
    return 1 + max((int(number) for number in numbers if number.isdecimal()), default=-1)


def _heads(width: int, heads: int | None) -> int:
    heads = HEADS.get(width) if heads is None else heads
    if heads is None:
        known = ", ".join(f"{w} ({VARIANTS[w]})" for w in VARIANTS)
        raise WeightsError(
            f"a tower of width {width}", expected=f"one of {known}", remedy="give the number of attention heads"
        )
    if heads < 1 or width % heads:
        raise WeightsError(f"{heads} attention heads in a tower of width {width}", expected="a divisor of the width")
    return heads
