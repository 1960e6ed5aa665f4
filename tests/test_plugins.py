"""What an installed package adds is known by its name, and what it breaks is one clear line."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pytest

from tests.phantom import MASS, body, rule_model
from tips_med.errors import ConfigError
from tips_med.evaluation.meanings import meaning_of
from tips_med.evaluation.suite import EvaluatedRow, Suite
from tips_med.exporters.folder import write_answers
from tips_med.exporters.named import named_exporters
from tips_med.grounding import ground
from tips_med.loading import open_model
from tips_med.plugins import load_plugin, plugin_names
from tips_med.query import Lexicon
from tips_med.synthesis.findings import Canvas, known_findings

MODULE = '''
from pathlib import Path

import torch

from tests.phantom import rule_model
from tips_med.exporters.base import Exporter
from tips_med.metrics import GroundingMetric
from tips_med.synthesis.findings import Finding

LEXICON = Path(__file__).with_name("words.yaml")


class Peak(Exporter):
    def export(self, grounding, folder):
        (folder / "peak.txt").write_text(" ".join(f"{v:.1f}" for v in grounding.peak_lps))
        return (folder / "peak.txt",)


class Marked(GroundingMetric):
    """Voxels that the answer marks."""

    def update(self, grounding, truth, label, *, patient=None):
        self._add([float(grounding.mask.sum())], patient)

    def summarise(self, rows):
        return {"voxels": rows[:, 0].mean()}


def open_toy(argument, device):
    assert argument == "a/path" and device == torch.device("cpu")
    return rule_model()


def paint_nothing(canvas):
    return None


GRANULOMA = Finding("granuloma", paint_nothing, mistaken_for=("nodule",))
NOT_A_FINDING = 3
'''

ENTRY_POINTS = """
[tips_med.exporters]
peak = added_package:Peak
broken = added_package:NoSuchThing
wrong = pathlib:PurePath

[tips_med.metrics]
marked = added_package:Marked

[tips_med.encoders]
toy = added_package:open_toy

[tips_med.lexicons]
tiny = added_package:LEXICON

[tips_med.findings]
granuloma = added_package:GRANULOMA
"""


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that adds one thing to every group."""
    site = tmp_path / "site"
    info = site / "added_package-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: added-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (site / "added_package.py").write_text(MODULE)
    words = {"name": "tiny", "terms": {"finding": {"granuloma": {"forms": ["granuloma"]}}}}
    (site / "words.yaml").write_text(str(words))
    monkeypatch.syspath_prepend(site)
    known_findings.cache_clear()
    yield info
    known_findings.cache_clear()


def answer():
    return ground(body([((65.0, 10.0, -70.0), 15.0, MASS)]), "mass in the left lung", rule_model())


def test_without_packages_nothing_is_added() -> None:
    assert plugin_names("exporters") == ()
    assert named_exporters(None) == ()


def test_an_added_exporter_writes_beside_the_others(added: Path, tmp_path: Path) -> None:
    grounding = answer()
    written = write_answers([grounding], tmp_path / "out", {}, exporters=named_exporters(" peak ,"))
    assert [file.name for file in written] == ["report.json", "peak.txt"]
    assert np.fromstring(written[1].read_text(), sep=" ") == pytest.approx(grounding.peak_lps, abs=0.06)


def test_an_added_metric_stands_in_the_table_with_its_meaning(added: Path) -> None:
    suite, grounding = Suite(), answer()
    suite.add(
        EvaluatedRow(line=1, scan="scan", patient="a", label="present", grounding=grounding, truth=grounding.mask)
    )
    assert suite.summary(10)["marked_voxels"]["value"] == grounding.mask.sum()
    assert meaning_of("marked_voxels") == "Voxels that the answer marks."


def test_an_added_encoder_is_a_model_by_name(added: Path) -> None:
    assert open_model("toy:a/path", "cpu").card == rule_model().card


def test_an_added_lexicon_is_known_by_name(added: Path) -> None:
    finding = Lexicon.load("tiny").parse("granuloma").finding
    assert finding is not None and finding.id == "granuloma"


def test_an_added_finding_is_painted_by_its_term(added: Path) -> None:
    finding = known_findings()["granuloma"]
    assert finding.mistaken_for == ("nodule",)
    empty = np.zeros((2, 2, 2), np.uint8)
    canvas = Canvas(empty.astype(np.float32), empty, (2.5, 2.0, 2.0), np.random.default_rng(0), empty > 0)
    assert finding.paint(canvas) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "no exporter 'nothing'; expected one of broken, itk-snap, niivue, peak, slicer, wrong"),
        ("broken", "which the package added-package adds to exporters, cannot be imported (AttributeError"),
        ("wrong", "expected a class that derives from tips_med.exporters.base.Exporter"),
    ],
)
def test_what_cannot_be_used_is_one_line_that_names_the_package(added: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        named_exporters(name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_encoder_names_those_that_are_known(added: Path) -> None:
    with pytest.raises(ConfigError, match="no installed package adds 'nothing' to encoders; expected one of toy"):
        load_plugin("encoders", "nothing")


def test_the_name_of_a_viewer_cannot_be_taken(added: Path) -> None:
    (added / "entry_points.txt").write_text("[tips_med.exporters]\nslicer = added_package:Peak\n")
    with pytest.raises(ConfigError, match="adds an exporter 'slicer', which is the name of one of tips_med"):
        named_exporters("slicer")


def test_two_packages_with_one_name_are_refused(added: Path) -> None:
    other = added.parent / "other_package-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[tips_med.exporters]\npeak = other_package:Other\n")
    with pytest.raises(ConfigError, match="two packages add 'peak'"):
        load_plugin("exporters", "peak")


def test_a_finding_that_is_none_is_refused(added: Path) -> None:
    text = textwrap.dedent(ENTRY_POINTS).replace("added_package:GRANULOMA", "added_package:NOT_A_FINDING")
    (added / "entry_points.txt").write_text(text)
    with pytest.raises(ConfigError, match="expected a Finding"):
        known_findings()
