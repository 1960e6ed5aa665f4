"""Loading a TIPS model from a folder, strictly, and from the hub only when it is named as such."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tips_med.encoders.tips.convert import read_tokenizer
from tips_med.encoders.tips.extra import quiet, tipsv2
from tips_med.encoders.tips.image import PatchMode, TipsEncoder
from tips_med.encoders.tips.layout import text_layout, tips_config, variant, vision_layout
from tips_med.encoders.tips.text import TipsTextTower
from tips_med.errors import OutputError, WeightsError

if TYPE_CHECKING:
    from transformers.models.tipsv2 import Tipsv2Config, Tipsv2Model

HUB = "hf://"
"""What a hub name begins with, as in ``hf://google/tipsv2-b14``; without it nothing is ever downloaded."""

_HUB_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*")


@dataclass(frozen=True, eq=False)
class TipsTowers:
    """Both towers of one model.

    Attributes:
        image: The image tower.
        text: The text tower.
        temperature: Divisor of cosines.
        weights_sha256: SHA-256 of all weights files, in the order of their names.
    """

    image: TipsEncoder
    text: TipsTextTower
    temperature: float
    weights_sha256: str


def load_tips(
    path: str | Path,
    *,
    mode: PatchMode = "value",
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
    image: dict[str, Any] | None = None,
    text: dict[str, Any] | None = None,
) -> TipsTowers:
    """Both towers of a TIPS model.

    Args:
        path: A folder as the hub lays it out (``config.json``, safetensors, tokenizer), or ``hf://owner/name`` to
            download one into the hub's cache, which is the only case in which the network is used.
        mode: Patch embeddings that the image tower returns.
        device: Device to run on.
        dtype: Dtype of the weights while running; bfloat16 halves the memory, at some loss of precision.
        revision: Commit of a hub model; pin it.
        image: Further arguments of ``TipsEncoder``.
        text: Further arguments of ``TipsTextTower``.

    Raises:
        WeightsError: For a folder that is missing, is not one of a TIPS model, or is damaged.
        ConfigError: Arguments that do not fit.
        MissingExtraError: ``tips-med[tips]`` is not installed.
    """
    tipsv2()
    folder = _download(str(path)[len(HUB) :], revision) if str(path).startswith(HUB) else Path(path)
    files = weights_files(folder)
    config = read_config(folder, files)
    model = load_towers(folder, config)
    sha256 = hash_of(files)
    tokenizer = read_tokenizer(folder, model.text_model.config.vocab_size)
    name = f"tips-{variant(model.vision_model.config.hidden_size)}-{mode}@{sha256[:8]}"
    temperature = float(model.temperature.detach())
    torch.nn.Module.to(model, torch.device(device), dtype)
    return TipsTowers(
        TipsEncoder(model.vision_model, name, mode=mode, **(image or {})),
        TipsTextTower(model.text_model, tokenizer, name, temperature, **(text or {})),
        temperature,
        sha256,
    )


