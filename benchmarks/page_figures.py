"""Makes the pictures of the page for the documentation, from the bundled scan alone.

python -m benchmarks.page_figures    # needs Debian's chromium, and the extra `test`
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.figures import IMAGES
from benchmarks.follow_up_figure import two_days
from tests.server.browser import Served, ask, at_place, chromium, page_of, serving, settle
from tips_med.exporters.nifti import write_volume
from tips_med.loading import open_model
from tips_med.sample import sample_path

MASS_LPS = (52.3, -85.8, 277.4)
WAIT_MS = 600_000


def picture(page: Any, name: str) -> None:
    """Saves what the browser shows."""
    settle(page)
    page.wait_for_timeout(400)
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path)
    with Image.open(path) as shown:
        shown.convert("RGB").save(path, optimize=True)


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(open_model(device="cpu"), Path(folder) / "own", corrections=Path(folder) / "kept") as served,
        chromium() as browser,
        page_of(browser, served, served.link(sample_path()), ready=False) as page,
    ):
        page.set_viewport_size({"width": 1180, "height": 720})
        page.wait_for_selector("#cover progress[max]")
        picture(page, "page-encoding")
        page.wait_for_selector("body[data-ready]", timeout=WAIT_MS)
        ask(page, "nodule right lung")
        ask(page, "no pleural effusion")
        ask(page, "mass in the left lung")
        page.keyboard.press("Escape")
        picture(page, "page")
        page.locator("#answers .word").nth(1).hover()
        page.wait_for_selector("#tip:text('lights up')")
        picture(page, "page-word")
        page.mouse.move(5, 5)
        page.click("#tools button[data-name=what]")
        page.mouse.click(**at_place(page, "axial", MASS_LPS))
        page.wait_for_selector("#what table")
        picture(page, "page-what")
        page.click("#tools button[data-name=move]")
        page.click("#what button[aria-label=Close]")
        page.keyboard.press("Escape")
        page.keyboard.press("c")
        x, y = at_place(page, "axial", (MASS_LPS[0] - 18, MASS_LPS[1] + 20, MASS_LPS[2])).values()
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 12, y + 8, steps=4)
        page.mouse.up()
        picture(page, "page-correct")
        prior_beside(browser, served, Path(folder))


def prior_beside(browser: Any, served: Served, folder: Path) -> None:
    """The bundled scan on two days: painted nodules, and a patient that moved (``benchmarks.follow_up_figure``)."""
    days = two_days()
    paths = [
        write_volume(np.nan_to_num(np.rint(scan.voxels), nan=-1024).astype(np.int16), scan.lps_from_kji, folder / name)
        for scan, name in ((days.current, "current.nii.gz"), (days.prior, "prior.nii.gz"))
    ]
    with page_of(browser, served, served.link(*paths, modality="CT"), ready=False) as page:
        page.set_viewport_size({"width": 1400, "height": 860})
        page.wait_for_selector("body[data-prior]", timeout=WAIT_MS)
        ask(page, "nodule")
        page.wait_for_selector("#answers .changes")
        page.locator("#answers .changes tbody[data-status=grown] button").first.click()
        page.locator("#answers .comparison").first.scroll_into_view_if_needed()
        page.evaluate("document.querySelector('#answers .comparison').scrollIntoView({ block: 'start' })")
        page.mouse.move(5, 5)
        picture(page, "page-prior")


if __name__ == "__main__":
    main()
