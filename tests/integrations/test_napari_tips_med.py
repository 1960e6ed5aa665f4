"""The plugin for napari without napari: its manifest, its reader, and answers at their place in the patient."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from napari_tips_med.asking import COLUMNS, Shown, ask, on_scan, to_send
from napari_tips_med.placing import KEY, NotPlacedError, display_order, index_of, scan_layer, sliders_at, volume_of
from napari_tips_med.reading import NotInstalledError, get_reader, read, read_by_server, sample
from tips_med_client import Client, ServerError, Volume

from tests.conftest import ORIENTATIONS, placed_scan, value_at
from tests.integrations.wheels import INTEGRATIONS, build_wheel, files_of, held, metadata, run_from
from tests.server.running import TOKEN, Running, running, turned, write_scan, zipped_series
from tips_med.errors import ReadError
from tips_med.loading import open_model

PLUGIN = INTEGRATIONS / "napari-tips-med"
MANIFEST = PLUGIN / "napari_tips_med" / "napari.yaml"
TURNED = ["oblique", "mirrored", "anisotropic"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("server") / "server") as made:
        yield made


def layer_of(data: tuple[np.ndarray, dict[str, Any], str]) -> Any:
    """A layer with what the plugin reads of it."""
    voxels, options, _ = data
    return SimpleNamespace(data=voxels, name=options["name"], metadata=options["metadata"], affine=options["affine"])


def answered(client: Client, layer: Any, query: str, **options: Any) -> Shown:
    """What comes of a question."""
    parts = [one for one in ask(client, layer, query, **options) if isinstance(one, Shown)]
    return Shown([one for part in parts for one in part.layers], [row for part in parts for row in part.rows])


def named(shown: Shown, part: str) -> tuple[np.ndarray, dict[str, Any], str]:
    """The layer with a part in its name."""
    (found,) = (one for one in shown.layers if part in one[1]["name"])
    return found


def world(affine: np.ndarray, index: Any) -> np.ndarray:
    """World coordinates of an index: (z, y, x) in mm."""
    return affine[:3, :3] @ np.asarray(index, float) + affine[:3, 3]


def test_the_manifest_is_valid() -> None:
    pytest.importorskip("npe2", reason="npe2 is not installed")
    command = [sys.executable, "-m", "npe2", "validate", str(MANIFEST)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "valid" in checked.stdout


def test_every_command_of_the_manifest_is_there() -> None:
    manifest = yaml.safe_load(MANIFEST.read_text("utf-8"))
    for command in manifest["contributions"]["commands"]:
        module, name = command["python_name"].split(":")
        if module.endswith(".widget"):  # imports Qt
            assert re.search(
                rf"^class {name}\(QWidget\)", (PLUGIN / f"{module.replace('.', '/')}.py").read_text(), re.M
            )
        else:
            assert callable(getattr(import_module(module), name))


@pytest.mark.parametrize("name", TURNED)
def test_the_label_at_the_peak_is_at_the_peak_of_the_answer(name: str, server: Running, tmp_path: Path) -> None:
    (data,) = read(str(write_scan(turned(name), tmp_path / "scan.nii.gz")))
    layer = layer_of(data)
    with Client(server.url, TOKEN) as client:
        shown = answered(client, layer, "mass in the left lung")
        (answer,) = client.ask(layer.metadata[KEY]["study"], "mass in the left lung")
    assert answer.peak_lps is not None
    peak_zyx = np.array(answer.peak_lps)[::-1]
    labels, options, kind = named(shown, ": present")
    peaks, peak_options, _ = named(shown, ": peaks")
    assert kind == "labels" and labels.shape == layer.data.shape
    np.testing.assert_array_equal(options["affine"], layer.affine)
    voxel = np.rint(peaks[0]).astype(int)
    assert labels[tuple(voxel)] == 1
    half_mm = np.abs(layer.affine[:3, :3]).sum(axis=1) / 2
    assert (np.abs(world(options["affine"], voxel) - peak_zyx) <= half_mm + 1e-6).all()
    np.testing.assert_allclose(world(peak_options["affine"], peaks[0]), peak_zyx, atol=1e-3)
    inside = np.argwhere(labels == 1).mean(axis=0)
    np.testing.assert_allclose(world(options["affine"], inside), (20.0, 0.0, 60.0), atol=1.5)  # the mass of `turned`


@pytest.mark.parametrize("direction", list(ORIENTATIONS))
def test_maps_lie_on_the_scan_whatever_its_axes(direction: str) -> None:
    scan = placed_scan(ORIENTATIONS[direction])
    layer = layer_of(scan_layer(Volume(scan.voxels, scan.lps_from_kji), "scan", (0, 1), "CT"))
    affine = np.abs(layer.affine[:3, :3])
    assert list(affine.argmax(axis=0)) == [0, 1, 2], "the axes run along z, y and x"
    shown = volume_of(layer)
    np.testing.assert_allclose(
        layer.data, value_at(np.indices(shown.voxels.shape).reshape(3, -1).T @ shown.lps_from_kji[:3, :3].T
        + shown.lps_from_kji[:3, 3]).reshape(shown.voxels.shape), atol=1e-3,
    )  # fmt: skip
    grid = np.eye(4)
    grid[:3, :3] = np.diag([3.0, 3.0, 3.0])[:, ::-1]
    grid[:3, 3] = np.array([-30.0, 12.0, -250.0]) - grid[:3, :3] @ (np.array([30, 30, 30]) - 1) / 2
    points = np.indices((30, 30, 30)).reshape(3, -1).T @ grid[:3, :3].T + grid[:3, 3]
    found = on_scan(Volume(value_at(points).reshape(30, 30, 30).astype(np.float32), grid), shown, np.float32)
    np.testing.assert_allclose(found, layer.data, atol=1e-2)


@pytest.mark.parametrize("direction", list(ORIENTATIONS))
def test_sliders_show_the_place(direction: str) -> None:
    scan = placed_scan(ORIENTATIONS[direction])
    shown = volume_of(layer_of(scan_layer(Volume(scan.voxels, scan.lps_from_kji), "scan", (0, 1), "CT")))
    lps = (-28.0, 10.0, -247.0)
    index_from_zyx = np.linalg.inv(np.eye(4)[[2, 1, 0, 3]] @ shown.lps_from_kji)
    sliders = np.array(sliders_at(shown, lps))
    np.testing.assert_allclose(np.diag(index_from_zyx)[:3] * sliders + index_from_zyx[:3, 3], index_of(shown, lps))
    if direction != "oblique":
        np.testing.assert_allclose(sliders, lps[::-1], atol=1e-6)


def test_an_answer_is_a_row_and_so_is_each_instance(server: Running, tmp_path: Path) -> None:
    (data,) = read(str(write_scan(turned("mirrored"), tmp_path / "scan.nii.gz")))
    layer = layer_of(data)
    with Client(server.url, TOKEN) as client:
        shown = answered(client, layer, "mass in the left lung zebra; nodule in the knee", words=False)
        study = layer.metadata[KEY]["study"]
        again = answered(client, layer, "mass right lung", words=False)
        assert layer.metadata[KEY]["study"] == study and len(client.studies()) >= 1
    texts = [row.texts for row in shown.rows]
    assert all(len(one) == len(COLUMNS) for one in texts)
    assert texts[0][1:4] == ("present", "1.00", "100%") and "not understood: zebra" in texts[0][4]
    assert texts[1][0].startswith("  1: ") and "left lung" in texts[1][0] and texts[1][1].endswith("mm")
    assert shown.rows[0].goes_to == pytest.approx(shown.rows[1].goes_to, abs=1e-3)
    assert texts[-1][1] in ("no answer", "unsure", "absent")
    assert not [one for one in shown.layers if one[2] == "image"]
    assert again.rows[0].texts[1] == "absent" and not named(again, ": absent")[0].any()
    assert not [one for one in again.layers if one[2] == "points"]


def test_maps_of_words_are_hidden_images(server: Running, tmp_path: Path) -> None:
    (data,) = read(str(write_scan(turned("oblique"), tmp_path / "scan.nii.gz")))
    layer = layer_of(data)
    with Client(server.url, TOKEN) as client:
        shown = answered(client, layer, "mass in the left lung")
    left, options, kind = named(shown, "“left”")
    assert (
        left.dtype == np.float16 and kind == "image" and options["visible"] is False and left.shape == layer.data.shape
    )
    brightest = np.argwhere(left > 0.9).mean(axis=0)
    assert world(layer.affine, brightest)[2] > 0, "x runs to the patient's left"


def test_layers_of_others_are_not_asked(server: Running) -> None:
    layer = SimpleNamespace(data=np.zeros((4, 4, 4)), name="mine", metadata={})
    with Client(server.url, TOKEN) as client, pytest.raises(NotPlacedError, match="'mine' does not tell where it lies"):
        next(ask(client, layer, "mass"))


def test_what_is_no_ct_is_not_called_one(server: Running) -> None:
    scan = turned("mirrored")
    layer = layer_of(scan_layer(Volume(scan.voxels, scan.lps_from_kji), "scan", (0, 1), "MR"))
    with Client(server.url, TOKEN) as client, pytest.raises(ServerError, match="MR"):
        list(ask(client, layer, "mass"))


@pytest.mark.parametrize("series", [False, True])
def test_the_server_can_open_a_scan(series: bool, server: Running, tmp_path: Path) -> None:
    zipped_series(tmp_path)
    path = tmp_path / "series" if series else write_scan(turned("oblique"), tmp_path / "scan.nii.gz")
    with Client(server.url, TOKEN) as client:
        layer = layer_of(read_by_server(client, str(path)))
        before = len(client.studies())
        shown = answered(client, layer, "mass left lung", words=False)
        assert len(client.studies()) == before, "it is not sent again"
    (direct,) = read(str(path))
    np.testing.assert_allclose(layer.affine, direct[1]["affine"], atol=1e-3)
    np.testing.assert_array_equal(layer.data, np.rint(direct[0]))
    peaks, _, _ = named(shown, ": peaks")
    assert named(shown, ": present")[0][tuple(np.rint(peaks[0]).astype(int))] == 1


def test_the_reader_takes_nifti_and_dicom_alone(tmp_path: Path) -> None:
    zipped_series(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.dcm").write_text("no DICOM")
    assert get_reader(str(tmp_path / "series")) is read
    assert get_reader(str(next((tmp_path / "series").iterdir()))) is read
    assert get_reader("scan.NII.GZ") is read
    assert get_reader(str(tmp_path / "other")) is None
    assert get_reader(str(tmp_path / "other" / "notes.dcm")) is None
    assert get_reader(["a.nii", "b.nii"]) is None
    (tmp_path / "bad.nii").write_bytes(b"not a scan" * 50)
    with pytest.raises(ReadError, match="cannot be read"):
        read(str(tmp_path / "bad.nii"))


def test_without_tips_med_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tips_med.readers", None)
    monkeypatch.setitem(sys.modules, "tips_med.sample", None)
    for call in (lambda: read("scan.nii"), sample):
        with pytest.raises(NotInstalledError, match="pip install tips_med"):
            call()


@pytest.mark.shipped
def test_the_mass_of_the_sample_is_on_the_side_where_it_is(tmp_path: Path) -> None:
    (data,) = sample()
    layer = layer_of(data)
    with running(tmp_path / "server", open_model(device="cpu")) as made, Client(made.url, TOKEN) as client:
        shown = answered(client, layer, "mass in the left lung; mass in the right lung", words=False)
    states = [row.texts[1] for row in shown.rows if not row.texts[0].startswith(" ")]
    assert states[0] == "present" and states[1] != "present"
    labels, options, _ = next(one for one in shown.layers if one[1]["name"].endswith(": present"))
    middle = world(options["affine"], np.argwhere(labels == 1).mean(axis=0))
    np.testing.assert_allclose(middle, (277.4, -85.8, 52.3), atol=10)  # where readers outlined it, (z, y, x)


def test_the_sample_is_shown_from_the_front_of_the_patient() -> None:
    ((voxels, options, kind),) = sample()
    assert kind == "image" and options["contrast_limits"] == (-1350.0, 150.0)
    assert (np.diag(options["affine"])[:3] > 0).all()
    assert options["metadata"][KEY]["modality"] == "CT" and voxels.flags.c_contiguous


def test_voxels_are_sent_small_where_that_loses_nothing() -> None:
    whole = Volume(np.full((2, 2, 2), -1000.0, np.float32), np.eye(4))
    assert to_send(whole).voxels.dtype == np.int16
    for value in (0.5, np.nan, 40_000.0):
        assert to_send(Volume(np.full((2, 2, 2), value, np.float32), np.eye(4))).voxels.dtype == np.float32


def test_axes_are_used_once_each() -> None:
    a = np.deg2rad(45)
    tilted = np.array([[1, 0, 0, 0], [0, np.cos(a), -np.sin(a), 0], [0, np.sin(a), np.cos(a), 0], [0, 0, 0, 1]])
    assert sorted(display_order(tilted)) == [0, 1, 2]


def test_its_wheel_holds_the_plugin_and_works_without_tips_med(tmp_path: Path) -> None:
    wheel = build_wheel("napari-tips-med", tmp_path / "plugin")
    client = build_wheel("tips-med-client", tmp_path / "client")
    assert held(wheel) == files_of("napari-tips-med", "napari_tips_med")
    assert "tips-med-client>=0.1" in metadata(wheel).get_all("Requires-Dist", [])
    code = """
from napari_tips_med import asking, reading
try:
    reading.sample()
except ImportError as error:
    print(error)
"""
    said = run_from([wheel, client], code, ("torch", "tips_med", "napari", "qtpy"), tmp_path)
    assert "not installed here" in said
