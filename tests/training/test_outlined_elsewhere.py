"""An outline outside the region that its phrase will search is told before training, not found out after it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.manifest.files import write_nifti
from tests.phantom import AFFINE, MASS, body, rule_model
from tips_med.manifest import Row, write_manifest
from tips_med.query import Lexicon
from tips_med.training.cards import taught_card
from tips_med.training.crops import DataSpec
from tips_med.training.manifest_data import ManifestData
from tips_med.training.outlined_elsewhere import outlined_elsewhere

LEXICON = Lexicon.load("chest_ct")
IN_THE_LUNG, BELOW_THE_LUNGS = (-60.0, 0.0, 0.0), (0.0, 78.0, -108.0)


@pytest.mark.parametrize(
    ("phrase", "place", "flagged"),
    [
        ("cyst", BELOW_THE_LUNGS, ["cyst"]),
        ("cyst in the liver", BELOW_THE_LUNGS, []),
        ("liver", BELOW_THE_LUNGS, []),
        ("cyst", IN_THE_LUNG, []),
    ],
)
def test_what_will_not_be_looked_for_where_it_is(tmp_path: Path, phrase, place, flagged) -> None:
    scan, marked = body([(place, 9, MASS)]), body([(place, 9, 900.0)]).voxels == 900
    ct = write_nifti(tmp_path / "ct.nii.gz", scan.voxels.astype(np.int16), AFFINE)
    mask = write_nifti(tmp_path / "mask.nii.gz", marked.astype(np.uint8), AFFINE)
    manifest = write_manifest([Row(ct, phrase, mask, patient="1", split="train")], tmp_path / "manifest.csv")
    data = ManifestData(DataSpec(manifest, shape=(8, 32, 32)), rule_model(), LEXICON, tmp_path / "cache", steps=1)
    data.prepare_data()
    card = taught_card(rule_model(), data, keeps=True)

    found = outlined_elsewhere(data.files["train"], rule_model(), card, LEXICON)

    assert [one.phrase for one in found] == flagged
    assert all(one.share < 0.1 and "name the place" in one.warning for one in found)
