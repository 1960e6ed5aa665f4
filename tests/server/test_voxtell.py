"""VoxTell's own published client asks this server, unchanged; its masks are those of ``ground`` in the patient."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import ModuleType

import httpx
import nibabel as nib
import numpy as np
import pytest

from tests.phantom import rule_model
from tests.server.running import TOKEN, Running, turned, write_scan
from tips_med.grounding import encode, ground
from tips_med.readers import read_scan
from tips_med.server.refusals import RequestError
from tips_med.server.voxtell import pack_array, unpack_array

pytest.importorskip("blosc2", reason="the extra voxtell is not installed")


@pytest.fixture(scope="module")
def remote() -> ModuleType:
    """The client's package, without the widgets beside it, which need Qt."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        place = distribution("napari-voxtell").locate_file("napari_voxtell")
    except PackageNotFoundError:
        pytest.skip("napari-voxtell is not installed (pip install --no-deps napari-voxtell)")
    package = ModuleType("napari_voxtell")
    package.__path__ = [str(place)]
    sys.modules.setdefault("napari_voxtell", package)
    from napari_voxtell import remote

    return remote


@pytest.mark.parametrize("name", ["oblique", "mirrored", "anisotropic"])
def test_the_plugin_s_own_client_gets_the_masks_of_ground(
    name: str, remote: ModuleType, server: Running, tmp_path: Path
) -> None:
    path = write_scan(turned(name), tmp_path / "scan.nii.gz")
    client = remote.VoxTellRemoteClient(server.url + "/voxtell/", TOKEN)
    try:
        assert client.healthz() and "rule" in client.capabilities()["model"]
        image_id, array, spacing, shape = client.upload_image(path.read_bytes())
        # What the plugin shows: the file turned to RAS by nibabel, axes in reverse, as its own reader does.
        image = nib.load(path)
        shown = nib.as_closest_canonical(image)
        assert array is not None and array.shape == shape
        np.testing.assert_array_equal(array, shown.get_fdata(dtype=np.float32).T)
        np.testing.assert_allclose(spacing, shown.header.get_zooms()[::-1], rtol=1e-6)
        assert client.upload_image(path.read_bytes(), include_image=False)[:2] == (image_id, None)
        prompts = ["mass in the left lung", "pleural effusion in the right lung", "left lung"]
        job = client.start_job(image_id, prompts)
        events = list(client.stream_events(job))
        assert events[-1] == {"status": "done"}
        masks = client.get_result(job)
        encoded = encode(read_scan(path), rule_model())
        for prompt, mask in zip(prompts, masks, strict=True):
            direct = ground(encoded, prompt, rule_model()).mask
            expected = nib.as_closest_canonical(nib.Nifti1Image(direct.T.astype(np.uint8), image.affine))
            np.testing.assert_array_equal(mask.T, np.asanyarray(expected.dataobj))
        assert masks[0].any() and masks[2].any()
        exported = nib.Nifti1Image.from_stream(io.BytesIO(_gunzip(client.export(image_id, masks[0].astype(np.uint16)))))
        np.testing.assert_allclose(exported.affine, image.affine, atol=1e-5)
        np.testing.assert_array_equal(np.asanyarray(exported.dataobj).T, ground(encoded, prompts[0], rule_model()).mask)
    finally:
        client.close()


def _gunzip(content: bytes) -> bytes:
    import gzip

    return gzip.decompress(content)


def test_what_cannot_be_answered_is_an_error_and_no_empty_mask(
    remote: ModuleType, server: Running, scan_path: Path
) -> None:
    client = remote.VoxTellRemoteClient(server.url + "/voxtell", TOKEN)
    try:
        image_id, *_ = client.upload_image(scan_path.read_bytes(), include_image=False)
        (*_, last) = client.stream_events(client.start_job(image_id, ["mass", "fracture"]))
        assert last["status"] == "error" and "fracture" in last["message"]
        job = client.start_job(image_id, ["mass"])
        client.cancel(job)
        (*_, last) = client.stream_events(job)
        assert last["status"] in ("cancelled", "done")
        with pytest.raises(httpx.HTTPStatusError):
            client.upload_image(b"no image")
        with pytest.raises(httpx.HTTPStatusError):
            client.export(image_id, np.zeros((2, 3, 4), np.uint16))
        with pytest.raises(httpx.HTTPStatusError):
            client.start_job("x", ["mass"])
    finally:
        client.close()
    wrong = remote.VoxTellRemoteClient(server.url + "/voxtell", "wrong")
    with pytest.raises(httpx.HTTPStatusError):
        wrong.capabilities()
    wrong.close()


def test_arrays_are_packed_as_that_client_packs_them(remote: ModuleType) -> None:
    from napari_voxtell.remote import serialization

    for array in (np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.zeros((0, 2), np.uint8), np.eye(3, dtype="f4")):
        np.testing.assert_array_equal(serialization.unpack_array(pack_array(array)), array)
        np.testing.assert_array_equal(unpack_array(serialization.pack_array(array), 1 << 20), array)


def test_arrays_that_lie_about_their_size_are_refused() -> None:
    good = pack_array(np.zeros((100, 100), np.uint8))
    for bad in (b"", good[:-3], b"XXXX" + good[4:], good[:20] + b"\xff" * 8 + good[28:], good + good[32:]):
        with pytest.raises(RequestError, match="unpacked"):
            unpack_array(bad, 1 << 20)
    with pytest.raises(RequestError):
        unpack_array(good, 9_999)
    claimed = bytearray(good)
    at = good.index(len(good[48:]).to_bytes(8, "little")) + 8 if len(good[48:]).to_bytes(8, "little") in good else 48
    claimed[at + 4 : at + 8] = (1 << 30).to_bytes(4, "little")
    with pytest.raises(RequestError):
        unpack_array(bytes(claimed), 1 << 40)
