"""``read_scan``: a path to a ``Scan``, or a refusal that names its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tips_med.errors import ReadError
from tips_med.readers.catalog import Catalog, scan_files
from tips_med.readers.dicom import read_catalog
from tips_med.readers.sources import DicomFiles, dicom_files, image_format
from tips_med.scan import Scan


def read_scan(
    path: str | Path,
    *,
    series: str | None = None,
    phase: int | None = None,
    fill_gaps: bool = False,
    untilt: bool = False,
) -> Scan:
    """Reads one volume, rightly placed in the patient or not at all.

    Args:
        path: A folder of DICOM files (searched with its subfolders), a DICOM file, a DICOMDIR, a zip archive of DICOM
            files, or a NIfTI (``.nii``, ``.nii.gz``), NRRD (``.nrrd``) or MetaImage (``.mha``) file. One slice of a
            classic series stands for its series: the files beside it are read.
        series: Series Instance UID to read, where the path holds several series.
        phase: Number of the volume to read, from 1, where the series holds several (times, echoes, reconstructions).
        fill_gaps: Leave missing slices empty (NaN) instead of refusing.
        untilt: Resample a tilted stack to an orthogonal grid instead of refusing.

    Returns:
        The scan: float32 [k j i], NaN where nothing was measured. DICOM slices run along
        cross(row direction, column direction); other formats keep the order of their data.

    Raises:
        ReadError: for whatever cannot be read without guessing; ``code`` names the reason.
    """
    path = Path(path)
    kind = image_format(path) if path.suffix else None
    if kind is not None and path.is_file():
        from tips_med.readers.images import read_image

        if series is not None:
            raise ReadError(
                "is not DICOM, and --series applies to DICOM only",
                path=path,
                remedy="leave --series out",
                code="no-such-series",
            )
        return read_image(path, kind, phase=phase)
    with dicom_files(path) as files:
        return read_catalog(scan_files(files), series=series, phase=phase, fill_gaps=fill_gaps, untilt=untilt)


def read_series(folders: Sequence[Path], series: str, *, fill_gaps: bool = False, untilt: bool = False) -> Scan:
    """``read_scan`` for one series among the files that lie directly in some folders; those below are not searched.

    Args:
        folders: Folders that hold the files of the series.
        series: Series Instance UID.
        fill_gaps: See ``read_scan``.
        untilt: See ``read_scan``.

    Raises:
        ReadError: See ``read_scan``.
    """
    paths = [path for folder in folders for path in sorted(folder.iterdir()) if path.is_file()]
    files = DicomFiles(folders[0], tuple(paths))
    return read_catalog(scan_files(files), series=series, phase=None, fill_gaps=fill_gaps, untilt=untilt)


@dataclass(frozen=True)
class PatientTrace:
    """What tells whether two scans are of one patient, without naming the patient. Never to be stored.

    Attributes:
        key: Hash of Patient ID (0010,0020) and its issuer; empty for other formats, and where there is none.
        identity_removed: Whether the files say that the patient's identity was removed (0012,0062): the Patient ID may
            then be the same for all patients.
        acquired: Day of the acquisition; None where the files state none. Only its distance to another one is told.
    """

    key: str = ""
    identity_removed: bool = False
    acquired: date | None = None


def read_scan_of_patient(
    path: str | Path,
    *,
    series: str | None = None,
    phase: int | None = None,
    fill_gaps: bool = False,
    untilt: bool = False,
) -> tuple[Scan, PatientTrace]:
    """``read_scan``, and whose scan it is; the headers are parsed once. The arguments and errors are the same."""
    path = Path(path)
    if path.suffix and image_format(path) is not None and path.is_file():
        return read_scan(path, series=series, phase=phase, fill_gaps=fill_gaps, untilt=untilt), PatientTrace()
    with dicom_files(path) as files:
        catalog = scan_files(files)
        scan = read_catalog(catalog, series=series, phase=phase, fill_gaps=fill_gaps, untilt=untilt)
    return scan, _trace(catalog, scan.provenance.series_uid)


def read_patient_trace(path: str | Path, series: str) -> PatientTrace:
    """Whose scan a series is, from its headers alone.

    Args:
        path: As for ``read_scan``.
        series: Series Instance UID of the scan that was read there; not used for other formats than DICOM.

    Raises:
        ReadError: ``no-such-series``, or the files cannot be read any more.
    """
    path = Path(path)
    if path.suffix and image_format(path) is not None and path.is_file():
        return PatientTrace()
    with dicom_files(path) as files:
        return _trace(scan_files(files), series)


def _trace(catalog: Catalog, series: str | None) -> PatientTrace:
    own = next((one for one in catalog.series if one.uid == series and one.is_image), None)
    if own is None:
        raise ReadError("holds this series no more", path=catalog.root, code="no-such-series")
    removed = any(header.identity_removed for header in own.headers)
    return PatientTrace(own.head.patient_key, removed, own.head.acquired)
