"""Makes the picture of the interactive view in a notebook, on the bundled scan.

pip install jupyterlab
python -m benchmarks.notebook_figure    # needs Debian's chromium as well, and the extras `test` and `notebook`
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
from PIL import Image

from benchmarks.figures import IMAGES
from tests.server.browser import chromium
from tests.serving.loopback import free_port

CELL = """import tips_med
from tips_med.sample import sample_path

study = tips_med.encode(tips_med.read_scan(sample_path()))
tips_med.ground(study, "mass in the left lung").view()
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        cell = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": None, "outputs": [], "source": CELL}
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        (Path(folder) / "view.ipynb").write_text(json.dumps(notebook), "utf-8")
        port, token = free_port(), secrets.token_urlsafe(16)
        url = f"http://127.0.0.1:{port}"
        options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", f"--notebook-dir={folder}"]
        environment = os.environ | {"JUPYTER_TOKEN": token, "JUPYTER_CONFIG_DIR": folder}
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            page = browser.new_page(viewport={"width": 1250, "height": 1000})
            wait_for(url)
            page.goto(f"{url}/lab/tree/view.ipynb?token={token}")
            page.click(".jp-Notebook .cm-content", timeout=60_000)
            page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=60_000)
            page.keyboard.press("Shift+Enter")
            page.wait_for_selector(".jp-OutputArea-output canvas", timeout=600_000)
            page.keyboard.press("Control+b")  # hides the list of files
            page.wait_for_timeout(20_000)  # until the volumes are drawn
            page.locator(".jp-OutputArea-output").first.screenshot(path=IMAGES / "notebook.png")
        finally:
            server.terminate()
            server.wait(30)
    with Image.open(IMAGES / "notebook.png") as shown:
        shown.convert("RGB").save(IMAGES / "notebook.png", optimize=True)


def wait_for(url: str) -> None:
    """Waits until a server answers."""
    with httpx.Client(trust_env=False, transport=httpx.HTTPTransport(retries=8)) as client:
        client.get(f"{url}/api", timeout=60)


if __name__ == "__main__":
    main()
