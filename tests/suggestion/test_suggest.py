"""``tips-med suggest``: unlabelled scans are ranked, labelled ones are left out, what cannot be used is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipelines import suggest as module
from tests.phantom import AFFINE, HAZE, MASS, body, rule_model
from tips_med import cli
from tips_med.errors import ConfigError
from tips_med.grounding import encode
from tips_med.manifest import Row, read_manifest, write_manifest

TURNED = np.array([[0.96, -0.28, 0, 0], [0.28, 0.96, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
GRIDS = {
    "axial": AFFINE,
    "mirrored": AFFINE @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 99], [0, 0, 0, 1]]),
    "oblique": TURNED @ AFFINE,
}


@pytest.fixture(autouse=True)
def _rule_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_model", lambda name, device: rule_model())


@pytest.fixture
def pool(tmp_path: Path) -> Callable[..., Path]:
    """Writes encoded studies, by name, into the folder that is searched."""
    folder = tmp_path / "pool"
    folder.mkdir()

    def add(name: str, *spheres, grid: np.ndarray = AFFINE) -> Path:
        return encode(body(spheres, grid), rule_model()).save(folder / f"{name}.safetensors")

    return add


def _manifest(tmp_path: Path, *rows: Row) -> str:
    return str(write_manifest(rows, tmp_path / "manifest.csv"))


def test_labelled_scans_are_left_out_and_the_rest_is_ranked(pool, tmp_path, capsys) -> None:
    labelled = pool("labelled", ((60.0, 0.0, 0.0), 12.0, MASS))
    pool("mass", ((-60.0, 5.0, 0.0), 15.0, MASS))
    pool("empty")
    manifest = _manifest(tmp_path, Row(labelled, "mass in the left lung", label="present"))
    assert cli.main(["suggest", manifest, "--scans", str(tmp_path / "pool"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["candidates"], found["labelled"]) == (2, 1)
    assert {Path(one["path"]).stem for one in found["chosen"]} == {"mass", "empty"}
    assert [one["priority"] for one in found["chosen"]] == sorted(one["priority"] for one in found["chosen"])[::-1]
    assert all(one["phrases"][0]["phrase"] == "mass" for one in found["chosen"])


def test_a_row_of_unknown_label_is_still_a_candidate(pool, tmp_path) -> None:
    scan = pool("seen", ((60.0, 0.0, 0.0), 12.0, MASS))
    found = module.suggest(_manifest(tmp_path, Row(scan, "mass", label="unknown")), tmp_path / "pool")
    assert (found.candidates, found.labelled) == (1, 0)


@pytest.mark.parametrize("grid", list(GRIDS))
def test_the_slice_to_look_at_first_is_that_of_the_lesion(grid: str, pool, tmp_path) -> None:
    centre = np.array([-60.0, 5.0, 42.0, 1.0])
    scan = pool("one", (tuple(centre[:3]), 15.0, MASS), grid=GRIDS[grid])
    slices = np.linalg.inv(GRIDS[grid]) @ centre
    found = module.suggest(_manifest(tmp_path, Row(scan, "mass", label="unknown")), tmp_path / "pool")
    assert abs(found.chosen[0].slices[0] - slices[0]) <= 15 / 3 + 1


def test_rare_phrases_come_first(pool, tmp_path) -> None:
    known = [pool(f"known{n}", ((60.0, 0.0, 10.0 * n), 12.0, MASS)) for n in range(3)]
    pool("haze", ((60.0, 0.0, 0.0), 18.0, HAZE))
    mask = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), mask)
    rows = [Row(scan, "mass", mask, patient=str(n)) for n, scan in enumerate(known)]
    rows.append(Row(known[0], "no ground-glass opacity"))
    found = module.suggest(_manifest(tmp_path, *rows), tmp_path / "pool")
    rarity = {one.phrase: one.rarity for one in found.chosen[0].phrases}
    assert rarity == {"mass": pytest.approx(0.5), "ground-glass opacity": 1.0}


def test_phrases_that_the_model_does_not_know_are_told(pool, tmp_path, caplog) -> None:
    pool("one")
    pool("two", ((60.0, 0.0, 0.0), 12.0, MASS))
    row = Row(pool("labelled"), "liver", label="present")
    found = module.suggest(_manifest(tmp_path, row), tmp_path / "pool")
    assert found.phrases == ()
    assert [phrase for phrase, _ in found.unknown] == ["liver"]
    assert "liver: not asked" in caplog.text
    assert "how different they look alone" in caplog.text
    assert len(found.chosen) == 2


def test_what_cannot_be_used_is_named_and_the_exit_code_says_so(pool, tmp_path, caplog, capsys) -> None:
    pool("good")
    (tmp_path / "pool" / "broken.nii.gz").write_bytes(b"no scan")
    manifest = _manifest(tmp_path, Row(pool("labelled"), "mass", label="absent"))
    assert cli.main(["suggest", manifest, "--scans", str(tmp_path / "pool")]) == 3
    assert "broken.nii.gz" in caplog.text + capsys.readouterr().err


def test_the_manifest_to_fill_in_can_be_read(pool, tmp_path) -> None:
    scan, out = pool("new"), tmp_path / "to_outline.csv"
    manifest = _manifest(tmp_path, Row(pool("labelled"), "mass", label="absent"))
    module.suggest(manifest, tmp_path / "pool", out=out)
    (row,) = read_manifest(out)
    assert (row.scan_key, row.phrase, row.label, row.mask) == (scan.resolve(), "mass", "unknown", None)


def test_nothing_left_to_label(pool, tmp_path) -> None:
    manifest = _manifest(tmp_path, Row(pool("labelled"), "mass", label="absent"))
    with pytest.raises(ConfigError, match="labels every scan"):
        module.suggest(manifest, tmp_path / "pool")
    with pytest.raises(ConfigError, match="top is 0"):
        module.suggest(manifest, tmp_path / "pool", top=0)


def test_a_study_that_other_weights_encoded_is_never_asked(tmp_path, caplog) -> None:
    """After every training the weights are others, and old studies would be scored without any sense."""
    (tmp_path / "pool").mkdir()
    old = replace(encode(body(), rule_model()), weights_sha256="f" * 64).save(tmp_path / "pool" / "old.safetensors")
    manifest = _manifest(tmp_path, Row(old, "mass", label="unknown"))
    found = module.suggest(manifest, tmp_path / "pool")
    assert found.candidates == 0
    assert not found.complete
    assert "encoded by weights ffffffffffff" in caplog.text
