"""More or less contrast agent: values of blood and organs stretched or squeezed."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform, Randomizable, RandomizableTransform

from tips_med.transforms.dictionary import Data


class RandScaleEnhancement(RandomizableTransform):
    """Multiplies what values have above that of unenhanced tissue by one random factor.

    Blood of 200 HU becomes one of 100 or of 400, so that an organ is learned by its shape and place as much as by its
    brightness in the few scans at hand. Bone changes, too, and stays the brightest. MONAI's ``RandAdjustContrast`` and
    ``RandHistogramShift`` act on the whole range of an image, of which blood and organs are a small part.

    Args:
        knee_hu: Value of unenhanced tissue; what is below it stays as it is.
        factors: Smallest and largest factor, above 0; factors between them are drawn evenly on a logarithmic scale.
        prob: Probability of a change, 0 to 1.

    Raises:
        ValueError: The factors are not above 0, or the larger one comes first.
    """

    def __init__(self, knee_hu: float = 50.0, factors: tuple[float, float] = (0.5, 2.0), prob: float = 0.5) -> None:
        RandomizableTransform.__init__(self, prob)
        low, high = factors
        if not 0 < low <= high:
            raise ValueError(f"factors are {factors}; expected two numbers above 0, the smaller one first")
        self.knee_hu, self.factors = knee_hu, (float(low), float(high))
        self._factor = 1.0

    def randomize(self, data: Any = None) -> None:
        """Draws whether, and by which factor."""
        super().randomize(data)
        low, high = np.log(self.factors)
        self._factor = float(np.exp(self.R.uniform(low, high))) if self._do_transform else 1.0

    def __call__(self, img: torch.Tensor, randomize: bool = True) -> torch.Tensor:
        """An image of any shape, in HU; NaN stays NaN.

        Args:
            img: Image to change.
            randomize: Draw a new factor; False repeats the last one.
        """
        if randomize:
            self.randomize()
        above = (img - self.knee_hu).clamp(min=0)
        return img + (self._factor - 1) * above if self._do_transform else img


class RandScaleEnhancementd(MapTransform, Randomizable):
    """Changes the enhancement of images by the same factor; see ``RandScaleEnhancement``.

    Args:
        keys: Keys of images in HU.
        knee_hu: Value of unenhanced tissue; what is below it stays as it is.
        factors: Smallest and largest factor, above 0.
        prob: Probability of a change, 0 to 1.
        allow_missing_keys: Do not mind a key that is not there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        knee_hu: float = 50.0,
        factors: tuple[float, float] = (0.5, 2.0),
        prob: float = 0.5,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.scale = RandScaleEnhancement(knee_hu, factors, prob)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandScaleEnhancementd:
        """Gives the same again for the same seed."""
        super().set_random_state(seed, state)
        self.scale.set_random_state(seed, state)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draws whether, and by which factor."""
        self.scale.randomize(data)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """The same images, more or less enhanced."""
        d = dict(data)
        self.randomize()
        for key in self.key_iterator(d):
            d[key] = self.scale(d[key], randomize=False)
        return d
