"""Writes a model as a MONAI bundle."""

from __future__ import annotations

import json
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import torch
import yaml

import tips_med
from tips_med.folders import new_folder
from tips_med.hub.readme import readme_text
from tips_med.hub.results import measured_results
from tips_med.loading import MODELS, STATE_DICT
from tips_med.model import GroundingModel, config_of_model, net_of_model
from tips_med.model_files import CONFIG, LEXICON, README, lexicon_text
from tips_med.net import GroundingNet, dict_of_config

METADATA, SCHEMA = "metadata.json", "metadata.schema.json"
_SCHEMA_URL = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
_PACKAGES = ("tips_med", "nibabel", "pytorch-ignite")
_PLACE = '"{network_def}"'


def write_bundle(model: GroundingModel, out: Path) -> Path:
    """Writes a bundle, whole or not at all.

    ``models/model.pt`` is a state dict, which MONAI asks for; it is only ever read with ``weights_only``.

    Args:
        model: A compact model.
        out: A new or empty folder.

    Raises:
        OutputError: ``not-empty``, or ``not-writable``.
        WeightsError: ``other-model`` for TIPS towers.
    """
    net = net_of_model(model, default_phrases(model))
    text = lexicon_text(model.lexicon)
    with new_folder(out) as folder:
        for name in ("configs", MODELS, "docs"):
            (folder / name).mkdir()
        definition = {
            "_target_": "tips_med.net.GroundingNet",
            "image": dict_of_config(net.image.config),
            "text": dict_of_config(net.text.config),
            "phrases": list(net.phrases),
        }
        if model.adapters:
            definition["adapters"] = [dict_of_config(adapter.config) for adapter in model.adapters]
        for name in ("inference", "train"):
            filled = _own(f"configs/{name}.yaml").replace(_PLACE, json.dumps(definition, ensure_ascii=False))
            _write(folder / "configs" / f"{name}.yaml", filled)
            # monai.bundle.load looks for JSON alone.
            _write(folder / "configs" / f"{name}.json", _json(yaml.safe_load(filled)))
        _write(folder / "configs" / METADATA, _json(metadata(model, net)))
        _write(folder / "configs" / SCHEMA, _own(f"configs/{SCHEMA}"))
        # In half precision, as they are kept everywhere: load_state_dict makes float32 of them, exactly.
        state = {key: value.half() for key, value in net.state_dict().items()}
        torch.save(state, folder / MODELS / STATE_DICT)
        own = {"fingerprint": net.fingerprint(), "weights_sha256": model.sha256}
        _write(folder / MODELS / CONFIG, _json(config_of_model(model) | own))
        _write(folder / MODELS / LEXICON, text)
        results = measured_results(model.sha256)
        _write(folder / "docs" / README, _readme(model, results))
        _write(folder / "docs" / "data_license.txt", "\n".join([*model.card.data, ""]) or "not told\n")
        _write(folder / "LICENSE", _licence(model))
    return out


def default_phrases(model: GroundingModel) -> tuple[str, ...]:
    """What a bundle's network looks for when it is told nothing: a phrase for each channel of its output.

    Findings in their usual words, then structures; paired ones on either side, as nothing else keeps the sides apart.
    """
    phrases = [" ".join(model.lexicon.term(finding).forms[0].words) for finding in model.card.findings]
    for structure in (model.lexicon.term(one) for one in model.card.structures):
        name = " ".join(structure.forms[0].words)
        phrases += [f"{side} {name}" for side in ("right", "left")] if structure.paired else [name]
    return tuple(phrases)


def metadata(model: GroundingModel, net: GroundingNet) -> dict[str, Any]:
    """What ``configs/metadata.json`` says; it keeps to ``metadata.schema.json``."""
    results = measured_results(model.sha256)
    slabs = net.image.config.slabs
    shape = ["*", "16*n", "16*n"]
    windows = [f"{low:g} to {high:g} HU" for low, high in slabs.windows_hu]
    offsets = range(-slabs.neighbours, slabs.neighbours + 1)
    channels = [f"{window}, slab {offset:+d}" for window in windows for offset in offsets]
    return {
        "schema": _SCHEMA_URL,
        "version": tips_med.__version__,
        "changelog": {tips_med.__version__: f"weights {model.sha256[:12]}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {name: found for name in _PACKAGES if (found := _version(name))},
        "name": model.card.name,
        "task": "Find what a radiologist's words ask for in a CT of the chest",
        "description": "Words go in; voxels, side, volume and an answer of present, absent or unsure come out. "
        f"It looks for: {', '.join(model.names)}.",
        "authors": "The tips_med developers",
        "copyright": f"The tips_med developers; {model.card.licence}",
        "data_source": "; ".join(model.card.data) or "not told",
        "data_type": "DICOM, NIfTI",
        "image_classes": "the network: slabs under windows, 0 to 1; the workflow: a scan in Hounsfield units",
        "label_classes": "1 is what a phrase names, 0 everything else",
        "pred_classes": "the network: a logit for each phrase; the workflow: a mask for each query",
        "eval_metrics": {metric["name"]: metric["value"] for one in results for metric in one["metrics"]},
        "intended_use": "Research use only, not a medical device",
        "references": ["TIPSv2 (Google DeepMind), whose alignment of patches with words it brings to CT"],
        "weights_sha256": model.sha256,
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "hounsfield",
                    "modality": " or ".join(net.image.config.modalities) or "n/a",
                    "num_channels": slabs.channels,
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": True,
                    "channel_def": {str(n): text for n, text in enumerate(channels)},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": len(net.phrases),
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": {str(n): phrase for n, phrase in enumerate(net.phrases)},
                }
            },
        },
    }


def _readme(model: GroundingModel, results: list[dict[str, Any]]) -> str:
    """The page of the hub's model card, with how to run the bundle in place of the front matter."""
    page = readme_text(model.card, model.sha256, results, model.names).split("---\n", 2)[2]
    how = _own("configs/README.md").strip()
    head, _, rest = page.strip().partition("\n\n")
    return f"{head}\n\n{how}\n\n{rest.partition('## Files')[0].strip()}\n"


def _licence(model: GroundingModel) -> str:
    """The licence's text, from a checkout or from the installed package."""
    if model.card.licence == "Apache-2.0":
        beside = Path(tips_med.__file__).resolve().parents[1] / "LICENSE"
        if beside.is_file():
            return beside.read_text("utf-8")
        with suppress(PackageNotFoundError):
            if text := distribution("tips_med").read_text("licenses/LICENSE"):
                return text
    return f"Licence of the weights: {model.card.licence or 'not told'}\n"


def _own(name: str) -> str:
    return package_files("tips_med.bundle").joinpath(name).read_text("utf-8")


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return tips_med.__version__ if name == "tips_med" else ""
