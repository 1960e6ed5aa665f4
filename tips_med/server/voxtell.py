"""What VoxTell's plugin needs of a server: images turned to RAS, jobs of several prompts, arrays packed with blosc2.

The interface is that of the client in ``napari-voxtell`` 0.2 (https://pypi.org/project/napari-voxtell/).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

import nibabel as nib
import numpy as np
from scipy import ndimage

from tips_med.errors import MissingExtraError, TipsMedError
from tips_med.geometry import ras_affine_ijk
from tips_med.scan import Scan
from tips_med.server.answers import Answers
from tips_med.server.refusals import RequestError, unknown

MAX_PROMPTS = 32
MAX_JOBS = 64
_MAGIC = b"VXA2"
_CHUNK = 1 << 30
_DTYPES = ("|u1", "|b1", "|i1", "<u2", "<i2", "<i4", "<u4", "<i8", "<f4")


@dataclass(eq=False)
class Job:
    """Prompts asked of a study, one after the other.

    Attributes:
        study: Id of the study.
        prompts: Queries, one a mask.
        keep_largest: Whether only the largest instance of each is wanted.
        done: Number of prompts answered.
        status: ``running``, ``done``, ``cancelled`` or ``error``.
        message: Why there is an error.
        masks: Masks in RAS order, uint8 [prompt z y x], once done.
    """

    study: str
    prompts: tuple[str, ...]
    keep_largest: bool
    done: int = 0
    status: Literal["running", "done", "cancelled", "error"] = "running"
    message: str = ""
    masks: np.ndarray | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def event(self) -> dict[str, Any]:
        """The job's state as one line of its events."""
        if self.status == "running":
            return {"done": self.done, "total": len(self.prompts)}
        return {"status": self.status} | ({"message": self.message} if self.message else {})


class Jobs:
    """The last jobs; older ones are forgotten."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    def add(self, job: Job) -> str:
        """Takes a job; its new id."""
        name = uuid4().hex
        self._jobs[name] = job
        while len(self._jobs) > MAX_JOBS:
            _, old = self._jobs.popitem(last=False)
            old.cancelled.set()
        return name

    def get(self, name: str) -> Job:
        """A job.

        Raises:
            RequestError: ``not-found``.
        """
        if name not in self._jobs:
            raise unknown("job")
        return self._jobs[name]


def run_job(job: Job, answers: Answers) -> None:
    """Answers a job's prompts; what is absent, or not found, has an empty mask.

    A prompt that cannot be answered ends the job with an error: an empty mask would say that nothing is there.
    """
    try:
        masks = []
        for prompt in job.prompts:
            if job.cancelled.is_set():
                job.status = "cancelled"
                return
            given = answers.ask(job.study, prompt)["answers"]
            refused = [one["declined"]["reason"] for one in given if "declined" in one]
            if refused:
                job.status, job.message = "error", f"{prompt}: {refused[0]}"
                return
            labels = [answers.get(job.study, one["id"]).labels for one in given]
            mask = np.any([one > 0 for one in labels], axis=0)
            masks.append(
                to_ras(largest(mask) if job.keep_largest else mask, answers.studies.live(job.study).study.scan)
            )
            job.done += 1
        job.masks, job.status = np.stack(masks).astype(np.uint8), "done"
    except TipsMedError as error:
        error.path = None
        job.status, job.message = "error", str(error)


def largest(mask: np.ndarray) -> np.ndarray:
    """The largest part of a mask, 18-connected; an empty mask as it is."""
    labels: np.ndarray = np.empty(mask.shape, np.int32)
    count = ndimage.label(mask, ndimage.generate_binary_structure(3, 2), output=labels)
    return mask if count == 0 else labels == 1 + np.bincount(labels.ravel())[1:].argmax()


def to_ras(array: np.ndarray, scan: Scan) -> np.ndarray:
    """An array on a scan's grid, [k j i], with its axes turned to superior, anterior, right to left: [z y x] of RAS."""
    return nib.orientations.apply_orientation(array.T, nib.io_orientation(ras_affine_ijk(scan.lps_from_kji))).T


