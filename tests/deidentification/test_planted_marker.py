"""A name is planted in a study, and searched for in every byte of what comes out."""

from __future__ import annotations

import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pynetdicom import AE

from tests.deidentification.planted import (
    ALL,
    STUDY_DAY,
    found_in,
    planted_series,
    planted_slices,
    uids_referred_to,
    words_in,
)
from tests.exporters.dicom.test_results import errors_of, needs_dciodvfy
from tests.phantom import rule_model
from tests.readers.awkward.writing import ROOT
from tests.serving.node.pieces import MemoryArchive, until
from tips_med import cli
from tips_med.serving.dimse import IMAGE_CLASSES, SYNTAXES
from tips_med.serving.node import Node, NodeSettings, Rule

QUERIES = ("mass in the left lung", "ground-glass opacity")
EVERYTHING = ("--dicom", "--dicom-rtstruct", "--dicom-captures", "--exporter", "itk-snap,niivue,slicer")


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted_series(tmp_path_factory.mktemp("planted"))


@pytest.fixture(autouse=True)
def _rule_model(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = {"ground": "open_model_at", "encode": "open_model", "node": "open_model_at"}
    for name, loads in opened.items():
        module = __import__(cli.pipeline(name).__module__, fromlist=[name])
        monkeypatch.setattr(module, loads, lambda *_, **__: rule_model())


class Said:
    """What a command tells on any stream or log, at the most talkative."""

    def __init__(self, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
        self._capsys, self._caplog = capsys, caplog
        caplog.set_level(logging.DEBUG)
        self.all = ""

    def run(self, *arguments: object) -> int:
        result = cli.main([str(argument) for argument in arguments])
        streams = self._capsys.readouterr()
        self.all += streams.out + streams.err + self._caplog.text
        return result


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Said:
    return Said(capsys, caplog)


def test_only_dicom_results_for_the_patients_own_study_hold_the_patient(
    series: Path, tmp_path: Path, said: Said
) -> None:
    out = tmp_path / "out"
    assert said.run("ground", series, *QUERIES, "--out", out, *EVERYTHING) == 0
    found = found_in(out)
    results = {str(path.relative_to(out)) for path in out.rglob("*.dcm")}
    assert set(found) == results, "the search finds what is there, and nothing elsewhere"
    assert len(results) == 6 + len(list(series.iterdir())), "a capture a slice"
    assert {"labels.label.txt", "labels.niivue.json", "segmentation.seg.nrrd"} < {path.name for path in out.rglob("*")}
    assert not words_in(said.all)


@needs_dciodvfy
def test_deidentified_results_hold_nothing_and_refer_to_the_copy(series: Path, tmp_path: Path, said: Said) -> None:
    out, copy, key = tmp_path / "out", tmp_path / "copy", tmp_path / "key"
    private = ("--deidentify", "--deidentify-key", key)
    assert said.run("ground", series, *QUERIES, "--out", out, *EVERYTHING, *private) == 0
    assert said.run("deidentify", series, "--out", copy, "--deidentify-key", key) == 0
    assert found_in(out, ALL) == found_in(copy, ALL) == {}
    assert not words_in(said.all)
    copied = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, copy.iterdir())}
    first = next(iter(copied.values()))
    made = [pydicom.dcmread(path) for path in sorted(out.rglob("*.dcm"))]
    assert len(made) == 6 + len(copied)
    assert {one.get("BurnedInAnnotation", "NO") for one in made} == {"NO"}, "words of the lexicon alone"
    own = {str(one.SOPInstanceUID) for one in made}
    for one in made:
        assert uids_referred_to(one) <= {*copied, *own, str(first.StudyInstanceUID)}
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName"):
            assert one[keyword].value == first[keyword].value
        assert one.PatientIdentityRemoved == "YES"
        assert errors_of(Path(one.filename)) == []
    assert {uid for one in made for uid in uids_referred_to(one)} & set(copied) == set(copied)


