"""What a compact model was taught later, beside what it knew: a decoder of its own on the same convolutions.

The convolutions, the decoder, the words and the head that were there before are not touched, so that every answer that
they give stays what it was, bit for bit, and so does its calibration. This is what adapters are for (Rebuffi 2017,
"Learning multiple visual domains with residual adapters"; Zhang 2020, "Side-tuning"), here with the whole decoder as
the part that is added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from tips_med.alignment import AlignmentHead
from tips_med.encoders.compact_decoder import CompactConfig, CompactDecoder
from tips_med.encoders.compact_text import CompactTextConfig, CompactTextNet


@dataclass(frozen=True)
class AdapterConfig:
    """Sizes of an adapter, and what it answers.

    Attributes:
        phrases: The usual words of the terms that it was taught; a phrase that holds all words of one of them is its.
        text: Sizes of its word network, and its words: those of the model, and new ones after them.
    """

    phrases: tuple[str, ...]
    text: CompactTextConfig


class Adapter(nn.Module):
    """A decoder, a word network and a head.

    Args:
        image: Sizes of the image network that it belongs to.
        config: Its own sizes.
    """

    def __init__(self, image: CompactConfig, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        self.decoder = CompactDecoder(image)
        self.text = CompactTextNet(config.text)
        self.head = AlignmentHead(config.text.width, image.patch_width, image.fine_width)


def adapter_of(words: Sequence[str], taught: Sequence[Sequence[str]]) -> int:
    """Number of the adapter that answers a phrase, from 1; 0 for what the model knew before.

    The last one that was taught it answers.

    Args:
        words: Words of the phrase.
        taught: Phrases of each adapter.
    """
    typed = set(words)
    for number in range(len(taught), 0, -1):
        if any(typed.issuperset(phrase.split()) for phrase in taught[number - 1]):
            return number
    return 0


def adapter_config_from_dict(raw: Mapping[str, Any]) -> AdapterConfig:
    """The sizes of an adapter from JSON."""
    text = {**raw["text"], "vocabulary": tuple(raw["text"]["vocabulary"])}
    return AdapterConfig(tuple(raw["phrases"]), CompactTextConfig(**text))
