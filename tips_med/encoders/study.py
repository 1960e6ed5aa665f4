"""A scan that has been encoded: all costly work is done, and any number of queries may follow."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tips_med.body import CUT_EDGES, Body, Edge, Midline
from tips_med.body.midline import Source
from tips_med.encoders.base import ImageFeatures
from tips_med.errors import OutputError, ReadError
from tips_med.folders import whole_file
from tips_med.scan import Provenance, Scan

FORMAT = "tips_med-study-4"
_KEPT, _TAUGHT = "kept_", "taught_"
_NOT_MEASURED = -32768


@dataclass(frozen=True, eq=False)
class EncodedStudy:
    """Features of a scan, with the scan.

    Attributes:
        scan: The encoded scan.
        features: Output of the image tower; of a model with adapters, what the model knew before.
        seen: Mask of measured cells, bool [slab y x], on the fine grid (or the patch grid of towers without one).
        body: Outline and midline of the body, on the same grid.
        encoder: Name of the image tower.
        weights_sha256: SHA-256 of the weights; only a model with the same weights may query the study.
        kept: Arrays that all queries share (the lungs), by name; saved with the study.
        cache: Maps that several queries share, by name; never saved.
        taught: Features of adapters by number, from 1, on the same grids; saved with the study. One that is missing is
            made when a question needs it, see ``features_of``.
    """

    scan: Scan
    features: ImageFeatures
    seen: torch.Tensor
    body: Body
    encoder: str
    weights_sha256: str
    kept: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    cache: dict[str, Any] = field(default_factory=dict, repr=False)
    taught: dict[int, ImageFeatures] = field(default_factory=dict, repr=False)

    @cached_property
    def all_seen(self) -> bool:
        """Whether every cell was measured, so that no map has NaN."""
        return bool(self.seen.all())

    def save(self, path: str | Path) -> Path:
        """Writes the study as one safetensors file, whole or not at all.

        CT values are stored as int16 when that loses nothing, and fine features only of the body. No patient identity
        is stored beyond the UIDs that results must refer to.

        Raises:
            OutputError: It cannot be written there.
        """
        path, taught = Path(path), dict(self.taught)  # another thread may add to them
        affines = {"lps_from_kji": self.scan.lps_from_kji, "lps_from_patch": self.features.lps_from_patch}
        if self.features.lps_from_fine is not None:
            affines["lps_from_fine"] = self.features.lps_from_fine
        tensors = {"voxels": _packed(self.scan.voxels), "seen": _bits(self.seen.numpy())}
        for number, features in ((0, self.features), *taught.items()):
            tensors |= _feature_tensors(features, self.body, _of_decoder(number))
        tensors |= {name: torch.from_numpy(np.ascontiguousarray(affine)) for name, affine in affines.items()}
        tensors |= _body_tensors(self.body)
        tensors |= {_KEPT + name: torch.from_numpy(np.ascontiguousarray(one)) for name, one in self.kept.items()}
        metadata = {
            "format": FORMAT,
            "modality": self.scan.modality,
            "unit": self.scan.unit,
            "encoder": self.encoder,
            "weights_sha256": self.weights_sha256,
            "provenance": json.dumps(asdict(self.scan.provenance)),
            "midline": self.body.midline.source,
            "grid": json.dumps(self.seen.shape),
            "adapters": json.dumps(sorted(taught)),
        }
        try:
            with whole_file(path) as partial:
                save_file(tensors, partial, metadata)
        except (OSError, SafetensorError) as error:
            raise OutputError(f"cannot be written ({error})", path=path, remedy="choose another place") from error
        return path

    @classmethod
    def load(cls, path: str | Path) -> EncodedStudy:
        """Reads what ``save`` wrote.

        Raises:
            ReadError: It is not an encoded study, or is damaged.
        """
        path = Path(path)
        try:
            with safe_open(path, framework="pt") as stored:
                metadata = stored.metadata() or {}
                found = metadata.get("format", "")
                if found != FORMAT:
                    older = found.startswith("tips_med-study-")
                    raise ReadError(
                        f"a study of another version ({found})" if older else "not an encoded study",
                        path=path,
                        expected=FORMAT if older else None,
                        remedy="encode the scan again with tips-med encode"
                        if older
                        else "make one with tips-med encode",
                    )
                tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 (not a dict)
            provenance = json.loads(metadata["provenance"])
            lists = {key: tuple(value) for key, value in provenance.items() if isinstance(value, list)}
            scan = Scan(
                _unpacked(tensors["voxels"]),
                tensors["lps_from_kji"].numpy(),
                metadata["modality"],
                metadata["unit"],
                Provenance(**{**provenance, **lists}),
            )
            slabs, rows, columns = json.loads(metadata["grid"])
            body = _body(tensors, metadata["midline"], (slabs, rows, columns))
            seen = torch.from_numpy(_mask(tensors["seen"], body.inside.shape))
            features = {n: _features(tensors, body, n) for n in (0, *json.loads(metadata["adapters"]))}
            kept = {name.removeprefix(_KEPT): one.numpy() for name, one in tensors.items() if name.startswith(_KEPT)}
            encoder, weights_sha256 = metadata["encoder"], metadata["weights_sha256"]
            return cls(scan, features.pop(0), seen, body, encoder, weights_sha256, kept, taught=features)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
            raise ReadError(f"not a readable study ({error})", path=path, remedy="encode the scan again") from error


def _of_decoder(number: int) -> str:
    """What the names of a decoder's tensors begin with."""
    return f"{_TAUGHT}{number}_" if number else ""


