"""The client's wheel holds its package and nothing else, and works without torch and without tips_med."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integrations.wheels import build_wheel, files_of, held, metadata, run_from


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel("tips-med-client", tmp_path_factory.mktemp("wheel"))


def test_it_holds_the_package_and_nothing_else(wheel: Path) -> None:
    assert held(wheel) == files_of("tips-med-client", "tips_med_client")
    assert "tips_med_client/py.typed" in held(wheel)
    assert wheel.stat().st_size < 50_000


def test_it_says_what_it_is(wheel: Path) -> None:
    import tips_med_client

    about = metadata(wheel)
    assert about["Name"] == "tips-med-client" and about["Version"] == tips_med_client.__version__
    assert about["License-Expression"] == "Apache-2.0"
    assert [name.split(">")[0] for name in about.get_all("Requires-Dist", [])] == ["httpx", "numpy"]


def test_it_works_without_torch_and_tips_med(wheel: Path, tmp_path: Path) -> None:
    code = """
import numpy as np, tips_med_client as client
mask = client.Volume(np.eye(4, dtype=np.uint8)[None], np.diag([3.0, 2.0, 2.0, 1.0]))
again = client.read_nifti(client.write_nifti(mask))
assert (again.voxels == mask.voxels).all() and np.allclose(again.lps_from_kji, mask.lps_from_kji)
try:
    client.Client("http://127.0.0.1:9", timeout_s=5).capabilities()
except client.ServerError as error:
    print(error.code, error)
print(client.__file__)
"""
    said = run_from([wheel], code, ("torch", "tips_med", "nibabel", "pydicom", "scipy"), tmp_path)
    assert said.startswith("unreachable the server cannot be reached") and wheel.name in said