def save_tips(towers: TipsTowers, folder: str | Path) -> Path:
    """Writes (fine-tuned) towers as a folder that ``load_tips`` reads; LoRA must have been merged.

    Raises:
        OutputError: When the folder holds something already, or cannot be written.
        WeightsError: ``unmerged-lora`` while LoRA layers stand beside the weights.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError("it holds something already", path=folder, expected="a new or an empty folder")
    nets = towers.image.net, towers.text.net
    if any("lora_" in key for net in nets for key in net.state_dict()):
        raise WeightsError("LoRA layers beside the weights", remedy="call merge_lora first", code="unmerged-lora")
    module = tipsv2()
    config = module.Tipsv2Config(
        vision_config=nets[0].config.to_dict(),
        text_config=nets[1].config.to_dict(),
        temperature_init_value=towers.temperature,
    )
    model = module.Tipsv2Model(config)
    model.vision_model.load_state_dict(nets[0].state_dict())
    model.text_model.load_state_dict(nets[1].state_dict())
    with torch.no_grad():
        model.temperature.fill_(towers.temperature)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with quiet():
            model.save_pretrained(folder)
        towers.text.tokenizer.save_pretrained(folder)
    except OSError as error:
        raise OutputError(f"it cannot be written ({error.strerror or error})", path=folder) from error
    return folder


def weights_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, each checked to be whole.

    Raises:
        WeightsError: When there are none, or one is missing, truncated or damaged.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        looks_like_hub = not folder.exists() and not folder.is_absolute() and len(folder.parts) == 2
        raise WeightsError(
            found,
            path=folder,
            expected="the folder of a TIPS model",
            remedy=f"write {HUB}{folder.as_posix()} to download it from the hub" if looks_like_hub else None,
            code="missing-weights",
        )
    index = folder / "model.safetensors.index.json"
    sharded = index.is_file()
    names = sorted(set(_read_json(index).get("weight_map", {}).values())) if sharded else ["model.safetensors"]
    files = [folder / name for name in names]
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        raise WeightsError(
            f"no {', '.join(missing) or 'weights'}",
            path=folder,
            expected="the folder of a TIPS model",
            remedy="turn npz checkpoints into one with convert_npz" if any(folder.glob("*.npz")) else None,
            code="missing-weights",
        )
    for file in files:
        tensor_shapes(file)
    return files


def tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a safetensors file, of which only the header is read.

    Raises:
        WeightsError: When it is truncated, or not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            return {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            "it is truncated, or not a safetensors file",
            path=file,
            expected="whole weights",
            remedy="download it again",
            code="damaged-weights",
        ) from error


def read_config(folder: Path, files: list[Path]) -> Tipsv2Config:
    """The model's configuration.

    The hub has had two kinds: that of transformers, with one part for each tower, and the authors' own, which is flat
    and which transformers would take for the variant b14. Of the latter, sizes are read off the weights.

    Raises:
        WeightsError: When it is missing, damaged, or of another model.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise WeightsError("no config.json", path=folder, expected="the folder of a TIPS model", code="missing-weights")
    found = _read_json(path)
    if found.get("model_type") != "tipsv2":
        raise WeightsError(
            f"a model of the type {found.get('model_type')!r}", path=path, expected="'tipsv2'", code="other-model"
        )
    if "vision_config" in found and "text_config" in found:
        try:
            return tipsv2().Tipsv2Config(**found)
        except Exception as error:  # huggingface_hub's checks raise classes of their own
            raise WeightsError(
                f"it cannot be understood ({str(error).splitlines()[-1].strip()})", path=path, code="damaged-weights"
            ) from error
    shapes = {key: shape for file in files for key, shape in tensor_shapes(file).items()}
    # transformers, when it saves, gives the image tower's MLP the names of the text tower's.
    vision = {
        key.replace(".mlp.c_fc.", ".mlp.fc1.").replace(".mlp.c_proj.", ".mlp.fc2."): shape
        for key, shape in _of_tower(shapes, "vision_encoder.").items()
    }
    text = _of_tower(shapes, "text_encoder.")
    temperature = found.get("temperature")
    if not isinstance(temperature, int | float):
        raise WeightsError("no temperature", path=path, expected="that of the checkpoint", code="damaged-weights")
    try:
        return tips_config(vision_layout(vision), text_layout(text, found.get("text_num_heads")), float(temperature))
    except WeightsError as error:
        error.path = folder if error.path is None else error.path
        raise


def load_towers(folder: Path, config: Tipsv2Config) -> Tipsv2Model:
    """Both towers, in float32 on the CPU, filled to the last tensor.

    Raises:
        WeightsError: ``other-model`` when tensors are missing, left over, or of another shape.
    """
    with quiet():
        try:
            model, report = tipsv2().Tipsv2Model.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # they are reported, and refused below
                output_loading_info=True,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise WeightsError("its weights cannot be read", path=folder, code="damaged-weights") from error
    # The published files hold no temperature; it is then that of the configuration.
    wrong = {
        "missing": set(report["missing_keys"]) - {"temperature"},
        "that do not belong": set(report["unexpected_keys"]),
        "of another shape": {key[0] if isinstance(key, tuple) else key for key in report["mismatched_keys"]},
    }
    if any(wrong.values()):
        found = "; ".join(f"{len(keys)} tensors {what} ({min(keys)})" for what, keys in wrong.items() if keys)
        raise WeightsError(found, path=folder, expected="the weights of its config.json", code="other-model")
    damaged = [name for name, tensor in model.state_dict().items() if not bool(torch.isfinite(tensor).all())]
    if damaged:
        raise WeightsError(f"{damaged[0]} holds values that are not finite", path=folder, code="damaged-weights")
    return model.eval()


def _of_tower(shapes: dict[str, tuple[int, ...]], prefix: str) -> dict[str, tuple[int, ...]]:
    return {key[len(prefix) :]: shape for key, shape in shapes.items() if key.startswith(prefix)}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            "it is truncated, or not JSON", path=path, remedy="download it again", code="damaged-weights"
        ) from error
    if not isinstance(found, dict):
        raise WeightsError("it is not a JSON object", path=path, code="damaged-weights")
    return found


def hash_of(files: list[Path]) -> str:
    """One hash of all weights files, in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(files):
        with file.open("rb") as opened:
            while block := opened.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(_HUB_FILES)))
    except Exception as error:  # no network, no such model, no access: each raises a class of its own
        raise WeightsError(
            f"{HUB}{name} cannot be downloaded ({type(error).__name__})",
            remedy="download it where there is a network, and give the folder",
            code="missing-weights",
        ) from error
