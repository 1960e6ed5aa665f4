"""The bundled scan: a real patient of LIDC-IDRI, resampled. See ATTRIBUTION.md beside the file."""

from pathlib import Path


def sample_path() -> Path:
    """Where the bundled scan lies."""
    return Path(__file__).resolve().parent / "LIDC-IDRI-0001.nii.gz"
