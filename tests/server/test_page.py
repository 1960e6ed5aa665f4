"""The page as people use it: in a browser, on scans of any orientation."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tests.grounding.test_what import GRIDS, MODEL
from tests.phantom import MASS, body
from tests.server.browser import (
    CHROMIUM,
    FAINT,
    UNNAMED,
    Served,
    ask,
    at_place,
    drawn,
    page_of,
    pixels_of,
    serving,
    settle,
)
from tips_med.exporters.nifti import write_volume
from tips_med.geometry import transform_points
from tips_med.manifest.masks import read_mask
from tips_med.manifest.rows import read_manifest
from tips_med.readers import read_scan
from tips_med.resampling import resample
from tips_med.sample import sample_path

pytest.importorskip("playwright", reason="playwright is not installed")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

MASS_AT, RADIUS_MM = (65.0, 10.0, -40.0), 15.0
OTHER_AT = (-60.0, -5.0, 40.0)
COLOUR = "#3ee0ff"
"""Of the first answer."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("server")
    with serving(MODEL, folder / "own", corrections=folder / "corrections") as found:
        yield found
        foreign = [url for url in found.asked if not url.startswith((found.url, "data:", "blob:"))]
        assert not foreign, "the page asks no other host"


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The patient with a mass on the left, in three orientations."""
    folder = tmp_path_factory.mktemp("scans")
    made = {}
    for name, affine in GRIDS.items():
        scan = body([(MASS_AT, RADIUS_MM, MASS)], affine)
        made[name] = write_volume(scan.voxels.astype(np.int16), affine, folder / f"{name}.nii.gz")
    return made


@pytest.fixture(scope="module")
def pages(browser: Any, served: Served, scans: dict[str, Path]) -> Iterator[dict[str, Any]]:
    """A page for each orientation: opening one takes longest."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(page_of(browser, served, served.link(path, modality="CT")))
            for name, path in scans.items()
        }


@pytest.fixture
def page(pages: dict[str, Any], request: pytest.FixtureRequest) -> Any:
    """The page of the axial scan, or of the one that a test names, as if it had just been opened."""
    found = pages[getattr(request, "param", "axial")]
    found.evaluate(_AS_NEW)
    return found


_AS_NEW = """() => {
  const app = tipsMed;
  app.questions.clear(app.study.id);
  Object.assign(app.scene, { correction: null, word: null, pointer: null, opacity: 0.45, shade: false });
  document.getElementById("what").hidden = true;
  document.getElementById("query").value = "";
  document.getElementById("refusal").replaceChildren();
  app.setWindow("soft");
  app.view.zoom(0);
  app.arrange("axial");
  app.use("move");
  app.show();
}"""


def no_map(page: Any) -> None:
    page.evaluate("tipsMed.scene.opacity = 0; tipsMed.redraw()")


@pytest.mark.parametrize("page", GRIDS, indirect=True)
def test_the_contour_is_where_the_mass_is(page, served, tmp_path):
    ask(page, "mass in the left lung")
    assert "present" in page.inner_text("#answers .state")
    no_map(page)
    cross = page.evaluate("tipsMed.view.mm")
    assert np.linalg.norm(np.array([-cross[0], -cross[1], cross[2]]) - MASS_AT) < RADIUS_MM, "it jumps there"
    mask = nib.load(_mask_of(page, served, tmp_path))
    marked = transform_points(mask.affine, np.argwhere(np.asarray(mask.dataobj) > 0)) * (-1, -1, 1)
    for plane, depth in (("axial", 2), ("coronal", 1), ("sagittal", 0)):
        line = np.array(drawn(page, COLOUR, plane))
        assert len(line) > 20
        assert (line[:, 0] > 0).all(), "left is where x is positive"
        others = [axis for axis in range(3) if axis != depth]
        near = marked[np.abs(marked[:, depth] - line[0, depth]) < 2.2]
        for axis in others:
            for end in (np.min, np.max):
                assert end(line[:, axis]) == pytest.approx(end(near[:, axis]), abs=3.0)
        radius = np.sqrt(RADIUS_MM**2 - (line[0, depth] - MASS_AT[depth]) ** 2)
        found = np.linalg.norm(line[:, others] - np.array(MASS_AT)[others], axis=1)
        assert np.median(found) == pytest.approx(radius, abs=3.0)


