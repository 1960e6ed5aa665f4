"""The field's own measures of grounding, as torchmetrics metrics whose intervals are drawn over patients.

>>> dice = GlobalDice()
>>> dice.update(np.ones((2, 2, 2), bool), np.ones((2, 2, 2), bool), patient="a")
>>> dice.compute()["dice"]
tensor(1.)
"""

from tips_med.metrics.axial import AxialError, AxialRPrecision, axial_profile
from tips_med.metrics.base import CaseMetric, GroundingMetric, Interval
from tips_med.metrics.boxes import BoxAccuracy, box_iou
from tips_med.metrics.detection import InstanceDetection, count_instances, find_components
from tips_med.metrics.froc import FROC, Outlines, Spheres
from tips_med.metrics.inputs import MetricInputError
from tips_med.metrics.localization import ContrastToNoise, PointingGame, ThresholdIoU
from tips_med.metrics.overlap import GlobalDice, HitRate, SurfaceDice, dice, surface_dice
from tips_med.metrics.perturbations import ParaphraseStability, SwapTest
from tips_med.metrics.presence import FalsePositiveVolume, PresenceDetection
from tips_med.metrics.retrieval import (
    RetrievalLocalization,
    RetrievalMeanAveragePrecision,
    RetrievalRecall,
    peak_in_mask,
)
from tips_med.metrics.rexgroundingct import ReXGroundingCT
from tips_med.metrics.value import MetricValue

__all__ = [
    "FROC",
    "AxialError",
    "AxialRPrecision",
    "BoxAccuracy",
    "CaseMetric",
    "ContrastToNoise",
    "FalsePositiveVolume",
    "GlobalDice",
    "GroundingMetric",
    "HitRate",
    "InstanceDetection",
    "Interval",
    "MetricInputError",
    "MetricValue",
    "Outlines",
    "ParaphraseStability",
    "PointingGame",
    "PresenceDetection",
    "ReXGroundingCT",
    "RetrievalLocalization",
    "RetrievalMeanAveragePrecision",
    "RetrievalRecall",
    "Spheres",
    "SurfaceDice",
    "SwapTest",
    "ThresholdIoU",
    "axial_profile",
    "box_iou",
    "count_instances",
    "dice",
    "find_components",
    "peak_in_mask",
    "surface_dice",
]
