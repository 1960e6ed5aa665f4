"""Follow-up: two scans of one patient, compared place by place."""

from tips_med.followup.change import Change
from tips_med.followup.comparison import Comparison, compare, compare_queries
from tips_med.followup.noise import REPEAT_NOISE, VolumeChange, VolumeNoise
from tips_med.followup.registration import Registration, register

__all__ = [
    "REPEAT_NOISE", "Change", "Comparison", "Registration", "VolumeChange", "VolumeNoise",
    "compare", "compare_queries", "register",
]  # fmt: skip
