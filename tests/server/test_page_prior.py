"""The prior scan beside the current one on the page: it follows, is compared, and tells what is not known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.followup.patients import GRIDS, LEFT, RIGHT, motion
from tests.phantom import rule_model
from tests.server.browser import (
    CHROMIUM,
    FAINT,
    UNNAMED,
    Served,
    ask,
    at_place,
    cross_of,
    drawn,
    page_of,
    serving,
    settle,
    until,
)
from tests.server.running import two_days
from tips_med.exporters.nifti import write_volume
from tips_med.readers import PatientTrace

pytest.importorskip("playwright", reason="playwright is not installed")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

COLOUR = "#3ee0ff"
MOTION = motion()
LEFT_NOW, RIGHT_NOW = (MOTION.GetInverse().TransformPoint(place) for place in (LEFT, RIGHT))
"""Where the masses lie in the current scan; in the prior one they are at LEFT and RIGHT."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(rule_model(), tmp_path_factory.mktemp("server")) as found:
        yield found
        foreign = [url for url in found.asked if not url.startswith((found.url, "data:", "blob:"))]
        assert not foreign, "the page asks no other host"


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return two_days(tmp_path_factory.mktemp("scans"))


@pytest.fixture(scope="module")
def page(browser: Any, served: Served, paths: tuple[Path, Path]) -> Iterator[Any]:
    """Both scans, opened as ``tips-med view CURRENT --prior PRIOR`` does, and asked for masses."""
    prior, current = paths
    with page_of(browser, served, served.link(current, prior, modality="CT")) as found:
        found.wait_for_selector("body[data-prior]")
        ask(found, "mass")
        found.wait_for_selector("#answers .changes")
        yield found


@pytest.fixture(autouse=True)
def _as_new(request: pytest.FixtureRequest) -> None:
    if "page" in request.fixturenames:
        page = request.getfixturevalue("page")
        page.set_viewport_size({"width": 1400, "height": 800})
        page.evaluate("tipsMed.prior.setFollowing(true); tipsMed.arrange('axial'); tipsMed.scene.opacity = 0")
        settle(page)


def near(place: tuple[float, float, float], wanted: Any) -> float:
    return float(np.linalg.norm(np.subtract(place, wanted)))


def test_the_cross_of_the_prior_scan_is_at_the_same_tissue(page):
    for place in (LEFT_NOW, RIGHT_NOW, (55.0, -30.0, 40.0), (-50.0, 20.0, -60.0)):
        page.evaluate(f"tipsMed.go({list(place)})")
        now = cross_of(page)
        true = MOTION.TransformPoint(now)
        assert near(cross_of(page, "prior.pane"), true) < 4, "registration and half a voxel of each scan"
        assert near(now, true) > 5, "and not at the same coordinates"


def test_what_became_of_each_mass_is_told_and_a_click_goes_there_in_both(page):
    bodies = page.locator("#answers .changes tbody")
    assert [one.get_attribute("data-status") for one in bodies.all()] == ["grown", "stable"]
    for n, (then, now) in enumerate(((LEFT, LEFT_NOW), (RIGHT, RIGHT_NOW))):
        bodies.nth(n).locator("button").click()
        assert near(cross_of(page), now) < 4
        assert near(cross_of(page, "prior.pane"), then) < 4
    grown = bodies.nth(0).inner_text()
    prior_ml, current_ml = (4.19e-3 * radius**3 for radius in (12, 19))
    told = [float(cell) for cell in bodies.nth(0).locator("td").all_inner_texts()[:2]]
    assert told == pytest.approx([prior_ml, current_ml], rel=0.35)
    assert "left lung" in grown and "+" in grown and " to " in grown
    assert "95% limits" in page.inner_text("#answers .comparison")


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_outline_in_the_prior_scan_is_the_prior_mass(page, plane):
    page.locator("#answers .changes tbody").nth(0).locator("button").click()
    page.evaluate(f"tipsMed.arrange('{plane}')")
    then, now = (np.array(drawn(page, COLOUR, plane, pane=pane)) for pane in ("prior.pane", "pane"))
    assert len(then) > 20 and len(now) > 20
    depth = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
    for line, centre, radius in ((then, LEFT, 12.0), (now, LEFT_NOW, 19.0)):
        flat = [axis for axis in range(3) if axis != depth]
        reach = np.linalg.norm(line[:, flat] - np.array(centre)[flat], axis=1)
        assert reach[reach < 60].max() == pytest.approx(radius, abs=6.0), "beyond is the other mass"


