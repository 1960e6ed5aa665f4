"""Paints scans with findings and writes them with a manifest: a test whose answers are known."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tips_med.errors import ConfigError
from tips_med.exporters.nifti import write_volume
from tips_med.manifest import Row, write_manifest
from tips_med.query import Lexicon
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.phantom import make_phantom
from tips_med.synthesis.scene import SceneSpec, make_scene
from tips_med.training.scene_phrases import scene_phrases

log = logging.getLogger(__name__)


def paint(
    out: Path,
    findings: tuple[str, ...],
    scans: int = 16,
    seed: int = 1_000_000,
    scenes: SceneSpec | None = None,
    anatomies: Sequence[Path] = (),
    lexicon: str = "chest_ct",
    held_out: bool = False,
    spacing_mm: tuple[float, float, float] = (2.5, 2.0, 2.0),
    split: str = "test",
) -> Path:
    """Writes whole painted scans as NIfTI, the masks of what was painted, and a manifest of questions.

    The same arguments give the same scans and questions. Training draws from seeds far below the default one.

    Args:
        out: Folder for ``scans``, ``masks`` and ``manifest.csv``.
        findings: Terms to query.
        scans: Number of scans, 1 or more.
        seed: Random seed (integer, 0 or more).
        scenes: Specification of scenes; whole anatomies when its shape is None, which is the default here.
        anatomies: Prepared anatomies to paint into (``pretrain`` makes them), taken in turn; phantoms when empty.
        lexicon: Lexicon of the queries: a name, or a YAML file.
        held_out: Write queries with held-out synonyms.
        spacing_mm: Spacing of phantoms in mm: between slabs, rows and columns.
        split: Name of the split in the manifest.

    Returns:
        The manifest.

    Raises:
        ConfigError: An anatomy without outlined lungs.
    """
    scenes = scenes or SceneSpec(shape=None)
    words = Lexicon.load(lexicon)
    rows: list[Row] = []
    for folder in ("scans", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for number in range(scans):
        body = (
            Anatomy.load(anatomies[number % len(anatomies)]) if anatomies else make_phantom(seed + number, spacing_mm)
        )
        if body.lungs is None:
            raise ConfigError("an anatomy without outlined lungs cannot be painted into", path=body.name)
        rng = np.random.default_rng([seed, number])
        scene = make_scene(body, scenes, rng, scenes.in_turn(number))
        affine = np.eye(4)
        affine[:3, :3] = np.diag(scene.spacing_mm)[::-1]
        affine[1, 3], affine[0, 3] = scene.offset_mm
        name = f"{number:03d}"
        scan = write_volume(np.rint(scene.volume_hu).astype(np.int16), affine, out / "scans" / f"{name}.nii.gz")
        patient = body.name if anatomies else name
        for n, one in enumerate(scene_phrases(scene, findings, words, rng, held_out=held_out)):
            mask = None
            if one.mask is not None:
                mask = write_volume(one.mask.astype(np.uint8), affine, out / "masks" / f"{name}-{n:02d}.nii.gz")
            rows.append(
                Row(scan, one.phrase, mask, label="present" if mask else "absent", patient=patient, split=split)
            )
        log.info("painted scan %d of %d", number + 1, scans)
    return write_manifest(rows, out / "manifest.csv")
