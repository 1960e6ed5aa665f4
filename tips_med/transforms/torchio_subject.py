"""TorchIO's subjects in and out: exact both ways, and a step for TorchIO's own ``Compose``.

TorchIO is not imported by ``tips_med.transforms``; this module needs it (``tips-med[torchio]``).

    >>> ask = torchio.Compose([torchio.ToCanonical(), GroundSubject("mass in the left lung", modality="CT")])
    >>> answered = ask(torchio.Subject(image=torchio.ScalarImage("chest.nii.gz")))
    >>> answered["mass in the left lung"].data.sum(), answered["answers"][0].sentence
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor

from tips_med.errors import MissingExtraError, ReadError
from tips_med.geometry import KJI_FROM_IJK, RAS_FROM_LPS, ras_affine_ijk
from tips_med.grounding.answer import Grounding
from tips_med.grounding.ground import adapters_of, default_model, encode, ground, parse_query
from tips_med.model import GroundingModel
from tips_med.scan import Scan
from tips_med.transforms.tensors import scan_of_tensor

try:
    import torchio
except ModuleNotFoundError as error:
    raise MissingExtraError("TorchIO's subjects", "torchio", "torchio") from error


def scan_of_image(image: torchio.Image, modality: str | None = None) -> Scan:
    """An image of TorchIO's as a scan; its affine decides where it lies.

    Args:
        image: [1 i j k], in any orientation, NaN where nothing was measured. What was rescaled is no CT any more.
        modality: DICOM's code: ``CT`` makes the values Hounsfield units. TorchIO does not keep what a file says.

    Raises:
        ReadError: ``channels`` when it has several; ``sheared`` when its axes are not at right angles; ``label`` for a
            ``LabelMap``.
    """
    if isinstance(image, torchio.LabelMap):
        raise ReadError(
            "a LabelMap is no scan", expected="a ScalarImage", remedy="give the image that it labels", code="label"
        )
    return scan_of_tensor(MetaTensor(image.data, affine=torch.from_numpy(image.affine)), modality)


def image_of_scan(scan: Scan) -> torchio.ScalarImage:
    """A scan as TorchIO has images: [1 i j k] float32, with an affine to RAS in mm; NaN where nothing was measured."""
    voxels = np.ascontiguousarray(scan.voxels.transpose(2, 1, 0))
    return torchio.ScalarImage(tensor=torch.from_numpy(voxels)[None], affine=ras_affine_ijk(scan.lps_from_kji))


def label_of_answer(answer: Grounding) -> torchio.LabelMap:
    """Where it is: uint8 [1 i j k], on the scan's own grid."""
    mask = np.ascontiguousarray(answer.mask.astype(np.uint8).transpose(2, 1, 0))
    affine = RAS_FROM_LPS @ answer.scan.lps_from_kji @ KJI_FROM_IJK
    return torchio.LabelMap(tensor=torch.from_numpy(mask)[None], affine=affine)


class GroundSubject:
    """Asks a subject's image; goes into ``torchio.Compose`` among TorchIO's own transforms.

    Args:
        queries: What to look for, in words; several cost one encoding.
        image: Name of the image in the subject.
        model: The shipped one when None.
        modality: See ``scan_of_image``.
    """

    def __init__(
        self,
        queries: str | Sequence[str],
        image: str = "image",
        model: GroundingModel | None = None,
        modality: str | None = None,
    ) -> None:
        self.queries = (queries,) if isinstance(queries, str) else tuple(queries)
        self.image, self.model, self.modality = image, model, modality

    def __call__(self, subject: torchio.Subject) -> torchio.Subject:
        """A copy of the subject with a ``LabelMap`` for each query, under its words, and the ``answers``.

        Raises:
            QueryError: A query is not understood, or asks for what the model was not trained to find.
            ReadError: The subject has no such image; as ``scan_of_image``.
        """
        if self.image not in subject:
            raise ReadError(
                f"the subject has no image {self.image!r}",
                expected=f"one of {', '.join(subject)}",
                remedy="name it: GroundSubject(queries, image=...)",
                code="no-image",
            )
        chosen: Any = subject[self.image]
        model = self.model or default_model()
        queries = [parse_query(query, model) for query in self.queries]
        study = encode(scan_of_image(chosen, self.modality), model, adapters=adapters_of(queries, model))
        answers = [ground(study, query, model) for query in queries]
        made = copy.copy(subject)
        for query, answer in zip(self.queries, answers):
            made.add_image(label_of_answer(answer), query)
        made["answers"] = answers
        return made