def from_ras(array: np.ndarray, scan: Scan) -> np.ndarray:
    """What ``to_ras`` turned, back on the scan's grid [k j i].

    Raises:
        RequestError: ``other-grid``.
    """
    turned = nib.io_orientation(ras_affine_ijk(scan.lps_from_kji))
    back = nib.orientations.ornt_transform(np.array([[0, 1], [1, 1], [2, 1]]), turned)
    expected = to_ras(np.broadcast_to(np.uint8(0), scan.shape), scan).shape
    if array.shape != expected:
        raise RequestError(
            422, "other-grid", f"the label map is {array.shape}", expected=f"{expected}, as the image is"
        )
    return nib.orientations.apply_orientation(array.T, back).T


def ras_spacing_mm(scan: Scan) -> tuple[float, float, float]:
    """Spacing of the turned image, z y x, in mm."""
    turned = np.asarray(nib.io_orientation(ras_affine_ijk(scan.lps_from_kji)))
    of_ijk = scan.spacing_mm[::-1]
    by_axis = {int(axis): of_ijk[n] for n, axis in enumerate(turned[:, 0])}
    return by_axis[2], by_axis[1], by_axis[0]


def pack_array(array: np.ndarray) -> bytes:
    """An array as that client reads it: dtype, shape, length, then chunks of at most 1 GiB, compressed with blosc2."""
    return b"".join(_packed(np.ascontiguousarray(array)))


def _packed(array: np.ndarray) -> Iterator[bytes]:
    blosc2 = _blosc2()
    kind = array.dtype.str.encode("ascii")
    yield _MAGIC + bytes([len(kind)]) + kind + bytes([array.ndim])
    yield b"".join(int(length).to_bytes(8, "little") for length in array.shape) + array.nbytes.to_bytes(8, "little")
    raw = array.tobytes()
    for start in range(0, len(raw), _CHUNK):
        chunk = raw[start : start + _CHUNK]
        packed = bytes(blosc2.compress(chunk, typesize=array.dtype.itemsize))
        yield len(chunk).to_bytes(8, "little") + len(packed).to_bytes(8, "little") + packed


def unpack_array(content: bytes, max_bytes: int) -> np.ndarray:
    """What that client packed.

    Args:
        content: Packed array.
        max_bytes: Maximum size of the array in bytes; a larger one is refused before anything is unpacked.

    Raises:
        RequestError: ``bad-array``.
    """
    blosc2 = _blosc2()
    bad = RequestError(400, "bad-array", "the array cannot be unpacked", expected="the format VXA2 of VoxTell's client")
    at = 4

    def take(count: int) -> bytes:
        nonlocal at
        if count < 0 or at + count > len(content):
            raise bad
        at += count
        return content[at - count : at]

    if content[:4] != _MAGIC:
        raise bad
    kind = take(take(1)[0]).decode("ascii", "replace")
    shape = tuple(int.from_bytes(take(8), "little") for _ in range(take(1)[0]))
    total = int.from_bytes(take(8), "little")
    if kind not in _DTYPES or len(shape) > 4 or total > max_bytes:
        raise bad
    raw = bytearray()
    while at < len(content):
        plain_bytes, packed_bytes = (int.from_bytes(take(8), "little") for _ in range(2))
        packed = take(packed_bytes)
        # The header of a blosc2 chunk (https://www.blosc.org) has its own unpacked size in bytes 4 to 7.
        claimed = int.from_bytes(packed[4:8], "little") if len(packed) >= 16 else -1
        if claimed != plain_bytes or len(raw) + plain_bytes > total:
            raise bad
        try:
            raw += bytes(blosc2.decompress(packed))
        except (RuntimeError, ValueError, TypeError):
            raise bad from None
    dtype = np.dtype(kind)
    if len(raw) != total or total != dtype.itemsize * int(np.prod(shape, dtype=object)):
        raise bad
    return np.frombuffer(raw, dtype).reshape(shape)


def _blosc2() -> Any:
    try:
        import blosc2
    except ModuleNotFoundError as error:
        raise MissingExtraError("arrays of VoxTell's client", "blosc2", "voxtell") from error
    return blosc2
