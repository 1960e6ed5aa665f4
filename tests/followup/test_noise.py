from __future__ import annotations

import pytest

from tips_med.followup import VolumeNoise
from tips_med.followup.noise import OTHER_SLICES_NOISE, REPEAT_NOISE, noise_between, volume_change


def test_small_findings_are_noisier():
    noise = VolumeNoise(0.1, 2.0, 0.1, 100.0)
    sds = [noise.relative_sd(ml) for ml in (0.05, 0.5, 5.0, 50.0)]
    assert sds == sorted(set(sds), reverse=True)
    assert sds[-1] > noise.floor
    # A sphere of 10 mm has 0.524 ml.
    assert noise.relative_sd(0.5236) == pytest.approx((0.1**2 + 0.2**2) ** 0.5, rel=1e-3)


def test_limits_in_ml_and_in_percent_agree():
    change = volume_change(2.0, 5.0, VolumeNoise(0.1, 0.0, 0.1, 100.0))
    assert change.change_ml == pytest.approx(3.0)
    assert change.change_percent == pytest.approx(150.0)
    low, high = change.change_percent_limits
    # ln(2.5) +- 1.96 x 0.1 x sqrt(2)
    assert (low, high) == pytest.approx((89.5, 229.9), abs=0.2)
    assert change.change_ml_limits == pytest.approx((2.0 * low / 100, 2.0 * high / 100))
    assert not change.within_noise
    assert volume_change(2.0, 2.2, VolumeNoise(0.1, 0.0, 0.1, 100.0)).within_noise


def test_slices_of_another_thickness_make_volumes_agree_less():
    assert noise_between(1.0, 1.25) is REPEAT_NOISE
    assert noise_between(1.25, 5.0) is noise_between(5.0, 1.25) is OTHER_SLICES_NOISE
    doubled = [volume_change(1.0, 2.0, noise).within_noise for noise in (REPEAT_NOISE, OTHER_SLICES_NOISE)]
    assert doubled == [False, True]
