"""A prior scan of a study: registered in the background, compared as ``tips-med compare`` does, forgotten with it."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import nibabel as nib
import numpy as np
import pytest

from tests.followup.patients import GRIDS, LEFT, RIGHT, motion
from tests.phantom import rule_model
from tests.server.running import Running, running, two_days
from tips_med import cli
from tips_med.exporters.comparison import comparison_schema
from tips_med.exporters.nifti import write_volume
from tips_med.geometry import lps_affine_kji, transform_points
from tips_med.grounding import encode
from tips_med.readers import PatientTrace, read_scan
from tips_med.server import priors

QUERY = "mass"


@dataclass(frozen=True)
class Pair:
    """Two studies of one patient on a server; the mass on the left grew, the patient moved.

    Attributes:
        server: The server.
        prior: Id of the earlier study.
        current: Id of the later study, on a mirrored grid.
        paths: Files of the two.
    """

    server: Running
    prior: str
    current: str
    paths: tuple[Path, Path]

    @property
    def url(self) -> str:
        return f"/v1/studies/{self.current}/priors"

    def ready(self, **new: Any) -> dict[str, Any]:
        """Adds the prior study and waits until it is registered."""
        added = self.server.http.post(self.url, json={"prior": self.prior, **new})
        assert added.status_code == 202, added.text
        return followed(self.server, added.json()["url"])[-1]


def followed(server: Running, url: str) -> list[dict[str, Any]]:
    """What the events of something tell until it has ended."""
    with server.http.stream("GET", f"{url}/events") as events:
        return [json.loads(line[5:]) for line in events.iter_lines() if line.startswith("data:")]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return two_days(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def pair(paths: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with running(tmp_path_factory.mktemp("server")) as server:
        ids = [server.ready(path, modality="CT") for path in paths]
        yield Pair(server, *ids, paths)


def compared(paths: tuple[Path, Path], folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What ``tips-med compare`` writes, without the names of its files."""
    module = sys.modules[cli.pipeline("compare").__module__]
    monkeypatch.setattr(module, "open_model", lambda name, device: rule_model())
    assert cli.main(["compare", *map(str, paths), QUERY, "--modality", "CT", "--out", str(folder)]) == 0
    report = json.loads((folder / "report.json").read_text())
    for one in report["comparisons"]:
        del one["folder"], one["files"]
    return report


