"""Fits when a model says present, absent or unsure, on whole painted scans that it was not trained on."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from tips_med.encoders.compact import CompactImageTower
from tips_med.encoders.words import WordsTextTower
from tips_med.errors import ConfigError
from tips_med.model import load_model, save_model
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.phantom import make_phantom
from tips_med.synthesis.scene import SceneSpec
from tips_med.training.calibration import as_rows, decide, observe, read_observations

log = logging.getLogger(__name__)

PHANTOM_SEED = 500_000
"""Of the first torso: training takes those from 0 on, ``paint`` those from a million on."""


def calibrate(
    model: Path,
    anatomies: Path,
    held_out: Sequence[str],
    out: Path,
    scenes: int = 40,
    seed: int = 1000,
    painting: SceneSpec | None = None,
    findings: tuple[str, ...] | None = None,
    least_auroc: float = 0.0,
    phantoms: int = 0,
    observations: Path | None = None,
) -> Path:
    """Calibrates a model on painted scans and reports how it does on each third of them by what the others fit.

    Args:
        model: The weights that ``pretrain`` wrote.
        anatomies: The folder of prepared anatomies that ``pretrain`` made.
        held_out: Names of those that were not trained on.
        out: Where to write the calibrated weights; a .json of every observation is written beside it.
        scenes: Painted scans.
        seed: Of the painting.
        painting: How whole scans are painted.
        findings: Terms that the model is to answer, of those that it was trained on; it refuses the others, which are
            reported as well. All if left out.
        least_auroc: Findings that are told apart worse than this are refused as well.
        phantoms: Procedural torsos to paint into as well, none of those that ``pretrain`` and ``paint`` make; after all
            the bodies comes one of them.
        observations: What an earlier run saw with the same weights: its .json, to decide anew without painting.

    Returns:
        The path of the calibrated weights.
    """
    opened = load_model(model)
    image, text = opened.image, opened.text
    if not isinstance(image, CompactImageTower) or not isinstance(text, WordsTextTower):
        raise ConfigError("only compact models can be calibrated", path=model)
    if findings is not None:
        untrained = set(findings) - set(opened.card.findings)
        if untrained:
            raise ConfigError(f"the model was not trained on {', '.join(sorted(untrained))}", path=model)
    if observations is not None:
        scenes, seen = read_observations(observations)
    else:
        bodies = [Anatomy.load(Path(anatomies) / f"{name}.safetensors") for name in held_out]
        spacing_mm = image.slab_spec.spacing_mm
        torsos = [make_phantom(PHANTOM_SEED + n, spacing_mm) for n in range(phantoms)]
        bodies = [body for torso in torsos for body in (*bodies, torso)] or bodies
        seen = []
        for observation in observe(opened, bodies, painting or SceneSpec(shape=None, empty=0.3), range(scenes), seed):
            if not seen or observation.scene != seen[-1].scene:
                log.info("painted scan %d of %d", observation.scene + 1, scenes)
            seen.append(observation)
    decision = decide(opened.card, seen, scenes, findings, least_auroc)
    if not decision.findings:
        raise ConfigError(f"no finding reaches an AUROC of {least_auroc}", path=model, remedy="train it for longer")
    for row in decision.rows:
        log.info("%s", json.dumps(row))
    card = dataclasses.replace(opened.card, calibration=decision.calibration, findings=decision.findings)
    save_model(Path(out), image.net, text.net, opened.head, card)
    content = {"scans": scenes, "summary": decision.rows, "observations": as_rows(seen)}
    Path(out).with_suffix(".json").write_text(json.dumps(content, indent=1))
    return Path(out)
