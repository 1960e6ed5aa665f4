"""Connects the parts with Orthanc."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import orthanc

from tips_med_orthanc.routes import register
from tips_med_orthanc.settings import SettingsError, read_settings
from tips_med_orthanc.tasks import Tasks


def start() -> None:
    """Registers callbacks, paths and the form in Orthanc Explorer. Wrong settings are logged, and Orthanc goes on."""
    tasks, why_not = None, None
    try:
        tasks = Tasks(read_settings(json.loads(orthanc.GetConfiguration()), os.environ))
    except (SettingsError, OSError) as error:  # OSError: certificates that cannot be read
        why_not = str(error)
        orthanc.LogError(f"tips-med: nothing will be asked: {why_not}")
    if tasks is not None:
        _follow(tasks)
    register(tasks, why_not)
    script = Path(__file__).with_name("explorer.js").read_text("utf-8")
    orthanc.ExtendOrthancExplorer(script)


def _follow(tasks: Tasks) -> None:
    kinds = orthanc.ChangeType

    def changed(change: Any, _level: Any, resource: str) -> None:
        if change == kinds.ORTHANC_STARTED:
            tasks.start()
        elif change == kinds.ORTHANC_STOPPED:
            tasks.stop()
        elif change == kinds.STABLE_STUDY:
            tasks.add_study(resource)

    orthanc.RegisterOnChangeCallback(changed)
