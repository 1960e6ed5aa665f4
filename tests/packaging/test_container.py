"""The Dockerfile and the compose file: linted, their steps run without an engine, their parts fit each other."""

from __future__ import annotations

import base64
import fnmatch
import io
import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.packaging.conftest import ROOT
from tests.serving.loopback import free_port, only_loopback
from tests.serving.node.pieces import until
from tips_med.cli import build_parser
from tips_med.query import Lexicon

DOCKERFILE, COMPOSE = ROOT / "Dockerfile", ROOT / "compose.yaml"
ORTHANC = ROOT / "docs" / "deployment" / "orthanc.json"
NODE = ROOT / "docs" / "deployment" / "node-compose.yaml"


def structure() -> list[dict[str, str]]:
    parser = pytest.importorskip("dockerfile_parse", reason="needs tips-med[release]")
    return parser.DockerfileParser(fileobj=io.BytesIO(DOCKERFILE.read_bytes())).structure


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load(COMPOSE.read_text("utf-8"))


def test_the_dockerfile_is_linted() -> None:
    program = Path(sys.executable).with_name("hadolint")
    if not program.exists():
        pytest.skip("needs tips-med[release]")
    linted = subprocess.run([program, "--failure-threshold", "info", DOCKERFILE], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout


def test_the_context_holds_what_is_copied_and_nothing_else() -> None:
    rules = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in rules
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        word
        for item in structure()
        if item["instruction"] == "COPY" and "--from" not in item["value"]
        for word in item["value"].split()[:-1]
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in allowed)
    assert not any(fnmatch.fnmatch("secrets", name) for name in allowed)


def test_it_is_built_in_stages_of_pinned_images_and_does_not_run_as_root() -> None:
    images = [item["value"].split()[0] for item in structure() if item["instruction"] == "FROM"]
    assert len(images) == 3
    assert all(":" in image and not image.endswith((":latest", ":slim")) for image in images)
    users = [item["value"] for item in structure() if item["instruction"] == "USER"]
    assert users[-1].split(":")[0] not in ("0", "root")


