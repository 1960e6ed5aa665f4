"""The same steps for dictionaries of images, masks and phrases, as MONAI's own: names end in ``d``."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import MapTransform
from monai.utils.enums import TraceKeys
from monai.utils.misc import ensure_tuple, ensure_tuple_rep

from tips_med.encoders.base import Progress
from tips_med.geometry import transform_points
from tips_med.grounding.encoding import Adapters, encode_slabs
from tips_med.grounding.ground import default_model
from tips_med.grounding.modality import ensure_known_modality
from tips_med.model import GroundingModel
from tips_med.query import Lexicon, load_lexicon
from tips_med.slabs import SlabSpec
from tips_med.transforms.array import (
    CropToBody,
    EncodeStudy,
    FindBody,
    FlipSides,
    GroundPhrase,
    LoadScan,
    MakeSlabs,
    StackSlabs,
    ToSlabGrid,
    Values,
    heat_of_answer,
    mask_of_answer,
)
from tips_med.transforms.phrases import mirrored_phrase
from tips_med.transforms.tensors import lps_of, scan_of_tensor, shape_of, slabs_of_tensors

Data = Mapping[Hashable, Any]
"""What a dictionary transform takes; it gives a new dictionary."""


class LoadScand(MapTransform):
    """Paths -> volumes; see ``LoadScan``, whose options it has.

    Args:
        keys: Keys of paths.
        allow_missing_keys: Do not mind a key that is not there.
        series: Series Instance UID to read, where the path holds several series.
        phase: Number of the volume to read, from 1, where the series holds several.
        fill_gaps: Leave missing slices empty (NaN) instead of refusing.
        untilt: Resample a tilted stack instead of refusing.
        modality: DICOM modality code, where the file states none (NIfTI): ``CT``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        allow_missing_keys: bool = False,
        *,
        series: str | None = None,
        phase: int | None = None,
        fill_gaps: bool = False,
        untilt: bool = False,
        modality: str | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.load = LoadScan(series=series, phase=phase, fill_gaps=fill_gaps, untilt=untilt, modality=modality)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Raises ReadError for whatever cannot be read without guessing."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.load(d[key])
        return d


class ToSlabGridd(MapTransform, InvertibleTransform):
    """Volumes -> the slab grid of the first one; see ``ToSlabGrid``. Invertible.

    Args:
        keys: Keys of volumes and masks: all go onto the grid of the first.
        spec: Specification of slabs; that of the shipped model when None.
        values: Method of resampling, for all keys or for each: ``measured``, ``cover`` (masks) or ``label``.
        allow_missing_keys: Do not mind a key that is not there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spec: SlabSpec | None = None,
        values: Values | Sequence[Values] = "measured",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        each = cast("tuple[Values, ...]", ensure_tuple_rep(values, len(self.keys)))
        self.steps = [ToSlabGrid(spec, one) for one in each]

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """[channel i j k] -> [channel slab y x]."""
        d = dict(data)
        like: MetaTensor | None = None
        for key, step in self.key_iterator(d, self.steps):
            d[key] = step(d[key], like)
            like = d[key] if like is None else like
        return d

    def inverse(self, data: Data) -> dict[Hashable, Any]:
        """Each on the grid that it came from."""
        d = dict(data)
        for key, step in self.key_iterator(d, self.steps):
            d[key] = step.inverse(d[key])
        return d


class FindBodyd(MapTransform):
    """Finds the body in images on a slab grid; see ``FindBody``.

    Args:
        keys: Keys of images from ``ToSlabGridd``.
        body_keys: Keys for the masks of the body, one for each image.
        allow_missing_keys: Do not mind a key that is not there.
    """

    def __init__(
        self, keys: KeysCollection, body_keys: KeysCollection = "body", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.body_keys = _one_for_each(body_keys, self.keys)
        self.find = FindBody()

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Adds a mask, bool [1 slab y x]."""
        d = dict(data)
        for key, body_key in self.key_iterator(d, self.body_keys):
            d[body_key] = self.find(d[key])
        return d