def test_the_prior_outline_is_dashed_on_the_current_scan(page):
    page.locator("#answers .changes tbody").nth(0).locator("button").click()
    whole = np.array(drawn(page, COLOUR, "axial"))
    page.evaluate("tipsMed.questions.answers[0].moved = null; tipsMed.redraw()")
    alone = {tuple(one) for one in np.round(drawn(page, COLOUR, "axial"), 3)}
    dashed = np.array([one for one in whole if tuple(np.round(one, 3)) not in alone])
    distance = np.linalg.norm(dashed[:, :2] - np.array(LEFT_NOW)[:2], axis=1)
    assert len(dashed) > 20
    assert np.median(distance) == pytest.approx(12.0, abs=3.5)
    page.evaluate("tipsMed.questions.answers[0].moved = tipsMed.questions.answers[0].comparison.moved")


def test_pointer_and_wheel_on_the_prior_scan_move_both_or_it_alone(page):
    page.evaluate(f"tipsMed.go({list(LEFT_NOW)})")
    page.mouse.click(**at_place(page, "axial", (40.0, -10.0, LEFT[2]), "prior.pane"))
    assert near(cross_of(page, "prior.pane"), (40.0, -10.0, LEFT[2])) < 4
    before = cross_of(page)
    assert near(before, MOTION.GetInverse().TransformPoint((40.0, -10.0, LEFT[2]))) < 5
    page.mouse.wheel(0, -100)
    assert cross_of(page)[2] == pytest.approx(before[2] + 3)
    page.click("#follow")
    now, then = cross_of(page), cross_of(page, "prior.pane")
    page.mouse.move(**at_place(page, "axial", (40.0, -10.0, LEFT[2]), "prior.pane"))
    page.mouse.wheel(0, 100)
    assert cross_of(page) == now
    assert cross_of(page, "prior.pane")[2] < then[2] - 1


def test_the_keyboard_is_enough(page):
    page.focus("#over")
    page.keyboard.press("f")
    assert not page.is_checked("#follow")
    page.focus("#prior-over")
    now, then = cross_of(page), cross_of(page, "prior.pane")
    page.keyboard.press("PageUp")
    assert cross_of(page) == now
    assert cross_of(page, "prior.pane")[2] > then[2] + 1
    page.keyboard.press("f")
    page.keyboard.press("PageUp")
    assert cross_of(page)[2] == pytest.approx(now[2] + 3)
    page.focus("#prior-over")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('[data-status=stable]') !== null"):
            break
    page.keyboard.press("Enter")
    assert near(cross_of(page, "prior.pane"), RIGHT) < 4


def test_what_the_prior_scan_does_not_show_is_told(page):
    page.evaluate("tipsMed.go([0, 0, 140])")
    settle(page)
    assert page.inner_text("#prior-place").startswith(("LPS", "The prior scan does not show"))
    page.evaluate("tipsMed.prior.moveTo([0, 0, 900])")
    settle(page)
    assert page.inner_text("#prior-place") == "The prior scan does not show this place"
    assert not page.evaluate("tipsMed.prior.pane.scene.cross")


