"""The bundled scan: a real patient, not in the training data of the shipped weights. See ATTRIBUTION.md beside it."""

from pathlib import Path


def sample_path() -> Path:
    """The path of the bundled scan."""
    return Path(__file__).resolve().parent / "QIN-LSC-0064.nii.gz"
