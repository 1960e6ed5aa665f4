"""What the widget of a notebook is handed: volumes at their place in the patient, and text that is no markup."""

from __future__ import annotations

import gzip
import sys
from dataclasses import replace
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.exporters.patient import NODULE_LPS, make_grounding, make_scan
from tips_med.errors import MissingExtraError
from tips_med.geometry import transform_points

RAS = np.array([-1.0, -1.0, 1.0])
TURNED = ["axial, mirrored", "oblique", "oblique, mirrored", "sagittal", "coronal"]


def handed(volume: Any) -> nib.Nifti1Image:
    """A layer as nibabel reads it."""
    return nib.Nifti1Image.from_bytes(gzip.decompress(volume.data))


def places(image: nib.Nifti1Image, inside: np.ndarray) -> np.ndarray:
    """RAS of voxels [i j k], in mm."""
    return transform_points(np.asarray(image.affine), np.argwhere(inside))


@pytest.fixture
def notebook() -> Any:
    pytest.importorskip("ipyniivue", reason="the extra notebook is not installed")
    from tips_med.exporters import notebook

    return notebook


@pytest.mark.parametrize("direction", TURNED)
def test_every_layer_lies_where_it_lies_in_the_patient(direction: str, notebook: Any) -> None:
    answer = make_grounding(make_scan(direction), second=True)
    layers = answer.view().layers
    scan = handed(layers["scan"])
    np.testing.assert_allclose(scan.affine[:3] @ [0, 0, 0, 1], RAS * answer.scan.lps_from_kji[:3, 3], atol=1e-3)
    np.testing.assert_array_equal(np.asanyarray(scan.dataobj).T, np.rint(answer.scan.voxels))
    area = handed(layers["area"])
    marked = transform_points(answer.scan.lps_from_kji, np.argwhere(answer.labels)) * RAS
    found = places(area, np.asanyarray(area.dataobj) > 0)
    order = [np.lexsort(np.round(points, 2).T) for points in (found, marked)]
    np.testing.assert_allclose(found[order[0]], marked[order[1]], atol=1e-3)
    nodule = places(area, np.asanyarray(area.dataobj) == 1)
    np.testing.assert_allclose(nodule.mean(axis=0), RAS * NODULE_LPS, atol=1.0)
    heat = handed(layers["map"])
    values = np.asanyarray(heat.dataobj)
    brightest = places(heat, values == values.max()).mean(axis=0)
    np.testing.assert_allclose(brightest, RAS * NODULE_LPS, atol=4.0)
    np.testing.assert_allclose(values.T, np.nan_to_num(answer.heat), atol=1 / 254)
    left = handed(layers["\N{LEFT DOUBLE QUOTATION MARK}left\N{RIGHT DOUBLE QUOTATION MARK}"])
    assert places(left, np.asanyarray(left.dataobj) > 0.9)[:, 0].max() < 0  # to the left is to less x in RAS


@pytest.mark.parametrize("direction", TURNED)
def test_the_crosshair_is_at_the_peak(direction: str, notebook: Any) -> None:
    answer = make_grounding(make_scan(direction))
    view = answer.view()
    # niivue's crosshair is a part of the extent of the scan in nearest canonical order, from edge to edge.
    scan = nib.as_closest_canonical(handed(view.layers["scan"]))
    at = np.array(view.picture.scene.crosshair_pos) * scan.shape - 0.5
    np.testing.assert_allclose(transform_points(np.asarray(scan.affine), at)[0], RAS * NODULE_LPS, atol=1e-3)
    view.go_to((9999.0, 0.0, 0.0))
    assert all(0 <= part <= 1 for part in view.picture.scene.crosshair_pos)


@pytest.mark.parametrize("direction", ["axial", "oblique, mirrored"])
def test_a_large_scan_is_shown_coarser_at_its_place(
    direction: str, notebook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook, "MOST_VOXELS", 20_000)
    scan = make_scan(direction)
    scan.voxels[0] = np.nan
    answer = make_grounding(scan)
    view = answer.view()
    shown = handed(view.layers["scan"])
    voxels = np.asanyarray(shown.dataobj)
    assert voxels.size <= 20_000 < scan.voxels.size
    middle = nib.affines.apply_affine(shown.affine, (np.array(shown.shape) - 1) / 2)
    np.testing.assert_allclose(middle, (0.0, 0.0, 0.0), atol=4.0)
    inside = np.linalg.norm(places(shown, np.ones_like(voxels)) - RAS * NODULE_LPS, axis=1) < 5
    assert np.median(voxels.reshape(-1)[inside]) == 30, "the nodule's value at its place"
    area = handed(view.layers["area"])
    nodule = places(area, np.asanyarray(area.dataobj) == 1)
    np.testing.assert_allclose(nodule.mean(axis=0), RAS * NODULE_LPS, atol=2.5)
    at = np.array(view.picture.scene.crosshair_pos) * nib.as_closest_canonical(shown).shape - 0.5
    peak = nib.affines.apply_affine(nib.as_closest_canonical(shown).affine, at)
    np.testing.assert_allclose(peak, RAS * NODULE_LPS, atol=1e-3)


def test_layers_can_be_switched(notebook: Any) -> None:
    view = make_grounding(make_scan()).view()
    shown = {name for name, layer in view.layers.items() if layer.opacity > 0}
    assert shown == {"scan", "area", "outline"}
    view.switches["map"].value, view.switches["outline"].value = True, False
    assert view.layers["map"].opacity == pytest.approx(view.opacity.value)
    assert view.layers["outline"].opacity == 0
    view.opacity.value = 0.8
    assert view.layers["map"].opacity == pytest.approx(0.8)


@pytest.mark.parametrize("direction", ["axial", "sagittal", "coronal"])
def test_the_outline_leaves_the_inside_of_each_axial_plane_open(direction: str, notebook: Any) -> None:
    answer = make_grounding(make_scan(direction))
    edge = notebook.outline_of(answer)
    assert not (edge & ~answer.mask).any()
    z = np.rint(transform_points(answer.scan.lps_from_kji, np.argwhere(answer.mask))[:, 2]).astype(int)
    on_edge = edge[answer.mask]
    for height in np.unique(z):
        here = z == height
        assert on_edge[here].any()
        assert here.sum() < 20 or not on_edge[here].all()


def test_an_absent_answer_has_maps_alone(notebook: Any) -> None:
    view = make_grounding(make_scan(), state="absent").view()
    assert {"area", "outline"}.isdisjoint(view.layers) and "map" in view.switches


def test_what_was_typed_is_text_and_no_markup(notebook: Any) -> None:
    answer = replace(make_grounding(make_scan()), sentence="<img src=x onerror=alert(1)>: present", model="<b>")
    said = "".join(child.value for child in answer.view().children if isinstance(child, notebook.widgets.HTML))
    assert "<img" not in said and "&lt;img" in said and "&lt;b&gt;" in said
    assert notebook.NOTICE in said


def test_what_was_not_measured_is_dark_and_clear(notebook: Any) -> None:
    scan = make_scan()
    scan.voxels[0] = np.nan
    layers = make_grounding(scan).view().layers
    voxels = np.asanyarray(handed(layers["scan"]).dataobj).T
    assert (voxels[0] == voxels.min()).all()
    assert np.asanyarray(handed(layers["map"]).dataobj).T[0, 0, 0] == 0


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    monkeypatch.delitem(sys.modules, "tips_med.exporters.notebook", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'tips-med\[notebook\]'"):
        make_grounding(make_scan()).view()
