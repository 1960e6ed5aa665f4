"""The mask alone, for who keeps answers about many scans."""

from __future__ import annotations

from pathlib import Path

from tips_med.exporters.base import Exporter
from tips_med.exporters.nifti import write_labels
from tips_med.grounding import Grounding


class MaskExporter(Exporter):
    """Writes ``labels.nii.gz``, the number of the instance in each voxel, where anything is marked."""

    def export(self, grounding: Grounding, folder: Path) -> tuple[Path, ...]:
        """Writes the labels of one answer."""
        return (write_labels(grounding, folder / "labels.nii.gz"),) if grounding.instances else ()
