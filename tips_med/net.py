"""Both networks and the head as one plain ``nn.Module``: slabs in, a map for each phrase out.

It is what other frameworks train, export and check: it knows nothing of files, patients, lexicons or calibrations.
Answers are made from its features by ``tips_med.ground``.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tips_med.adapter import Adapter, AdapterConfig, adapter_config_from_dict, adapter_of
from tips_med.alignment import AlignmentHead
from tips_med.encoders.compact import DEPTH, CompactConfig, CompactNet
from tips_med.encoders.compact_decoder import CompactDecoder
from tips_med.encoders.compact_text import CompactTextConfig, CompactTextNet
from tips_med.errors import ConfigError
from tips_med.slabs import SlabSpec


class GroundingNet(nn.Module):
    """The compact image network, the word network and the head that scores one against the other.

    Args:
        image: Sizes of the image network, or the same as ``dict_of_config`` gives it.
        text: Sizes of the word network and its vocabulary, likewise.
        phrases: What is looked for when ``forward`` is told nothing else, in words of the vocabulary; one channel of
            the output each.
        adapters: Sizes of what was taught later, likewise.

    Attributes:
        image: The image network.
        text: The word network.
        head: The alignment head.
        adapters: What was taught later, each an ``Adapter``.
        phrases: As given.

    Raises:
        ConfigError: The sizes do not fit.
        QueryError: A phrase has words that the vocabulary lacks.
    """

    def __init__(
        self,
        image: CompactConfig | Mapping[str, Any],
        text: CompactTextConfig | Mapping[str, Any],
        phrases: Sequence[str] = (),
        adapters: Sequence[AdapterConfig | Mapping[str, Any]] = (),
    ) -> None:
        super().__init__()
        try:
            further = [one if isinstance(one, AdapterConfig) else adapter_config_from_dict(one) for one in adapters]
            image = image if isinstance(image, CompactConfig) else image_config_from_dict(image)
            text = text if isinstance(text, CompactTextConfig) else text_config_from_dict(text)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"these sizes are not understood ({error})", expected="those of a compact model"
            ) from error
        self.image, self.text = CompactNet(image), CompactTextNet(text)
        self.head = AlignmentHead(text.width, image.patch_width, image.fine_width)
        self.adapters = nn.ModuleList(Adapter(image, one) for one in further)
        self.phrases = tuple(phrases)
        self.image.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        # Not of the state dict: what is asked by default is no weight.
        asked = self.indices(self.phrases) if self.phrases else torch.zeros(0, 1, dtype=torch.int64)
        self.register_buffer("asked", asked, persistent=False)
        self.asked: Tensor

    def forward(self, pixels: Tensor, offset_mm: Tensor | None = None, words: Tensor | None = None) -> Tensor:
        """Logits of every phrase at every cell; a sigmoid makes scores of them, which no calibration has seen.

        Args:
            pixels: Slabs as ``tips_med.transforms.MakeSlabs`` makes them, [batch channel slab y x] in 0 to 1: slabs to
                the head, y to the back, x to the patient's left; y and x are multiples of 16.
            offset_mm: Where the centre of the first pixel lies from the middle of the body, [batch 2] as (y, x) in
                mm; without it, the middle of the image is taken for the middle of the body.
            words: Word indices from ``indices``, [phrase word] for all images or [batch phrase word]; those of
                ``phrases`` when None.

        Returns:
            Logits, [batch phrase slab y x].

        Raises:
            ConfigError: ``crop-shape`` for pixels of another shape.
        """
        config = self.image.config
        channels, (rows, columns) = config.slabs.channels, pixels.shape[-2:]
        if pixels.ndim != 5 or pixels.shape[1] != channels or rows % DEPTH or columns % DEPTH:
            raise ConfigError(
                f"pixels of the shape {tuple(pixels.shape)}",
                expected=f"[batch {channels} slab y x], with y and x that are multiples of {DEPTH}",
                remedy="make slabs with tips_med.transforms.MakeSlabs, and pad them with 0",
                code="crop-shape",
            )
        if offset_mm is None:
            _, row_mm, column_mm = config.slabs.spacing_mm
            middle = pixels.new_tensor([-(rows - 1) / 2 * row_mm, -(columns - 1) / 2 * column_mm])
            offset_mm = middle.expand(len(pixels), 2)
        asked = self.asked if words is None else words
        asked = asked if asked.ndim == 3 else asked.expand(len(pixels), -1, -1)
        levels = self.image.descend(pixels.transpose(1, 2).flatten(0, 1))
        logits = self._scores(self.image, self.text, self.head, levels, offset_mm, asked)
        if not self.adapters:
            return logits
        routes = self._routes(asked)
        for number, adapter in enumerate(self.taught, start=1):
            if (routes == number).any():
                its = self._scores(adapter.decoder, adapter.text, adapter.head, levels, offset_mm, asked)
                logits = torch.where((routes == number)[..., None, None, None], its, logits)
        return logits

    def _scores(
        self,
        decoder: CompactDecoder,
        text: CompactTextNet,
        head: AlignmentHead,
        levels: list[Tensor],
        offset_mm: Tensor,
        asked: Tensor,
    ) -> Tensor:
        """Logits of every phrase by one decoder, [batch phrase slab y x]."""
        crops = len(offset_mm)
        deep = decoder.attend(levels[-1].unflatten(0, (crops, -1)), offset_mm)
        patches, fine = (one.unflatten(0, (crops, -1)) for one in decoder.ascend(deep.flatten(0, 1), levels[:-1]))
        words = asked.flatten(0, 1)
        # A word that only an adapter knows is of no phrase that this network answers.
        _, pooled = text(words.masked_fill(words > len(text.config.vocabulary), 0))
        return head.fine_scores(pooled.unflatten(0, asked.shape[:2]), patches, fine)

    def _routes(self, asked: Tensor) -> Tensor:
        """Number of the adapter that answers each phrase, [batch phrase]; 0 for none."""
        vocabulary = ("", *self.vocabulary)
        rows = [[vocabulary[n] for n in row if n] for row in asked.flatten(0, 1).tolist()]
        routes = [self.route(words) for words in rows]
        return torch.tensor(routes, device=asked.device).view(asked.shape[:2])

    def route(self, words: Sequence[str]) -> int:
        """Number of the adapter that answers a phrase of these words, from 1; 0 for none."""
        return adapter_of(words, [adapter.config.phrases for adapter in self.taught])

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """All words; each adapter has those before it at the same indices, and further ones."""
        return self._widest.config.vocabulary

    @property
    def _widest(self) -> CompactTextNet:
        """The word network that knows all words."""
        return self.taught[-1].text if self.adapters else self.text

    @property
    def taught(self) -> tuple[Adapter, ...]:
        """The adapters, for readers and type checkers."""
        found: Any = tuple(self.adapters)
        return found

    def indices(self, phrases: Sequence[str]) -> Tensor:
        """Word indices of phrases, [phrase word], for ``forward``.

        Raises:
            QueryError: A word that is not in the vocabulary, or too many of them.
        """
        return self._widest.indices(phrases)

    def fingerprint(self) -> str:
        """Sha256 of the weights in half precision, whatever file they come from: others have another one."""
        digest = hashlib.sha256()
        for key, value in sorted(self.state_dict().items()):
            digest.update(key.encode() + value.detach().cpu().half().contiguous().numpy().tobytes())
        return digest.hexdigest()


def dict_of_config(config: CompactConfig | CompactTextConfig | AdapterConfig) -> dict[str, Any]:
    """A configuration in JSON's own types."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        return [plain(one) for one in value] if isinstance(value, tuple | list) else value

    return plain(dataclasses.asdict(config))


def image_config_from_dict(raw: Mapping[str, Any]) -> CompactConfig:
    """Sizes of the image network from JSON."""
    sizes: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
    return CompactConfig(**{**sizes, "slabs": slab_spec_from_dict(raw["slabs"])})


def text_config_from_dict(raw: Mapping[str, Any]) -> CompactTextConfig:
    """Sizes of the word network, and its words, from JSON."""
    return CompactTextConfig(**{**raw, "vocabulary": tuple(raw["vocabulary"])})


def slab_spec_from_dict(raw: Mapping[str, Any]) -> SlabSpec:
    """Slabs from JSON."""
    windows = tuple((low, high) for low, high in raw["windows_hu"])
    slab, row, column = raw["spacing_mm"]
    return SlabSpec(**{**raw, "windows_hu": windows, "spacing_mm": (slab, row, column)})
