"""Indexing and searching, through the pipelines and the store."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lancedb", reason="needs tips-med[archive]")

from tests.archive.conftest import LEFT_HIGH, LEFT_LOW, RIGHT_MIDDLE
from tests.phantom import rule_model
from tips_med import cli
from tips_med.archive.lance import LanceStore
from tips_med.archive.ranking import rank
from tips_med.archive.store import ArchiveError
from tips_med.archive.studies import studies_of
from tips_med.encoders.study import EncodedStudy
from tips_med.errors import OutputError, QueryError, WeightsError
from tips_med.grounding.ground import ground, parse_query

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(autouse=True)
def _rule_model(monkeypatch):
    for name in ("index", "search"):
        module = __import__(cli.pipeline(name).__module__, fromlist=[name])
        monkeypatch.setattr(module, "open_model", lambda name, device: rule_model())


@pytest.fixture(scope="module")
def archive(cohort, tmp_path_factory) -> str:
    place = str(tmp_path_factory.mktemp("archives") / "a")
    with pytest.MonkeyPatch.context() as patch:
        module = __import__(cli.pipeline("index").__module__, fromlist=["index"])
        patch.setattr(module, "open_model", lambda name, device: rule_model())
        indexed = cli.pipeline("index")(str(next(iter(cohort.values())).parent), place)
    assert len(indexed.written) == len(cohort)
    return place


def search(archive, text=None, **options):
    return cli.pipeline("search")(archive=archive, text=text, **options).found


def named(archive, cohort, hits) -> list[str]:
    by_path = {str(path.resolve()): name for name, path in cohort.items()}
    studies = studies_of(archive, None)
    return [by_path[str(studies.path(hit.key))] for hit in hits]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("mass", {"left low", "left high", "right"}),
        ("mass left lung", {"left low", "left high"}),
        ("mass right lung", {"right"}),
        ("mass in the lower third of the left lung", {"left low"}),
        ("mass left apex", {"left high"}),
        ("ground-glass opacity left lung", {"haze"}),
        ("no mass", {"haze", "empty"}),
        ("mass of 45 mm", {"left low", "right"}),
    ],
)
def test_finding_side_place_size_and_negation_decide(text, first, archive, cohort):
    found = search(archive, text, top=len(first))
    assert set(named(archive, cohort, found.hits)) == first
    assert all(hit.verified for hit in found.hits)
    assert found.studies == len(cohort)


def test_a_hit_is_what_the_study_itself_answers(archive, cohort, model):
    hit = search(archive, "mass left lung", top=1).hits[0]
    study = studies_of(archive, None).open(hit.key)
    answer = ground(study, "mass left lung", model)
    assert hit.state == "present" and hit.score == answer.probability
    assert [place.volume_ml for place in hit.places] == [one.volume_ml for one in answer.instances]
    assert hit.places[0].side == "left" and hit.places[0].slices == answer.instances[0].slices
    assert hit.peak_lps == answer.peak_lps


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("date >= 2024", {"left high", "right"}),
        ("thickness_mm > 4", {"haze"}),
        ("not modality = MR and slices >= 80 and date < 2024", {"left low"}),
        ("date = 1999", set()),
    ],
)
def test_conditions_choose_among_the_scans(condition, kept, archive, cohort):
    found = search(archive, "mass", where=condition)
    assert set(named(archive, cohort, found.hits)) == kept
    assert found.studies == len(kept)


def test_more_like_this_finds_the_place(archive, cohort):
    at = ",".join(f"{value:g}" for value in LEFT_LOW[0])
    found = search(archive, like=str(cohort["left low"]), at=at, radius_mm=10, top=2)
    assert set(named(archive, cohort, found.hits)) == {"left high", "right"}  # not the scan itself
    for name, hit in zip(named(archive, cohort, found.hits), found.hits):
        centre = {"left high": LEFT_HIGH, "right": RIGHT_MIDDLE}[name][0]
        assert np.linalg.norm(np.array(hit.peak_lps) - centre) < 20  # a block is 12 mm high and wide
        assert hit.places[0].side == ("right" if name == "right" else "left")
        assert "mass" in {place.finding for place in hit.places}


def test_index_ranks_as_asking_every_study_does(archive, cohort, model):
    store = LanceStore(archive)
    for text in (
        "mass left lung",
        "ground-glass opacity",
        "mass upper third right lung",
        "pleural effusion both sides",
    ):
        query = parse_query(text, model)
        ranking = rank(store, query, model, top=5)
        studies = studies_of(archive, None)
        for candidate in ranking.candidates:
            answer = ground(studies.open(candidate.key), query, model)
            assert candidate.relevance[2] == pytest.approx(answer.probability, abs=1e-4), text


def test_nothing_in_an_archive_tells_whose_scans_they_are(archive, cohort):
    """Neither the UIDs nor the paths, in no file of it; the private folder is its owner's alone."""
    secret = studies_of(archive, None).secret()
    told = [b"1.2.1", str(next(iter(cohort.values())).parent).encode(), secret, secret.hex().encode()]
    for file in Path(archive).rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not any(one in content for one in told[1:]), file
            assert not re.search(rb"(?<![\d.])1\.2\.[1-5](?![\d.])", content), file
    private = Path(f"{archive}.private")
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(one.stat().st_mode) & 0o077 == 0 for one in private.iterdir() if one.is_file())


