"""The bundled scan: a real patient whom the shipped weights never saw, resampled. See ATTRIBUTION.md beside it."""

from pathlib import Path


def sample_path() -> Path:
    """Where the bundled scan lies."""
    return Path(__file__).resolve().parent / "QIN-LSC-0064.nii.gz"