def _mask_of(page: Any, served: Served, folder: Path) -> Path:
    """The mask that the page shows, as the server writes it."""
    answer = page.get_attribute("#answers .card", "data-answer")
    study = page.get_attribute("body", "data-ready")
    return served.app.state.service.answers.write(study, answer, "mask.nii.gz", folder)


@pytest.mark.parametrize(("page", "name"), [("oblique", "oblique"), ("mirrored", "mirrored")], indirect=["page"])
def test_every_pixel_shows_the_scan_at_its_place(page, scans, name):
    """The planes are niivue's: their grey has to be the scan's at the place that the page believes in."""
    scan = read_scan(scans[name])
    page.evaluate("tipsMed.setWindow('wide')")
    page.evaluate(f"tipsMed.go({list(MASS_AT)})")
    settle(page)
    right, anterior, superior = page.evaluate("tipsMed.view.mm")
    cross = np.array([-right, -anterior, superior])
    page.evaluate("document.getElementById('over').style.visibility = 'hidden'")
    picture = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("L")).astype(float)
    page.evaluate("document.getElementById('over').style.visibility = ''")
    rng = np.random.default_rng(1)
    for plane, depth in (("axial", 2), ("coronal", 1), ("sagittal", 0)):
        places = cross + rng.uniform(-60, 60, (80, 3))
        places[:, depth] = cross[depth]
        difference = []
        for place, (x, y) in zip(places, pixels_of(page, plane, places)):
            grid = np.eye(4)
            grid[:3, 3] = place
            value = float(resample(scan.voxels, scan.lps_from_kji, grid, (1, 1, 1)).item())
            if np.isfinite(value):
                shown = picture[round(y), round(x)] / 255 * 2000 - 1000
                difference.append(abs(shown - np.clip(value, -1000, 1000)))
        assert len(difference) > 20
        assert np.median(difference) < 25
        assert np.mean(np.array(difference) > 300) < 0.15, "edges only"


def test_a_place_is_named_and_a_region_too(page):
    ask(page, "mass")
    page.click("#tools button[data-name=what]")
    pixel = at_place(page, "axial", (MASS_AT[0] + 4, MASS_AT[1], MASS_AT[2]))
    page.mouse.click(**pixel)
    page.wait_for_selector("#what table")
    assert page.inner_text("#what tbody tr:first-child").split()[:2] == ["mass", "likely"]
    assert "left lung" in page.inner_text("#what")
    assert "not known to this model" in page.inner_text("#what")
    page.mouse.move(**pixel)
    page.mouse.down()
    page.mouse.move(pixel["x"] + 25, pixel["y"], steps=3)
    with page.expect_response("**/what") as asked:
        page.mouse.up()
    entry = asked.value.json()
    assert entry["findings"][0]["id"] == "mass"
    assert 0 < entry["findings"][0]["marked_fraction"] < 1
    page.mouse.click(**at_place(page, "axial", (-65.0, 10.0, MASS_AT[2])))
    page.wait_for_selector("#what :text('none of the findings')")


@pytest.mark.parametrize(("page", "name"), [("oblique", "oblique"), ("mirrored", "mirrored")], indirect=["page"])
def test_a_correction_is_saved_where_it_was_painted(page, served, scans, name):
    ask(page, "mass in the left lung")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    page.click("#correction button:has-text('Not this piece')")
    page.mouse.click(**at_place(page, "axial", MASS_AT))
    assert "0.0 ml" in page.inner_text("#correction")
    page.click("#correction button:has-text('Undo')")
    assert "0.0 ml" not in page.inner_text("#correction")
    page.click("#correction button:has-text('Not this piece')")
    page.mouse.click(**at_place(page, "axial", MASS_AT))
    page.click("#correction button:has-text('This too')")
    page.evaluate(f"tipsMed.go({list(OTHER_AT)})")
    settle(page)
    page.mouse.click(**at_place(page, "axial", OTHER_AT))
    page.click("#correction button:has-text('Save')")
    page.wait_for_selector("#correction :text('Saved as row')")
    study = page.get_attribute("body", "data-ready")
    manifest = served.app.state.service.settings.corrections / "manifest.csv"
    (row,) = (one for one in read_manifest(manifest) if one.patient == study)
    assert (row.phrase, row.label) == ("mass in the left lung", "present")
    scan = read_scan(row.scan)
    assert np.array_equal(scan.voxels, read_scan(scans[name]).voxels)
    places = transform_points(scan.lps_from_kji, np.argwhere(read_mask(row.mask, scan)))
    assert np.linalg.norm(places.mean(axis=0) - OTHER_AT) < 3
    assert np.linalg.norm(places - OTHER_AT, axis=1).max() < 9, "a brush of 6 mm"