class StackSlabsd(MapTransform):
    """Windows and neighbours as channels; see ``StackSlabs``.

    Args:
        keys: Keys of images from ``ToSlabGridd``.
        spec: Specification of slabs; that of the shipped model when None.
        seen_keys: Keys for the masks of measured cells (bool [1 slab y x]), one for each image; None for no masks.
        allow_missing_keys: Do not mind a key that is not there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spec: SlabSpec | None = None,
        seen_keys: KeysCollection | None = "seen",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.seen_keys = _one_for_each(seen_keys, self.keys) if seen_keys is not None else (None,) * len(self.keys)
        self.stack = StackSlabs(spec)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """[1 slab y x] -> [channel slab y x]."""
        d = dict(data)
        for key, seen_key in self.key_iterator(d, self.seen_keys):
            if seen_key is not None:
                d[seen_key] = torch.isfinite(d[key])
            d[key] = self.stack(d[key])
        return d


class MakeSlabsd(MapTransform):
    """A volume -> an encoder's input, what was seen, the body, and masks on the same grid; see ``MakeSlabs``.

    Args:
        keys: Keys of one volume, [1 i j k]; it stays as it is.
        spec: Specification of slabs; that of the shipped model when None.
        slabs_key: Key for the pixels, [channel slab y x].
        seen_key: Key for the mask of measured cells, bool [1 slab y x].
        body_key: Key for the mask of the body, bool [1 slab y x].
        mask_keys: Keys of masks, [channel i j k] on any grid: each becomes the share of a cell that it covers, 0 to 1.
        allow_missing_keys: Do not mind a key that is not there.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        spec: SlabSpec | None = None,
        slabs_key: str = "slabs",
        seen_key: str = "seen",
        body_key: str = "body",
        mask_keys: KeysCollection = (),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        _one_for_each((slabs_key,), self.keys)
        self.slabs_key, self.seen_key, self.body_key = slabs_key, seen_key, body_key
        self.mask_keys = ensure_tuple(mask_keys)
        self.make, self.cover = MakeSlabs(spec), ToSlabGrid(spec, "cover")

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Adds slabs, what was seen and the body; masks are brought onto their grid in place."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[self.slabs_key], d[self.seen_key], d[self.body_key] = self.make.all(d[key])
            for mask in self.mask_keys:
                if mask in d or not self.allow_missing_keys:
                    d[mask] = self.cover(d[mask], d[self.slabs_key])
        return d


class CropToBodyd(MapTransform, InvertibleTransform):
    """Leaves out the air around the body, in whole patches; see ``CropToBody``. Invertible.

    It comes after ``StackSlabsd``, as in ``tips_med.encode``: a gap is recognised from the whole slab.

    Args:
        keys: Keys of images and masks on one slab grid; name the body itself, too.
        body_key: Key of the body.
        patch: Pixels along an edge of a patch.
        margin: Number of pixels to keep around the body, 0 or more.
        allow_missing_keys: Do not mind a key that is not there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        body_key: str = "body",
        patch: int = 8,
        margin: int = 8,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.body_key, self.crop = body_key, CropToBody(patch, margin)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """[channel slab y x] -> the same, smaller."""
        d = dict(data)
        body = d[self.body_key]
        for key in self.key_iterator(d):
            d[key] = self.crop(d[key], body)
        return d

    def inverse(self, data: Data) -> dict[Hashable, Any]:
        """With the air again: NaN in numbers, 0 in masks."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.crop.inverse(d[key])
        return d


