"""Distillation: a teacher's embeddings are stored, found again, and taught to the compact towers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipelines.train import train
from tests.training.small import TRAINER, data, tiny_model, tiny_weights, write_studies
from tests.training.test_finetune import LEXICON, logged, pytestmark  # noqa: F401 (the same warnings)
from tips_med.cli import main
from tips_med.encoders.base import ImageFeatures
from tips_med.errors import OutputError, TipsMedError
from tips_med.geometry import index_from_block
from tips_med.loading import open_model
from tips_med.manifest import ManifestError
from tips_med.training.crops import StudyCrops
from tips_med.training.distillation import (
    patch_distance,
    read_embeddings,
    sample_patches,
    store_embeddings,
    teacher_file,
    write_embeddings,
)
from tips_med.training.finetune import FinetuneConfig
from tips_med.training.manifest_data import ManifestData
from tips_med.training.studies import PreparedStudy, read_study_header

PLACES_MM = 7.0  # between the slabs, rows and columns of a teacher whose embeddings tell their own place


def tells_its_place(path, shape=(12, 20, 24)):
    """A teacher's file whose embeddings are the LPS coordinates of the patches, in mm."""
    affine = np.diag([PLACES_MM] * 3 + [1.0])[:, [2, 1, 0, 3]]
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    place = index @ affine[:3, :3].T + affine[:3, 3]
    return write_embeddings(path, ImageFeatures(torch.from_numpy(place.astype(np.float32)), affine), "places")


@pytest.fixture
def module(tmp_path):
    manifest = write_studies(tmp_path / "studies")
    teacher = tmp_path / "teacher"
    for n in range(2):
        tells_its_place(teacher_file(teacher, manifest.parent / f"{n}" / "ct.nii.gz", manifest.parent))
    made = ManifestData(data(manifest, teacher=teacher), tiny_model(tmp_path), LEXICON, tmp_path / "cache", steps=4)
    made.prepare_data()
    return made


def crops(module, **changes):
    spec = replace(module.spec, **changes)
    return StudyCrops(
        module.files["train"], spec, module.model.image.slab_spec, LEXICON, teachers=module.teachers
    )  # fmt: skip


def test_every_patch_of_a_crop_gets_what_the_teacher_saw_at_its_place(module):
    assert module.teacher_width == 3
    for number in range(4):
        crop = crops(module, flip_prob=0.0).crop(number)
        studies = [PreparedStudy.load(file) for file in module.files["train"]]
        study = next(one for one in studies if one.statements == crop.statements)
        patches, inside = crop.teacher
        assert inside.all()
        y_mm, x_mm = crop.offset_mm
        middle = study.lps_from_pixel[:2, 3] - (study.offset_mm[1], study.offset_mm[0])
        first = (x_mm + middle[0] + 3.5 * 2.0, y_mm + middle[1] + 3.5 * 2.0)  # of a patch of 8 x 8 pixels of 2 mm
        np.testing.assert_allclose(patches[0, 0, 0, :2], first, atol=1e-3)
        np.testing.assert_allclose(np.diff(patches[:, 0, 0, 2]), 2.5, atol=1e-3)
        np.testing.assert_allclose(np.diff(patches[0, 0, :, 0]), 16.0, atol=1e-3)


def test_a_mirrored_crop_is_not_distilled(module):
    """The teacher never saw the mirrored image."""
    assert not crops(module, flip_prob=1.0).crop(0).teacher[1].any()


def test_only_the_slabs_near_a_crop_are_read(tmp_path):
    file = tells_its_place(tmp_path / "places.safetensors", (200, 4, 4))
    affine = np.diag([2.0, 2.0, 2.0, 1.0])[:, [2, 1, 0, 3]]
    affine[:3, 3] = (-3, -3, 300)
    patches, inside = read_embeddings(file, affine, (5, 3, 3))
    np.testing.assert_allclose(patches[:, 0, 0, 2], 300 + 2.0 * np.arange(5), atol=1e-3)
    assert inside.all()
    affine[:3, 3] = (-3, -3, 3000)
    assert not read_embeddings(file, affine, (5, 3, 3))[1].any()


def test_studies_without_a_teacher_are_counted_and_none_at_all_is_refused(tmp_path, module, caplog):
    scans = [read_study_header(file).scan for file in module.files["train"]]
    base = module.spec.manifest.parent
    teacher_file(module.spec.teacher, scans[1], base).unlink()

    def prepared(**changes):
        spec = replace(module.spec, **changes)
        made = ManifestData(spec, module.model, LEXICON, module.cache, steps=4)
        made.prepare_data()
        return made

    assert len(prepared().teachers) == 1
    assert "1 of 2 studies have no teacher" in caplog.text
    with pytest.raises(ManifestError, match="tips-med embed"):
        prepared(strict=True)
    teacher_file(module.spec.teacher, scans[0], base).unlink()
    with pytest.raises(ManifestError, match="tips-med embed"):
        prepared()