def _feature_tensors(features: ImageFeatures, body: Body, prefix: str) -> dict[str, torch.Tensor]:
    """Features of one decoder; the fine ones of the body alone."""
    tensors = {"patches": features.patches.contiguous()}
    if features.fine is not None:
        tensors["fine"] = features.fine[torch.from_numpy(body.inside)]
    if features.fine_step is not None:
        tensors["fine_step"] = features.fine_step.contiguous()
    return {prefix + name: one for name, one in tensors.items()}


def _features(tensors: dict[str, torch.Tensor], body: Body, number: int) -> ImageFeatures:
    """What ``_feature_tensors`` made, on the study's grids."""
    prefix = _of_decoder(number)
    fine = tensors.get(f"{prefix}fine")
    if fine is not None:
        fine = torch.zeros(*body.inside.shape, fine.shape[1], dtype=fine.dtype)
        fine[torch.from_numpy(body.inside)] = tensors[f"{prefix}fine"]
    return ImageFeatures(
        tensors[f"{prefix}patches"],
        tensors["lps_from_patch"].numpy(),
        fine,
        tensors["lps_from_fine"].numpy() if fine is not None else None,
        tensors.get(f"{prefix}fine_step"),
        number,
    )


def _body_tensors(body: Body) -> dict[str, torch.Tensor]:
    numbers = [body.midline.back_mm, body.midline.within_mm, *body.middle_mm]
    return {
        "body": _bits(body.inside),
        "body_midline": torch.from_numpy(np.ascontiguousarray(body.midline.x_mm, np.float64)),
        "body_numbers": torch.tensor(numbers, dtype=torch.float64),
        "body_cut": torch.from_numpy(np.stack([body.cut[edge] for edge in CUT_EDGES]).astype(np.uint8)),
    }


def _body(tensors: dict[str, torch.Tensor], source: str, shape: tuple[int, int, int]) -> Body:
    back_mm, within_mm, y_mm, x_mm = (float(n) for n in tensors["body_numbers"])
    if source not in get_args(Source):
        raise ValueError(f"a midline of {source!r}")
    midline = Midline(tensors["body_midline"].numpy(), back_mm, within_mm, cast(Source, source))
    cut: dict[Edge, np.ndarray] = {
        edge: rows.numpy().astype(bool) for edge, rows in zip(CUT_EDGES, tensors["body_cut"], strict=True)
    }
    return Body(_mask(tensors["body"], shape), midline, cut, (y_mm, x_mm))


def _bits(mask: np.ndarray) -> torch.Tensor:
    """A mask with one bit a cell."""
    return torch.from_numpy(np.packbits(mask))


def _mask(bits: torch.Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """What ``_bits`` packed."""
    return np.unpackbits(bits.numpy(), count=math.prod(shape)).astype(bool).reshape(shape)


def is_study(path: str | Path) -> bool:
    """True for a file that is named like an encoded study; whether it is one shows when it is loaded."""
    path = Path(path)
    return path.suffix == ".safetensors" and path.is_file()


def _packed(voxels: np.ndarray) -> torch.Tensor:
    packed = np.empty(voxels.shape, np.int16)
    for plane, stored in zip(voxels, packed):
        missing = np.isnan(plane)
        whole = np.where(missing, 0, plane)
        if np.abs(whole).max(initial=0) >= -_NOT_MEASURED or not np.array_equal(whole, np.rint(whole)):
            return torch.from_numpy(np.ascontiguousarray(voxels))
        stored[:] = whole
        stored[missing] = _NOT_MEASURED
    return torch.from_numpy(packed)


def _unpacked(stored: torch.Tensor) -> np.ndarray:
    if stored.dtype != torch.int16:
        return stored.numpy()
    packed = stored.numpy()
    voxels = packed.astype(np.float32)
    for plane, stored_plane in zip(voxels, packed):  # plane by plane: a mask of a whole scan is large
        missing = stored_plane == _NOT_MEASURED
        if missing.any():
            plane[missing] = np.nan
    return voxels
