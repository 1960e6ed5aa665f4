from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.transforms.croppad.dictionary import CenterSpatialCropd
from monai.transforms.intensity.dictionary import RandGaussianNoised
from monai.transforms.spatial.dictionary import Flipd

from tests.manifest.files import write_nifti
from tests.training.small import affine, chest, data, tiny_model, write_studies
from tips_med.errors import ConfigError, ReadError, TipsMedError
from tips_med.manifest import ManifestError, Row, write_manifest
from tips_med.query import Lexicon
from tips_med.training import studies
from tips_med.training.batches import collate_crops
from tips_med.training.crops import StudyCrops
from tips_med.training.finetune import FinetuneConfig, FinetuneTask
from tips_med.training.manifest_data import ManifestData
from tips_med.training.studies import PreparedStudy, prepare_studies

LEXICON = Lexicon.load("chest_ct")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def module(tmp_path, model):
    made = ManifestData(data(write_studies(tmp_path)), model, LEXICON, tmp_path / "cache", steps=4)
    made.prepare_data()
    return made


def crops(module, **changes):
    spec = data(module.spec.manifest, **changes)
    return StudyCrops(module.files["train"], spec, module.model.image.slab_spec, LEXICON)


def test_a_prepared_study_holds_what_the_rows_say(module):
    study = PreparedStudy.load(module.files["train"][0])
    assert [(s.phrase, s.label, s.mask) for s in study.statements] == [
        ("mass in the left lung", "present", 0),
        ("pleural effusion", "absent", None),
    ]
    covered_ml = study.covers[0].sum() / 255 * np.prod(study.spacing_mm) / 1000
    assert covered_ml == pytest.approx(4 / 3 * np.pi * 0.8**3, rel=0.2)
    columns = np.argwhere(study.covers[0] > 127)[:, 2]
    x_mm = study.offset_mm[1] + columns.mean() * study.spacing_mm[2]
    assert x_mm == pytest.approx(22, abs=4)  # the patient's left


