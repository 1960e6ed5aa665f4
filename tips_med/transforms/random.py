"""Augmentations: crops around findings, sides exchanged, values shifted, words swapped.

All draw from their own state, as MONAI's do: ``set_random_state(seed)``, of a transform or of a whole ``Compose``,
gives the same again.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform, Randomizable, RandomizableTransform
from monai.utils.misc import ensure_tuple, ensure_tuple_rep

from tips_med.query import Lexicon, load_lexicon
from tips_med.transforms.boxes import Boxes, same_shape
from tips_med.transforms.dictionary import Data, FlipSidesd
from tips_med.transforms.phrases import swapped_phrases
from tips_med.transforms.tensors import triple


class CropAroundFindingd(MapTransform, Boxes):
    """Cuts a box around the middle of the first mask that marks something, else around the middle of the image.

    Where the box is larger than the image, it is centred and filled up. Invertible, see ``Boxes``.

    Args:
        keys: Keys of images and masks on one grid, [channel, three axes]; name the mask itself, too.
        mask_key: Key of the mask; each of its channels is one finding.
        size: Number of cells along the three axes.
        outside: Fill value, for all keys or for each: -1024 for Hounsfield units, 0 for masks.
        threshold: Threshold of the mask; a cell above it belongs to the finding.
        allow_missing_keys: Do not mind a key that is not there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str,
        size: Sequence[int],
        outside: float | Sequence[float] = 0.0,
        threshold: float = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.mask_key, self.size, self.threshold = mask_key, triple(size), threshold
        self.outside = ensure_tuple_rep(outside, len(self.keys))

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """[channel, three axes] -> [channel, size].

        Raises:
            ReadError: ``grid`` when the images are of different shapes.
        """
        d = dict(data)
        same_shape([d[key] for key in self.key_iterator(d)])
        start = self.start(d[self.mask_key])
        for key, outside in self.key_iterator(d, self.outside):
            d[key] = self.cut(d[key], start, self.size, outside)
        return d

    def start(self, mask: torch.Tensor) -> list[int]:
        """The first cell of the box."""
        shape = triple(mask.shape[1:])
        centre = [n / 2 for n in shape]
        marked = self.marked(mask)
        if marked:
            centre = [float(c) for c in np.argwhere(self.cells(mask, marked[0])).mean(axis=0)]
        return _fitting(centre, self.size, shape)

    def marked(self, mask: torch.Tensor) -> list[int]:
        """Channels that mark something."""
        return [n for n in range(mask.shape[0]) if self.cells(mask, n).any()]

    def cells(self, mask: torch.Tensor, channel: int) -> np.ndarray:
        """Which cells one finding marks, bool [three axes]."""
        return np.asarray(mask[channel] > self.threshold)

    def inverse(self, data: Data) -> dict[Hashable, Any]:
        """In images of the size that they were cut from: NaN outside in numbers, 0 in masks."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.put_back(d[key])
        return d


class RandCropAroundFindingd(CropAroundFindingd, Randomizable):
    """Cuts a box around a cell of a finding, with some probability, and anywhere else. Invertible.

    Args:
        keys: Keys of images and masks on one grid, [channel, three axes]; name the mask itself, too.
        mask_key: Key of the mask; each of its channels is one finding.
        size: Number of cells along the three axes.
        outside: Fill value, for all keys or for each: -1024 for Hounsfield units, 0 for masks.
        threshold: Threshold of the mask; a cell above it belongs to the finding.
        prob: Probability that the box lies around a finding, where there is one: any finding, any of its cells.
        jitter: Maximum distance of that cell from the middle of the box, as a share of its size.
        allow_missing_keys: Do not mind a key that is not there.
        weights_key: Key of how often each finding is chosen, one number above 0 for each channel of the mask; all alike
            when None.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str,
        size: Sequence[int],
        outside: float | Sequence[float] = 0.0,
        threshold: float = 0.0,
        prob: float = 0.75,
        jitter: float = 0.25,
        allow_missing_keys: bool = False,
        weights_key: str | None = None,
    ) -> None:
        super().__init__(keys, mask_key, size, outside, threshold, allow_missing_keys)
        self.prob, self.jitter, self.weights_key = prob, jitter, weights_key
        self._weights: Sequence[float] | None = None
        self._start = [0, 0, 0]

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """See CropAroundFindingd."""
        self._weights = data[self.weights_key] if self.weights_key is not None else None
        return super().__call__(data)

    def randomize(self, data: torch.Tensor) -> None:
        """Draws the first cell of the box.

        Args:
            data: Mask, [channel, three axes].
        """
        shape = triple(data.shape[1:])
        marked = self.marked(data)
        if marked and self.R.uniform() < self.prob:
            channel = marked[self.R.randint(len(marked))]
            if self._weights is not None:
                weights = np.array([self._weights[n] for n in marked], float)
                channel = int(self.R.choice(marked, p=weights / weights.sum()))
            cells = np.argwhere(self.cells(data, channel))
            cell = cells[self.R.randint(len(cells))]
            centre = [float(c) + self.R.uniform(-self.jitter, self.jitter) * s for c, s in zip(cell, self.size)]
        else:
            centre = [self.R.uniform(0, n) for n in shape]
        self._start = _fitting(centre, self.size, shape)

    def start(self, mask: torch.Tensor) -> list[int]:
        """The first cell of the box."""
        self.randomize(mask)
        return self._start