def test_the_answer_is_that_of_the_command(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = pair.ready()
    assert entry["state"] == "ready" and entry["registration"]["good"]
    assert entry["days_between"] is None
    assert "was not checked" in entry["notes"][0]
    report = pair.server.http.post(f"{entry['url']}/comparisons", json={"query": QUERY}).json()
    jsonschema.validate(report, comparison_schema())
    (given,) = report["comparisons"]
    assert {one["region"].rpartition("the ")[2]: one["status"] for one in given["changes"]} == {
        "left lung": "grown",
        "right lung": "stable",
    }
    expected = compared(pair.paths, tmp_path, monkeypatch)
    assert report["model"]["weights_sha256"] == expected["model"]["weights_sha256"]
    urls = given.pop("urls")
    for one in (report, expected):
        del one["model"]
    assert expected | {"id": report["id"]} == report
    for number, place in ((1, "prior"), (1, "current"), (1, "prior_on_current")):
        file = pair.server.http.get(urls[place])
        assert (as_volume(file.content).get_fdata() == number).any()
    again = pair.server.http.get(f"{entry['url']}/comparisons/{report['id']}").json()
    assert again["comparisons"][0]["urls"] == urls


def as_volume(content: bytes) -> Any:
    import gzip

    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


def test_the_displacement_leads_from_the_current_to_the_prior_scan(pair: Pair) -> None:
    entry = pair.ready()
    field = as_volume(pair.server.http.get(entry["urls"]["displacement"]).content)
    assert field.header.get_intent()[0] == "displacement vector"
    vectors = np.asarray(field.dataobj)[:, :, :, 0]
    index_from_lps = np.linalg.inv(lps_affine_kji(field.affine))
    found = pair.server.service.priors.found(pair.current, pair.prior).registration
    for place in (LEFT, RIGHT, (20.0, -30.0, 60.0)):
        at = motion().GetInverse().TransformPoint(place)  # of the current scan, by the known motion
        k, j, i = np.rint(transform_points(index_from_lps, np.array([at]))[0]).astype(int)
        cell = transform_points(lps_affine_kji(field.affine), np.array([[k, j, i]]))[0]
        told = cell + vectors[i, j, k] * (-1, -1, 1)
        np.testing.assert_allclose(told, found.points_in_prior(cell)[0], atol=0.01)
        np.testing.assert_allclose(told, motion().TransformPoint(cell.tolist()), atol=2.0)
    corner = transform_points(lps_affine_kji(field.affine), np.array([np.array(vectors.shape[2::-1]) - 1]))[0]
    affine, shape = GRIDS["mirrored"]
    corners = transform_points(affine, np.argwhere(np.ones((2, 2, 2))) * (np.array(shape) - 1))
    assert (corner >= corners.max(axis=0)).all(), "it covers the whole scan"


@pytest.mark.parametrize(
    ("current", "prior", "code"),
    [("current", "current", "same-study"), ("current", "nothing", "not-found"), ("nothing", "prior", "not-found")],
)
def test_what_is_no_pair_is_refused(pair: Pair, current: str, prior: str, code: str) -> None:
    known = {"current": pair.current, "prior": pair.prior, "nothing": "f" * 32}
    refused = pair.server.http.post(f"/v1/studies/{known[current]}/priors", json={"prior": known[prior]})
    assert refused.json()["code"] == code
    assert refused.status_code == (422 if code == "same-study" else 404)


def test_what_cannot_be_compared_is_refused(pair: Pair) -> None:
    entry = pair.ready()
    ask = f"{entry['url']}/comparisons"
    refused = pair.server.http.post(ask, json={"query": "left lung"})
    assert refused.status_code == 422 and refused.json()["code"] == "no-finding"
    partly = pair.server.http.post(ask, json={"query": "mass; left lung"}).json()
    assert [("declined" in one) for one in partly["comparisons"]] == [False, True]
    for path in ("../../study.json", "0" * 20, "x"):
        assert pair.server.http.get(f"{ask}/{path}/0/prior.nii.gz").status_code == 404
    name = partly["id"]
    for path in ("0/report.json", "0/..%2Freport.json", "9/prior.nii.gz"):
        assert pair.server.http.get(f"{ask}/{name}/{path}").status_code == 404


def test_scans_that_cannot_be_registered_are_unsure(pair: Pair, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(-400, 300, (40, 40, 40)).astype(np.int16)
    other = pair.server.ready(write_volume(noise, GRIDS["axial"][0], tmp_path / "noise.nii.gz"), modality="CT")
    url = pair.server.http.post(pair.url, json={"prior": other}).json()["url"]
    entry = followed(pair.server, url)[-1]
    assert entry["state"] == "ready" and not entry["registration"]["good"]
    (given,) = pair.server.http.post(f"{url}/comparisons", json={"query": QUERY}).json()["comparisons"]
    assert {one["status"] for one in given["changes"]} == {"unsure"}
    assert all("poor-registration" in [reason["code"] for reason in one["reasons"]] for one in given["changes"])
    pair.server.http.delete(f"/v1/studies/{other}")
    assert pair.server.http.get(url).status_code == 404
    assert not list(pair.server.service.studies.root.glob(f"*/priors/{other}")), "nothing of it is left"


def test_scans_of_two_patients_are_compared_only_on_demand(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    traces = {pair.prior: PatientTrace("one"), pair.current: PatientTrace("another")}
    monkeypatch.setattr(pair.server.service.priors, "_trace", traces.__getitem__)
    pair.server.http.delete(f"{pair.url}/{pair.prior}")
    entry = pair.ready()
    assert entry["state"] == "failed" and entry["error"]["code"] == "different-patients"
    assert "--" not in entry["error"]["remedy"], "no option of the command line"
    asked = pair.server.http.post(f"{entry['url']}/comparisons", json={"query": QUERY})
    assert asked.status_code == 409 and asked.json()["code"] == "not-ready"
    entry = pair.ready(allow_different_patients=True)
    assert entry["state"] == "ready" and "different Patient IDs" in entry["notes"][0]
    pair.server.http.delete(entry["url"])


class _Gate:
    """A registration that waits to be let through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        real = priors.register

        def slow(prior: Any, current: Any, model: Any, progress: Any) -> Any:
            while not self.go.is_set():
                progress(1, 9)
                self.entered.set()
                self.go.wait(0.02)
            return real(prior, current, model, progress)

        monkeypatch.setattr(priors, "register", slow)


def test_registrations_tell_how_far_they_are_and_are_cancelled(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = _Gate(monkeypatch)
    url = f"{pair.url}/{pair.prior}"
    pair.server.http.delete(url)
    assert pair.server.http.post(pair.url, json={"prior": pair.prior}).status_code == 202
    assert gate.entered.wait(20)
    entry = pair.server.http.get(url).json()
    assert (entry["state"], entry["done"], entry["total"]) == ("registering", 1, 9)
    record = pair.server.service.priors.record(pair.current, pair.prior)
    assert pair.server.http.delete(url).status_code == 200
    assert pair.server.http.get(url).status_code == 404
    assert record.state == "cancelled"
    gate.go.set()
    told = followed(pair.server, pair.server.http.post(pair.url, json={"prior": pair.prior}).json()["url"])
    assert told[-1]["state"] == "ready" and told[-1]["done"] == told[-1]["total"]


def test_registering_is_bounded(paths: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = _Gate(monkeypatch)
    with running(tmp_path / "server", max_queued=1, encoding_s=20) as server:
        prior, current = (server.ready(path, modality="CT") for path in paths)
        server.http.post(f"/v1/studies/{current}/priors", json={"prior": prior})
        assert gate.entered.wait(20)
        full = server.http.post(f"/v1/studies/{prior}/priors", json={"prior": current})
        assert full.status_code == 503 and full.json()["code"] == "busy"
        monkeypatch.setattr(server.service.priors.studies, "settings", _limited(server, 0.01))
        ended = followed(server, f"/v1/studies/{current}/priors/{prior}")[-1]
        assert ended["state"] == "failed" and ended["error"]["code"] == "too-slow"


def _limited(server: Running, encoding_s: float) -> Any:
    return dataclasses.replace(server.service.settings, encoding_s=encoding_s)


def test_a_server_that_starts_again_compares_again(paths: tuple[Path, Path], tmp_path: Path) -> None:
    with running(tmp_path / "server") as server:
        pair = Pair(server, *(server.ready(path, modality="CT") for path in paths), paths)
        entry = pair.ready()
        first = server.http.post(f"{entry['url']}/comparisons", json={"query": QUERY}).json()
    with running(tmp_path / "server") as server:
        pair = dataclasses.replace(pair, server=server)
        assert server.http.get(entry["url"]).status_code == 404
        assert server.http.get(first["comparisons"][0]["urls"]["prior"]).status_code == 200
        assert pair.ready()["state"] == "ready"
        assert server.http.post(f"{entry['url']}/comparisons", json={"query": QUERY}).json() == first


def test_a_study_of_other_weights_is_encoded_anew(pair: Pair, tmp_path: Path) -> None:
    other = dataclasses.replace(encode(read_scan(pair.paths[0]), rule_model()), weights_sha256="1" * 64)
    local = pair.server.service.register(other.save(tmp_path / "study.safetensors"), modality="CT")
    prior = pair.server.http.post("/v1/studies", json={"local": local}).json()["id"]
    ended = pair.server.ended(prior)
    assert ended["state"] == "ready", ended
    assert pair.server.service.studies.live(prior).study.weights_sha256 == rule_model().sha256
    url = pair.server.http.post(pair.url, json={"prior": prior}).json()["url"]
    assert followed(pair.server, url)[-1]["state"] == "ready"
    (given,) = pair.server.http.post(f"{url}/comparisons", json={"query": QUERY}).json()["comparisons"]
    assert sorted(one["status"] for one in given["changes"]) == ["grown", "stable"]