def test_cells_that_a_row_ignores_do_not_count(module, tmp_path, model):
    shape = chest()[1].shape
    ignored = np.zeros(shape, np.uint8)
    ignored[:, :, shape[2] // 2 :] = 1
    ignore = write_nifti(tmp_path / "ignore.nii.gz", ignored, affine())
    rows = [replace(row, ignore=ignore) if row.mask else row for row in module.rows]
    spec = data(write_manifest(rows, tmp_path / "ignoring.csv"), flip_prob=0.0, negative_prob=0.0)
    made = ManifestData(spec, model, LEXICON, tmp_path / "cache", steps=4)
    made.prepare_data()
    drawn = StudyCrops(made.files["train"], spec, model.image.slab_spec, LEXICON)
    study = PreparedStudy.load(made.files["train"][0])
    assert {one.phrase: one.ignore for one in study.statements} == {
        "mass in the left lung": 0,
        "pleural effusion": None,
    }
    for number in range(6):
        crop = drawn.crop(number)
        x_mm = crop.offset_mm[1] + np.arange(crop.volume_hu.shape[2]) * study.spacing_mm[2]
        for one in crop.targets:
            outlined = one.phrase.startswith("mass")
            assert bool(one.known[:, :, x_mm > 4].any()) is not outlined
            assert one.known[:, :, (x_mm < -4) & (x_mm > -40)].any()


def test_a_second_epoch_reads_no_scan(module, monkeypatch):
    def refuse(*_):
        raise AssertionError("a scan was read again")

    monkeypatch.setattr(studies, "read_scan", refuse)
    files, skipped = prepare_studies(module.split("train"), module.model, LEXICON, module.cache)
    assert files == module.files["train"]
    assert not skipped


def test_a_changed_mask_is_read_again(module):
    row = module.split("train")[0]
    row.mask.touch()
    files, _ = prepare_studies(module.split("train"), module.model, LEXICON, module.cache)
    assert files[0] != module.files["train"][0]
    assert files[1] == module.files["train"][1]


def test_what_cannot_be_used_is_left_out_and_counted_and_strict_stops(tmp_path, model):
    manifest = write_studies(tmp_path)
    rows = ManifestData(data(manifest), model, LEXICON, tmp_path / "cache", steps=1).rows
    (tmp_path / "broken.nii.gz").write_bytes(b"no scan")
    rows.append(Row(tmp_path / "broken.nii.gz", "mass", rows[0].mask))
    rows.append(Row(rows[0].scan, "nodule", tmp_path / "nowhere.nii.gz"))
    write_manifest(rows, manifest)
    module = ManifestData(data(manifest), model, LEXICON, tmp_path / "cache", steps=1)
    module.prepare_data()
    assert sorted(one.code for one in module.skipped) == ["damaged-file", "mask-unreadable"]
    assert len(module.files["train"]) == 2
    assert "nodule" not in [s.phrase for s in PreparedStudy.load(module.files["train"][0]).statements]
    again = ManifestData(data(manifest), model, LEXICON, tmp_path / "cache", steps=1)
    again.prepare_data()
    assert sorted(one.code for one in again.skipped) == ["damaged-file", "mask-unreadable"]  # from the cache, too
    strict = ManifestData(data(manifest, strict=True), model, LEXICON, tmp_path / "other", steps=1)
    with pytest.raises((TipsMedError, ReadError)):
        strict.prepare_data()


def test_a_mirrored_crop_swaps_the_words_with_the_image(module):
    def x_of_mass(mirror):
        crop = crops(module, flip_prob=mirror, shape=(6, 32, 48), negative_prob=0.0).crop(0)
        mass = next(one for one in crop.targets if "mass" in one.phrase)
        cells = np.argwhere(mass.target > 0.5)
        assert crop.volume_hu[tuple(cells.T)].mean() > 0  # the mask is still on the mass
        return mass.phrase, crop.offset_mm[1] + cells[:, 2].mean() * 2.0

    plain, mirrored = x_of_mass(0.0), x_of_mass(1.0)
    assert {plain[0], mirrored[0]} == {"mass in the left lung", "mass in the right lung"}
    for phrase, x_mm in (plain, mirrored):
        assert (x_mm > 0) == ("left" in phrase)
    assert plain[1] == pytest.approx(-mirrored[1], abs=1e-3)


def test_a_swapped_phrase_is_denied_only_where_the_right_one_is_true(module):
    targets = crops(module, flip_prob=0.0, negative_prob=1.0, shape=(6, 32, 48)).crop(0).targets
    right = next(one for one in targets if one.target.any())
    wrong = next(one for one in targets if not one.target.any() and one.phrase != "pleural effusion")
    assert wrong.phrase != right.phrase
    np.testing.assert_array_equal(wrong.known > 0, right.target > 0.5)
    absent = next(one for one in targets if one.phrase == "pleural effusion")
    assert (absent.known > 0)[right.target > 0].all()
    assert absent.known.sum() > 4 * wrong.known.sum(), "denied wherever the scan measured something"


def test_a_weak_sentence_counts_only_in_a_crop_of_the_whole_study(tmp_path, model):
    manifest = write_studies(tmp_path)
    rows = [Row(row.scan, "consolidation", patient=row.patient) for row in ManifestData(
        data(manifest), model, LEXICON, tmp_path / "c", steps=1).rows[::2]]  # fmt: skip
    write_manifest(rows, manifest)
    module = ManifestData(data(manifest), model, LEXICON, tmp_path / "cache", steps=1)
    module.prepare_data()
    part = crops(module).make(0)
    whole = crops(module, shape=(8, 64, 64)).make(0)
    assert part.presence.isnan().all()
    assert not part.known.any()
    assert whole.presence[0, 0] == 1.0
    assert not whole.known.any()  # nobody said where


def test_sentences_that_no_crop_is_large_enough_for_are_told(tmp_path, model, caplog):
    manifest = write_studies(tmp_path)
    rows = ManifestData(data(manifest), model, LEXICON, tmp_path / "c", steps=1).rows
    write_manifest([*rows, Row(rows[0].scan, "consolidation", patient=rows[0].patient)], manifest)
    ManifestData(data(manifest), model, LEXICON, tmp_path / "cache", steps=1).prepare_data()
    assert "nothing is learned from the sentences without a mask of 1 studies" in caplog.text
    assert "--data.shape" in caplog.text
    caplog.clear()
    ManifestData(data(manifest, shape=(8, 64, 64)), model, LEXICON, tmp_path / "cache", steps=1).prepare_data()
    assert not caplog.text


def test_weak_pairs_of_two_studies_are_contrasted(tmp_path, model):
    manifest = write_studies(tmp_path)
    rows = ManifestData(data(manifest), model, LEXICON, tmp_path / "c", steps=1).rows[::2]
    sentences = ("consolidation", "pneumothorax")
    write_manifest([Row(row.scan, text, patient=row.patient) for row, text in zip(rows, sentences)], manifest)
    module = ManifestData(data(manifest, shape=(8, 64, 64), batch=2), model, LEXICON, tmp_path / "cache", steps=1)
    module.prepare_data()
    batch = next(iter(module.train_dataloader()))
    counting = batch.relation.any(0)
    assert sorted(batch.phrases[n] for n in counting.nonzero().flatten()) == ["consolidation", "pneumothorax"]
    assert batch.relation[:, counting].tolist() in ([[1, -1], [-1, 1]], [[-1, 1], [1, -1]])
    task, told = FinetuneTask.from_model(model, LEXICON), {}
    task.log = lambda name, value, **_: told.update({name: float(value.detach())})
    task.training_step(batch, 0).backward()
    assert told["contrast"] > 0
    task.config = FinetuneConfig(contrast_weight=0.0, weak_weight=0.0)
    assert task.training_step(batch, 0).detach() == 0  # nothing else is known of these studies


def test_the_image_text_objective_learns_from_sentences_alone(tmp_path, model, module):
    task, told = FinetuneTask.from_model(model, LEXICON, FinetuneConfig(objective="image-text")), {}
    task.log = lambda name, value, **_: told.update({name: float(value.detach())})
    outlined = next(iter(module.train_dataloader()))
    loss = task.training_step(outlined, 0)
    loss.backward()  # no sentence here stands against another one
    assert float(loss.detach()) == 0
    assert set(told) == {"contrast", "loss"}
    manifest = write_studies(tmp_path / "weak")
    rows = ManifestData(data(manifest), model, LEXICON, tmp_path / "c", steps=1).rows[::2]
    sentences = ("consolidation", "pneumothorax")
    write_manifest([Row(row.scan, text, patient=row.patient) for row, text in zip(rows, sentences)], manifest)
    weak = ManifestData(data(manifest, shape=(8, 64, 64), batch=2), model, LEXICON, tmp_path / "weak-cache", steps=1)
    weak.prepare_data()
    loss = task.training_step(next(iter(weak.train_dataloader())), 0)
    loss.backward()
    assert float(loss.detach()) > 0
    assert task.towers.image.stem.weight.grad.any()


@pytest.mark.parametrize(
    ("phrase", "word", "alone"),
    [
        ("mass", "mass", True),
        ("mass in the left lung", "mass", False),  # the right one may have one, too
        ("pleural effusion", "effusion", False),  # not every effusion is a pleural one
        ("left lung", "lung", False),
    ],
)
def test_the_word_that_names_the_region(phrase, word, alone, module):
    query = LEXICON.parse(phrase)
    number, means_all = crops(module)._word(query.phrase)
    assert (query.words[number].text, means_all) == (word, alone)


def test_batches_are_the_same_in_one_process_and_in_two(module):
    together = crops(module, batch=2).make(3)
    parts = []
    for rank in (0, 1):
        half = crops(module, batch=1)
        half.rank, half.world = rank, 2
        parts.append(half.make(3))
    torch.testing.assert_close(together.pixels, torch.cat([part.pixels for part in parts]))
    assert together.phrases == parts[0].phrases + parts[1].phrases


def test_padding_is_not_used(module):
    one = crops(module, negative_prob=0.0, questions=5)
    batch = collate_crops([one.crop(0)], module.model.image.slab_spec, 5)
    assert batch.used.tolist() == [[1, 1, 0, 0, 0]]
    assert len(batch.phrases) == 5


def test_a_damaged_part_of_the_cache_is_passed_over(module, caplog):
    module.files["train"][0].write_bytes(b"damaged")
    drawn = crops(module)
    batches = [drawn.make(n) for n in range(4)]
    assert all("mass in the" in " ".join(batch.phrases) for batch in batches)
    assert caplog.text.count("left out from here on") == 1  # however often its turn came
    assert [(one.code, one.line) for one in module.damaged()] == [("cache", 2), ("cache", 3)]
    with pytest.raises(ManifestError, match="damaged part of the cache"):
        [crops(module, strict=True).make(n) for n in range(2)]
    prepare_studies(module.split("train"), module.model, LEXICON, module.cache)  # and made again
    PreparedStudy.load(module.files["train"][0])


def test_a_configurations_own_monai_transforms_change_crops_of_training_alone(module):
    def crop(augment=True, **changes):
        drawn = crops(module, flip_prob=0.0, shift_hu=0.0, **changes)
        drawn = StudyCrops(drawn.files, drawn.spec, drawn.slabs, LEXICON, augment=augment)
        return drawn.crop(0)

    noise = RandGaussianNoised("image", prob=1.0, std=20.0)
    plain, noisy, again = crop(), crop(transforms=[noise]), crop(transforms=[noise])
    assert 5 < np.std(noisy.volume_hu - plain.volume_hu) < 40
    np.testing.assert_array_equal(noisy.volume_hu, again.volume_hu)
    assert [one.phrase for one in noisy.targets] == [one.phrase for one in plain.targets]
    for one, two in zip(noisy.targets, plain.targets):
        np.testing.assert_array_equal(one.target, two.target)
    turned = crop(transforms=[Flipd(("image", "seen", "masks"), spatial_axis=1)])
    np.testing.assert_array_equal(turned.volume_hu, plain.volume_hu[:, ::-1])
    np.testing.assert_array_equal(turned.targets[0].target, plain.targets[0].target[:, ::-1])
    np.testing.assert_array_equal(
        crop(augment=False, transforms=[noise]).volume_hu, crop(augment=False).volume_hu
    )  # fmt: skip
    with pytest.raises(ConfigError, match="keep their shape"):
        crop(transforms=[CenterSpatialCropd("image", roi_size=(2, 16, 16))])


def test_a_phrase_without_a_mirror_image_stops_the_mirror(module):
    file = module.files["train"][0]
    study = PreparedStudy.load(file)
    liver = replace(study.statements[0], phrase="lesion in the liver", text="lesion in the liver")
    replace(study, statements=(*study.statements, liver)).save(file)
    drawn = crops(module, flip_prob=1.0)
    drawn.files = [file]
    assert "mass in the left lung" in [one.phrase for one in drawn.crop(0).targets]


def test_a_crop_larger_than_the_study_is_filled_up_with_air_that_was_not_seen(module):
    crop = crops(module, flip_prob=0.0, shift_hu=0.0, shape=(8, 64, 64)).crop(0)
    study = PreparedStudy.load(module.files["train"][0])
    assert crop.whole
    absent = next(one for one in crop.targets if one.phrase == "pleural effusion")
    assert absent.known.sum() == study.seen.sum()
    assert (crop.volume_hu[absent.known == 0] == -1024).all()


def weak_study(folder, **changes):
    """A manifest of one DICOM series of tests.manifest.files, whose slices are numbered from 1."""
    from tests.manifest.files import AFFINE, SHAPE, write_nifti, write_series

    write_series(folder / "series")
    organ = np.zeros(SHAPE, np.uint8)
    organ[:2] = 1
    region = write_nifti(folder / "organ.nii.gz", organ, AFFINE)
    row = Row(folder / "series", "9 mm nodule in the left lung", label="present", region=region, **changes)
    return write_manifest([row], folder / "weak.csv")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_signals_of_a_row_reach_the_batch(tmp_path, model):
    manifest = weak_study(tmp_path, series=1, images=(2,), size_mm=9.0, count=2)
    spec = data(manifest, shape=(8, 32, 32), flip_prob=0.0, plain_prob=0.0, slice_tolerance_mm=0.0)
    module = ManifestData(spec, model, LEXICON, tmp_path / "cache", steps=1)
    module.prepare_data()
    study = PreparedStudy.load(module.files["train"][0])
    (one,) = study.statements
    assert (one.size_mm, one.count, one.region, one.unplaced) == (9.0, 2, 0, "")
    crop = next(iter(module.train_dataloader()))
    said = crop.signals
    assert (float(said.size_mm[0, 0]), int(said.count[0, 0]), bool(said.both[0, 0])) == (9.0, 2, False)
    slabs = said.cited[0, 0].flatten(1).any(1).nonzero().flatten()
    volume = crops(module, shape=(8, 32, 32)).crop(0).volume_hu
    seen = np.flatnonzero((volume > -1000).any(axis=(1, 2)))
    assert slabs.tolist() == [seen[0] + 1]  # the second of the slices that were measured
    assert not (said.inside & said.outside).any()
    x_mm = said.x_mm[0]
    assert not said.inside[0, 0][..., x_mm < -11].any()  # the patient's right


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_mirrored_crop_mirrors_its_signals_and_a_plain_phrase_says_less(tmp_path, model):
    manifest = weak_study(tmp_path, images=(2,))
    for flip in (0.0, 1.0):
        module = ManifestData(data(manifest), model, LEXICON, tmp_path / "cache", steps=1)
        module.prepare_data()
        one = crops(module, shape=(8, 32, 32), flip_prob=flip, plain_prob=0.0).crop(0)
        (target,) = one.targets
        x_mm = one.offset_mm[1] + 2.0 * np.arange(32)
        assert ("right" if flip else "left") in target.phrase
        wrong = x_mm < -11 if not flip else x_mm > 11
        assert not target.signals.inside[..., wrong].any()
        (plain,) = crops(module, shape=(8, 32, 32), flip_prob=flip, plain_prob=1.0).crop(0).targets
        assert plain.phrase == "nodule"
        assert plain.signals.outside is None  # there may be another one
        np.testing.assert_array_equal(plain.signals.inside, target.signals.inside)
        np.testing.assert_array_equal(plain.signals.cited, target.signals.cited)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_cited_images_that_cannot_be_placed_are_told(tmp_path, model, caplog):
    manifest = weak_study(tmp_path, series=7, images=(2,))
    module = ManifestData(data(manifest, shape=(8, 64, 64)), model, LEXICON, tmp_path / "cache", steps=1)
    module.prepare_data()
    assert "cited images of 1 statements are not used" in caplog.text
    assert "other-series 1" in caplog.text


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_signals_teach_and_weights_of_zero_leave_them_out(tmp_path, model):
    manifest = weak_study(tmp_path, images=(2,), size_mm=9.0, count=2)
    module = ManifestData(data(manifest, shape=(8, 32, 32)), model, LEXICON, tmp_path / "cache", steps=1)
    module.prepare_data()
    batch = next(iter(module.train_dataloader()))
    task, told = FinetuneTask.from_model(model, LEXICON), {}
    task.log = lambda name, value, **_: told.update({name: float(value.detach())})
    task.training_step(batch, 0).backward()
    assert all(told[name] > 0 for name in ("weak", "slice", "size", "count"))
    off = dict.fromkeys(("slice_weight", "size_weight", "count_weight", "region_weight"), 0.0)
    task.config = FinetuneConfig(**off)
    task.training_step(batch, 0)
    assert all(told[name] == 0 for name in ("slice", "size", "count", "region"))