def _fitting(centre: Sequence[float], size: Sequence[int], shape: Sequence[int]) -> list[int]:
    """The start of a box that lies in the image wherever it fits, and around the image's middle where it does not."""
    return [
        int(np.clip(round(c - s / 2), 0, n - s)) if n >= s else -((s - n) // 2) for c, s, n in zip(centre, size, shape)
    ]


class RandFlipSidesd(FlipSidesd, Randomizable):
    """Exchanges left and right in images, masks and phrases, with some probability; see ``FlipSidesd``. Invertible.

    Args:
        keys: Keys of images and masks; all are mirrored about one plane.
        phrase_keys: Keys of phrases; one without a mirror image stops it.
        lexicon: Lexicon, or its name.
        about_key: Key of x of the plane, LPS in mm; through the middle of the first image's grid when None.
        prob: Probability of mirroring, 0 to 1.
        allow_missing_keys: Do not mind a key that is not there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        phrase_keys: KeysCollection = (),
        lexicon: Lexicon | str = "chest_ct",
        about_key: str | None = None,
        prob: float = 0.5,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, phrase_keys, lexicon, about_key, allow_missing_keys)
        self.prob = prob
        self._wanted = False

    def randomize(self, data: Any = None) -> None:
        """Draws whether."""
        self._wanted = bool(self.R.uniform() < self.prob)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """The mirror image, or the data as they are."""
        self.randomize()
        return self.exchanged(data, self._wanted)


class RandShiftHounsfield(RandomizableTransform):
    """Shifts all values by one number from a normal distribution, as calibration does from scanner to scanner.

    MONAI's ``RandShiftIntensity`` draws from a uniform one. NaN stays NaN.

    Args:
        std_hu: Standard deviation in HU.
        prob: Probability of a shift, 0 to 1.
    """

    def __init__(self, std_hu: float = 15.0, prob: float = 1.0) -> None:
        RandomizableTransform.__init__(self, prob)
        self.std_hu = std_hu
        self._shift = 0.0

    def randomize(self, data: Any = None) -> None:
        """Draws whether, and by how much."""
        super().randomize(data)
        self._shift = float(self.R.normal(0, self.std_hu)) if self._do_transform else 0.0

    def __call__(self, img: torch.Tensor, randomize: bool = True) -> torch.Tensor:
        """An image of any shape, in HU.

        Args:
            img: Image to shift.
            randomize: Draw a new shift; False repeats the last one.
        """
        if randomize:
            self.randomize()
        return img + self._shift if self._do_transform else img


class RandShiftHounsfieldd(MapTransform, Randomizable):
    """Shifts images by the same number; see ``RandShiftHounsfield``.

    Args:
        keys: Keys of images in HU.
        std_hu: Standard deviation in HU.
        prob: Probability of a shift, 0 to 1.
        allow_missing_keys: Do not mind a key that is not there.
    """

    def __init__(
        self, keys: KeysCollection, std_hu: float = 15.0, prob: float = 1.0, allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.shift = RandShiftHounsfield(std_hu, prob)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandShiftHounsfieldd:
        """Gives the same again for the same seed."""
        super().set_random_state(seed, state)
        self.shift.set_random_state(seed, state)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draws whether, and by how much."""
        self.shift.randomize(data)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """The same images, shifted."""
        d = dict(data)
        self.randomize()
        for key in self.key_iterator(d):
            d[key] = self.shift(d[key], randomize=False)
        return d


class RandSwapTermd(MapTransform, RandomizableTransform):
    """Makes a phrase untrue by one word: its side, level, attribute, finding or organ; a hard negative.

    It is then false where the true phrase is true, and the rest of the image is unknown: so masks
    become empty, and ``known_key`` has the mask where that counts.

    Args:
        keys: Keys of phrases.
        mask_keys: Keys of masks of the phrase, [channel, three axes]; emptied where the phrase was swapped.
        known_key: Key for the first of these masks, before it is emptied (bool); True everywhere when nothing was
            swapped. None for no mask.
        swapped_key: Key for whether any phrase was swapped.
        lexicon: Lexicon, or its name.
        prob: Probability of a swap, 0 to 1.
        allow_missing_keys: Do not mind a key that is not there.
    """

    def __init__(
        self,
        keys: KeysCollection = "phrase",
        mask_keys: KeysCollection = (),
        known_key: str | None = None,
        swapped_key: str = "swapped",
        lexicon: Lexicon | str = "chest_ct",
        prob: float = 0.5,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.mask_keys, self.known_key, self.swapped_key = ensure_tuple(mask_keys), known_key, swapped_key
        if known_key is not None and not self.mask_keys:
            raise ValueError("known_key needs a mask to know where a swapped phrase counts")
        self.lexicon = lexicon
        self._choice = 0.0

    def randomize(self, data: Any = None) -> None:
        """Draws whether, and which word."""
        super().randomize(data)
        self._choice = float(self.R.uniform())

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Phrases, of which some are not true any more.

        Raises:
            QueryError: Nothing in a phrase is understood.
        """
        d = dict(data)
        self.randomize()
        swapped = False
        lexicon = load_lexicon(self.lexicon) if isinstance(self.lexicon, str) else self.lexicon
        for key in self.key_iterator(d) if self._do_transform else ():
            possible = swapped_phrases(lexicon.parse(d[key]), lexicon)
            if possible:
                d[key] = possible[int(self._choice * len(possible))]
                swapped = True
        d[self.swapped_key] = swapped
        if self.known_key is not None:
            mask = d[self.mask_keys[0]]
            d[self.known_key] = mask > 0 if swapped else torch.ones_like(mask, dtype=torch.bool)
        if swapped:
            d |= {key: torch.zeros_like(d[key]) for key in self.mask_keys}
        return d
