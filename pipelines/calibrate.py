"""Fits the thresholds for present, absent and unsure, on whole scans that the model was not trained on."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from tips_med.encoders.compact import CompactImageTower
from tips_med.errors import ConfigError
from tips_med.loading import open_model, save_with_card
from tips_med.manifest import read_manifest
from tips_med.progress import StepFactory, no_progress
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.phantom import make_phantom
from tips_med.synthesis.scene import SceneSpec
from tips_med.training.calibration import as_rows, calibrate_model, observe, observe_manifest, read_observations

log = logging.getLogger(__name__)

KEPT_FROM = "calibration_kept_from"
"""Names in a card the weights whose calibration it has."""

PHANTOM_SEED = 500_000
"""Seed of the first torso: training takes seeds from 0 on, ``paint`` from a million on."""


def calibrate(
    model: str,
    out: Path,
    manifest: Path | None = None,
    split: str | None = None,
    anatomies: Path | None = None,
    held_out: Sequence[str] = (),
    scenes: int = 40,
    seed: int = 1000,
    painting: SceneSpec | None = None,
    findings: tuple[str, ...] | None = None,
    min_auroc: float = 0.0,
    phantoms: int = 0,
    observations: Path | None = None,
    keep: bool = False,
    device: str = "auto",
    steps: StepFactory = no_progress,
) -> Path:
    """Calibrates a model on the scans of a manifest, on painted scans, or on both.

    Every scan is judged by what the others fit: each third of the painted ones, and each real patient. A table of that
    is written beside the weights, real and painted scans apart.

    Args:
        model: File of weights, folder that ``train`` wrote, or tips:FOLDER.
        out: Path of the calibrated model: a file, or a folder for TIPS towers. A .json of every observation is
            written beside it.
        manifest: Manifest of real scans, none of them trained on, with rows for what is there and what is not.
        split: Split of the manifest to use; all rows if left out.
        anatomies: Folder of prepared anatomies that ``pretrain`` made, to paint into.
        held_out: Names of the anatomies that were not trained on.
        scenes: Number of painted scans, 0 or more.
        seed: Random seed of the painting (integer, 0 or more).
        painting: Specification of whole painted scans.
        findings: Terms that the model is to answer, of those that it was trained on; it refuses the others, which are
            reported as well. All if left out.
        min_auroc: Minimum AUROC of a finding, 0 to 1; findings below it are refused as well.
        phantoms: Number of procedural torsos to paint into as well, none of those that ``pretrain`` and ``paint`` make;
            after all the bodies comes one of them.
        observations: The .json of an earlier run with the same weights, to decide anew without any scan.
        keep: Keep the calibration that the model has, and only add the operating points, measured on these scans.
        device: auto, cpu or cuda.
        steps: Progress of the work; the command line shows a bar.

    Returns:
        The path of the calibrated model.

    Raises:
        ConfigError: There is nothing to calibrate on, or nothing that the model may answer is left.
    """
    opened = open_model(model, device)
    if findings is not None and (untrained := set(findings) - set(opened.card.findings)):
        raise ConfigError(f"the model was not trained on {', '.join(sorted(untrained))}", path=Path(model))
    painted = 0
    if observations is not None:
        painted, seen = read_observations(observations)
    else:
        if manifest is None and anatomies is None:
            raise ConfigError("there is nothing to calibrate on", expected="a manifest, anatomies, or both")
        seen = []
        if anatomies is not None:
            if not isinstance(opened.image, CompactImageTower):
                raise ConfigError("only compact models are calibrated on painted scans", path=Path(model))
            painted, spacing_mm = scenes, opened.image.slab_spec.spacing_mm
            bodies = [Anatomy.load(anatomies / f"{name}.safetensors") for name in held_out]
            torsos = [make_phantom(PHANTOM_SEED + n, spacing_mm) for n in range(phantoms)]
            bodies = [body for torso in torsos for body in (*bodies, torso)] or bodies
            spec = painting or SceneSpec(shape=None, empty=0.3)
            with steps("painted scans") as progress:
                for observation in observe(opened, bodies, spec, range(scenes), seed):
                    progress(observation.scene + 1, scenes)
                    seen.append(observation)
        if manifest is not None:
            with steps("real scans") as progress:
                seen += observe_manifest(opened, read_manifest(manifest, split), progress)
    report = calibrate_model(opened.card, seen, painted, findings, min_auroc, keep)
    if not report.findings and opened.card.findings:
        raise ConfigError(f"no finding reaches an AUROC of {min_auroc}", path=Path(model), remedy="train it for longer")
    for row in (*report.rows, *report.real_rows):
        log.info("%s", json.dumps(row))
    trained = dict(opened.card.trained)
    if keep:  # what was measured with these weights holds for the new file
        trained[KEPT_FROM] = opened.sha256
    elif set(opened.card.findings) <= {one.finding for one in seen}:
        trained.pop(KEPT_FROM, None)
    card = dataclasses.replace(opened.card, calibration=report.calibration, findings=report.findings, trained=trained)
    written = save_with_card(opened, model, card, Path(out))
    content = {
        "scans": painted,
        "painted": report.rows,
        "real": report.real_rows,
        "reliability": report.reliability,
        "by_patient": report.by_patient,
        "operating_points": {
            term: {name: dataclasses.asdict(point) for name, point in one.points.items()}
            for term, one in report.calibration.items()
        },
        "observations": as_rows(seen),
    }
    written.with_suffix(".json").write_text(json.dumps(content, indent=1))
    return written
