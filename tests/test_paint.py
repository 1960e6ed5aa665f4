"""A painted test: its files fit each other, and the same arguments make it again."""

from __future__ import annotations

import numpy as np
import pytest

from tips_med import cli
from tips_med.configs import config_path
from tips_med.errors import ConfigError
from tips_med.manifest import read_manifest, read_mask
from tips_med.model import load_model
from tips_med.query import Lexicon
from tips_med.readers import read_scan
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.scene import SceneSpec

paint = cli.pipeline("paint")
SPEC = SceneSpec(shape=None, weights={"pleural_effusion": 1.0}, empty=0.0, max_findings=1)


def painted(out, **changes):
    return paint(out, ("mass", "pleural_effusion"), scans=1, scenes=SPEC, spacing_mm=(8.0, 5.0, 5.0), **changes)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return painted(tmp_path_factory.mktemp("painted"))


def test_every_mask_lies_in_its_scan_and_on_the_side_that_its_phrase_names(manifest):
    lexicon = Lexicon.load("chest_ct")
    rows = read_manifest(manifest, "test")
    assert {row.label for row in rows} == {"present", "absent"}
    for row in rows:
        assert (row.mask is not None) == (row.label == "present")
        if row.mask is None:
            continue
        scan = read_scan(row.scan)
        mask = read_mask(row.mask, scan, row.part)
        x_mm = (np.argwhere(mask) @ scan.lps_from_kji[:3, :3].T + scan.lps_from_kji[:3, 3])[:, 0]
        side = lexicon.parse(row.phrase).side
        if side is not None:
            assert (x_mm.mean() > 0) == (side == "left")


def test_the_same_arguments_make_it_again_and_another_seed_does_not(manifest, tmp_path):
    again, other = painted(tmp_path / "again"), painted(tmp_path / "other", seed=5)
    assert again.read_text() == manifest.read_text()
    scan = "scans/000.nii.gz"
    assert (again.parent / scan).read_bytes() == (manifest.parent / scan).read_bytes()
    assert (other.parent / scan).read_bytes() != (manifest.parent / scan).read_bytes()


def test_a_body_without_outlined_lungs_is_refused(tmp_path):
    nothing = np.zeros((4, 16, 16), np.uint8)
    body = Anatomy("bare", nothing.astype(np.int16), None, nothing, (), nothing > 0, (2.5, 2.0, 2.0))
    body.save(tmp_path / "bare.safetensors")
    with pytest.raises(ConfigError, match="lungs"):
        paint(tmp_path / "out", ("mass",), scans=1, anatomies=[tmp_path / "bare.safetensors"])


def test_the_shipped_test_is_exactly_arguments_of_paint():
    config = str(config_path("", "painted_test"))
    chosen = cli.build_parser("paint").parse_args(["paint", "--config", config, "--out", "painted"]).paint
    assert chosen.scenes.shape is None
    assert chosen.scans == 16
    assert set(chosen.findings) == set(load_model().card.findings)
