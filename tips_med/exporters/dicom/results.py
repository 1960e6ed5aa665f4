"""All DICOM objects of one answer, which refer to each other."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

from tips_med.exporters.dicom.equipment import Equipment, SeriesPlan
from tips_med.exporters.dicom.heat import HeatKind, make_heat
from tips_med.exporters.dicom.key_image import key_slice, make_key_image, make_key_objects
from tips_med.exporters.dicom.rtstruct import make_structure_set
from tips_med.exporters.dicom.seg import make_segmentation, track
from tips_med.exporters.dicom.source import SourceImages
from tips_med.exporters.dicom.sr import make_report
from tips_med.exporters.dicom.unfit import refuse_unfit
from tips_med.grounding import Grounding


@dataclass(frozen=True, eq=False)
class DicomResults:
    """The objects of one answer; all but the report are None when nothing was found.

    Attributes:
        report: Comprehensive 3D SR, TID 1500.
        segmentation: Binary segmentation, one segment an instance.
        key_image: Secondary capture of the most telling slice.
        key_objects: Key object selection of that slice and the key image.
        structure_set: RT Structure Set, where requested.
        heat: Heat map, where requested, whether or not something was found; None otherwise.
    """

    report: Dataset
    segmentation: Dataset | None = None
    key_image: Dataset | None = None
    key_objects: Dataset | None = None
    structure_set: Dataset | None = None
    heat: Dataset | None = None

    @property
    def named(self) -> dict[str, Dataset]:
        """All objects that are not None, by file name; an object comes before those that refer to it."""
        objects = {
            "seg.dcm": self.segmentation,
            "sr.dcm": self.report,
            "key_image.dcm": self.key_image,
            "key_objects.dcm": self.key_objects,
            "rtstruct.dcm": self.structure_set,
            "heat.dcm": self.heat,
        }
        return {name: made for name, made in objects.items() if made is not None}


def make_results(
    grounding: Grounding,
    source: SourceImages,
    *,
    series: SeriesPlan | None = None,
    weights_sha256: str | None = None,
    omit_empty_frames: bool = True,
    key_image: bool = True,
    heat: HeatKind | None = None,
    structure_set: bool = False,
) -> DicomResults:
    """Makes the DICOM objects of an answer.

    Args:
        grounding: The answer.
        source: Headers of the source images, see ``read_source``.
        series: Target series of the objects; new series when None.
        weights_sha256: SHA-256 of the model's weights, for the algorithm identification.
        omit_empty_frames: See ``make_segmentation``.
        key_image: Also make the key image and its selection.
        heat: Also make the heat map, see ``make_heat``.
        structure_set: Also make the RT Structure Set, where something was found; see ``make_structure_set``.

    Raises:
        OutputError: ``source-unfit``: the source's headers do not allow it.
    """
    with refuse_unfit():
        equipment, plan = Equipment.of(grounding, weights_sha256), series or SeriesPlan.new()
        made = _make(grounding, source, plan, equipment, omit_empty_frames, key_image)
        if structure_set and grounding.instances:
            made = replace(made, structure_set=make_structure_set(grounding, source, equipment, plan))
        return made if heat is None else replace(made, heat=make_heat(heat, grounding, source, equipment, plan))


def _make(
    grounding: Grounding,
    source: SourceImages,
    series: SeriesPlan,
    equipment: Equipment,
    omit_empty_frames: bool,
    key_image: bool,
) -> DicomResults:
    tracked = track(grounding)
    if not tracked:
        return DicomResults(make_report(grounding, source, [], None, equipment, series))
    seg = make_segmentation(grounding, source, tracked, equipment, series, omit_empty_frames=omit_empty_frames)
    report = make_report(grounding, source, tracked, seg, equipment, series)
    if not key_image:
        return DicomResults(report, seg)
    k = key_slice(grounding)
    picture = make_key_image(grounding, source, equipment, series, k)
    selected = [image for image in (source.by_slice[k], picture) if image is not None]
    return DicomResults(report, seg, picture, make_key_objects(selected, source, equipment, series))
