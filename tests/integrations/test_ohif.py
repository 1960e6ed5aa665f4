"""The panel in the real OHIF, with Orthanc and a real server: the segmentation lies where the mask lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("playwright", reason="the extra test is not installed")
pytest.importorskip("dicomweb_client", reason="the extra pacs is not installed")

from tests.integrations.lying import ct_series, sorted_points, true_points
from tests.integrations.viewer_site import EXTENSION, ask, ohif_app, opened, site
from tests.server.browser import CHROMIUM, chromium
from tests.server.running import TOKEN, running
from tests.serving.conftest import loopback as loopback
from tests.serving.loopback import free_port
from tests.serving.orthanc import DICOMWEB, FRESH, orthanc_running

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
QUERY = "mass in the left lung"

SEGMENTED = """() => services.segmentationService.getSegmentations().map((one) => {
  const { imageIds } = one.representationData.Labelmap;
  const points = [];
  for (const imageId of imageIds) {
    const image = cornerstone.cache.getImage(imageId);
    const plane = cornerstone.metaData.get("imagePlaneModule", image.referencedImageId);
    const pixels = image.voxelManager.getScalarData();
    for (let n = 0; n < pixels.length; n += 1) {
      if (!pixels[n]) continue;
      const i = n % plane.columns, j = Math.floor(n / plane.columns);
      points.push([0, 1, 2].map((axis) => plane.imagePositionPatient[axis]
        + i * plane.columnPixelSpacing * plane.rowCosines[axis]
        + j * plane.rowPixelSpacing * plane.columnCosines[axis]));
    }
  }
  return points;
})"""
"""Places, LPS in mm, of all voxels that each segmentation in the viewer has."""

DRAWN = """() => services.segmentationService.getSegmentationRepresentations(
  services.viewportGridService.getActiveViewportId()).filter((one) => one.visible).length"""
"""How many segmentations the active viewport shows."""


@dataclass(frozen=True)
class Hospital:
    """A viewer with its archive and server.

    Attributes:
        url: Address of the viewer, whose proxy adds the server's token.
        apart: Address of a second one, which asks the server at its own address.
        archive: A client of Orthanc.
    """

    url: str
    apart: str
    archive: httpx.Client

    def send(self, folder: Path) -> None:
        """Sends a series to the archive."""
        for file in sorted(folder.iterdir()):
            self.archive.post("/instances", content=file.read_bytes()).raise_for_status()

    def segmentations(self, study: str) -> int:
        """How many of them the archive has of a study."""
        query = {"Level": "Series", "Query": {"StudyInstanceUID": study, "Modality": "SEG"}}
        return len(self.archive.post("/tools/find", json=query).json())


@pytest.fixture(scope="module")
def app() -> Path:
    """OHIF's built app, fetched before the network is closed."""
    return ohif_app()


@pytest.fixture(scope="module")
def hospital(app: Path, loopback: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """All of it on loopback."""
    folder, archive_port, near, far = tmp_path_factory.mktemp("hospital"), *(free_port() for _ in range(3))
    root = f"http://127.0.0.1:{archive_port}"
    settings = {"HttpPort": archive_port, "DicomPort": free_port(), "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}}
    config = (EXTENSION / "app-config.js").read_text("utf-8").replace("http://127.0.0.1:8042", root)
    with (
        orthanc_running(folder / "orthanc", [DICOMWEB], settings),
        running(
            folder / "server", dicomweb={f"{root}/dicom-web": None}, origins=(f"http://127.0.0.1:{far}",)
        ) as server,
        site(app, config, f"{root}/dicom-web", server.url, TOKEN, near) as url,
        site(app, config.replace('"/tips-med"', f'"{server.url}"'), f"{root}/dicom-web", server.url, "", far) as apart,
        httpx.Client(base_url=root, timeout=60, trust_env=False, limits=FRESH) as archive,
    ):
        yield Hospital(url, apart, archive)


@pytest.fixture(scope="module")
def browser(hospital: Hospital) -> Iterator[Any]:
    """One for all tests: it starts slowly."""
    with chromium() as started:
        yield started


@pytest.mark.parametrize(("name", "patient"), [("axial", 71), ("oblique", 72), ("mirrored", 73)])
def test_the_segmentation_lies_where_the_mask_lies(
    name: str, patient: int, browser: Any, hospital: Hospital, tmp_path: Path
) -> None:
    folder, study, _ = ct_series(tmp_path / "ct", name, patient)
    hospital.send(folder)
    with opened(browser, hospital.url, study) as (page, panel):
        told = ask(panel, QUERY)
        assert told.startswith("present") and "left lung" in told
        assert "not a medical device" in panel.inner_text()
        (points,) = page.evaluate(SEGMENTED)
        np.testing.assert_allclose(sorted_points(points), true_points(folder, QUERY), atol=0.02)
        assert page.evaluate(DRAWN) == 1
        page.screenshot(path=tmp_path / "ohif.png")
        assert ask(panel, QUERY) == told  # again: nothing new is stored
        assert hospital.segmentations(study) == 1
        assert ask(panel, "ground-glass opacity").startswith("absent")
        assert "<img src=x onerror=alert(1)> dog" in ask(panel, "<img src=x onerror=alert(1)> dog")
        assert panel.locator("img").count() == 0
    with opened(browser, hospital.url, study) as (page, panel):  # as after a reload: it is in the archive by now
        assert ask(panel, QUERY) == told
        assert page.evaluate(DRAWN) == 1 and hospital.segmentations(study) == 1


def test_a_server_at_an_address_of_its_own_asks_for_its_token(browser: Any, hospital: Hospital, tmp_path: Path) -> None:
    folder, study, _ = ct_series(tmp_path / "ct", "axial", 75)
    hospital.send(folder)
    with opened(browser, hospital.apart, study) as (page, panel):
        assert "token is missing or wrong" in ask(panel, QUERY)
        panel.get_by_label("Token").fill(TOKEN)
        assert ask(panel, QUERY).startswith("present")
        assert page.evaluate(DRAWN) == 1


def test_a_damaged_segmentation_is_refused_in_words(browser: Any, hospital: Hospital) -> None:
    page = browser.new_page()
    page.goto(f"{hospital.url}/tips-med-ohif/dicom.js")
    told = page.evaluate(
        """async () => {
          const { uidsOf } = await import("/tips-med-ohif/dicom.js");
          const cut = new Uint8Array(150);
          cut.set([68, 73, 67, 77], 128);
          cut.set([8, 0, 0x18, 0, 85, 73, 255, 0], 132);
          return [new ArrayBuffer(0), new ArrayBuffer(500), cut.buffer].map((one) => {
            try { return uidsOf(one); } catch (error) { return error.message; }
          });
        }"""
    )
    assert told == ["the segmentation that the server sent cannot be read"] * 3
    page.close()