def test_the_files_are_those_of_the_command_line(page, tmp_path):
    ask(page, "mass in the left lung")
    ask(page, "no ground-glass opacity")
    with page.expect_download() as saved:
        page.click("#export")
    saved.value.save_as(tmp_path / "answers.zip")
    with zipfile.ZipFile(tmp_path / "answers.zip") as archive:
        names = archive.namelist()
        report = json.loads(archive.read("report.json"))
    assert [answer["query"] for answer in report["answers"]] == ["mass in the left lung", "no ground-glass opacity"]
    assert {f"{answer['folder']}/mask.nii.gz" for answer in report["answers"]} <= set(names)
    assert "01-mass-in-the-left-lung/figure.png" in names


def test_several_questions_have_colours_and_words_have_maps(page):
    ask(page, "ground-glass opacity right lung")
    ask(page, "mass in the left lung")
    assert page.locator("#answers .card").count() == 2
    colours = page.evaluate("tipsMed.questions.answers.map((one) => one.colour)")
    assert len(set(colours)) == 2
    card = page.locator("#answers .card").first
    assert card.locator(".word").all_inner_texts() == ["mass", "left", "lung"]
    no_map(page)
    settle(page)
    with page.expect_response("**/words/*"):
        card.locator(".word").first.focus()
    page.wait_for_selector("#tip:text('lights up')")
    settle(page)
    lit = page.evaluate(
        """() => { const { tiles, mm } = tipsMed.view; const [x, y] = tiles[0].pixelOf(mm);
        return [...document.getElementById("over").getContext("2d").getImageData(x + 4, y + 4, 1, 1).data] }"""
    )
    assert lit[3] > 100
    assert lit[0] > lit[2], "amber, and not the answer's blue"
    card.locator("button:has-text('Shown')").click()
    settle(page)
    assert drawn(page, colours[0], "axial") == []


def test_what_is_typed_is_completed_and_mended(page):
    page.type("#query", "mas")
    page.wait_for_selector("#completions li")
    page.keyboard.press("ArrowDown")
    chosen = page.inner_text("#completions li[aria-selected=true]")
    page.keyboard.press("Enter")
    assert page.input_value("#query") == chosen
    ask(page, "florb gnarl")
    assert "names a finding" in page.inner_text("#refusal")
    page.fill("#query", "massy lung ")
    page.wait_for_selector("#refusal button")
    assert page.inner_text("#refusal") == "Did you mean mass lung"


def test_the_keyboard_is_enough(page):
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("mass left lung")
    page.keyboard.press("Enter")
    page.wait_for_selector("#answers .card")
    settle(page)
    page.keyboard.press("Escape")
    before = page.evaluate("tipsMed.view.mm")
    page.keyboard.press("PageUp")
    page.keyboard.press("ArrowLeft")
    after = page.evaluate("tipsMed.view.mm")
    assert after[2] == pytest.approx(before[2] + 3)
    assert after[0] > before[0], "left on the screen is the patient's right"
    page.keyboard.press("n")
    page.keyboard.press("i")
    page.wait_for_selector("#what table")
    page.keyboard.press("3")
    assert page.get_attribute("#views button[data-name=sagittal]", "aria-pressed") == "true"
    page.keyboard.press("w")
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    page.keyboard.press("Space")
    assert page.is_enabled("#correction button:has-text('Undo')")


def test_the_mask_follows_the_threshold(page):
    ask(page, "mass in the left lung")
    assert page.inner_text("#level") == "calibrated"
    with page.expect_response("**/answers") as asked:
        page.fill("#threshold", "0.9")
    assert asked.value.json()["answers"][0]["threshold"] == 0.9
    page.wait_for_selector("#calibrated:not([hidden])")
    page.click("#calibrated")
    page.wait_for_selector("#calibrated", state="hidden")


