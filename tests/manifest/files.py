"""Tiny files: a CT series, NIfTI volumes, a SEG and an RTSTRUCT of known masks."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage

SHAPE = (4, 10, 12)
SPACING_MM = (2.5, 1.0, 0.75)
ORIGIN_LPS = (-20.0, 7.0, -100.0)
AFFINE = np.array([[0, 0, 0.75, -20.0], [0, 1.0, 0, 7.0], [2.5, 0, 0, -100.0], [0, 0, 0, 1]])


def uid(*numbers: int) -> str:
    return "1.2.826.0.1.3680043.8.498." + ".".join(map(str, numbers))


FRAME = uid(7, 7)


def a_mask() -> np.ndarray:
    """Different along every axis, so that no turn or flip maps it to itself."""
    mask = np.zeros(SHAPE, bool)
    mask[1, 2:6, 3:9] = True
    mask[2, 3:5, 3:5] = True
    return mask


def write_nifti(path, array, lps_from_kji=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    ras = np.diag([-1.0, -1, 1, 1]) @ lps_from_kji @ np.eye(4)[[2, 1, 0, 3]]
    nib.save(nib.Nifti1Image(np.ascontiguousarray(array.T), ras), path)
    return path


def a_scan(patient: int = 0) -> np.ndarray:
    """Hounsfield units of air and tissue, different in every voxel of tissue and for every patient."""
    k, j, i = np.indices(SHAPE)
    tissue = k * 120 + j * 12 + i - 190 + 7 * patient
    return np.where(i == 0, -1000, tissue).astype(np.int16)


def write_series(folder) -> list[pydicom.Dataset]:
    folder.mkdir(parents=True)
    slices = []
    for k, plane in enumerate(a_scan()):
        header = pydicom.Dataset()
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = CTImageStorage
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = uid(3, k + 1)
        header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = uid(1), uid(2), FRAME
        header.Modality, header.PatientID, header.PatientName = "CT", "a", "A^B"
        header.PatientBirthDate = header.PatientSex = header.StudyDate = header.StudyTime = header.StudyID = ""
        header.AccessionNumber = header.ReferringPhysicianName = header.Manufacturer = ""
        header.SeriesNumber, header.InstanceNumber = 1, k + 1
        header.Rows, header.Columns = SHAPE[1:]
        header.PixelSpacing, header.SliceThickness = [SPACING_MM[1], SPACING_MM[2]], SPACING_MM[0]
        header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        header.ImagePositionPatient = [*ORIGIN_LPS[:2], ORIGIN_LPS[2] + k * SPACING_MM[0]]
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated = header.BitsStored = 16
        header.HighBit, header.PixelRepresentation = 15, 1
        header.RescaleIntercept, header.RescaleSlope = 0, 1
        header.PixelData = plane.tobytes()
        header.save_as(folder / f"{k}.dcm", enforce_file_format=True)
        slices.append(header)
    return slices


def write_seg(path, slices, masks: dict[str, np.ndarray]):
    import highdicom as hd
    from highdicom.seg import Segmentation, SegmentDescription
    from pydicom.sr.codedict import codes

    described = [
        SegmentDescription(
            n, name, codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Mass,
            hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for n, name in enumerate(masks, start=1)
    ]  # fmt: skip
    pixels = np.stack(list(masks.values()), axis=-1).astype(np.uint8)
    seg = Segmentation(
        slices, pixels, "BINARY", described, uid(9), 1, uid(9, 1), 1, "maker", "model", "1", "1", omit_empty_frames=True
    )
    seg.save_as(path)
    return path


def write_rtstruct(path, contours: list[np.ndarray], name="GTV", frame=FRAME):
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = RTStructureSetStorage
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = uid(5)
    header.Modality = "RTSTRUCT"
    roi, drawn = Dataset(), Dataset()
    roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = 1, name, frame
    drawn.ReferencedROINumber, drawn.ContourSequence = 1, Sequence()
    for points in contours:
        contour = Dataset()
        contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
        contour.ContourData = [float(value) for value in points.ravel()]
        drawn.ContourSequence.append(contour)
    header.StructureSetROISequence, header.ROIContourSequence = Sequence([roi]), Sequence([drawn])
    header.save_as(path, enforce_file_format=True)
    return path
