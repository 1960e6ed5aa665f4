from __future__ import annotations

from dataclasses import replace

import pytest

from tests.training.small import RECIPE, data, write_studies
from tips_med.encoders.tips import FineTuning
from tips_med.errors import ConfigError
from tips_med.training.run_settings import check_settings, settings_of
from tips_med.training.towers import Tuning
from tips_med.transforms import RandShiftHounsfieldd


@pytest.fixture
def settings(tmp_path):
    manifest = write_studies(tmp_path / "studies")

    def make(tuning=None, seed=0, optimizer=RECIPE, **changes):
        return settings_of(data(manifest, **changes), "0" * 64, optimizer, tuning, seed)

    return make


def test_the_same_settings_go_on(tmp_path, settings):
    check_settings(tmp_path / "out", settings(), resumes=False)
    check_settings(tmp_path / "out", settings(workers=2, val_studies=1), resumes=True)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"batch": 2}, "data.batch was 1, is 2"),
        ({"optimizer": replace(RECIPE, learning_rate=1.0)}, "optimizer.learning_rate"),
        ({"tuning": Tuning(image=FineTuning("full"))}, "tuning.image"),
        ({"transforms": [RandShiftHounsfieldd("image", 5.0)]}, "data.transforms"),
    ],
)
def test_other_settings_are_refused_with_what_differs(tmp_path, settings, changed, told):
    check_settings(tmp_path / "out", settings(), resumes=False)
    with pytest.raises(ConfigError, match=told):
        check_settings(tmp_path / "out", settings(**changed), resumes=True)


def test_a_manifest_is_compared_by_what_it_says(tmp_path, settings):
    before = settings()
    manifest = tmp_path / "studies" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("left lung", "right lung"))
    check_settings(tmp_path / "out", before, resumes=False)
    with pytest.raises(ConfigError, match="manifest_sha256"):
        check_settings(tmp_path / "out", settings(), resumes=True)


def test_a_new_run_in_a_folder_without_a_checkpoint_may_have_any(tmp_path, settings):
    check_settings(tmp_path / "out", settings(), resumes=False)
    check_settings(tmp_path / "out", settings(seed=1), resumes=False)
    check_settings(tmp_path / "out", settings(seed=1), resumes=True)