def test_the_steps_of_the_dockerfile_run(tmp_path: Path) -> None:
    pytest.importorskip("dockerfile_parse", reason="needs tips-med[release]")
    alone = ["unshare", "--mount", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("no namespace of mounts and networks can be made (it needs root)")
    scratch = tmp_path / "overlay"
    scratch.mkdir()
    tried = f"mount -t tmpfs t {scratch} && cd {scratch} && mkdir u w m && "
    tried += "mount -t overlay o -o lowerdir=/,upperdir=u,workdir=w m"
    if subprocess.run([*alone, "sh", "-c", tried], capture_output=True).returncode:
        pytest.skip("no overlay can be mounted here")
    command = [*alone, sys.executable, "-m", "tests.packaging.dockerfile_steps", DOCKERFILE, ROOT, tmp_path / "out"]
    ran = subprocess.run([str(one) for one in command], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr[-4000:]
    looked = json.loads((tmp_path / "out" / "looked.json").read_text())
    assert [step["instruction"] for step in looked["steps"]].count("RUN") == 6
    assert looked["where"][0] == 0
    assert looked["where"][1].startswith("/opt/tips-med/lib/python")
    assert looked["editable"] == []
    code, said = looked["health"]
    assert code == 0, said
    assert "Usable." in said
    assert looked["version"][1].startswith("tips-med ")
    assert looked["user"] == [0, "10001\n"]
    assert looked["other_user"][0] == 0, looked["other_user"][1]
    assert looked["writes_program"] != 0
    assert looked["writes_folder"] == 0


def test_the_compose_file_keeps_to_its_schema() -> None:
    pytest.importorskip("check_jsonschema", reason="needs tips-med[release]")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_nothing_is_open_but_on_this_machine(compose: dict) -> None:
    services = compose["services"]
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert services["node"]["networks"] == ["inside"]
    assert compose["networks"]["inside"]["internal"] is True
    assert services["node"]["read_only"] is True
    assert services["node"]["cap_drop"] == ["ALL"]
    assert not any(service.get("privileged") for service in services.values())
    assert all(":" in service["image"] or "build" in service for service in services.values())


def test_secrets_come_from_files_that_are_never_committed(compose: dict) -> None:
    assert compose["secrets"] == {"orthanc-users": {"file": "./secrets/orthanc-users.json"}}
    assert "/secrets/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
    for file in (COMPOSE, ORTHANC, NODE):
        assert "RegisteredUsers" not in "".join(
            line for line in file.read_text("utf-8").splitlines() if not line.startswith("#")
        )


def test_what_is_mounted_is_there(compose: dict) -> None:
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (ROOT / source).is_file() if source.startswith("./") else source in compose["volumes"]


def test_orthanc_and_the_node_know_each_other(compose: dict) -> None:
    orthanc = json.loads(ORTHANC.read_text("utf-8"))
    command = [
        str(NODE) if word == "/etc/tips-med/node.yaml" else word for word in compose["services"]["node"]["command"]
    ]
    parser = build_parser("node")
    chosen = parser.instantiate(parser.parse_args(command)).node
    settings = chosen.settings
    assert orthanc["DicomModalities"] == {"tips-node": [settings.title, "node", settings.port]}
    assert list(settings.callers) == [orthanc["DicomAet"]]
    assert chosen.archive == f"dicom://{orthanc['DicomAet']}@orthanc:{orthanc['DicomPort']}"
    assert {"orthanc", "node"} == set(compose["services"])
    assert f":{orthanc['HttpPort']}:" in compose["services"]["orthanc"]["ports"][0]
    assert f"127.0.0.1:{settings.status_port}/healthz" in compose["services"]["node"]["healthcheck"]["test"][-1]
    route = (ROOT / "docs" / "deployment" / "orthanc-route.lua").read_text("utf-8")
    assert "/modalities/tips-node/store" in route
    lexicon = Lexicon.load("chest_ct")
    assert all(lexicon.parse(query).finding for rule in chosen.rules for query in rule.queries)


def test_orthanc_takes_its_configuration_and_asks_for_a_password(tmp_path: Path) -> None:
    program = shutil.which("Orthanc")
    if program is None:
        pytest.skip("Orthanc is not installed (Debian: orthanc)")
    config, http = json.loads(ORTHANC.read_text("utf-8")), 0
    try:
        with only_loopback():
            http = free_port()
            here = {
                "HttpPort": http,
                "DicomPort": free_port(),
                "StorageDirectory": str(tmp_path / "db"),
                "IndexDirectory": str(tmp_path / "db"),
                "LuaScripts": [str(ROOT / "docs" / "deployment" / "orthanc-route.lua")],
            }
            (tmp_path / "config").mkdir()
            (tmp_path / "config" / "orthanc.json").write_text(json.dumps(config | here))
            users = {"RegisteredUsers": {"reader": "of the test"}}
            (tmp_path / "config" / "orthanc-users.json").write_text(json.dumps(users))
            process = subprocess.Popen([program, str(tmp_path / "config")], stderr=subprocess.DEVNULL)
            try:
                login = base64.b64encode(b"reader:of the test").decode()
                until(lambda: answer_of(http, "/system", login)[0] == 200)
                assert answer_of(http, "/modalities", None)[0] == 401
                assert answer_of(http, "/modalities", login) == (200, ["tips-node"])
            finally:
                process.terminate()
                process.wait(30)
    except OSError as error:
        pytest.skip(f"no loopback-only network: {error}")


def answer_of(port: int, path: str, login: str | None) -> tuple[int, object]:
    """Status and content of a page; 0 while nobody answers."""
    headers = {"Authorization": f"Basic {login}"} if login else {}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers), timeout=5
        ) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code, None
    except (urllib.error.URLError, ConnectionError):
        return 0, None
