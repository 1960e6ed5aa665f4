"""The exporter of DICOM results."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

from pydicom.dataset import Dataset

from tips_med.deidentification import Deidentifier
from tips_med.errors import OutputError
from tips_med.exporters.base import Exporter
from tips_med.exporters.dicom.captures import make_captures
from tips_med.exporters.dicom.equipment import SeriesPlan
from tips_med.exporters.dicom.heat import HeatKind
from tips_med.exporters.dicom.results import make_results
from tips_med.exporters.dicom.source import SourceImages, read_source
from tips_med.grounding import Grounding
from tips_med.scan import Scan


class DicomExporter(Exporter):
    """Writes ``sr.dcm``, and ``seg.dcm``, ``key_image.dcm`` and ``key_objects.dcm`` where something was found.

    All answers about one scan go into the same series, one for each kind of object.

    Args:
        source: Path that the scan was read from; its headers are read again, for patient and study.
        weights_sha256: SHA-256 of the model's weights, for the algorithm identification.
        omit_empty_frames: Leave out slices of the segmentation that are empty.
        key_image: Also write the key image and its selection.
        heat: Also write the heat map as ``heat.dcm``: ``parametric`` or ``fractional``.
        structure_set: Also write the contours as ``rtstruct.dcm``, for radiotherapy systems.
        captures: Also write all slices with the contour burnt in, ``captures/0001.dcm`` and on, for viewers that
            show no segmentations.
        deidentifier: De-identifier of the scan, applied to the headers too.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        weights_sha256: str | None = None,
        omit_empty_frames: bool = True,
        key_image: bool = True,
        heat: HeatKind | None = None,
        structure_set: bool = False,
        captures: bool = False,
        deidentifier: Deidentifier | None = None,
    ) -> None:
        self.source = Path(source)
        self.weights_sha256 = weights_sha256
        self.omit_empty_frames = omit_empty_frames
        self.key_image = key_image
        self.heat: HeatKind | None = heat
        self.structure_set = structure_set
        self.captures = captures
        self.deidentifier = deidentifier
        self._scan: Scan | None = None
        self._images: SourceImages | None = None
        self._series = SeriesPlan.new()

    def export(self, grounding: Grounding, folder: Path) -> tuple[Path, ...]:
        """Writes the objects of one answer.

        Raises:
            OutputError: ``not-dicom``, ``source-missing``, ``source-unfit``, or the disk.
        """
        source = self.prepare(grounding.scan)
        results = make_results(
            grounding,
            source,
            series=self._series,
            weights_sha256=self.weights_sha256,
            omit_empty_frames=self.omit_empty_frames,
            key_image=self.key_image,
            heat=self.heat,
            structure_set=self.structure_set,
        )
        written = [self._write(made, folder / name) for name, made in results.named.items()]
        if self.captures and grounding.instances:
            (folder / "captures").mkdir(exist_ok=True)
            written += [
                self._write(made, folder / "captures" / f"{n:04d}.dcm")
                for n, made in enumerate(
                    make_captures(grounding, source, series=self._series, weights_sha256=self.weights_sha256), 1
                )
            ]
        self._series = replace(self._series, instance_number=self._series.instance_number + 1)
        return tuple(written)

    def _write(self, made: Dataset, path: Path) -> Path:
        if self.deidentifier is not None:
            self.deidentifier.result(made)
        return write_object(made, path)

    def prepare(self, scan: Scan) -> SourceImages:
        """Reads the headers of a scan's images, so that what is missing shows before any long work.

        Raises:
            OutputError: see ``read_source``.
        """
        if self._images is None or scan is not self._scan:
            self._images, self._scan, self._series = (
                read_source(self.source, scan, self.deidentifier),
                scan,
                SeriesPlan.new(),
            )
        return self._images


def write_object(made: Dataset, path: Path) -> Path:
    """Writes a DICOM file (PS3.10).

    Raises:
        OutputError: It cannot be written there.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd values that were copied from the source's header
            made.save_as(path, enforce_file_format=True)
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror or error})", path=path) from error
    return path
