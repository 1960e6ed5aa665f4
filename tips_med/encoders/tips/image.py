"""The TIPS image tower behind this library's interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from tips_med.encoders.base import ImageFeatures, ImageTower, Progress
from tips_med.encoders.tips.sliding_windows import encode_windows, fitted_grid
from tips_med.errors import ConfigError
from tips_med.geometry import index_from_block
from tips_med.slabs import SlabSpec, SlabStack

if TYPE_CHECKING:
    from transformers.models.tipsv2 import Tipsv2VisionModel

PatchMode = Literal["value", "final"]
"""Which patch embeddings are compared with text.

``final`` is what leaves the last block. ``value`` lets the last block pass each patch's own value projection on
instead of mixing values by attention (MaskCLIP, Zhou 2022); the authors of TIPS segment zero-shot with it.
"""

NEIGHBOUR_SLABS = SlabSpec(spacing_mm=(2.5, 0.9, 0.9), windows_hu=((-1000.0, 400.0),), neighbours=1, patch=14)
"""Each slab between its two neighbours as the three channels, in one wide window. 0.9 mm puts 400 mm on 448 px."""

WINDOW_SLABS = SlabSpec(
    spacing_mm=(2.5, 0.9, 0.9), windows_hu=((-1350.0, 150.0), (-160.0, 240.0), (-500.0, 1300.0)), neighbours=0, patch=14
)
"""Lung, soft tissue and bone windows as the three channels, without neighbours."""


@dataclass(frozen=True, eq=False)
class TipsTokens:
    """What leaves the image tower, not normalised.

    Attributes:
        cls: First class token, trained on web captions, [n embedding].
        registers: Register tokens, [n register embedding]; TIPS has one, trained on synthetic captions.
        patches: Patch tokens, [n row col embedding].
    """

    cls: Tensor
    registers: Tensor
    patches: Tensor


class TipsEncoder(ImageTower):
    """A TIPS image tower.

    Args:
        net: The tower, on the device to run on.
        name: Name of the weights and mode: a study is only queried with the text tower of the same weights.
        mode: Patch embeddings to return.
        slab_spec: Specification of the input slabs: three channels, patches of the model's size.
        modalities: DICOM modality codes to accept. TIPS was trained on photographs and knows no modality, but the
            default windows are in HU, which only CT has; give windows of your own to accept others.
        window_px: Edge of a window in pixels; None for the size that the model was trained on.
        stride_px: Distance between windows in pixels; None for three quarters of a window (336 of 448).
        batch: Number of slabs encoded at once.

    Raises:
        ConfigError: When the slabs do not fit the tower.
    """

    def __init__(
        self,
        net: Tipsv2VisionModel,
        name: str,
        *,
        mode: PatchMode = "value",
        slab_spec: SlabSpec = NEIGHBOUR_SLABS,
        modalities: tuple[str, ...] = ("CT",),
        window_px: int | None = None,
        stride_px: int | None = None,
        batch: int = 4,
    ) -> None:
        self.net, self.name, self.batch = net.eval(), name, batch
        self.mode: PatchMode = mode
        self.slab_spec, self.modalities = slab_spec, modalities
        self.patch = _edge(net.config.patch_size)
        if mode not in get_args(PatchMode):
            raise ConfigError(f"the patch mode {mode!r}", expected=" or ".join(map(repr, get_args(PatchMode))))
        if batch < 1:
            raise ConfigError(f"a batch of {batch} slabs", expected="at least 1")
        if slab_spec.channels != 3:
            raise ConfigError(
                f"{len(slab_spec.windows_hu)} windows of {2 * slab_spec.neighbours + 1} slabs each are "
                f"{slab_spec.channels} channels",
                expected="3, which is what TIPS takes",
                remedy="give one window with 1 neighbour, or three windows with 0",
            )
        if slab_spec.patch != self.patch:
            raise ConfigError(f"slabs made for patches of {slab_spec.patch} px", expected=f"{self.patch}")
        window_px = _edge(net.config.image_size) if window_px is None else window_px
        # Rounded to whole patches, so that overlapping windows meet patch on patch: 448 px gives exactly 336.
        stride_px = max(1, round(window_px / self.patch * 0.75)) * self.patch if stride_px is None else stride_px
        if window_px < self.patch or window_px % self.patch or stride_px % self.patch or not 0 < stride_px <= window_px:
            raise ConfigError(
                f"windows of {window_px} px every {stride_px} px",
                expected=f"multiples of {self.patch}, the stride no longer than the window",
            )
        self.side, self.stride = window_px // self.patch, stride_px // self.patch

    @property
    def width(self) -> int:
        """Size of a patch embedding."""
        return int(self.net.config.hidden_size)

    def tokens(self, pixels: Tensor, mode: PatchMode | None = None) -> TipsTokens:
        """Tokens of one window, with gradients where the caller wants them.

        Off the native grid, position embeddings are interpolated (bilinear, antialiased), as by the authors.

        Args:
            pixels: RGB in [0, 1] without further normalisation, [n 3 y x]; y and x multiples of the patch.
            mode: Patch mode; None for the tower's own. The class and register tokens are those of ``final`` in
                either mode.
        """
        mode = self.mode if mode is None else mode
        hidden = self._before_last_block(pixels)
        final = self.net.layernorm(self.net.encoder.layer[-1](hidden))
        patches = final if mode == "final" else self._value_patches(hidden)
        return TipsTokens(final[:, 0], final[:, 1 : self._first], self._on_grid(patches, pixels))

    def patch_tokens(self, pixels: Tensor, mode: PatchMode | None = None) -> Tensor:
        """Only the patches of ``tokens``, [n row col embedding], not normalised."""
        if (self.mode if mode is None else mode) == "final":
            return self.tokens(pixels, "final").patches
        return self._on_grid(self._value_patches(self._before_last_block(pixels)), pixels)

    def embed_slabs(self, pixels: Tensor) -> Tensor:
        """Unit patch embeddings of slabs of any size, [slab row col embedding], with gradients if wanted.

        The slabs are resized to the model's grid, and covered by windows where they are larger.

        Args:
            pixels: [slab 3 y x] in [0, 1], on the tower's device.
        """
        rows, columns = fitted_grid(*pixels.shape[-2:], side=self.side, patch=self.patch)
        size = (rows * self.patch, columns * self.patch)
        if size != tuple(pixels.shape[-2:]):
            pixels = functional.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)
        return encode_windows(lambda part: self.patch_tokens(part).float(), pixels, self.side, self.stride, self.patch)

    @torch.no_grad()
    def encode(self, slabs: SlabStack, progress: Progress | None = None) -> ImageFeatures:
        """See ImageTower. Patches are unit vectors in half precision; there are no fine features.

        Raises:
            ConfigError: For slabs that were cut for another tower.
        """
        if slabs.spec.channels != 3:
            raise ConfigError(
                f"slabs of {slabs.spec.channels} channels", expected="3", remedy="cut them with the tower's slab_spec"
            )
        self.net.eval()
        device = next(self.net.parameters()).device
        parts, total = [], len(slabs.seen)
        for part in slabs.parts(self.batch):
            parts.append(self.embed_slabs(part.to(device)).half().cpu())
            if progress:
                progress(sum(map(len, parts)), total)
        patches = torch.cat(parts)
        y, x = slabs.seen.shape[-2:]
        pixel_from_patch = index_from_block((1.0, y / patches.shape[1], x / patches.shape[2]))
        return ImageFeatures(patches, slabs.lps_from_pixel @ pixel_from_patch)

    @property
    def _first(self) -> int:
        """Where the patches begin among the tokens: [class | registers | patches]."""
        return 1 + int(self.net.config.num_register_tokens)

    def _before_last_block(self, pixels: Tensor) -> Tensor:
        if pixels.shape[-1] % self.patch or pixels.shape[-2] % self.patch:
            raise ValueError(f"{tuple(pixels.shape[-2:])} pixels are not whole patches of {self.patch}")
        hidden = self.net.embeddings(pixels)
        for layer in self.net.encoder.layer[:-1]:
            hidden = layer(hidden)
        return hidden

    def _value_patches(self, hidden: Tensor) -> Tensor:
        """The last block with every token's own value in place of attention: value, projection, scale, MLP, norm."""
        layer: Any = self.net.encoder.layer[-1]
        own = layer.attention.o_proj(layer.attention.v_proj(layer.norm1(hidden)))
        hidden = hidden + layer.layer_scale1(own)
        hidden = hidden + layer.layer_scale2(layer.mlp(layer.norm2(hidden)))
        return self.net.layernorm(hidden)

    def _on_grid(self, tokens: Tensor, pixels: Tensor) -> Tensor:
        """[n token embedding] -> the patches among them, [n row col embedding]."""
        grid = pixels.shape[-2] // self.patch, pixels.shape[-1] // self.patch
        return tokens[:, self._first :].unflatten(1, grid)


def _edge(pixels: int | list[int] | tuple[int, int]) -> int:
    """The edge of a square, which a configuration may also state twice."""
    edges = {pixels} if isinstance(pixels, int) else set(pixels)
    if len(edges) != 1:
        raise ConfigError(f"a model made for {sorted(edges)} pixels", expected="a square")
    return edges.pop()
