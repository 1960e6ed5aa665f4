"""Masks that users corrected, kept as a manifest that ``tips-med train`` reads."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import numpy as np

from tips_med.exporters.nifti import write_volume
from tips_med.folders import whole_file
from tips_med.grounding.ground import parse_query
from tips_med.grounding.wording import subject_of
from tips_med.manifest.rows import Row, read_manifest, write_manifest
from tips_med.model import GroundingModel
from tips_med.scan import Scan
from tips_med.shapes import Mask

MANIFEST = "manifest.csv"
SCANS, MASKS = "scans", "masks"


class Corrections:
    """A folder with corrected masks, the scans that they belong to, and their manifest.

    Args:
        folder: The folder; made at the first correction.
        model: Model whose answers are corrected.
    """

    def __init__(self, folder: Path, model: GroundingModel) -> None:
        self.folder, self.model = folder, model
        self._lock = threading.Lock()

    def keep(self, study: str, scan: Scan, query: str, mask: Mask) -> int:
        """Keeps a correction; an earlier one of the same scan and phrase is replaced.

        Args:
            study: Id of the study.
            scan: Its scan, which is kept, too: without it a mask teaches nothing.
            query: The answered query.
            mask: Where the finding is, bool [k j i], on the scan's grid. An empty one says that it is absent.

        Returns:
            Number of its row in the manifest, from 1.

        Raises:
            QueryError: The query is not understood.
            OutputError: It cannot be written.
        """
        parsed = parse_query(query, self.model)
        # What a mask marks is there, whatever was asked: "no effusion" is corrected as "effusion".
        phrase = subject_of(parsed) if parsed.negated else parsed.text
        name = f"{study[:12]}-{hashlib.sha256(phrase.lower().encode()).hexdigest()[:12]}.nii.gz"
        with self._lock:
            kept = self._kept_scan(study, scan)
            path: Path | None = self.folder / MASKS / name
            assert path is not None
            if mask.any():
                path.parent.mkdir(parents=True, exist_ok=True)
                write_volume(mask.astype(np.uint8), scan.lps_from_kji, path, "tips_med correction", intent="label")
            else:
                path.unlink(missing_ok=True)
                path = None
            row = Row(kept, phrase, path, label="present" if path else "absent", patient=study[:12])
            manifest = self.folder / MANIFEST
            rows = read_manifest(manifest) if manifest.is_file() else []
            same = [n for n, one in enumerate(rows) if one.scan_key == row.scan_key and one.phrase == phrase]
            number = same[0] if same else len(rows)
            rows[number : number + 1] = [row]
            write_manifest(rows, manifest)
        return number + 1

    def _kept_scan(self, study: str, scan: Scan) -> Path:
        path = self.folder / SCANS / f"{study[:12]}.nii.gz"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = np.isfinite(scan.voxels).all() and np.array_equal(scan.voxels, np.rint(scan.voxels))
            stored = scan.voxels.astype(np.int16 if whole and np.abs(scan.voxels).max() < 32768 else np.float32)
            with whole_file(path) as partial:
                named = partial.with_name(partial.name + ".nii.gz")
                write_volume(stored, scan.lps_from_kji, named, "tips_med scan").replace(partial)
        return path
