"""What only the page uses: its files and policy, the ticket; what is at a place; corrections."""

from __future__ import annotations

import base64
import gzip
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.grounding.test_what import MODEL
from tests.phantom import MASS, body
from tips_med.geometry import ras_affine_ijk
from tips_med.grounding import encode, ground
from tips_med.manifest.masks import read_mask
from tips_med.manifest.rows import read_manifest
from tips_med.scan import Scan
from tips_med.server import ServerSettings, create_app
from tips_med.server.opening import Page
from tips_med.server.page import POLICY, STATIC
from tips_med.server.refusals import RequestError

MASS_AT = (65.0, 10.0, -40.0)
TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def scan() -> Scan:
    return body([(MASS_AT, 15.0, MASS)])


@pytest.fixture(scope="module")
def client(scan: Scan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("server")
    app = create_app(MODEL, ServerSettings(folder / "own", TOKEN, corrections=folder / "corrections"))
    study = encode(scan, MODEL).save(folder / "study.safetensors")
    local = app.state.service.register(study)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with TestClient(app, base_url="http://127.0.0.1", headers=headers) as found:
        record = found.post("/v1/studies", json={"local": local}).json()
        for _ in range(100):
            record = found.get(record["url"]).json()
            if record["state"] == "ready":
                break
            time.sleep(0.05)
        assert record["state"] == "ready"
        found.study = record["url"]  # type: ignore[attr-defined]
        found.corrections = folder / "corrections"  # type: ignore[attr-defined]
        yield found


def sent(mask: np.ndarray, lps_from_kji: np.ndarray) -> str:
    """A mask as a browser sends it, written by nibabel."""
    image = nib.Nifti1Image(mask.astype(np.uint8).transpose(2, 1, 0), ras_affine_ijk(lps_from_kji))
    return base64.b64encode(gzip.compress(image.to_bytes())).decode()


def test_the_page_and_its_policy(client):
    page = client.get("/", headers={"Authorization": ""})
    assert page.status_code == 200
    assert page.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert "not a medical device" in page.text
    for name in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert client.get(f"/{name}").status_code == 200, name
    assert not re.findall(r"<script(?![^>]*src=)|\son\w+=|style=", page.text), "nothing that the policy forbids"


def test_every_module_is_there_and_names_no_other_host():
    known = {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()}
    assert {"index.html", "style.css", "app.js", "vendor/niivue.umd.js", "vendor/NOTICE.txt"} <= known
    for path in STATIC.glob("*.js"):
        text = path.read_text("utf-8")
        for name in re.findall(r'from "\./([^"]+)"', text):
            assert name in known, f"{path.name} imports {name}"
        assert not re.findall(r"https?://", text), path.name
        assert not re.findall(r"innerHTML|insertAdjacentHTML|\beval\(|document\.write", text), path.name


def test_the_vendored_file_is_the_one_that_the_notice_names():
    import hashlib

    notice = (STATIC / "vendor" / "NOTICE.txt").read_text("utf-8")
    (named,) = re.findall(r"SHA-256 ([0-9a-f]{64})", notice)
    assert hashlib.sha256((STATIC / "vendor" / "niivue.umd.js").read_bytes()).hexdigest() == named
    assert "BSD 2-Clause" in notice


def test_a_ticket_is_good_once():
    page = Page(TOKEN, "ticket", "1")
    for wrong in ("tickeT", "", "tick\u00e9t"):
        with pytest.raises(RequestError):
            page.redeem(wrong)
    assert page.redeem("ticket") == TOKEN
    with pytest.raises(RequestError):
        page.redeem("ticket")
    with pytest.raises(RequestError):
        Page(TOKEN).redeem("")


def test_a_page_without_the_token_is_told_nothing(client):
    assert client.get("/v1/page/start", headers={"Authorization": ""}).status_code == 401
    told = client.get("/v1/page/start").json()
    assert told["local"] is None
    assert told["windows"]["mass"] in ("lung", "soft")
    refused = client.post("/page/token", json={"ticket": "x"}, headers={"Authorization": ""})
    assert refused.status_code == 403
    assert refused.json()["code"] == "wrong-ticket"


def test_what_is_at_a_place(client, scan):
    found = client.post(f"{client.study}/what", json={"at_lps": MASS_AT}).json()
    assert found["findings"][0]["id"] == "mass"
    mask = scan.voxels == MASS
    region = client.post(f"{client.study}/what", json={"mask": sent(mask, scan.lps_from_kji)}).json()
    assert region["findings"][0]["id"] == "mass"
    assert region["findings"][0]["marked_fraction"] > 0.8
    assert region["at_lps"] == pytest.approx(MASS_AT, abs=1.5)


def test_a_mask_may_have_its_axes_the_other_way(client, scan):
    mask = scan.voxels == MASS
    affine = scan.lps_from_kji.copy()
    affine[:3, 3] += affine[:3, 2] * (mask.shape[2] - 1)
    affine[:3, 2] *= -1
    found = client.post(f"{client.study}/what", json={"mask": sent(mask[:, :, ::-1], affine)}).json()
    assert found["at_lps"] == pytest.approx(MASS_AT, abs=1.5)


def bombs(scan: Scan) -> dict[str, Any]:
    whole = np.ones(scan.shape, bool)
    good = base64.b64decode(sent(whole, scan.lps_from_kji))
    return {
        "no base64": "***",
        "no NIfTI": base64.b64encode(b"hello").decode(),
        "cut short": base64.b64encode(good[: len(good) // 2]).decode(),
        "a bomb": base64.b64encode(gzip.compress(bytes(40 << 20))).decode(),
        "another grid": sent(whole, scan.lps_from_kji @ np.diag([2.0, 1, 1, 1])),
        "empty": sent(~whole, scan.lps_from_kji),
    }


@pytest.mark.parametrize("name", ["no base64", "no NIfTI", "cut short", "a bomb", "another grid", "empty"])
def test_no_mask_is_refused(client, scan, name):
    answer = client.post(f"{client.study}/what", json={"mask": bombs(scan)[name]})
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] in ("bad-mask", "other-grid", "empty-region", "mask-unreadable", "unreadable")
    assert "/" not in answer.json()["message"]


@pytest.mark.parametrize(
    "place", [{}, {"at_lps": [0, 0]}, {"at_lps": [0, 0, 0], "mask": "x"}, {"at_lps": [0, 0, 9000]}, {"path": "/etc"}]
)
def test_no_place_is_refused(client, place):
    assert client.post(f"{client.study}/what", json=place).status_code in (400, 422)


def test_corrections_are_rows_that_training_reads(client, scan):
    mask = scan.voxels == MASS
    keep = f"{client.study}/corrections"
    first = client.post(keep, json={"query": "mass in the left lung", "mask": sent(mask, scan.lps_from_kji)})
    assert first.json() == {"row": 1, "rows": 1, "label": "present", "voxels": int(mask.sum())}
    denied = client.post(keep, json={"query": "no ground-glass opacity", "mask": sent(mask & False, scan.lps_from_kji)})
    assert denied.json() == {"row": 2, "rows": 2, "label": "absent", "voxels": 0}
    smaller = mask.copy()
    smaller[: int(np.argwhere(mask)[:, 0].mean())] = False
    again = client.post(keep, json={"query": "mass in the left lung", "mask": sent(smaller, scan.lps_from_kji)})
    assert again.json()["row"] == 1, "the later one replaces the earlier one"
    rows = read_manifest(client.corrections / "manifest.csv")
    assert [(row.phrase, row.label, row.mask is not None) for row in rows] == [
        ("mass in the left lung", "present", True),
        ("ground-glass opacity", "absent", False),
    ]
    assert np.array_equal(read_mask(rows[0].mask, scan), smaller)
    assert ground(encode(scan, MODEL), rows[0].phrase, MODEL).instances, "the phrase can be asked"


def test_corrections_are_refused_where_there_is_no_folder(scan: Scan, tmp_path: Path):
    app = create_app(MODEL, ServerSettings(tmp_path / "own"))
    with TestClient(app, base_url="http://127.0.0.1") as found:
        refused = found.post("/v1/studies/x/corrections", json={"query": "mass", "mask": "x"})
        assert refused.status_code == 403
        assert "--corrections" in refused.json()["remedy"]


def test_a_query_that_is_not_understood_teaches_nothing(client, scan):
    mask = sent(scan.voxels == MASS, scan.lps_from_kji)
    assert client.post(f"{client.study}/corrections", json={"query": "florb", "mask": mask}).status_code == 422
