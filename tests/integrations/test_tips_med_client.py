"""The thin client against a real server: answers and masks are those of ``ground``; it never imports torch."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from tips_med_client import AsyncClient, Client, ServerError, Volume, read_nifti, write_nifti

from tests.phantom import rule_model
from tests.server.running import TOKEN, Running, running, turned, write_scan, zipped_series
from tests.serving.loopback import free_port
from tips_med.geometry import transform_points
from tips_med.grounding import encode, ground
from tips_med.readers import read_scan

CLIENT = Path(__file__).parents[2] / "integrations" / "tips-med-client"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    with running(folder / "server", corrections=folder / "corrections") as made:
        yield made


def _points(mask: np.ndarray, lps_from_kji: np.ndarray) -> np.ndarray:
    points = transform_points(lps_from_kji, np.argwhere(mask))
    return points[np.lexsort(np.round(points, 2).T)]


@pytest.mark.parametrize("name", ["oblique", "mirrored", "anisotropic"])
def test_masks_lie_where_those_of_ground_lie(name: str, server: Running, tmp_path: Path) -> None:
    path = write_scan(turned(name), tmp_path / "scan.nii.gz")
    direct = ground(encode(read_scan(path), rule_model()), "mass in the left lung", rule_model())
    seen: list[tuple[int, int]] = []
    with Client(server.url, TOKEN) as client:
        study = client.upload(path)
        assert client.wait(study, lambda done, total: seen.append((done, total)))["state"] == "ready"
        (answer,) = client.ask(study, "mass in the left lung")
        mask = client.mask(answer)
        heat = client.heat(answer)
        scan = client.scan(study)
        left = client.word(answer, "left")
    assert answer.presence == "present" and answer.sentence == direct.sentence and answer.declined is None
    assert answer.instances[0]["side"] == "left" and answer.peak_lps == pytest.approx(direct.peak_lps)
    np.testing.assert_allclose(
        _points(mask.voxels, mask.lps_from_kji), _points(direct.mask, direct.scan.lps_from_kji), atol=1e-3
    )
    np.testing.assert_array_equal(heat.voxels, direct.heat.astype(np.float32))
    np.testing.assert_allclose(heat.lps_from_kji, direct.lps_from_heat, atol=1e-4)
    assert left.voxels.shape == heat.voxels.shape
    np.testing.assert_array_equal(scan.voxels, direct.scan.voxels)


def test_the_asynchronous_client_does_the_same(server: Running, tmp_path: Path) -> None:
    path = write_scan(turned("mirrored"), tmp_path / "scan.nii.gz")

    async def ask() -> tuple[list[str], np.ndarray]:
        async with AsyncClient(server.url, TOKEN) as client:
            study = await client.upload(path)
            await client.wait(study)
            answers = await asyncio.gather(*(client.ask(study, one) for one in ("mass left lung", "pleural effusion")))
            assert (await client.studies())[0]["id"]
            mask = (await client.mask(answers[0][0])).voxels
            with pytest.raises(ServerError, match="no such study"):
                await client.wait("0" * 32)
            return [one.sentence for (one,) in answers], mask

    sentences, mask = asyncio.run(ask())
    with Client(server.url, TOKEN) as client:
        study = client.upload(path)
        answers = [client.ask(study, one)[0] for one in ("mass left lung", "pleural effusion")]
        assert sentences == [one.sentence for one in answers]
        np.testing.assert_array_equal(mask, client.mask(answers[0]).voxels)


def test_a_folder_of_dicom_is_sent_without_its_file_names(server: Running, tmp_path: Path) -> None:
    zipped_series(tmp_path)
    with Client(server.url, TOKEN) as client:
        study = client.upload(tmp_path / "series")
        assert client.wait(study)["dicom"]
        (answer,) = client.ask(study, "mass left lung")
        assert client.file(answer.url("seg"))[128:132] == b"DICM"
        corrected = client.correct(study, "mass left lung", client.mask(answer))
        assert corrected["voxels"] == int(client.mask(answer).voxels.sum())
        client.forget(study)
        with pytest.raises(ServerError) as refused:
            client.study(study)
        assert refused.value.status == 404 and refused.value.code == "not-found"


@pytest.mark.parametrize("name", ["oblique", "mirrored"])
def test_voxels_are_sent_without_a_file(name: str, server: Running, tmp_path: Path) -> None:
    scan = turned(name)
    with Client(server.url, TOKEN) as client:
        study = client.upload(Volume(scan.voxels.astype(np.int16), scan.lps_from_kji), modality="CT")
        client.wait(study)
        (answer,) = client.ask(study, "mass left lung")
        kept = client.scan(study)
    np.testing.assert_allclose(kept.lps_from_kji, scan.lps_from_kji, atol=1e-4)
    assert answer.presence == "present" and answer.instances[0]["side"] == "left"


def test_refusals_keep_their_reasons(server: Running, tmp_path: Path) -> None:
    (tmp_path / "scan.nii").write_bytes(b"not a scan" * 100)
    with Client(server.url, TOKEN) as client, pytest.raises(ServerError, match="NIfTI") as refused:
        client.upload(tmp_path / "scan.nii")
    assert refused.value.code == "not-a-scan"
    with Client(server.url, "wrong") as client, pytest.raises(ServerError, match="token"):
        client.capabilities()
    cut = write_scan(turned("mirrored"), tmp_path / "cut.nii.gz")
    cut.write_bytes(cut.read_bytes()[:-999])
    with Client(server.url, TOKEN) as client, pytest.raises(ServerError) as failed:
        client.wait(client.upload(cut))
    assert failed.value.code in ("truncated-file", "damaged-file")


@pytest.mark.parametrize(
    "url", [f"http://127.0.0.1:{free_port()}", "no-address", "http://[", "ftp://127.0.0.1"], ids=range(4)
)
def test_a_server_that_is_not_there_is_told_as_a_refusal_is(url: str) -> None:
    async def ask() -> None:
        async with AsyncClient(url, TOKEN) as client:
            await client.capabilities()

    for of in (lambda client: client.capabilities(), lambda client: client.wait("0"), lambda client: client.file("/f")):
        with pytest.raises(ServerError) as refused, Client(url, TOKEN) as client:
            of(client)
        assert refused.value.code == "unreachable" and "tips-med serve" in str(refused.value)
    with pytest.raises(ServerError, match="cannot be reached"):
        asyncio.run(ask())


@pytest.mark.parametrize("name", ["oblique", "mirrored"])
def test_volumes_are_those_of_nibabel(name: str, tmp_path: Path) -> None:
    scan = turned(name)
    volume = Volume(scan.voxels.astype(np.int16), scan.lps_from_kji)
    path = tmp_path / "volume.nii.gz"
    path.write_bytes(write_nifti(volume))
    image = nib.load(path)
    np.testing.assert_allclose(image.affine, volume.ras_from_ijk, atol=1e-4)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj).T, volume.voxels)
    again = read_nifti(path.read_bytes())
    np.testing.assert_allclose(again.lps_from_kji, scan.lps_from_kji, atol=1e-4)
    with pytest.raises(ValueError, match="NIfTI"):
        read_nifti(b"nothing")
    with pytest.raises(ValueError, match="complex"):
        write_nifti(Volume(np.zeros((2, 2, 2), complex), np.eye(4)))


def test_it_needs_neither_torch_nor_tips_med() -> None:
    code = "import sys, tips_med_client; sys.exit(any(m in sys.modules for m in ('torch', 'tips_med', 'nibabel')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=CLIENT, timeout=60).returncode == 0
