from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.archive.conftest import LEFT_HAZE, LEFT_HIGH, LEFT_LOW, RIGHT_MIDDLE, SECRET
from tests.conftest import axial_affine
from tests.phantom import AFFINE, SHAPE, rule_model
from tips_med.archive.describe import about_archive, describe
from tips_med.archive.keys import key_of
from tips_med.archive.places import HEIGHTS, SIDES
from tips_med.archive.vectors import MAX_VECTORS, region_means, region_vector
from tips_med.errors import QueryError, WeightsError
from tips_med.geometry import transform_points
from tips_med.grounding.coverage import LOBES, THIRDS
from tips_med.grounding.ground import assess

OBLIQUE = axial_affine((3.5, 2.5, 3.0), turned_deg=12.0)
OBLIQUE[:3, 3] = -OBLIQUE[:3, :3] @ (np.array(SHAPE) - 1) / 2
MIRRORED = AFFINE.copy()
MIRRORED[:3, 2] *= -1
MIRRORED[:3, 3] = -MIRRORED[:3, :3] @ (np.array(SHAPE) - 1) / 2
ENDED = AFFINE.copy()
ENDED[2, 3] += 120  # the lower half of the chest is not in the scan


@pytest.mark.parametrize("affine", [AFFINE, OBLIQUE, MIRRORED, ENDED], ids=["axial", "oblique", "mirrored", "cut"])
def test_stored_evidence_is_what_asking_the_study_gives(affine, make_study, model):
    """Every side and every height of every finding, on scans of any orientation."""
    study = make_study(LEFT_LOW, RIGHT_MIDDLE, LEFT_HAZE, lps_from_kji=affine)
    about = about_archive(study, model)
    record = describe(study, model, about, SECRET)
    for term in ("mass", "ground_glass_opacity"):
        plain = model.lexicon.parse(model.lexicon.term(term).name)
        for s, side in enumerate(SIDES):
            for place, bounds in [(None, None), *THIRDS.items()]:
                locations = () if place is None else (model.lexicon.term(place),)
                query = replace(plain, side=None if side == "any" else side, locations=locations)
                found = assess(study, query, model)
                h = HEIGHTS.index(LOBES.get(place or "", bounds))
                coverage = found.regions["searched"].coverage
                assert record.evidence[term][s, h] == pytest.approx(found.logit, abs=1e-4), (term, side, place)
                assert record.known[s, h] == (coverage.side_known and coverage.height_known)
                assert record.whole[s, h] == coverage.whole


def test_stored_instances_are_those_of_the_answer(make_study, model):
    study = make_study(LEFT_LOW, LEFT_HIGH)
    record = describe(study, model, about_archive(study, model), SECRET)
    masses = [one for one in record.instances if one.term == "mass"]
    assert {one.region for one in masses} == {"lower third of the left lung", "upper third of the left lung"}
    lower = next(one for one in masses if one.region.startswith("lower"))
    assert lower.volume_ml == pytest.approx(4 / 3 * np.pi * 1.5**3, rel=0.2)
    np.testing.assert_allclose(lower.centroid_lps, LEFT_LOW[0], atol=2)


@pytest.mark.parametrize("affine", [AFFINE, OBLIQUE, MIRRORED], ids=["axial", "oblique", "mirrored"])
def test_vectors_lie_where_their_patches_are(affine, make_study, model):
    """The vector most like the mass lies in it, on its side, at its height."""
    study = make_study(LEFT_LOW, lps_from_kji=affine)
    about = about_archive(study, model)
    vectors = describe(study, model, about, SECRET).vectors
    assert len(vectors) <= MAX_VECTORS
    np.testing.assert_allclose(np.linalg.norm(vectors.directions, axis=1), 1, atol=1e-3)
    raw = vectors.directions * vectors.lengths[:, None] + np.array(about.centre)
    best = raw[:, 0].argmax()
    assert np.linalg.norm(vectors.lps[best] - LEFT_LOW[0]) < 15
    assert vectors.sides[best] == 2
    assert vectors.heights[best] < 1 / 3


def test_a_scan_without_lungs_is_described(make_study, model):
    study = make_study(LEFT_LOW)
    study = replace(study, features=replace(study.features, fine=study.features.fine * 0), kept={}, cache={})
    record = describe(study, model, about_archive(study, model), SECRET)
    assert not record.known[:, 1:].any()
    assert np.isfinite(record.evidence["mass"]).all()


def test_keys_follow_the_scan_and_not_its_file(make_study):
    one, other = make_study(uid="1.2.840.1"), make_study(uid="1.2.840.2")
    assert key_of(one, SECRET) == key_of(make_study(LEFT_LOW, uid="1.2.840.1"), SECRET)
    assert key_of(one, SECRET) != key_of(other, SECRET)
    assert key_of(one, SECRET) != key_of(one, bytes(32))
    assert "1.2.840" not in key_of(one, SECRET)


def test_a_scan_without_uids_is_known_by_its_voxels(make_study):
    bare = [replace(one, scan=replace(one.scan, provenance=replace(one.scan.provenance, series_uid=None)))
            for one in (make_study(LEFT_LOW), make_study(LEFT_LOW), make_study(LEFT_HIGH))]  # fmt: skip
    first, again, other = (key_of(one, SECRET) for one in bare)
    assert first == again != other


def test_a_study_of_other_weights_is_refused(make_study, model):
    study = make_study()
    other = replace(rule_model(), sha256="1" * 64)
    with pytest.raises(WeightsError, match="encode the scan again|Encode the scan again"):
        describe(study, other, about_archive(study, model), SECRET)


@pytest.mark.parametrize("radius_mm", [5.0, 15.0, 35.0])
def test_every_region_of_a_study_is_averaged_as_the_one_that_is_searched(radius_mm, make_study, model):
    """Else a scan would not be most like itself."""
    study = make_study(LEFT_LOW, lps_from_kji=OBLIQUE)
    means, valid = region_means(study, radius_mm, model)
    some = np.argwhere(valid)[:: valid.sum() // 40]
    for index in some:
        at = transform_points(study.features.lps_from_patch, index)[0]
        np.testing.assert_allclose(means[tuple(index)], region_vector(study, tuple(at), radius_mm, model), atol=2e-4)


def test_a_region_outside_the_body_is_refused(make_study, model):
    study = make_study(LEFT_LOW)
    assert region_vector(study, LEFT_LOW[0], 10.0, model)[0] > 0.5
    for at, radius in (((400.0, 0.0, 0.0), 10.0), ((0.0, 0.0, float("nan")), 10.0), (LEFT_LOW[0], 0.0)):
        with pytest.raises(QueryError):
            region_vector(study, at, radius, model)