class FlipSidesd(MapTransform, InvertibleTransform):
    """Exchanges left and right in images, masks and phrases; see ``FlipSides``. Invertible.

    Where a phrase has no mirror image (the right middle lobe, the heart, a lesion of the liver), nothing is exchanged.

    Args:
        keys: Keys of images and masks; all are mirrored about one plane.
        phrase_keys: Keys of phrases, a text or a list of texts. One that names no side stays as it is.
        lexicon: Lexicon, or its name.
        about_key: Key of x of the plane, LPS in mm; through the middle of the first image's grid when None.
        allow_missing_keys: Do not mind a key that is not there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        phrase_keys: KeysCollection = (),
        lexicon: Lexicon | str = "chest_ct",
        about_key: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.phrase_keys = ensure_tuple(phrase_keys)
        self.lexicon, self.about_key = lexicon, about_key
        self.flip = FlipSides()
        self._do_transform = True
        self._mirrored: dict[str, str | None] = {}

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """The mirror image, or the data as they are."""
        return self.exchanged(data, True)

    def exchanged(self, data: Data, wanted: bool) -> dict[Hashable, Any]:
        """What ``__call__`` does, if it is wanted; ``inverse`` knows what was done."""
        d = dict(data)
        phrases = {str(key): d[key] for key in self.phrase_keys if key in d or not self.allow_missing_keys}
        mirrored = {key: self._mirror(value) for key, value in phrases.items()} if wanted else {}
        self._do_transform = wanted and None not in mirrored.values()
        keys = list(self.key_iterator(d))
        about = float(d[self.about_key]) if self.about_key is not None else _middle_mm(d[keys[0]])
        for key in keys:
            extra: dict[str, Any] = {"phrases": json.dumps(phrases)}
            image = d[key]
            if self._do_transform:
                image = self.flip(image, about)
                extra |= {"flip": self.flip.pop_transform(image)[TraceKeys.EXTRA_INFO]}
            d[key] = self.push_transform(image, extra_info=extra)
        return d | (mirrored if self._do_transform else {})

    def inverse(self, data: Data) -> dict[Hashable, Any]:
        """Images, masks and phrases as they were."""
        d = dict(data)
        for key in self.key_iterator(d):
            applied = self.pop_transform(d[key])
            if applied[TraceKeys.DO_TRANSFORM]:
                extra = applied[TraceKeys.EXTRA_INFO]
                d[key] = self.flip.undo(d[key], extra["flip"])
                d |= {name: text for name, text in json.loads(extra["phrases"]).items() if name in d}
        return d

    def _mirror(self, phrase: str | Sequence[str]) -> str | list[str] | None:
        if not isinstance(phrase, str):
            texts = [self._mirror(text) for text in phrase]
            return None if None in texts else cast("list[str]", texts)
        if phrase not in self._mirrored:
            lexicon = load_lexicon(self.lexicon) if isinstance(self.lexicon, str) else self.lexicon
            self._mirrored[phrase] = mirrored_phrase(lexicon.parse(phrase), lexicon)
        return self._mirrored[phrase]


def _middle_mm(image: torch.Tensor) -> float:
    """The middle of an image's grid along x, LPS in mm."""
    return float(transform_points(lps_of(image), (np.array(shape_of(image)) - 1) / 2)[0, 0])


class EncodeStudyd(MapTransform):
    """Volumes -> encoded studies; see ``EncodeStudy``.

    Args:
        keys: Keys of volumes, [1 i j k]; they stay as they are.
        model: Model; the shipped one when None.
        study_keys: Keys for the studies, one for each volume.
        modality: DICOM modality code, where the file states none.
        progress: Called with (slabs done, total slabs).
        adapters: Adapters whose features are made, too; see ``EncodeStudy``.
        allow_missing_keys: Do not mind a key that is not there.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        model: GroundingModel | None = None,
        study_keys: KeysCollection = "study",
        modality: str | None = None,
        progress: Progress | None = None,
        adapters: Adapters = (),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.study_keys = _one_for_each(study_keys, self.keys)
        self.encode = EncodeStudy(model, modality, progress, adapters)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Adds an ``EncodedStudy``."""
        d = dict(data)
        for key, study_key in self.key_iterator(d, self.study_keys):
            d[study_key] = self.encode(d[key])
        return d


