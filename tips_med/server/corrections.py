"""Masks that users corrected, beside a manifest of them: what ``tips-med train`` reads."""

from __future__ import annotations

import base64
import binascii
import tempfile
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tips_med.exporters.nifti import write_volume
from tips_med.folders import whole_file
from tips_med.grounding.wording import subject_of
from tips_med.manifest.masks import read_mask
from tips_med.manifest.rows import Row, read_manifest, write_manifest
from tips_med.scan import Scan
from tips_med.server.refusals import RequestError
from tips_med.server.studies import Studies

MANIFEST = "manifest.csv"
_LOCK = threading.Lock()


def max_mask_bytes(scan: Scan) -> int:
    """The most that a mask of a scan takes when it is unpacked."""
    return 4 * scan.voxels.size + 4096


def read_sent_mask(text: str, scan: Scan, max_bytes: int, folder: Path) -> np.ndarray:
    """A mask that a client sent.

    Args:
        text: Base64 of a gzipped NIfTI file on the scan's grid; its axes may be turned or flipped.
        scan: Scan whose grid is used.
        max_bytes: Maximum size of the unpacked file.
        folder: Folder for a file that is needed meanwhile.

    Returns:
        The mask, bool [k j i].

    Raises:
        RequestError: ``bad-mask``.
        ManifestError: It lies on another grid, or is no mask.
    """
    try:
        packed = base64.b64decode(text, validate=True)
        unpack = zlib.decompressobj(31)
        plain = unpack.decompress(packed, max_bytes)
        whole = unpack.eof and not unpack.unconsumed_tail
    except (binascii.Error, ValueError, zlib.error):
        whole, plain = False, b""
    if not whole:
        raise RequestError(
            400, "bad-mask", "the mask cannot be unpacked", expected="base64 of a .nii.gz on the scan's grid"
        )
    with tempfile.TemporaryDirectory(dir=folder) as made:
        path = Path(made) / "mask.nii"
        path.write_bytes(plain)
        return read_mask(path, scan)


def add_correction(studies: Studies, study: str, phrase: str, mask_text: str) -> dict[str, Any]:
    """Stores a corrected mask and its row; a later one for the same study and phrase replaces it.

    Args:
        studies: The studies; their settings name the folder.
        study: Id of the study.
        phrase: The query that the mask answers; an empty mask says that it is absent.
        mask_text: See ``read_sent_mask``.

    Raises:
        RequestError: ``not-allowed`` where the operator named no folder; ``not-found``, ``not-ready``, ``bad-mask``.
        ManifestError: The mask lies on another grid.
        QueryError: The phrase names nothing that is known.
    """
    folder = studies.settings.corrections
    if folder is None:
        raise RequestError(
            403, "not-allowed", "this server takes no corrections", remedy="ask the operator to name --corrections"
        )
    scan = studies.live(study).study.scan
    parsed = studies.model.lexicon.parse(phrase)
    if parsed.negated:
        phrase = subject_of(parsed)  # what a mask marks is there, also where it was denied
    mask = read_sent_mask(mask_text, scan, max_mask_bytes(scan), studies.settings.folder)
    with _LOCK:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        scan_path = folder / f"{study}.nii.gz"
        if not scan_path.is_file():
            _write(scan.voxels, scan, scan_path)
        manifest = folder / MANIFEST
        rows = read_manifest(manifest) if manifest.is_file() else []
        same = [n for n, row in enumerate(rows) if (row.scan.name, row.phrase) == (scan_path.name, phrase)]
        number = same[0] if same else len(rows)
        mask_path = folder / f"{study}-{number + 1}.nii.gz"
        if mask.any():
            _write(mask.astype(np.uint8), scan, mask_path)
        row = Row(
            scan_path,
            phrase,
            mask=mask_path if mask.any() else None,
            label="present" if mask.any() else "absent",
            patient=study,
        )
        write_manifest([*rows[:number], row, *rows[number + 1 :]], manifest)
    return {"row": number + 1, "rows": max(len(rows), number + 1), "label": row.label, "voxels": int(mask.sum())}


def _write(array: np.ndarray, scan: Scan, path: Path) -> None:
    with whole_file(path) as partial:
        named = partial.with_name(partial.name + ".nii.gz")
        write_volume(array, scan.lps_from_kji, named, "tips_med correction").replace(partial)