def test_an_encoded_study_holds_nothing_and_is_asked_with_either_source(
    series: Path, tmp_path: Path, said: Said
) -> None:
    study, key, copy = tmp_path / "study.safetensors", tmp_path / "key", tmp_path / "copy"
    assert said.run("encode", series, "--out", study) == 0
    assert not found_in(tmp_path)
    assert said.run("encode", series, "--out", study, "--deidentify", "--deidentify-key", key) == 0
    assert not found_in(tmp_path, ALL)
    assert said.run("deidentify", series, "--out", copy, "--deidentify-key", key) == 0
    own = ("--deidentify", "--deidentify-key", key)
    ask = ("ground", study, QUERIES[0], "--dicom")
    assert said.run(*ask, "--out", tmp_path / "a", "--source", series, *own) == 0
    assert said.run(*ask, "--out", tmp_path / "b", "--source", copy) == 0
    assert not found_in(tmp_path, ALL)
    assert said.run(*ask, "--out", tmp_path / "c", "--source", series) == 2, "its UIDs are not the study's"
    assert "images that were searched are not there" in said.all
    assert not words_in(said.all.replace(str(series), ""))


def two_times(tmp_path: Path) -> tuple[Path, tuple[str, ...]]:
    """A 4-D series: two times of the same body, told apart by date and time."""
    made = []
    for n, clock in enumerate(("101112", "111213")):
        for k, one in enumerate(planted_slices()):
            one.AcquisitionDateTime = STUDY_DAY + clock
            one.SOPInstanceUID = f"{ROOT}.77.{n}.{k}"
            made.append(one)
    return planted_series(tmp_path, made), ("--phase", "2")


def two_frames_of_reference(tmp_path: Path) -> tuple[Path, tuple[str, ...]]:
    """Two volumes of one series, each with a frame of reference of its own."""
    made = []
    for n in range(2):
        for k, one in enumerate(planted_slices()):
            one.FrameOfReferenceUID, one.SOPInstanceUID = f"{ROOT}.78.{n}", f"{ROOT}.77.{n}.{k}"
            made.append(one)
    return planted_series(tmp_path, made), ("--phase", "2")


def a_frame_of_reference_per_slice(tmp_path: Path) -> tuple[Path, tuple[str, ...]]:
    """An anonymiser gave every slice its own."""
    made = planted_slices()
    for k, one in enumerate(made):
        one.FrameOfReferenceUID = f"{ROOT}.78.{k}"
    return planted_series(tmp_path, made), ()


@pytest.mark.parametrize("case", [two_times, two_frames_of_reference, a_frame_of_reference_per_slice])
def test_notes_about_awkward_series_leave_nothing_either(tmp_path: Path, said: Said, case: Any) -> None:
    (tmp_path / "in").mkdir()
    path, options = case(tmp_path / "in")
    outputs, key = tmp_path / "out", ("--deidentify", "--deidentify-key", tmp_path / "key")
    asked = said.run("ground", path, QUERIES[0], "--out", outputs / "a", *options, *key)
    assert said.run("encode", path, "--out", outputs / "a.safetensors", *options, *key) == asked
    assert said.run("encode", path, "--out", tmp_path / "plain.safetensors", *options) == asked
    if asked == 0:
        assert "Note: De-identified" in said.all
        assert not words_in(said.all, (STUDY_DAY, f"{ROOT}.78"))
        assert said.run("ground", tmp_path / "plain.safetensors", QUERIES[0], "--out", outputs / "b", *key) == 0
    else:
        assert case is a_frame_of_reference_per_slice
    assert not words_in(said.all)
    assert not found_in(outputs, ALL)


