# Copied from tips_med/scan.py by copies.py: change it there.
"""A scan: voxels with their place in the patient, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from tips_med_runtime.geometry import axis_letters, spacing_mm, voxel_volume_mm3
from tips_med_runtime.shapes import Affine, Voxels


@dataclass(frozen=True)
class Provenance:
    """Data to write results that refer to the source, without patient identity beyond the UIDs.

    Attributes:
        format: Format of the source: ``dicom``, ``nifti``, ``nrrd`` or ``metaimage``.
        study_uid: Study Instance UID (0020,000D); like the next two, empty if not DICOM.
        series_uid: Series Instance UID (0020,000E).
        frame_of_reference_uid: Frame of Reference UID (0020,0052).
        sop_class_uid: SOP Class UID (0008,0016) of the source instances.
        instance_uids: SOP Instance UID (0008,0018) for every slice k, in the order of the voxels; empty if not DICOM.
            A filled gap has the empty string.
        frame_numbers: Frame number (from 1) for every slice of a multi-frame source; empty otherwise.
        notes: Notes and warnings of the reader, one sentence each: plain text, or a
            ``tips_med.notes.Note`` where something of the file is quoted.
        deidentified: Whether the UIDs are replacements of the source's, see ``tips_med.deidentification``.
        series_number: Series Number (0020,0011), by which reports cite a series; None if not DICOM, or not there.
        instance_numbers: Instance Number (0020,0013) of every slice k, by which reports cite an image; 0 where there is
            none, empty if not DICOM. Never used for geometry.
        study_year: Year of the Study Date (0008,0020), for searches of an archive; the rest of the date is not kept.
            None if not DICOM, not there, or de-identified.
    """

    format: str
    study_uid: str | None = None
    series_uid: str | None = None
    frame_of_reference_uid: str | None = None
    sop_class_uid: str | None = None
    instance_uids: tuple[str, ...] = ()
    frame_numbers: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    deidentified: bool = False
    series_number: int | None = None
    instance_numbers: tuple[int, ...] = ()
    study_year: int | None = None

    def noting(self, *notes: str) -> Provenance:
        """The same provenance with more notes."""
        return replace(self, notes=self.notes + notes)


@dataclass(frozen=True, eq=False)
class Scan:
    """One volume in patient space.

    Attributes:
        voxels: Rescaled values, float32 [k, j, i]; NaN where nothing was measured (padding, gaps).
        lps_from_kji: Maps (k, j, i, 1), voxel centres, to LPS in mm.
        modality: DICOM modality code: ``CT``, ``MR``, ``PT``; ``OT`` where the file states none.
        unit: Unit of the voxels: ``HU`` for CT; otherwise the unit in the file, or the empty string.
        provenance: Source of the scan.
    """

    voxels: Voxels
    lps_from_kji: Affine
    modality: str
    unit: str
    provenance: Provenance = field(default_factory=lambda: Provenance("array"))

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3 or self.voxels.dtype != np.float32:
            raise ValueError(f"voxels must be float32 [k j i], got {self.voxels.dtype} {self.voxels.shape}")
        if self.lps_from_kji.shape != (4, 4) or not np.isfinite(self.lps_from_kji).all():
            raise ValueError("lps_from_kji must be a finite 4 x 4 matrix")
        if voxel_volume_mm3(self.lps_from_kji) < 1e-9:
            raise ValueError("lps_from_kji is singular")
        uids = self.provenance.instance_uids
        if uids and len(uids) != self.voxels.shape[0]:
            raise ValueError(f"{len(uids)} instance UIDs for {self.voxels.shape[0]} slices")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        k, j, i = self.voxels.shape
        return k, j, i

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Between slices, rows and columns, in mm."""
        k, j, i = (float(s) for s in spacing_mm(self.lps_from_kji))
        return k, j, i

    @property
    def orientation(self) -> str:
        """Directions of slices, rows and columns: ``SPL`` for a plain axial scan."""
        return axis_letters(self.lps_from_kji)