def test_a_damaged_file_of_the_teacher_is_passed_over_or_stops(module, caplog):
    width = module.teacher_width
    drawn = crops(module, flip_prob=0.0)
    assert drawn._teacher_width == width
    for file in module.teachers.values():
        save_file({"something": torch.zeros(1)}, file)
    assert not drawn.crop(0).teacher[1].any()
    assert "not distilled from here on" in caplog.text
    with pytest.raises(ManifestError, match="holds no embeddings of a teacher"):
        crops(module, flip_prob=0.0, strict=True).crop(0)


def test_embeddings_of_another_teacher_are_not_mixed_in(tmp_path):
    manifest, model = write_studies(tmp_path / "studies"), tiny_model(tmp_path)
    scan = manifest.parent / "0" / "ct.nii.gz"
    tells_its_place(teacher_file(tmp_path / "teacher", scan, manifest.parent))
    with pytest.raises(OutputError, match="of the teacher 'places'"):
        store_embeddings([scan], model, tmp_path / "teacher", manifest.parent)
    lost = []
    store_embeddings(
        [tmp_path / "nowhere.nii.gz"], model, tmp_path / "other", tmp_path, skipped=lambda *one: lost.append(one)
    )
    assert lost[0][0].name == "nowhere.nii.gz"
    with pytest.raises(TipsMedError):
        store_embeddings([tmp_path / "nowhere.nii.gz"], model, tmp_path / "other", tmp_path)


def test_a_tips_tower_is_distilled_into_the_compact_one_by_the_same_configuration(tips_folder, tmp_path, capsys):
    manifest = write_studies(tmp_path / "studies")
    stored = tmp_path / "teacher"
    chosen = ["embed", str(manifest), "--model", f"tips:{tips_folder}", "--out", str(stored)]
    assert main(chosen) == 0
    assert len(list(stored.glob("*.safetensors"))) == 2  # those of val are not distilled
    before = [file.stat().st_mtime_ns for file in sorted(stored.iterdir())]
    assert main(chosen) == 0
    assert [file.stat().st_mtime_ns for file in sorted(stored.iterdir())] == before
    out = tmp_path / "out"
    config = FinetuneConfig(steps=40, warmup=5, learning_rate=3e-3)
    path = train(
        data(manifest, batch=2, teacher=stored, flip_prob=0.0), out, str(tiny_weights(tmp_path / "tiny.safetensors")),
        optimizer=config, trainer=TRAINER, check_scans=0,
    )  # fmt: skip
    distil, dense = logged(out, "distil"), logged(out, "dense")
    assert distil[-1] < 0.8 * distil[0]
    # Of single crops, which differ: what was learned shows where the crop is always the same.
    assert min(dense[1:]) < 0.8 * dense[0]
    assert open_model(str(path)).card.findings == ("nodule", "mass")  # the projection is not needed afterwards


def test_patches_are_sampled_by_their_affines() -> None:
    """Embeddings that tell their own place are found at the place asked for, on a grid of another size."""
    lps_from_patch = np.array([[0, 0, 7.0, 5], [0, 6.0, 0, -9], [4.0, 0, 0, 30], [0, 0, 0, 1]])
    index = np.stack(np.meshgrid(*map(np.arange, (4, 5, 6)), indexing="ij"), axis=-1)
    place = index @ lps_from_patch[:3, :3].T + lps_from_patch[:3, 3]
    features = ImageFeatures(torch.from_numpy(place.astype(np.float32)), lps_from_patch)
    ours = lps_from_patch @ index_from_block((0.5, 0.75, 0.5))
    shape = (8, 6, 14)
    found, inside = sample_patches(features, ours, shape)
    asked = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) @ ours[:3, :3].T + ours[:3, 3]
    between = np.zeros(shape, bool)
    between[1:-1, 1:-1, 1:11] = True  # between the outermost centres, where interpolation is exact
    np.testing.assert_allclose(found.numpy()[between], asked[between], atol=1e-4)
    # The student reaches one patch further than the teacher's six columns.
    np.testing.assert_array_equal(inside.numpy(), np.arange(14)[None, None] < 12 + np.zeros(shape))


def test_only_what_the_teacher_saw_counts():
    patches, target = torch.randn(2, 1, 2, 2, 5), torch.randn(2, 1, 2, 2, 5)
    inside = torch.zeros(2, 1, 2, 2, dtype=torch.bool)
    inside[1, 0, 0, 1] = True
    distance = patch_distance(patches, target, inside)
    expected = 1 - torch.nn.functional.cosine_similarity(patches[1, 0, 0, 1], target[1, 0, 0, 1], dim=0)
    torch.testing.assert_close(distance, torch.stack([torch.zeros(()), expected]))
