"""Models by name: the shipped one, a file of weights, a folder, the hub, or TIPS towers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError  # what torch.load raises, too; nothing is unpickled here
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tips_med.alignment import AlignmentHead
from tips_med.card import ModelCard, OperatingPointName, card_from_dict
from tips_med.encoders.compact import CompactImageTower
from tips_med.encoders.compact_text import CompactTextTower
from tips_med.errors import ConfigError, OutputError, WeightsError
from tips_med.folders import whole_folder
from tips_med.model import HUB, GroundingModel, load_model, model_of_net
from tips_med.model_files import CONFIG, LEXICON, read_lexicon, save_model
from tips_med.net import GroundingNet, slab_spec_from_dict
from tips_med.plugins import load_plugin, plugin_names
from tips_med.query import load_lexicon

if TYPE_CHECKING:
    from tips_med.encoders.tips import TipsTowers

log = logging.getLogger(__name__)
TIPS = "tips:"
MODELS, STATE_DICT = "models", "model.pt"
"""Where a MONAI bundle has its weights."""
TUNED = "alignment.safetensors"
"""File beside the towers of a fine-tuned TIPS model: its head, card, and input format of scans and phrases."""
FORMAT = "tips_med-tips-1"


def open_model(name: str | None = None, device: str = "auto") -> GroundingModel:
    """Opens a model.

    Args:
        name: None for the shipped weights, the path of a ``.safetensors`` file or of a folder that training or
            ``save_pretrained`` wrote, a MONAI bundle, ``hf://owner/name`` for one on the Hugging Face hub, or
            ``tips:FOLDER`` for published TIPS towers (``tips:hf://owner/name`` downloads them), used zero-shot; or
            ``NAME:ARGUMENT`` for what an installed package adds as NAME to the entry points ``tips_med.encoders``: a
            function of the argument and the ``torch.device`` that gives a ``GroundingModel``.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        WeightsError: The weights are missing, damaged, or of another kind.
        ConfigError: The device is not there, or an extra is missing.
    """
    on = pick_device(device)
    prefix, _, argument = (name or "").partition(":")
    if prefix in plugin_names("encoders"):
        return load_plugin("encoders", prefix)(argument, on)
    if name is not None and (Path(name) / MODELS / CONFIG).is_file():
        return _load_bundle(Path(name) / MODELS, on)
    if name is not None and (name.startswith(HUB) or _is_pretrained(Path(name))):
        return GroundingModel.from_pretrained(name, device=on)
    if name is None or not (name.startswith(TIPS) or Path(name).is_dir()):
        return load_model(Path(name) if name else None, on)
    from tips_med.encoders.tips import load_tips, zero_shot_head

    place = name.removeprefix(TIPS)
    if (Path(place) / TUNED).is_file():
        return _load_tuned_tips(Path(place), on)
    towers = load_tips(place, device=on)
    contrast = towers.text.embed(["normal tissue"])[0]
    head = zero_shot_head(contrast.pooled.shape[-1], towers.temperature, contrast)
    # Nothing is known of what these towers can find, so nothing is refused, and nothing is calibrated.
    card = ModelCard(towers.image.name, findings=(), structures=(), licence="as in the card of the weights")
    return GroundingModel(towers.image, towers.text, head, card, towers.weights_sha256)


def open_model_at(name: str | None, operating_point: OperatingPointName, device: str = "auto") -> GroundingModel:
    """Opens a model with the thresholds of an operating point; here or in a worker. See ``open_model``.

    Raises:
        ConfigError: No calibration of it has that point.
    """
    return open_model(name, device).at(operating_point)


def save_tuned_tips(folder: Path, towers: TipsTowers, head: AlignmentHead, card: ModelCard) -> Path:
    """Writes fine-tuned TIPS towers with their head and card, as a folder for ``--model``, whole or not at all.

    The towers are written as the hub lays them out, so that transformers reads them, too. LoRA must have been merged.

    Args:
        folder: Folder to write; an earlier model of this kind in it is replaced.
        towers: Fine-tuned towers.
        head: Alignment head that was trained with them.
        card: Card of the model.

    Raises:
        OutputError: It cannot be written there, or the folder holds something else.
        WeightsError: ``unmerged-lora``.
    """
    from tips_med.encoders.tips import save_tips

    if folder.exists() and not (folder / TUNED).is_file():
        raise OutputError("it holds something else", path=folder, expected="a new folder, or a fine-tuned model")
    patch = towers.image.patch
    metadata = {
        "format": FORMAT,
        "card": json.dumps(dataclasses.asdict(card)),
        "mode": towers.image.mode,
        "image": json.dumps(
            {
                "slab_spec": dataclasses.asdict(towers.image.slab_spec),
                "modalities": towers.image.modalities,
                "window_px": towers.image.side * patch,
                "stride_px": towers.image.stride * patch,
            }
        ),
        "text": json.dumps({"templates": towers.text.templates}),
    }
    try:
        with whole_folder(folder) as partial:
            save_tips(towers, partial)
            metadata["towers_sha256"] = _towers_sha256(partial)
            save_file(
                {key: value.detach().cpu().contiguous() for key, value in head.state_dict().items()},
                partial / TUNED,
                metadata,
            )
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot be written ({error})", path=folder, remedy="make room and run it again") from error
    return folder


def save_with_card(model: GroundingModel, name: str, card: ModelCard, out: Path) -> Path:
    """Writes a model again, with the same weights and another card.

    Args:
        model: Model from ``open_model``.
        name: Name that it was opened with.
        card: The new card.
        out: Path of a ``.safetensors`` file for a compact model, or of a folder that also holds its lexicon; of a
            folder for TIPS towers.

    Returns:
        ``out``.

    Raises:
        OutputError: It cannot be written there.
    """
    if isinstance(model.image, CompactImageTower) and isinstance(model.text, CompactTextTower):
        if out.suffix != ".safetensors":
            return replace(model, card=card).save_pretrained(out)
        if has_own_lexicon(model):
            raise OutputError(
                f"a file has no place for the lexicon {model.lexicon.name!r} that came with this model",
                path=out,
                expected="a folder to write",
                remedy="give a name without .safetensors",
            )
        save_model(out, model.image.net, model.text.net, model.head, card, model.adapters)
        return out
    from tips_med.encoders.tips import load_tips

    place = Path(name.removeprefix(TIPS))
    if (place / TUNED).is_file():
        towers = load_tips(place, mode=getattr(model.image, "mode", "value"))
        towers = replace(towers, image=model.image, text=model.text)
    else:
        towers = load_tips(name.removeprefix(TIPS))
    return save_tuned_tips(out, towers, model.head, card)


def model_of_bundle(net: GroundingNet, models: Path) -> GroundingModel:
    """A model around networks of a MONAI bundle.

    A bundle's weights are for others to train. The calibrations are those of the weights that were exported: once
    others are in the network, findings have none any more, and their answers are scores.

    Args:
        net: With its weights, on the device to run on.
        models: The bundle's folder ``models``, with config.json and lexicon.yaml.

    Raises:
        WeightsError: A file is missing, or is another model's.
    """
    file = models / CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        card, fingerprint, sha256 = card_from_dict(config["card"]), config["fingerprint"], config["weights_sha256"]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            "is not the configuration of a tips_med bundle", path=file, remedy="export the bundle again", code="format"
        ) from error
    lexicon = read_lexicon(models / LEXICON, card, net.vocabulary)
    found = net.fingerprint()
    if found == fingerprint:
        return model_of_net(net, card, sha256, lexicon)
    log.warning("these weights are not those that were exported: their findings are not calibrated")
    return model_of_net(net, card.after_training(), found, lexicon)


def _load_bundle(models: Path, device: torch.device) -> GroundingModel:
    file = models / STATE_DICT
    try:
        config = json.loads((models / CONFIG).read_text(encoding="utf-8"))
        net = GroundingNet(config["image"], config["text"])
        net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except FileNotFoundError as error:
        raise WeightsError("no such file", path=file, code="missing-weights") from error
    except (OSError, EOFError, KeyError, TypeError, ValueError, RuntimeError, UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"is not the state dict of this bundle ({reason[:120]})", path=file) from error
    return model_of_bundle(net.to(device), models)


def has_own_lexicon(model: GroundingModel) -> bool:
    """Whether a model brought a lexicon of which no copy is installed."""
    if model.language is None:
        return False
    try:
        return load_lexicon(model.card.lexicon).text != model.language.text
    except ConfigError:
        return True


def _is_pretrained(folder: Path) -> bool:
    """Whether a folder is one that ``save_pretrained`` wrote; TIPS towers have a config.json, too."""
    try:
        return json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("library_name") == "tips_med"
    except (OSError, ValueError, AttributeError):
        return False


def _towers_sha256(folder: Path) -> str:
    from tips_med.encoders.tips.weights import hash_of, weights_files

    return hash_of(weights_files(folder))


def _load_tuned_tips(folder: Path, device: torch.device) -> GroundingModel:
    from tips_med.encoders.tips import load_tips

    file = folder / TUNED
    try:
        with safe_open(file, framework="pt") as stored:
            metadata: dict[str, str] = stored.metadata() or {}
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"not a readable safetensors file ({error})", path=file) from error
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"a head of format {metadata.get('format', 'unknown')!r}", path=file, expected=repr(FORMAT), code="format"
        )
    try:
        image: dict[str, Any] = json.loads(metadata["image"])
        image |= {"slab_spec": slab_spec_from_dict(image["slab_spec"]), "modalities": tuple(image["modalities"])}
        text = {"templates": tuple(json.loads(metadata["text"])["templates"])}
        card, mode, sha256 = card_from_dict(json.loads(metadata["card"])), metadata["mode"], metadata["towers_sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"its metadata is not understood ({error})", path=file, code="format") from error
    towers = load_tips(folder, mode="final" if mode == "final" else "value", device=device, image=image, text=text)
    if towers.weights_sha256 != sha256:
        raise WeightsError(
            f"a head that was trained with towers {sha256[:12]}",
            path=file,
            expected=f"that of the towers beside it, {towers.weights_sha256[:12]}",
            remedy="keep the folder together as training wrote it",
            code="other-model",
        )
    head = AlignmentHead(towers.image.width, towers.image.width, 1)
    try:
        head.load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsError("its tensors are not those of the head", path=file, code="other-model") from error
    digest = hashlib.sha256((towers.weights_sha256 + hashlib.sha256(file.read_bytes()).hexdigest()).encode())
    return GroundingModel(towers.image, towers.text, head.eval(), card, digest.hexdigest())


def pick_device(device: str = "auto") -> torch.device:
    """The device to run on.

    Raises:
        ConfigError: ``cuda`` was requested and is not available, or the name is none of the three.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "no CUDA device is usable here", expected="a GPU for --device cuda", remedy="use --device cpu"
        )
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"no device {device!r}", expected="auto, cpu or cuda")
    return torch.device(device)
