"""Encoded phantoms: who has a mass, on which side and how high."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.phantom import HAZE, MASS, body, rule_model
from tips_med.encoders.study import EncodedStudy
from tips_med.grounding import encode
from tips_med.scan import Provenance

SECRET = bytes(range(32))


def patched(study: EncodedStudy) -> EncodedStudy:
    """The same study with patches that tell apart a mass and haze."""
    fine = study.features.fine
    assert fine is not None
    slabs, y, x, features = fine.shape
    rows, columns = study.features.patches.shape[1:3]
    pooled = fine[:, : rows * 4, : columns * 4].float().reshape(slabs, rows, 4, columns, 4, features).mean(dim=(2, 4))
    return replace(study, features=replace(study.features, patches=pooled[..., 2:].contiguous()))


@pytest.fixture(scope="session")
def model():
    return rule_model()


@pytest.fixture(scope="session")
def make_study(model) -> Callable[..., EncodedStudy]:
    def make(*spheres, year: int | None = None, uid: str = "1.2.3", **scanned) -> EncodedStudy:
        scan = body(spheres, **scanned)
        source = Provenance("dicom", series_uid=uid, instance_uids=scan.provenance.instance_uids, study_year=year)
        with torch.inference_mode():
            return patched(encode(replace(scan, provenance=source), model))

    return make


LEFT_LOW = ((65.0, 10.0, -70.0), 15.0, MASS)
LEFT_HIGH = ((60.0, 0.0, 70.0), 12.0, MASS)
RIGHT_MIDDLE = ((-60.0, 5.0, 0.0), 15.0, MASS)
LEFT_HAZE = ((60.0, 5.0, 0.0), 18.0, HAZE)


@pytest.fixture(scope="session")
def cohort(make_study, tmp_path_factory) -> dict[str, Path]:
    """Five encoded studies on disk, by what is in them."""
    folder = tmp_path_factory.mktemp("cohort")
    half = np.diag([3.0, 2.0, 6.0, 1.0])[:, [2, 1, 0, 3]]
    half[:3, 3] = -half[:3, :3] @ (np.array((40, 100, 100)) - 1) / 2
    made = {
        "left low": make_study(LEFT_LOW, year=2020, uid="1.2.1"),
        "left high": make_study(LEFT_HIGH, year=2024, uid="1.2.2"),
        "right": make_study(RIGHT_MIDDLE, year=2025, uid="1.2.3"),
        "haze": make_study(LEFT_HAZE, uid="1.2.4", lps_from_kji=half, shape=(40, 100, 100)),
        "empty": make_study(uid="1.2.5"),
    }
    return {name: study.save(folder / f"{n}.safetensors") for n, (name, study) in enumerate(made.items())}