class EncodeSlabsd(MapTransform):
    """Slabs that were made step by step -> an encoded study; other transforms may have been at work between.

    Features of all adapters of the model are made at once: the slabs are not kept.

    Args:
        keys: Keys of the volume that they were cut from, [1 i j k], which answers refer to.
        model: Model; the shipped one when None. The slabs must fit its image tower.
        slabs_key: Key of the pixels, [channel slab y x].
        seen_key: Key of the mask of measured cells, bool [1 slab y x].
        body_key: Key of the body, from ``FindBodyd`` or ``MakeSlabsd``.
        study_key: Key for the study.
        modality: DICOM modality code, where the file states none.
        progress: Called with (slabs done, total slabs).
        allow_missing_keys: Do not mind when there is no volume.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        model: GroundingModel | None = None,
        slabs_key: str = "slabs",
        seen_key: str = "seen",
        body_key: str = "body",
        study_key: str = "study",
        modality: str | None = None,
        progress: Progress | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        _one_for_each((study_key,), self.keys)
        self.model, self.modality, self.progress = model, modality, progress
        self.slabs_key, self.seen_key, self.body_key, self.study_key = slabs_key, seen_key, body_key, study_key

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Adds an ``EncodedStudy``.

        Raises:
            ModalityError: The model was not trained on scans of this kind.
            ReadError: ``grid`` when the slabs do not belong together, or are not as the tower wants them.
        """
        d = dict(data)
        model = self.model or default_model()
        for key in self.key_iterator(d):
            scan = ensure_known_modality(scan_of_tensor(d[key], self.modality), model)
            pixels, seen, body = d[self.slabs_key], d[self.seen_key], d[self.body_key]
            slabs = slabs_of_tensors(pixels, seen, body, model.image.slab_spec)
            d[self.study_key] = encode_slabs(scan, slabs, model, self.progress)
        return d


class GroundPhrased(MapTransform):
    """Encoded studies and phrases -> answers and their masks; see ``GroundPhrase``.

    Args:
        keys: Keys of encoded studies.
        model: Model that encoded them; the shipped one when None.
        phrase_key: Key of the phrase.
        answer_keys: Keys for the ``Grounding``, one for each study.
        mask_keys: Keys for the masks, one for each study: uint8 [1 i j k] on the scan's own grid, with the affine of
            the image that was encoded; MONAI's ``Invertd`` and ``SaveImaged`` take it from there.
        heat_keys: Keys for the scores, float32 [1 slab y x], with their own affine; None for no scores.
        allow_missing_keys: Do not mind a key that is not there.
    """

    def __init__(
        self,
        keys: KeysCollection = "study",
        model: GroundingModel | None = None,
        phrase_key: str = "phrase",
        answer_keys: KeysCollection = "answer",
        mask_keys: KeysCollection = "mask",
        heat_keys: KeysCollection | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.ground, self.phrase_key = GroundPhrase(model), phrase_key
        self.answer_keys, self.mask_keys = _one_for_each(answer_keys, self.keys), _one_for_each(mask_keys, self.keys)
        self.heat_keys = _one_for_each(heat_keys, self.keys) if heat_keys is not None else (None,) * len(self.keys)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Adds the answer, its mask, and its scores where they are requested.

        Raises:
            QueryError: Nothing in the phrase is understood, or the model was not trained to find it.
            WeightsError: The study was encoded by another model.
        """
        d = dict(data)
        for key, answer_key, mask_key, heat_key in self.key_iterator(
            d, self.answer_keys, self.mask_keys, self.heat_keys
        ):
            d[answer_key] = self.ground(d[key], d[self.phrase_key])
            d[mask_key] = mask_of_answer(d[answer_key])
            if heat_key is not None:
                d[heat_key] = heat_of_answer(d[answer_key])
        return d


def _one_for_each(names: KeysCollection, keys: tuple[Hashable, ...]) -> tuple[Hashable, ...]:
    """Names of what is made, as many as there are keys.

    Raises:
        ValueError: There are more or fewer.
    """
    made = ensure_tuple(names)
    if len(made) != len(keys):
        raise ValueError(f"{len(made)} names {made} for what is made of {len(keys)} keys {keys}")
    return made
