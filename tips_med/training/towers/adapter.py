"""An adapter of a compact model, learning; everything that the model knew stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from tips_med.adapter import Adapter, AdapterConfig, adapter_of
from tips_med.card import ModelCard
from tips_med.errors import ConfigError
from tips_med.model import GroundingModel, model_of_net, net_of_model
from tips_med.model_files import save_model
from tips_med.net import GroundingNet
from tips_med.training.towers.base import TrainableTowers
from tips_med.training.towers.compact import check_compact_shape, with_words


class TrainableAdapter(TrainableTowers):
    """A decoder, words and a head that learn on the frozen convolutions of a compact model; see TrainableTowers.

    It starts as a copy of the decoder that answered its phrases before.

    Args:
        model: Compact model to teach.
        phrases: Usual words of the terms that are taught; see ``AdapterConfig``.
        vocabulary: Words of the phrases; words that the model lacks are added to the adapter's.
        checkpointing: Compute activations again in the backward pass: slower, with less memory.

    Raises:
        ConfigError: Nothing is taught.
        WeightsError: The model is no compact one.
    """

    keeps = True

    def __init__(
        self, model: GroundingModel, phrases: Sequence[str], vocabulary: Sequence[str] = (), checkpointing: bool = False
    ) -> None:
        super().__init__()
        if not phrases:
            raise ConfigError(
                "an adapter that is taught nothing",
                expected="phrases, or a manifest with rows that mark something present",
                remedy="give FinetuneTask.from_model the phrases of ManifestData",
            )
        net = net_of_model(model)
        taught = [one.config.phrases for one in net.taught]
        source = max(adapter_of(phrase.split(), taught) for phrase in phrases)
        before = net.taught[source - 1] if source else net
        text = with_words(before.text, (*net.vocabulary, *vocabulary))
        self.adapter = Adapter(net.image.config, AdapterConfig(tuple(dict.fromkeys(phrases)), text.config))
        decoder = before.decoder if isinstance(before, Adapter) else before.image
        own = self.adapter.decoder.state_dict()
        self.adapter.decoder.load_state_dict({key: decoder.state_dict()[key] for key in own})
        self.adapter.text.load_state_dict(text.state_dict())
        self.adapter.head.load_state_dict(before.head.state_dict())
        self.adapter.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.adapter.decoder.checkpointing = checkpointing
        self.convolutions = net.requires_grad_(False).image
        self.head, self.patch_width = self.adapter.head, net.image.config.patch_width
        every = [*net.taught, self.adapter]
        taught = [one.config.phrases for one in every]
        kept = [
            one
            for number, one in enumerate(every, start=1)
            if any(adapter_of(phrase.split(), taught) == number for phrase in one.config.phrases)
        ]
        whole = GroundingNet(net.image.config, net.text.config, adapters=[one.config for one in kept])
        whole.image, whole.text, whole.head = self.convolutions, net.text, net.head
        whole.adapters = nn.ModuleList(kept)
        # In a tuple, for what is not taught is no parameter of this module.
        self._whole, self._language = (whole,), model.language
        self.train()

    def encode_images(self, pixels: Tensor, offset_mm: Tensor) -> tuple[Tensor, Tensor]:
        """See TrainableTowers."""
        crops, decoder = len(pixels), self.adapter.decoder
        with torch.no_grad():
            *levels, deep = self.convolutions.descend(pixels.flatten(0, 1))
        tokens = decoder.attend(deep.unflatten(0, (crops, -1)), offset_mm)
        patches, fine = decoder.ascend(tokens.flatten(0, 1), levels)
        return patches.unflatten(0, (crops, -1)), fine.unflatten(0, (crops, -1))

    def encode_phrases(self, phrases: Sequence[str]) -> tuple[Tensor, Tensor]:
        """See TrainableTowers."""
        return self.adapter.text(self.adapter.text.indices(phrases).to(self.head.bias.weight.device))

    def check_shape(self, shape: tuple[int, int, int]) -> None:
        """See TrainableTowers."""
        check_compact_shape(shape)

    def layers(self) -> Sequence[nn.Module]:
        """See TrainableTowers."""
        return list(self.adapter.decoder.attention)

    def model(self, card: ModelCard) -> GroundingModel:
        """See TrainableTowers."""
        return model_of_net(self._whole[0].to(self.head.bias.weight.device), card, "", self._language)

    def save(self, out: Path, card: ModelCard) -> Path:
        """See TrainableTowers."""
        path, whole = out / "model.safetensors", self._whole[0]
        save_model(path, whole.image, whole.text, whole.head, card, whole.taught)
        return path
