"""Models by name: the shipped one, a file of weights, or a folder of TIPS towers."""

from __future__ import annotations

from pathlib import Path

import torch

from tips_med.errors import ConfigError
from tips_med.model import GroundingModel, ModelCard, load_model

TIPS = "tips:"


def open_model(name: str | None = None, device: str = "auto") -> GroundingModel:
    """Opens a model.

    Args:
        name: None for the shipped weights, the path of a ``.safetensors`` file that training wrote, or
            ``tips:FOLDER`` for published TIPS towers (``tips:hf://owner/name`` downloads them), asked zero-shot.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        WeightsError: The weights are missing, damaged, or of another kind.
        ConfigError: The device is not there, or an extra is missing.
    """
    on = pick_device(device)
    if name is None or not name.startswith(TIPS):
        return load_model(Path(name) if name else None, on)
    from tips_med.encoders.tips import load_tips, zero_shot_head

    towers = load_tips(name[len(TIPS) :], device=on)
    contrast = towers.text.embed(["normal tissue"])[0]
    head = zero_shot_head(contrast.pooled.shape[-1], towers.temperature, contrast)
    # Nothing is known of what these towers can find, so nothing is refused, and nothing is calibrated.
    card = ModelCard(towers.image.name, findings=(), structures=(), licence="as the card of the weights says")
    return GroundingModel(towers.image, towers.text, head, card, towers.weights_sha256)


def pick_device(device: str = "auto") -> torch.device:
    """The device to run on.

    Raises:
        ConfigError: ``cuda`` was asked for and is not there, or the name is none of the three.
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
