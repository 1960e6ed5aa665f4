"""What a run of training was begun with: a run goes on with the same settings, or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from tips_med.errors import ConfigError, OutputError
from tips_med.folders import whole_file
from tips_med.training.crops import DataSpec
from tips_med.training.finetune import FinetuneConfig
from tips_med.training.towers import Tuning

SETTINGS = "settings.json"
_MAY_CHANGE = ("manifest", "workers", "val_studies", "strict")
"""Settings of the data that change nothing of what is learned: the manifest is compared by its content."""


def settings_of(
    data: DataSpec, weights_sha256: str, optimizer: FinetuneConfig, tuning: Tuning | None, seed: int
) -> dict[str, Any]:
    """Everything that decides what is learned, in JSON's own types.

    Args:
        data: Training data.
        weights_sha256: Hash of the weights to start from.
        optimizer: Steps, learning rate and weights of the losses.
        tuning: Modes of the towers.
        seed: Random seed.
    """
    drawn = {key: value for key, value in vars(data).items() if key not in _MAY_CHANGE}
    settings = {
        "manifest_sha256": hashlib.sha256(data.manifest.read_bytes()).hexdigest(),
        "weights_sha256": weights_sha256,
        "seed": seed,
        **{f"data.{key}": value for key, value in drawn.items()},
        **{f"optimizer.{key}": value for key, value in vars(optimizer).items()},
        **{f"tuning.{key}": value and dataclasses.asdict(value) for key, value in vars(tuning or Tuning()).items()},
    }
    return json.loads(json.dumps(settings, default=_named))


def _named(value: object) -> str:
    """A path as it is; a transform by its class, since it has no other name that stays."""
    return str(value) if isinstance(value, Path) else type(value).__name__


def check_settings(out: Path, settings: dict[str, Any], resumes: bool) -> None:
    """Notes the settings of a new run; refuses to go on with one that was begun with others.

    A learning rate that falls over a number of steps, and weights that were moved by one loss, cannot be gone on with
    under others: what came out would be neither run.

    Args:
        out: Folder of the run.
        settings: From ``settings_of``.
        resumes: Whether there is a checkpoint.

    Raises:
        ConfigError: ``other-settings``, with what differs.
        OutputError: They cannot be written.
    """
    file = out / SETTINGS
    if resumes and file.is_file():
        try:
            before = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot be read ({error})", path=file, remedy="give another --out") from error
        differ = [key for key in settings if before.get(key) != settings[key]]
        if differ:
            told = "; ".join(f"{key} was {before.get(key)!r}, is {settings[key]!r}" for key in differ[:4])
            raise ConfigError(
                f"the run in this folder was begun with other settings: {told}",
                path=out,
                expected="the same settings, to go on where it stopped",
                remedy="run it with those again, or begin anew in another --out (--model takes this run's result)",
                code="other-settings",
            )
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as partial:
            partial.write_text(json.dumps(settings, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise OutputError(f"cannot be written ({error})", path=file, remedy="make room and run it again") from error
