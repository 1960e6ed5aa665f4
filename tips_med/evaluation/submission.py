"""A submission to ReXGroundingCT: made, written, and read back.

The layout (rexrank.ai/explore/submission_guideline_ct.html, rexrank.ai/ReXGroundingCT/challenge.html): a zip archive of
one NIfTI file a scan, under the name of its CT volume, of shape [finding h w d], in the order of ``dataset.json``; h, w
and d are the volume's, in its own voxel order. Files lie in no folder.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError

from tips_med.errors import OutputError, QueryError, TipsMedError
from tips_med.folders import whole_file
from tips_med.grounding import encode, ground
from tips_med.grounding.ground import adapters_of, parse_queries, parse_query
from tips_med.manifest.adapters import ReXCase
from tips_med.model import GroundingModel
from tips_med.query import Query
from tips_med.readers import read_scan
from tips_med.scan import Scan
from tips_med.shapes import Mask


class SubmissionError(TipsMedError):
    """A submission that would not be scored, or scored wrongly."""

    code = "submission"


@dataclass(frozen=True)
class Submission:
    """What a submission holds, as read back.

    Attributes:
        path: The zip archive.
        scans: Number of files.
        findings: Number of masks in them.
        empty: Number of masks without a voxel.
        declined: Findings that the model cannot answer, which have an empty mask: name of the scan, number of the
            finding, reason.
    """

    path: Path
    scans: int
    findings: int
    empty: int
    declined: tuple[tuple[str, int, str], ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{self.path}: {self.scans} scans, {self.findings} findings, {self.empty} of them empty, "
            f"{len(self.declined)} of these without an answer"
        ]
        return "\n".join([*lines, *(f"{name}, finding {n}: {reason}" for name, n, reason in self.declined)])


def predict_case(path: Path, case: ReXCase, model: GroundingModel) -> tuple[Scan, list[Mask], list[tuple[int, str]]]:
    """The masks of a scan's findings; a sentence of several questions has the masks of all of them.

    Args:
        path: Path of the CT volume.
        case: Findings of the scan.
        model: Model to ask.

    Returns:
        The scan, a mask [k j i] a finding, and the number and reason of findings without an answer.

    Raises:
        TipsMedError: The scan cannot be read or encoded.
    """
    scan = read_scan(path)
    asked: list[list[Query]] = []
    declined = []
    for number, sentence in enumerate(case.findings):
        known = []
        reason = ""
        try:
            for query in parse_queries(sentence, model):
                try:
                    known.append(parse_query(query, model))
                except QueryError as error:
                    reason = str(error)
        except QueryError as error:
            reason = str(error)
        if not known:
            declined.append((number, reason))
        asked.append(known)
    adapters = adapters_of([query for queries in asked for query in queries], model)
    study = encode(scan, model, adapters=adapters) if any(asked) else None
    masks = []
    for queries in asked:
        mask = np.zeros(scan.shape, bool)
        for query in queries:
            assert study is not None
            mask |= ground(study, query, model).mask
        masks.append(mask)
    return scan, masks, declined


def stack_masks(masks: Sequence[Mask], scan: Scan) -> np.ndarray:
    """Masks as ReXGroundingCT stores them: uint8 [finding h w d], in the voxel order of the CT volume's file.

    Raises:
        SubmissionError: The scan is no NIfTI: there is no voxel order to keep.
    """
    if scan.provenance.format != "nifti":
        raise SubmissionError(
            f"a scan in {scan.provenance.format} has no voxel order of NIfTI", expected="the volume of CT-RATE, .nii.gz"
        )
    return np.stack([mask.T for mask in masks]).astype(np.uint8)


def write_submission(files: Iterable[tuple[str, np.ndarray]], out: Path) -> Path:
    """Writes the archive, whole or not at all.

    Args:
        files: Name of the CT volume, and its masks, uint8 [finding h w d]; taken one by one.
        out: Path of the zip archive.

    Raises:
        OutputError: It cannot be written there.
    """
    try:
        with (
            whole_file(out) as partial,
            TemporaryDirectory() as folder,
            zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive,
        ):
            for name, masks in files:
                path = Path(folder) / name
                # The affine of NIfTI is of the first three axes, which are not the volume's here: none is stated.
                nib.save(nib.Nifti1Image(masks, np.eye(4)), path)
                archive.write(path, name)
                path.unlink()
    except OSError as error:
        raise OutputError(f"cannot be written ({error})", path=out) from error
    return out


def check_submission(path: Path, cases: Sequence[ReXCase], volumes: Mapping[str, Path]) -> Submission:
    """Reads an archive back, and compares it with the cases and the CT volumes that it is for.

    Args:
        path: The zip archive.
        cases: Cases of the split.
        volumes: CT volumes by name; only their shapes are read.

    Raises:
        SubmissionError: A file is missing or too many, lies in a folder, or is of another shape or other values.
    """
    expected = {case.name: case for case in cases}
    findings = empty = 0
    try:
        with zipfile.ZipFile(path) as archive, TemporaryDirectory() as folder:
            names = archive.namelist()
            for wrong, what in (
                (set(expected) - set(names), "lacks"),
                (set(names) - set(expected), "holds, beside the scans of the split,"),
                ({name for name in names if names.count(name) > 1}, "holds twice"),
            ):
                if wrong:
                    some = ", ".join(sorted(wrong)[:5])
                    raise SubmissionError(f"{what} {len(wrong)} file(s): {some}", path=path, expected="a file a scan")
            for name in names:
                masks = _read_masks(Path(archive.extract(name, folder)), path, name)
                shape = tuple(int(n) for n in nib.load(volumes[name]).shape[:3])  # type: ignore[attr-defined]
                wanted = (len(expected[name].findings), *shape)
                if masks.shape != wanted:
                    raise SubmissionError(
                        f"{name} is of shape {masks.shape}", path=path, expected=f"{wanted}: [finding h w d]"
                    )
                findings += len(masks)
                empty += sum(not mask.any() for mask in masks)
                (Path(folder) / name).unlink()
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise SubmissionError(f"cannot be read ({error})", path=path) from error
    return Submission(path, len(names), findings, empty)


def _read_masks(file: Path, path: Path, name: str) -> np.ndarray:
    try:
        masks = np.asanyarray(nib.load(file).dataobj)  # type: ignore[attr-defined]
    except (OSError, EOFError, ImageFileError, zlib.error) as error:
        raise SubmissionError(f"{name} cannot be read ({error})", path=path) from error
    # The script casts to uint8: a probability would become 0.
    if masks.dtype.kind not in "iu" or masks.min(initial=0) < 0 or masks.max(initial=0) > 1:
        raise SubmissionError(f"{name} holds {masks.dtype} from {masks.min():g} to {masks.max():g}", expected="0 and 1")
    return masks
