"""Thresholds for present, absent and unsure: fitted on whole scans, painted ones and real ones."""

from tips_med.training.calibration.fitting import (
    POINTS,
    dice_of,
    f1_of,
    fit_all,
    fit_calibration,
    fit_outline,
    fit_threshold,
    kept_components,
)
from tips_med.training.calibration.observing import (
    THRESHOLDS,
    Component,
    Observation,
    as_rows,
    measure,
    observe,
    observe_manifest,
    observe_scene,
    paint_numbered,
    read_observations,
    study_of,
)
from tips_med.training.calibration.reporting import CalibrationReport, calibrate_model, summary

__all__ = [
    "POINTS",
    "THRESHOLDS",
    "CalibrationReport",
    "Component",
    "Observation",
    "as_rows",
    "calibrate_model",
    "dice_of",
    "f1_of",
    "fit_all",
    "fit_calibration",
    "fit_outline",
    "fit_threshold",
    "kept_components",
    "measure",
    "observe",
    "observe_manifest",
    "observe_scene",
    "paint_numbered",
    "read_observations",
    "study_of",
    "summary",
]
