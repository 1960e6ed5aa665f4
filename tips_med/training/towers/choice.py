"""The one place that knows which model learns in which way."""

from __future__ import annotations

from collections.abc import Sequence

from tips_med.encoders.compact import CompactImageTower
from tips_med.encoders.compact_text import CompactTextTower
from tips_med.encoders.tips import TipsEncoder, TipsTextTower
from tips_med.errors import ConfigError
from tips_med.model import GroundingModel
from tips_med.query import Lexicon
from tips_med.training.towers.adapter import TrainableAdapter
from tips_med.training.towers.base import TrainableTowers, Tuning
from tips_med.training.towers.compact import TrainableCompact
from tips_med.training.towers.tips import TrainableTips


def trainable_towers(
    model: GroundingModel,
    lexicon: Lexicon,
    tuning: Tuning | None = None,
    checkpointing: bool = False,
    phrases: Sequence[str] = (),
) -> TrainableTowers:
    """A model's towers, made to learn. Towers of your own: subclass TrainableTowers and give them to FinetuneTask.

    Args:
        model: Model to start from. Compact networks are copied; TIPS towers learn in place, since they may be large.
        lexicon: Lexicon of the phrases.
        tuning: Modes of the towers; the head always learns.
        checkpointing: Compute activations again in the backward pass: slower, with less memory.
        phrases: Usual words of what is taught. With these, compact models learn an adapter unless ``tuning`` sets
            another mode of the image tower.

    Raises:
        ConfigError: The towers are of neither kind, or cannot be tuned that way.
    """
    image, text = model.image, model.text
    if isinstance(image, CompactImageTower) and isinstance(text, CompactTextTower):
        how = tuning.image if tuning is not None else None
        if (how is None and phrases) or (how is not None and how.mode == "adapter"):
            checkpointing = checkpointing or (how is not None and how.checkpointing)
            return TrainableAdapter(model, phrases, lexicon.vocabulary, checkpointing)
        if model.adapters:
            raise ConfigError(
                f"the model {model.card.name!r} has adapters, which all of it cannot learn with",
                expected="the mode 'adapter'",
                remedy="leave out --tuning, or start from the model that it was made from",
            )
        return TrainableCompact(image, text, model.head, lexicon.vocabulary, tuning, checkpointing, model.language)
    if isinstance(image, TipsEncoder) and isinstance(text, TipsTextTower):
        return TrainableTips(image, text, model.head, tuning, checkpointing)
    raise ConfigError(
        f"nothing is known of how {type(image).__name__} and {type(text).__name__} learn",
        expected="a compact model or TIPS towers",
        remedy="give FinetuneTask a TrainableTowers of your own, in Python",
    )
