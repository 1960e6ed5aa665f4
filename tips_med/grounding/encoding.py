"""Features of a scan: those of the model at once, those of an adapter when a question needs them."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from tips_med.encoders.base import ImageFeatures, Progress
from tips_med.encoders.study import EncodedStudy
from tips_med.errors import ReadError, WeightsError
from tips_med.geometry import same_grid
from tips_med.model import GroundingModel
from tips_med.scan import Scan
from tips_med.slabs import BODY_MARGIN, SlabStack, make_slabs

Adapters = Collection[int] | Literal["all"]
"""Some adapters of a model, by number, from 1, as ``TextFeatures.adapter`` has it; or all of them."""

_MAKING = threading.Lock()
"""Held while features are made that a study lacks. One for all studies: the network takes all cores in any case."""


def encode_slabs(
    scan: Scan,
    slabs: SlabStack,
    model: GroundingModel,
    progress: Progress | None = None,
    adapters: Adapters = "all",
) -> EncodedStudy:
    """The second half of ``encode``, for slabs that were cut in some other way.

    Args:
        scan: Scan that they were cut from.
        slabs: The slabs.
        model: Model to encode with.
        progress: Called with (slabs done, total slabs), a slab being counted once for each part of the network.
        adapters: Adapters whose features are made, too. Name fewer than all only for slabs that ``cut_slabs`` has cut:
            features that are missing are made later from slabs that are cut from the scan in this way.

    Raises:
        WeightsError: ``no-adapter``: the model has no adapter of such a number.
    """
    made = model.image.encode_several(slabs, (0, *_numbers(adapters, model)), progress)
    features, seen, body = made.pop(0), slabs.seen, slabs.body
    for one in (features, *made.values()):
        _clear_outside(one, body.inside)
    if features.fine is None:
        # The patch grid, which is not always y / patch: a tower may resize slices to its own grid.
        rows, columns = features.patches.shape[1:3]
        seen, inside = (
            torch.nn.functional.adaptive_avg_pool2d(mask[:, None].float(), (rows, columns))[:, 0] >= 0.5
            for mask in (seen, torch.from_numpy(body.inside))
        )
        body = replace(body, inside=inside.numpy())
    return EncodedStudy(scan, features, seen, body, model.image.name, model.sha256, taught=made)


def cut_slabs(scan: Scan, model: GroundingModel) -> SlabStack:
    """The slabs that ``encode`` makes of a scan.

    Raises:
        ReadError: The scan is larger than any body.
    """
    return make_slabs(scan, model.image.slab_spec, margin=BODY_MARGIN)


def features_of(study: EncodedStudy, adapter: int, model: GroundingModel) -> ImageFeatures:
    """The features that embeddings of one adapter are scored against; see ``make_features`` where they are missing.

    Args:
        study: Encoded study.
        adapter: Number as ``TextFeatures.adapter`` has it: 0 for what the model knew before.
        model: Model that encoded the study.
    """
    if adapter == 0:
        return study.features
    if adapter not in study.taught:
        make_features(study, (adapter,), model)
    return study.taught[adapter]


def make_features(study: EncodedStudy, adapters: Adapters, model: GroundingModel) -> None:
    """Makes what a study lacks of some adapters' features, and keeps it with the study.

    The scan is cut and goes through the convolutions once more, for all of these adapters together. Made in any number
    of threads at once, also of copies that share ``EncodedStudy.taught``, they are made once.

    Args:
        study: Encoded study.
        adapters: Adapters.
        model: Model that encoded the study.

    Raises:
        WeightsError: ``other-weights``, or ``no-adapter``.
        ReadError: ``other-slabs``: the study was not made of the slabs that its scan is cut into.
    """
    numbers = _numbers(adapters, model)
    if all(number in study.taught for number in numbers):
        return
    check_study(study, model)
    with _MAKING:
        missing = [number for number in numbers if number not in study.taught]
        if not missing:
            return
        made = model.image.encode_several(_cut_again(study, model), missing)
        for one in made.values():
            _clear_outside(one, study.body.inside)
        study.taught.update(made)


def patches_of(study: EncodedStudy, model: GroundingModel, adapters: Adapters = "all") -> torch.Tensor:
    """Patch embeddings side by side, [slab row col embedding]: of what the model knew before, then of some adapters."""
    make_features(study, adapters, model)
    taught = [study.taught[number].patches for number in _numbers(adapters, model)]
    return torch.cat([study.features.patches, *taught], dim=-1) if taught else study.features.patches


def check_study(study: EncodedStudy, model: GroundingModel) -> None:
    """Makes sure that a study was encoded by the weights that are to answer.

    Raises:
        WeightsError: ``other-weights``.
    """
    if study.weights_sha256 != model.sha256:
        raise WeightsError(
            f"the study was encoded by weights {study.weights_sha256[:12]}",
            expected=model.sha256[:12],
            remedy="encode the scan again, or name that model with --model",
            code="other-weights",
        )


def _cut_again(study: EncodedStudy, model: GroundingModel) -> SlabStack:
    """The slabs that a study was made of, with its own body."""
    slabs, affine = cut_slabs(study.scan, model), study.features.lps_from_fine
    shape = study.body.inside.shape
    if affine is None or slabs.seen.shape != shape or not same_grid(slabs.lps_from_pixel, affine, shape):
        raise ReadError(
            "the study lacks the features of an adapter, and its slabs were not cut from its scan as encode cuts them",
            remedy='encode it with adapters="all"',
            code="other-slabs",
        )
    return replace(slabs, body=study.body)


def finding_adapters(model: GroundingModel) -> tuple[int, ...]:
    """Numbers of the adapters that answer findings, rising, from 1; those of organs alone are left out.

    What is alike and what is worth outlining goes by findings: embeddings of organs would only make vectors longer.
    """
    organs = {" ".join(term.forms[0].words) for term in model.lexicon.terms if term.kind == "structure"}
    numbered = enumerate(model.adapters, start=1)
    return tuple(number for number, one in numbered if not organs.issuperset(one.config.phrases))


def _numbers(adapters: Adapters, model: GroundingModel) -> tuple[int, ...]:
    """Numbers of adapters, rising; 0, which stands for none, is left out."""
    known = range(1, 1 + len(model.adapters))
    chosen = known if adapters == "all" else sorted(set(adapters) - {0})
    for number in chosen:
        if number not in known:
            raise WeightsError(
                f"the model {model.card.name!r} has no adapter {number}",
                expected=f"a number from 1 to {len(known)}" if known else "none: it has no adapters",
                code="no-adapter",
            )
    return tuple(chosen)


@torch.inference_mode()
def _clear_outside(features: ImageFeatures, inside: np.ndarray) -> None:
    """Nothing is searched outside the body, and a study need not store it. In place: these are the largest arrays."""
    if features.fine is not None:
        features.fine.masked_fill_(~torch.from_numpy(inside)[..., None], 0)