def test_messages_about_what_cannot_be_read_hold_nothing(series: Path, tmp_path: Path, said: Said) -> None:
    files = sorted(series.iterdir())

    def lay(name: str, contents: Sequence[bytes]) -> Path:
        (tmp_path / name).mkdir()
        for n, content in enumerate(contents):
            (tmp_path / name / f"{n}.dcm").write_bytes(content)
        return tmp_path / name

    whole = [file.read_bytes() for file in files[:6]]
    cases = [
        lay("cut", [whole[0], whole[1][:-500]]),
        lay("cut-header", [whole[0], whole[1][:900]]),
        lay("scrambled", [content.replace(b"\\0.0", b"\\ZZPLANTED") for content in whole]),
        lay("gap", [whole[0], whole[1], whole[4]]),
        lay(
            "two",
            [*whole, *(content.replace(b".200.1", b".200.2").replace(b".999.1.", b".999.2.") for content in whole)],
        ),
        lay("text", [b"name ZZPLANTED"]),
    ]
    for case in cases:
        assert said.run("ground", case, QUERIES[0], "--out", tmp_path / "out") == 2, case.name
        assert said.run("inspect", case) in (0, 2)
        assert said.run("encode", case, "--out", tmp_path / "study.safetensors") == 2
        said.run("deidentify", case, "--out", tmp_path / "copies" / case.name)
    assert said.all.count("tips-med: ") >= 12
    assert not words_in(said.all)
    assert not found_in(tmp_path / "copies", ALL)


class Kept(MemoryArchive):
    """Keeps the bytes too."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = b""

    def store(self, files: Sequence[Path]) -> None:
        super().store(files)
        self.bytes += b"".join(file.read_bytes() for file in files)


@pytest.mark.parametrize("deidentify", [False, True])
def test_a_node_holds_nothing_but_images_on_their_way(
    series: Path, tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch, deidentify: bool
) -> None:
    import pipelines.node as pipeline

    archive, running, folder = Kept(), _nodes(monkeypatch), tmp_path / "node"
    monkeypatch.setattr(pipeline, "open_archive", lambda *_, **__: archive)
    settings = NodeSettings(
        ["SENDER"], port=0, status_port=0, quiet_s=0.5, min_free_mb=1, pause_s=0.1, deidentify=deidentify
    )
    rules = [Rule(list(QUERIES), modality="CT"), Rule(["mass"], description="*nothing*")]
    thread = threading.Thread(target=pipeline.node, args=(folder, "unused", rules, settings))
    thread.start()
    try:
        node = next(running)
        images = [pydicom.dcmread(file) for file in sorted(series.iterdir())]
        ae = AE(ae_title="SENDER")
        ae.add_requested_context(IMAGE_CLASSES[0], SYNTAXES[0])
        association = ae.associate("127.0.0.1", node.receiver.port, ae_title="TIPS_NODE")
        assert {association.send_c_store(image).Status for image in images} == {0}
        association.release()
        until(lambda: node.ledger.counts()["done"])
        assert len(archive.stored) == 5
        spoken = "".join(asked(node.status.port, path) for path in ("/metrics", "/healthz", "/none"))
    finally:
        node.stop()
        thread.join(60)
    assert not words_in(said.all + spoken)
    assert not found_in(folder), "the ledger, the audit log, names of files"
    assert words_in(archive.bytes, ALL) == (set() if deidentify else {*ALL})
    assert not words_in((folder / "audit.jsonl").read_bytes(), ALL)


def asked(port: int, path: str) -> str:
    """What the node's page of that name says."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.read().decode() + str(answer.headers)
    except urllib.error.HTTPError as error:
        return error.read().decode() + str(error.headers)


def _nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Nodes as the pipeline starts them."""
    import queue

    import pipelines.node as pipeline

    made: queue.Queue[Node] = queue.Queue()

    class Seen(Node):
        def run(self) -> None:
            made.put(self)
            super().run()

    monkeypatch.setattr(pipeline, "Node", Seen)

    def one_by_one() -> Iterator[Node]:
        while True:
            yield made.get(timeout=60)

    return one_by_one()
