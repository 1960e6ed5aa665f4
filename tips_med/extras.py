"""What each extra of ``pip install 'tips-med[...]'`` brings: for users, for errors and for ``tips-med doctor``."""

from __future__ import annotations

EXTRAS = {
    "figures": "pictures of the answers, which `tips-med ground` writes",
    "codecs": "compressed DICOM: JPEG, JPEG-LS, JPEG 2000, HTJ2K",
    "pacs": "DICOMweb, DIMSE, the node, de-identification",
    "notebook": "`answer.view()`, an interactive view in notebooks",
    "nearest": "the nearest known findings for an unknown one, by meaning",
    "hub": "models on the Hugging Face hub",
    "onnx": "`tips-med export --to onnx`",
    "monai": "running and training MONAI bundles, Ignite engines",
    "torchio": "TorchIO's subjects",
    "train": "TensorBoard beside the CSV log of training",
    "archive": "index and search of many scans, and their answers as Parquet",
    "serve": "the server and the page, `tips-med serve` and `tips-med view`",
    "voxtell": "the server for VoxTell's plugin for napari",
    "mcp": "`tips-med mcp`, for assistants",
    "slurm": "batches on a Slurm cluster",
    "ray": "batches on a Ray cluster",
    "tips": "Google DeepMind's TIPS towers, and their fine-tuning by LoRA",
}
"""Extras for users, by name; those for developers (docs, test, release, dev) are in the documentation alone."""

_EXTRA_OF_MODULE = {
    "blosc2": "voxtell",
    "dicomanonymizer": "pacs",
    "dicomweb_client": "pacs",
    "huggingface_hub": "hub",
    "lancedb": "archive",
    "ignite": "monai",
    "ipyniivue": "notebook",
    "fastapi": "serve",
    "fire": "monai",
    "matplotlib": "figures",
    "mcp": "mcp",
    "onnx": "onnx",
    "onnxscript": "onnx",
    "peft": "tips",
    "prometheus_client": "pacs",
    "pyarrow": "archive",
    "pynetdicom": "pacs",
    "ray": "ray",
    "sentencepiece": "tips",
    "submitit": "slurm",
    "tensorboard": "train",
    "starlette": "serve",
    "torchio": "torchio",
    "transformers": "tips",
    "uvicorn": "serve",
}
"""Extra by the name that a package is imported by."""


def extra_of(module: str | None) -> str | None:
    """The extra that brings a module; None if none does.

    Args:
        module: Full name, as a ``ModuleNotFoundError`` has it.
    """
    return _EXTRA_OF_MODULE.get((module or "").partition(".")[0])
