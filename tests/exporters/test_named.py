"""Exporters by name; those that installed packages add are tested in ``tests/test_plugins.py``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exporters.patient import make_grounding
from tips_med.errors import ConfigError
from tips_med.exporters.folder import write_answers
from tips_med.exporters.named import VIEWERS, named_exporters
from tips_med.exporters.viewer_labels import NiivueExporter, SlicerExporter

FILES = {
    "itk-snap": {"labels.nii.gz", "labels.label.txt"},
    "niivue": {"labels.nii.gz", "labels.niivue.json"},
    "slicer": {"segmentation.seg.nrrd"},
}


@pytest.mark.parametrize("name", VIEWERS)
def test_each_viewer_has_its_files(name: str, tmp_path: Path) -> None:
    written = write_answers([make_grounding()], tmp_path / "out", {}, exporters=named_exporters(name))
    assert {path.name for path in written} == {"report.json", *FILES[name]}


def test_several_names_are_taken_once_each_in_their_order() -> None:
    made = named_exporters("slicer, niivue,,slicer")
    assert [type(one) for one in made] == [SlicerExporter, NiivueExporter]
    assert named_exporters(None) == named_exporters(" , ") == ()


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match="no exporter 'itksnap'; expected one of itk-snap, niivue, slicer") as refused:
        named_exporters("slicer,itksnap")
    assert refused.value.code == "unknown-plugin"