def test_words_are_readable_and_nothing_is_cut_off(page):
    ask(page, "mass in the left lung")
    page.evaluate("tipsMed.what(tipsMed.view.mm)")
    page.wait_for_selector("#what table")
    page.click("#answers button:has-text('Correct')")
    faint = page.evaluate(FAINT)
    assert faint == [], "at least 4.5 : 1, WCAG 2.2 success criterion 1.4.3"
    for width, height in ((360, 740), (768, 1024), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        assert page.evaluate("tipsMed.view.tiles.length") == 3
    assert page.evaluate(UNNAMED) == []
    assert "not a medical device" in page.inner_text("footer")


def test_what_is_no_ct_is_told_and_another_scan_can_be_sent(browser, served, scans, tmp_path):
    path = write_volume(np.full((20, 30, 40), 7, np.int16), np.eye(4), tmp_path / "other.nii.gz")
    with page_of(browser, served, served.link(path), ready=False) as page:
        page.wait_for_selector("#cover :text('cannot be read')")
        assert "Hounsfield" in page.inner_text("#cover")
        page.click("#cover button")
        page.wait_for_selector("#cover input[type=file]")
        page.set_input_files("#cover input[type=file]", scans["mirrored"])
        page.wait_for_selector("body[data-ready]")
        ask(page, "mass")
        assert "left lung" in page.inner_text("#answers")


def test_what_was_not_assessed_is_hatched(browser, served, tmp_path):
    scan = body([(MASS_AT, RADIUS_MM, MASS)])
    voxels = scan.voxels.copy()
    voxels[48:60] = np.nan
    path = write_volume(voxels, scan.lps_from_kji, tmp_path / "gap.nii.gz")
    with page_of(browser, served, served.link(path, modality="CT")) as page:
        ask(page, "no ground-glass opacity")
        card = page.inner_text("#answers .card")
        assert "slices are missing" in card
        assert "Hatched" in card
        height = np.array(drawn(page, "#ffbe5a", "coronal", alpha=200))[:, 2]
        first, last = (scan.lps_from_kji[2, 3] + 3.0 * np.array((47.5, 59.5))).tolist()
        assert (height > first - 4).all()
        assert (height < last + 4).all()
        assert np.ptp(height) > 28


def test_a_link_works_once_and_a_token_is_asked_for(browser, served, scans):
    link = served.link(scans["axial"], modality="CT")
    with page_of(browser, served, link) as page:
        assert "ticket" not in page.url, "it does not stay in the history"
        page.reload()
        page.wait_for_selector("body[data-ready]")
    with page_of(browser, served, link, ready=False) as page:
        page.wait_for_selector("#cover input[type=password]")
        page.fill("#cover input[type=password]", "not the token")
        page.keyboard.press("Enter")
        page.wait_for_selector("#cover :text('missing or wrong')")
        page.fill("#cover input[type=password]", served.token)
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-ready]")


def test_a_lost_server_is_told(browser, scans, tmp_path):
    with ExitStack() as stack:
        own = stack.enter_context(serving(MODEL, tmp_path / "own"))
        page = stack.enter_context(page_of(browser, own, own.link(scans["axial"], modality="CT")))
        page.route("**/v1/**", lambda route: route.abort("connectionrefused"))
        page.route("**/healthz", lambda route: route.abort("connectionrefused"))
        ask(page, "mass")
        page.wait_for_selector("#lost:not([hidden])")
        page.unroute("**/v1/**")
        page.unroute("**/healthz")
        page.wait_for_selector("#lost", state="hidden")
        ask(page, "mass")
        assert page.locator("#answers .card").count() == 1
        page.click("#answers button:has-text('Correct')")
        assert page.is_disabled("#correction button:has-text('Save')")
        assert "--corrections" in page.inner_text("#correction")


@pytest.mark.shipped
def test_the_bundled_scan(browser, tmp_path):
    from tips_med.loading import open_model

    with ExitStack() as stack:
        own = stack.enter_context(serving(open_model(device="cpu"), tmp_path / "own"))
        page = stack.enter_context(page_of(browser, own, own.link(sample_path()), ready=False))
        page.wait_for_selector("#cover progress")
        page.wait_for_selector("body[data-ready]", timeout=120_000)
        ask(page, "mass in the left lung")
        assert "present" in page.inner_text("#answers .state")
        no_map(page)
        line = np.array(drawn(page, COLOUR, "axial"))
        assert np.linalg.norm(line.mean(axis=0)[:2] - (52.3, -85.8)) < 15
        page.keyboard.press("Escape")
        page.keyboard.press("i")
        page.wait_for_selector("#what table")
        assert page.inner_text("#what tbody tr:first-child").split()[0] in ("mass", "lesion")
