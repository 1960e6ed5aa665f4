"""A scan of 300 slices: each of them is drawn in turn, and nobody waits for those that are scrolled past."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from tests.phantom import MASS, body, rule_model
from tests.server.browser import CHROMIUM, ask, page_of, serving, settle
from tips_med.exporters.nifti import write_volume

pytest.importorskip("playwright", reason="playwright is not installed")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

SLICES, THICK_MM = 300, 1.0
SHAPE, SPACING_MM = (SLICES, 96, 112), (THICK_MM, 2.0, 2.6)
MASS_AT = (65.0, 10.0, -40.0)

WATCH = """() => {
  window.watched = { depths: [], longTasks: [] };
  const { pane } = tipsMed;
  const drawn = pane.drawn;
  pane.drawn = () => {
    drawn();
    watched.depths.push(pane.view.tiles.find((one) => one.name === "axial").depth);
  };
  new PerformanceObserver((list) => watched.longTasks.push(...list.getEntries().map((one) => one.duration)))
    .observe({ entryTypes: ["longtask"] });
}"""
"""Notes which axial slice niivue drew with each frame, and the tasks of the main thread of 50 ms and more."""

FRAME = "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"


def affine(turned_deg: float) -> np.ndarray:
    angle = np.deg2rad(turned_deg)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    found = np.eye(4)
    found[:3, :3] = turn @ np.eye(3)[:, ::-1] * SPACING_MM
    found[:3, 3] = -found[:3, :3] @ (np.array(SHAPE) - 1) / 2
    return found


@pytest.fixture(scope="module")
def pages(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The page of such a scan, axial and oblique, with an answer over it."""
    folder = tmp_path_factory.mktemp("scrolling")
    with ExitStack() as stack:
        served = stack.enter_context(serving(rule_model(), folder / "own"))
        made = {}
        for name, turned_deg in (("axial", 0.0), ("oblique", 12.0)):
            lps_from_kji = affine(turned_deg)
            voxels = body([(MASS_AT, 15.0, MASS)], lps_from_kji, SHAPE).voxels.astype(np.int16)
            path = write_volume(voxels, lps_from_kji, folder / f"{name}.nii.gz")
            page = stack.enter_context(page_of(browser, served, served.link(path, modality="CT")))
            page.set_viewport_size({"width": 900, "height": 420})
            ask(page, "mass in the left lung")
            page.evaluate(WATCH)
            made[name] = page
        yield made


def begin(page: Any, superior_mm: float) -> None:
    """Goes to the highest or the lowest slice."""
    page.evaluate(f"tipsMed.view.moveTo([0, 0, {superior_mm}])")
    settle(page)
    page.evaluate("watched.depths.length = 0; watched.longTasks.length = 0")
    settle(page)


def slices(page: Any) -> tuple[int, float]:
    """The number of axial slices that are shown, and their distance in mm."""
    return page.evaluate("[tipsMed.view.shown.dims[2], tipsMed.view.shown.spacing[2]]")


def watched(page: Any, what: str, capsys: pytest.CaptureFixture[str]) -> np.ndarray:
    """The slices drawn since it began, each once, in mm; shows the long tasks."""
    depths, tasks = page.evaluate("[watched.depths.splice(0), watched.longTasks.splice(0)]")
    with capsys.disabled():
        sys.stdout.write(
            f"\n{what}: {len(depths)} frames, {len(tasks)} long tasks, {max(tasks, default=0):.0f} ms at most\n"
        )
    changed = np.concatenate([[True], np.diff(depths) != 0])
    return np.array(depths)[changed]


@pytest.mark.parametrize(("name", "device"), [("axial", "wheel"), ("axial", "keys"), ("oblique", "wheel")])
def test_every_slice_is_drawn_in_turn(pages, name, device, capsys):
    page = pages[name]
    count, step_mm = slices(page)
    assert count >= SLICES
    way = -1 if device == "wheel" else 1
    begin(page, -way * 1000)
    page.mouse.move(**middle(page))
    page.focus("#over")
    for _ in range(count - 1):
        if device == "wheel":
            page.mouse.wheel(0, 100)
        else:
            page.keyboard.press("PageUp")
        page.evaluate(FRAME)
    drawn = watched(page, f"{name}, {device}", capsys)
    assert len(drawn) in (count - 1, count), "the first one may have been there before"
    np.testing.assert_allclose(np.diff(drawn), way * step_mm, atol=1e-3)


@pytest.mark.parametrize("name", ["axial", "oblique"])
def test_what_is_scrolled_past_is_not_waited_for(pages, name, capsys):
    """Wheel events that come faster than frames cost no frame each."""
    page = pages[name]
    count, step_mm = slices(page)
    begin(page, 1000)
    before = page.evaluate("tipsMed.view.mm[2]")
    page.evaluate(
        """([x, y, count]) => { for (let n = 0; n < count; n += 1) document.getElementById("over").dispatchEvent(
          new WheelEvent("wheel", { deltaY: 100, clientX: x, clientY: y, bubbles: true, cancelable: true })); }""",
        [*middle(page).values(), count // 2],
    )
    settle(page)
    drawn = watched(page, f"{name}, burst", capsys)
    assert drawn[-1] == pytest.approx(before - (count // 2) * step_mm, abs=1e-2), "the last slice is reached"
    assert len(drawn) <= 3


def middle(page: Any) -> dict[str, float]:
    box = page.locator("#over").bounding_box()
    return {"x": box["x"] + 0.3 * box["width"], "y": box["y"] + 0.5 * box["height"]}
