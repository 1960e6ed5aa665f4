"""Which weights of a tower learn: none, low-rank additions (LoRA, Hu 2022, by peft), or all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import nn

from tips_med.encoders.tips.extra import peft
from tips_med.encoders.tips.image import TipsEncoder
from tips_med.encoders.tips.text import TipsTextTower
from tips_med.errors import ConfigError

FineTuningMode = Literal["freeze", "lora", "adapter", "full"]

Tower = TipsEncoder | TipsTextTower

_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "out_proj")
"""Linear layers of attention, in both towers."""


@dataclass(frozen=True)
class FineTuning:
    """How a tower is fine-tuned, as a training configuration states it.

    Attributes:
        mode: ``freeze`` trains nothing of the tower, ``lora`` low-rank additions to its attention, ``adapter`` a new
            decoder on what it has (compact models only), ``full`` all of it.
        rank: Rank of the additions.
        alpha: Numerator of the scale of the additions, which is alpha / rank.
        dropout: Dropout before the additions in training, 0 to below 1.
        last_blocks: Number of blocks, counted from the last, that learn (``lora`` and ``full``); None for all.
        checkpointing: Compute activations again in the backward pass: slower, with less memory.

    Raises:
        ConfigError: For values that mean nothing.
    """

    mode: FineTuningMode = "freeze"
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    last_blocks: int | None = None
    checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.mode not in get_args(FineTuningMode):
            raise ConfigError(
                f"the fine-tuning mode {self.mode!r}", expected=" or ".join(map(repr, get_args(FineTuningMode)))
            )
        if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise ConfigError(
                f"LoRA of rank {self.rank}, alpha {self.alpha}, dropout {self.dropout}",
                expected="a rank of at least 1, a positive alpha, a dropout from 0 to below 1",
            )
        if self.last_blocks is not None and self.last_blocks < 1:
            raise ConfigError(f"the last {self.last_blocks} blocks", expected="at least 1, or none given for all")


def prepare_finetuning(tower: Tower, how: FineTuning | FineTuningMode) -> list[nn.Parameter]:
    """Makes exactly the wanted weights of a tower learn.

    ``encode`` and ``embed`` stay without gradients; training goes through ``patch_tokens``, ``embed_slabs`` and
    ``tokens``. After LoRA, ``merge_lora`` adds what was learnt to the weights.

    Args:
        tower: Tower, changed in place.
        how: Configuration, or only its mode.

    Returns:
        The parameters for the optimiser; empty for ``freeze``.

    Raises:
        ConfigError: LoRA was added before, or there are too few blocks.
        MissingExtraError: peft is not installed.
    """
    how = how if isinstance(how, FineTuning) else FineTuning(how)
    net = tower.net
    if how.mode == "adapter":
        raise ConfigError("an adapter of a TIPS tower", expected="'freeze', 'lora' or 'full'", remedy="use 'lora'")
    if has_lora(net):
        raise ConfigError("the tower has LoRA layers already", remedy="call merge_lora first")
    blocks = blocks_of(net)
    chosen = range(len(blocks) - (len(blocks) if how.last_blocks is None else how.last_blocks), len(blocks))
    if chosen.start < 0:
        raise ConfigError(f"the last {how.last_blocks} blocks of {len(blocks)}", expected=f"at most {len(blocks)}")
    net.requires_grad_(False)
    if how.mode == "full":
        if how.last_blocks is None:
            net.requires_grad_(True)
        else:
            for part in (*(blocks[n] for n in chosen), _final_norm(net)):
                part.requires_grad_(True)
    elif how.mode == "lora":
        library = peft()
        names = [
            name
            for name, module in net.named_modules()
            if isinstance(module, nn.Linear) and name.rsplit(".", 1)[-1] in _PROJECTIONS and _block_of(name) in chosen
        ]
        config = library.LoraConfig(r=how.rank, lora_alpha=how.alpha, lora_dropout=how.dropout, target_modules=names)
        library.inject_adapter_in_model(config, net)
    if how.checkpointing and how.mode != "freeze":
        # Without reentry, for the blocks' input may need no gradient itself.
        net.activation_checkpointing_enable({"use_reentrant": False})
    return [parameter for parameter in net.parameters() if parameter.requires_grad]


def merge_lora(tower: Tower) -> None:
    """Adds what LoRA learnt to the weights, and leaves a plain tower; nothing happens to a plain one."""
    from_peft = peft().tuners.lora.LoraLayer if has_lora(tower.net) else None
    if from_peft is None:
        return
    adapters: list[tuple[str, Any]] = [
        (name, module) for name, module in tower.net.named_modules() if isinstance(module, from_peft)
    ]
    for name, adapter in adapters:
        adapter.merge(safe_merge=True)
        parent, _, child = name.rpartition(".")
        setattr(tower.net.get_submodule(parent), child, adapter.get_base_layer())
    tower.net.requires_grad_(False)


def has_lora(net: nn.Module) -> bool:
    """Whether LoRA layers stand beside the weights."""
    return any("lora_" in name for name, _ in net.named_parameters())


def count(parameters: Iterable[nn.Parameter]) -> int:
    """Total number of values in all of them."""
    return sum(parameter.numel() for parameter in parameters)


def blocks_of(net: nn.Module) -> nn.ModuleList:
    """The transformer blocks of either tower's network."""
    encoder = net.get_submodule("encoder")
    blocks = getattr(encoder, "layer", None) or getattr(encoder, "layers", None)
    if not isinstance(blocks, nn.ModuleList):
        raise TypeError("not a tower of transformers' TIPSv2")
    return blocks


def _final_norm(net: nn.Module) -> nn.Module:
    return net.get_submodule("layernorm" if hasattr(net, "layernorm") else "final_layer_norm")


def _block_of(name: str) -> int:
    """The number of the block in ``encoder.layer.3.attention.q_proj``; -1 outside the blocks."""
    parts = name.split(".")
    return int(parts[2]) if parts[0] == "encoder" and len(parts) > 2 and parts[2].isdecimal() else -1
