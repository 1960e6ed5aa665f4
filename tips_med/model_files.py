"""The files of a compact model: weights with sizes, words and card, and what lies beside them in a folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tips_med.adapter import Adapter
from tips_med.alignment import AlignmentHead
from tips_med.card import ModelCard
from tips_med.encoders.compact import CompactNet
from tips_med.encoders.compact_text import CompactTextNet
from tips_med.errors import OutputError, WeightsError
from tips_med.folders import whole_file
from tips_med.net import dict_of_config
from tips_med.query import Lexicon

FORMAT = "tips_med-compact-1"
CONFIG, WEIGHTS, LEXICON, README = "config.json", "model.safetensors", "lexicon.yaml", "README.md"
"""The files of a model's folder."""


def save_model(
    path: Path,
    image: CompactNet,
    text: CompactTextNet,
    head: AlignmentHead,
    card: ModelCard,
    adapters: Sequence[Adapter] = (),
) -> None:
    """Writes networks in half precision, with their sizes, words and card in the file's metadata.

    Raises:
        OutputError: It cannot be written there; an existing file is unchanged.
    """
    metadata = {
        "format": FORMAT,
        "image": json.dumps(dict_of_config(image.config)),
        "text": json.dumps(dict_of_config(text.config)),
        "card": json.dumps(dataclasses.asdict(card)),
    }
    if adapters:
        metadata["adapters"] = json.dumps([dict_of_config(one.config) for one in adapters])
    try:
        with whole_file(path) as partial:
            save_file(half_tensors(image, text, head, adapters), partial, metadata)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot be written ({error})", path=path, remedy="make room and run it again") from error


def half_tensors(
    image: CompactNet, text: CompactTextNet, head: AlignmentHead, adapters: Sequence[Adapter] = ()
) -> dict[str, Tensor]:
    """The tensors of a model's file by name, in half precision on the CPU."""
    tensors: dict[str, Tensor] = {}
    named = [(f"adapters.{n}", adapter) for n, adapter in enumerate(adapters)]
    for part, net in (("image", image), ("text", text), ("head", head), *named):
        tensors |= {
            f"{part}.{key}": value.detach().cpu().half().contiguous() for key, value in net.state_dict().items()
        }
    return tensors


def read_tensors(file: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file, in float32.

    Raises:
        WeightsError: It cannot be read.
    """
    try:
        with safe_open(file, framework="pt") as stored:
            tensors = {key: stored.get_tensor(key).float() for key in stored.keys()}  # noqa: SIM118 (not a dict)
            return stored.metadata() or {}, tensors
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"not a readable safetensors file ({error})", path=file) from error


def read_config(folder: Path) -> dict[str, Any]:
    """What ``config.json`` of a model's folder says; see ``config_of_model``.

    Raises:
        WeightsError: ``missing-weights`` where it or the weights are missing; ``format`` where it is something else's.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise WeightsError(
                f"holds no {name}",
                path=folder,
                expected=f"a folder with {CONFIG}, {WEIGHTS} and {LEXICON}",
                remedy="write one with save_pretrained",
                code="missing-weights",
            )
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        kind = config["library_name"], config["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            "is not the configuration of a tips_med model", path=folder / CONFIG, code="format"
        ) from error
    if kind != ("tips_med", FORMAT):
        raise WeightsError(
            f"a model of {kind[0]}, format {kind[1]}",
            path=folder / CONFIG,
            expected=f"tips_med, {FORMAT}",
            code="format",
        )
    return config


def lexicon_text(lexicon: Lexicon) -> str:
    """The YAML of a model's lexicon, to travel with it.

    Raises:
        OutputError: Its lexicon was made in Python and has no YAML.
    """
    if not lexicon.text:
        raise OutputError(
            f"the lexicon {lexicon.name!r} has no YAML",
            expected="a lexicon that was loaded from a file",
            remedy="write it as YAML, and load it with Lexicon.load",
        )
    return lexicon.text


def read_lexicon(path: Path, card: ModelCard, vocabulary: tuple[str, ...]) -> Lexicon:
    """The lexicon that lies beside weights, if it is theirs.

    Args:
        path: Path of ``lexicon.yaml``.
        card: Card of the model, whose terms the lexicon has to know.
        vocabulary: Vocabulary of the text tower, which has to hold the usual words of the model's terms.

    Raises:
        WeightsError: ``missing-weights`` when it is missing; ``other-model`` when it is another model's.
        ConfigError: It is no lexicon.
    """
    if not path.is_file():
        raise WeightsError(
            "no such file",
            path=path,
            expected="the lexicon of the model beside it",
            remedy="keep the folder together as it was written",
            code="missing-weights",
        )
    lexicon = Lexicon.load(path)
    terms = {term.id for term in lexicon.terms}
    lacking = [term for term in (*card.findings, *card.structures) if term not in terms]
    # A later lexicon knows more words; those that this model's terms are asked in have to be its own.
    asked = (lexicon.term(term).forms[0].words for term in (*card.findings, *card.structures) if term in terms)
    unknown = sorted({word for words in asked for word in words} - set(vocabulary))
    if lacking or unknown:
        found = f"does not know {lacking[0]!r}" if lacking else f"has the word {unknown[0]!r}, which the model has not"
        raise WeightsError(
            f"the lexicon {found}",
            path=path,
            expected=f"the one that the model {card.name!r} was trained with",
            remedy="keep the folder together as it was written",
            code="other-model",
        )
    return lexicon
