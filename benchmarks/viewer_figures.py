"""Makes the pictures of OHIF and of Orthanc Explorer for the documentation, from the bundled scan alone.

python -m benchmarks.viewer_figures    # needs Debian's chromium and Orthanc with its plugins, npm, and the extra `test`
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from benchmarks.figures import IMAGES
from tests.integrations.lying import series_of
from tests.integrations.viewer_site import EXTENSION, ask, ohif_app, opened, site
from tests.server.browser import chromium
from tests.server.running import TOKEN, running
from tests.serving.loopback import free_port, only_loopback
from tests.serving.orthanc import DICOMWEB, FRESH, PYTHON, orthanc_running
from tips_med.loading import open_model
from tips_med.readers import read_scan
from tips_med.sample import sample_path

PLUGIN = Path(__file__).resolve().parents[1] / "integrations" / "orthanc" / "tips_med_plugin.py"
QUERY = "mass in the left lung"
WAIT_MS = 900_000


def picture(page: Any, name: str) -> None:
    """Saves what the browser shows."""
    page.wait_for_timeout(2000)
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path)
    with Image.open(path) as shown:
        shown.convert("RGB").save(path, optimize=True)


def main() -> None:
    app, model = ohif_app(), open_model(device="cpu")
    with tempfile.TemporaryDirectory() as made, only_loopback():
        folder, port = Path(made), free_port()
        root = f"http://127.0.0.1:{port}"
        series, study, _ = series_of(read_scan(sample_path()), folder / "ct", 64)
        (folder / "token").write_text(TOKEN)
        config = (EXTENSION / "app-config.js").read_text("utf-8").replace("http://127.0.0.1:8042", root)
        with running(folder / "server", model, dicomweb={f"{root}/dicom-web": None}) as server:
            settings = {
                "HttpPort": port,
                "DicomPort": free_port(),
                "StableAge": 1,
                "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                "PythonScript": str(PLUGIN),
                "TipsMed": {"Server": server.url, "TokenFile": str(folder / "token"), "DicomWeb": f"{root}/dicom-web"},
            }
            with (
                orthanc_running(folder / "orthanc", [DICOMWEB, PYTHON], settings),
                site(app, config, f"{root}/dicom-web", server.url, TOKEN, free_port()) as url,
                httpx.Client(base_url=root, timeout=60, trust_env=False, limits=FRESH) as archive,
                chromium() as browser,
            ):
                for file in sorted(series.iterdir()):
                    stored = archive.post("/instances", content=file.read_bytes()).raise_for_status().json()
                with opened(browser, url, study) as (page, panel):
                    page.set_default_timeout(WAIT_MS)
                    assert ask(panel, QUERY).startswith("present")
                    picture(page, "ohif")
                page = browser.new_page(viewport={"width": 1100, "height": 640})
                page.goto(f"{root}/app/explorer.html#series?uuid={stored['ParentSeries']}")
                form = page.locator("#series form.tips-med")
                form.get_by_label("Where is it?").fill(QUERY)
                form.get_by_role("button", name="Ask").click()
                form.get_by_role("link", name="the stored segmentation").wait_for(timeout=WAIT_MS)
                picture(page, "orthanc")


if __name__ == "__main__":
    main()