def test_words_are_readable_and_nothing_is_cut_off(page):
    assert page.evaluate(FAINT) == []
    for width, height in ((360, 740), (768, 1024), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        settle(page)
        until(page, "tipsMed.prior.pane.view.tiles.length === 3 && tipsMed.view.tiles.length === 3")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        boxes = [page.locator(one).bounding_box() for one in ("#over", "#prior-over")]
        assert all(box["width"] > 150 and box["height"] > 140 for box in boxes), (width, boxes)
    assert page.evaluate(UNNAMED) == []


def test_another_question_is_compared_too_and_a_structure_is_not(page):
    ask(page, "no mass in the right lung")
    page.wait_for_selector("#answers .card:first-child .changes")
    first = page.locator("#answers .card").first
    assert [one.get_attribute("data-status") for one in first.locator(".changes tbody").all()] == ["stable"]
    ask(page, "left lung")
    page.wait_for_selector("#answers .card:first-child .comparison .refusal")
    assert "only findings are compared" in first.inner_text()
    for _ in range(2):
        page.locator("#answers .card").first.locator("button[aria-label^=Remove]").click()


def test_a_prior_scan_is_opened_and_closed_on_the_page(browser, served, paths, tmp_path):
    prior, current = paths
    with page_of(browser, served, served.link(current, modality="CT")) as page:
        assert not page.is_visible("#prior")
        ask(page, "mass")
        page.keyboard.press("Escape")
        page.keyboard.press("o")
        page.wait_for_selector("#prior-cover input[type=file]")
        own = page.get_attribute("body", "data-ready")
        assert own[:8] not in page.inner_text("#prior-cover"), "a scan is not its own prior scan"
        flat = write_volume(np.full((20, 30, 40), 7, np.int16), np.eye(4), tmp_path / "flat.nii.gz")
        page.set_input_files("#prior-cover input[type=file]", flat)
        page.wait_for_selector("#prior-cover :text('cannot be read')")
        assert "Hounsfield" in page.inner_text("#prior-cover")
        page.click("#prior-cover button:has-text('Open another scan')")
        page.set_input_files("#prior-cover input[type=file]", prior)
        page.wait_for_selector("body[data-prior]")
        page.wait_for_selector("#answers .changes")
        page.keyboard.press("o")
        assert not page.is_visible("#prior")
        page.keyboard.press("o")
        page.wait_for_selector("#prior-cover input[type=file]")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.innerText").startswith("Open "), "it has the focus"
        page.keyboard.press("Enter")
        page.wait_for_selector("#answers .comparison")
        page.click("#prior-close")
        assert not page.is_visible("#prior")
        assert page.locator("#answers .comparison").count() == 0
        until(page, "tipsMed.over.width > 650")


def test_a_registration_is_cancelled(browser, served, paths, monkeypatch):
    from tips_med.server import priors

    def slow(prior: Any, current: Any, model: Any, progress: Any) -> Any:
        while True:
            progress(3, 10)

    monkeypatch.setattr(priors, "register", slow)
    prior, current = paths
    link = served.link(prior, current, modality="CT")
    with page_of(browser, served, link) as page:
        page.wait_for_selector("#prior-cover h2:text('Registering the two scans, 30%')")
        page.click("#prior-cover button:has-text('Cancel')")
        page.wait_for_selector("#prior-cover h2:text('Which is the prior scan?')")
        page.keyboard.press("Escape")
        ask(page, "mass")
        assert page.locator("#answers .comparison").count() == 0


def test_scans_that_cannot_be_registered_are_told(browser, served, paths, tmp_path):
    noise = np.random.default_rng(1).normal(-400, 300, (40, 40, 40)).astype(np.int16)
    other = write_volume(noise, GRIDS["axial"][0], tmp_path / "noise.nii.gz")
    with page_of(browser, served, served.link(paths[1], other, modality="CT")) as page:
        page.wait_for_selector("body[data-prior]")
        assert "could not be registered well" in page.inner_text("#prior-state")
        assert page.is_disabled("#follow") and not page.is_checked("#follow")
        before = cross_of(page, "prior.pane")
        ask(page, "mass")
        page.wait_for_selector("#answers .changes")
        assert cross_of(page, "prior.pane") == before, "it does not follow"
        statuses = page.eval_on_selector_all("#answers .changes tbody", "all => all.map((one) => one.dataset.status)")
        assert set(statuses) == {"unsure"}
        assert "could not be registered well enough to compare places" in page.inner_text("#answers .changes")


def test_two_patients_are_compared_only_on_demand(browser, served, paths, monkeypatch):
    keys = iter("abcd")
    monkeypatch.setattr(served.app.state.service.priors, "_trace", lambda study: PatientTrace(next(keys)))
    prior, current = paths
    with page_of(browser, served, served.link(current, prior, modality="CT", fill_gaps=True)) as page:
        page.wait_for_selector("#prior-cover :text('different Patient IDs')")
        page.click("#prior-cover button:has-text('Compare them all the same')")
        page.wait_for_selector("body[data-prior]")
        assert "different Patient IDs" in page.inner_text("#prior-state")