def test_results_are_a_table_json_and_one_page(archive, cohort, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["search", "mass left lung", "--archive", archive, "--top", "2", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "lower third of the left lung" in said and "Research use only" in said
    assert str(cohort["left low"].parent) not in said
    content = json.loads((out / "search.json").read_text())
    assert [hit["rank"] for hit in content["hits"]] == [1, 2]
    assert content["hits"][0]["places"][0]["side"] == "left"
    page = (out / "index.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "Research use only, not a medical device" in page
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", page)  # nothing from elsewhere
    assert str(cohort["left low"].parent) not in page
    again = ["search", "mass <b>", "--archive", archive, "--out", str(out), "--json", "--paths", "--top", "1"]
    assert cli.main(again) == 0
    assert json.loads(capsys.readouterr().out)["hits"][0]["path"].endswith(".safetensors")
    assert "<b>" not in (out / "index.html").read_text()
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(OutputError):
        search(archive, "mass", out=tmp_path)


def test_a_study_that_cannot_be_opened_is_shown_as_the_index_has_it(archive, cohort, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(archive, copy)
    hit = search(str(copy), "mass left lung", top=1).hits[0]
    assert (hit.verified, hit.state, hit.reasons) == (False, None, ("place-unknown",))
    assert hit.places[0].side == "left"
    assert not Path(f"{copy}.private").exists()  # a search makes nothing
    shutil.copytree(f"{archive}.private", f"{copy}.private")
    studies = studies_of(str(copy), None)
    key = search(str(copy), "mass right lung", top=1).hits[0].key
    studies.remember(key, cohort["empty"])
    assert search(str(copy), "mass right lung", top=1).hits[0].reasons == ("replaced",)
    studies.remember(key, cohort["empty"])
    studies.path(key)
    moved = tmp_path / "gone.safetensors"
    shutil.copy(cohort["right"], moved)
    studies.remember(key, moved)
    moved.unlink()
    assert search(str(copy), "mass right lung", top=1).hits[0].reasons == ("moved",)
    assert search(str(copy), "mass", top=2, verify=0).hits[0].reasons == ("not-asked",)


def test_indexing_again_replaces(cohort, tmp_path, make_study):
    place, file = str(tmp_path / "a"), tmp_path / "one.safetensors"
    shutil.copy(cohort["left low"], file)
    index = cli.pipeline("index")
    assert len(index(str(file), place).written) == 1
    assert index(str(file), place).unchanged == 1
    assert len(index(str(file), place, again=True).written) == 1
    make_study(RIGHT_MIDDLE, uid="1.2.1").save(file)  # the same series, encoded from other files
    done = index(str(file), place)
    assert (len(done.written), done.studies) == (1, 1)
    assert search(place, "mass right lung", top=1).hits[0].state == "present"


def test_scans_are_encoded_and_what_cannot_be_read_is_told(tmp_path, capsys, cohort):
    import nibabel as nib

    from tests.phantom import body
    from tips_med.geometry import ras_affine_ijk

    scan = body([LEFT_LOW])
    nib.save(
        nib.Nifti1Image(scan.voxels.T.astype(np.int16), ras_affine_ijk(scan.lps_from_kji)), tmp_path / "scan.nii.gz"
    )
    (tmp_path / "broken.nii.gz").write_bytes(b"no scan")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(
        f"scan,phrase\nscan.nii.gz,mass\nscan.nii.gz,nodule\nbroken.nii.gz,mass\n{cohort['haze']},mass\n"
    )
    place = str(tmp_path / "a")
    assert cli.main(["index", str(manifest), "--archive", place, "--modality", "CT"]) == 3
    said = capsys.readouterr()
    assert "2 indexed, 0 unchanged, 1 refused" in said.out
    assert "broken.nii.gz" in said.err
    assert search(place, "mass", top=1).hits[0].state == "present"
    assert cli.main(["index", str(tmp_path / "nothing"), "--archive", place]) == 2
    assert cli.main(["index", place, "--archive", place]) == 2


def test_other_weights_are_refused_with_what_to_do(archive, cohort, monkeypatch):
    other = replace(rule_model(), sha256="1" * 64)
    for name in ("index", "search"):
        module = __import__(cli.pipeline(name).__module__, fromlist=[name])
        monkeypatch.setattr(module, "open_model", lambda name, device: other)
    with pytest.raises(WeightsError, match="Name that model with --model"):
        search(archive, "mass")
    with pytest.raises(WeightsError):
        search(archive, like=str(cohort["right"]), at="-60,5,0")
    with pytest.raises(WeightsError):
        cli.pipeline("index")(str(cohort["right"]), archive)


def test_a_region_of_a_study_of_other_weights_is_refused(archive, cohort, tmp_path):
    study = replace(EncodedStudy.load(cohort["right"]), weights_sha256="1" * 64).save(tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="Encode the scan again"):
        search(archive, like=str(study), at="-60,5,0")


def test_what_is_no_archive_is_told(tmp_path, archive):
    with pytest.raises(ArchiveError) as missing:
        LanceStore(str(tmp_path / "none"))
    assert missing.value.code == "missing-archive" and not (tmp_path / "none").exists()
    with pytest.raises(ArchiveError) as empty:
        LanceStore(str(tmp_path))
    assert empty.value.code == "empty-archive"
    shutil.copytree(archive, tmp_path / "torn")
    for file in (tmp_path / "torn").rglob("*.manifest"):
        file.write_bytes(b"torn")
    with pytest.raises(ArchiveError) as torn:
        LanceStore(str(tmp_path / "torn"))
    assert torn.value.code == "not-an-archive"
    with pytest.raises(OutputError, match="--private"):
        studies_of("s3://bucket/a", None)


@pytest.mark.parametrize(
    "options",
    [{}, {"text": "mass", "like": "x"}, {"text": "mass", "at": "1,2,3"}, {"like": "x"}, {"text": "mass", "top": 0}],
)
def test_a_search_of_nothing_is_refused(archive, options):
    from tips_med.errors import TipsMedError

    with pytest.raises(TipsMedError):
        search(archive, **options)
    with pytest.raises(QueryError):
        search(archive, "zorp")


_WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.phantom import rule_model
from tips_med.archive.describe import about_archive, describe
from tips_med.archive.lance import LanceStore
from tips_med.encoders.study import EncodedStudy
model, study = rule_model(), EncodedStudy.load(sys.argv[2])
store = LanceStore(sys.argv[1], create=True)
about = about_archive(study, model)
record = describe(study, model, about, bytes(32))
for n in range(100_000):
    store.put(replace(record, key=f"{n % 150:032x}", slices=n), about)
    print(n, flush=True)
"""


@pytest.fixture
def writer(tmp_path, cohort):
    """A process that writes and rewrites studies until it is killed."""
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    place = tmp_path / "a"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _WRITER, str(place), str(cohort["left low"])],
        cwd=root, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield place, process
    process.kill()
    process.wait()
    process.stdout.close()


def _whole(store: LanceStore) -> int:
    """Reads everything of every study; how many there are."""
    keys = sorted(store.keys())
    records = store.records(keys)
    assert set(records) == set(keys)
    evidence = store.evidence(["mass"], ["any", "left"])
    assert len(evidence.keys) >= len(keys) and np.isfinite(evidence.logits["mass"][:, [0, 2]]).all()
    for record in records.values():
        assert len(record.vectors.directions) == len(record.vectors.lps) == len(record.vectors) > 100
        assert "mass" in {one.term for one in record.instances}
    return len(keys)


def test_killed_while_indexing_it_holds_whole_studies_and_goes_on(writer):
    place, process = writer
    while int(process.stdout.readline()) < 66:  # past a tidying
        pass
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    store = LanceStore(str(place))
    before = _whole(store)
    assert before >= 67
    record = next(iter(store.records(list(store.keys())[:1]).values()))
    assert store.about is not None
    store.put(replace(record, key="f" * 32), store.about)
    store.maintain()
    assert _whole(LanceStore(str(place))) == before + 1


def _read(place: str, rounds: int, results) -> None:
    try:
        store = LanceStore(place)
        results.put([_whole(store) for _ in range(rounds)])
    except BaseException as error:
        results.put(repr(error))
        raise


def test_several_readers_beside_a_writer_see_whole_studies(writer):
    place, process = writer
    while int(process.stdout.readline()) < 5:
        pass
    results = SPAWN.Queue()
    readers = [SPAWN.Process(target=_read, args=(str(place), 3, results)) for _ in range(3)]
    for reader in readers:
        reader.start()
    seen = [results.get(timeout=300) for _ in readers]
    for reader in readers:
        reader.join()
    assert all(isinstance(counts, list) and counts == sorted(counts) for counts in seen), seen
    assert process.poll() is None


def test_a_study_is_stored_and_read_back_unchanged(archive):
    store = LanceStore(archive)
    key = min(store.keys())
    record = store.records([key])[key]
    assert isinstance(studies_of(archive, None).open(key), EncodedStudy)
    assert record.vectors.directions.shape[1] == store.about.width
    assert store.records(["0" * 32]) == {}
    direction = record.vectors.directions[5]
    nearest = dict(store.nearest(direction, 10))
    records = store.records(sorted(store.keys()))
    best = {one: float((records[one].vectors.directions @ direction).max()) for one in records}
    assert nearest == pytest.approx(best, abs=2e-3)
