"""Anatomies in one file, small enough to be carried to a machine that has no scans.

A pack is a zip of safetensors, of which nothing is executed when it is read: ``pack.json`` with what it is, and one
member an anatomy. Volumes are stored as differences along rows, which compress better than the values themselves, and
give the same values back.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tips_med.errors import ConfigError, OutputError, ReadError
from tips_med.folders import whole_file
from tips_med.synthesis.anatomy import Anatomy

FORMAT = "tips_med-anatomies-1"
INDEX = "pack.json"
MIB = 1 << 20
MAX_BYTES = 64 * MIB
"""What may be carried."""

MAX_ANATOMY_BYTES = 1 << 30
"""What one anatomy may take when it is unpacked; a whole body on the working grid takes a tenth of it."""

ROUNDED_HU = (1, 2, 4, 8)
"""Steps that values may be rounded to; each divides -1024, which stands where nothing was measured."""

_EARLIEST = (1980, 1, 1, 0, 0, 0)  # of a zip: the same anatomies give the same bytes, whenever they are packed


@dataclass(frozen=True)
class PackIndex:
    """What a pack says of itself.

    Attributes:
        names: Names of its anatomies.
        spacing_mm: Spacing of their grid in mm: slab, y, x.
        rounded_hu: Step that the values were rounded to, in HU; 1 for none.
        outlined_by: Hash of the weights that outlined the lungs that nobody had outlined; None where there were none.
    """

    names: tuple[str, ...]
    spacing_mm: tuple[float, float, float]
    rounded_hu: int
    outlined_by: str | None = None


def write_pack(
    path: Path,
    anatomies: Iterable[Anatomy],
    *,
    rounded_hu: int = 1,
    max_bytes: int = MAX_BYTES,
    outlined_by: str | None = None,
) -> PackIndex:
    """Writes a pack, whole or not at all.

    Args:
        path: Path of the file.
        anatomies: Anatomies of one grid, each with a name of its own; taken one at a time.
        rounded_hu: Step that values are rounded to, one of ``ROUNDED_HU``; 1 keeps every value.
        max_bytes: Largest size of the file.
        outlined_by: Hash of the weights that outlined lungs.

    Raises:
        ConfigError: There are no anatomies, they have different grids or one name twice, or the step is none of those.
        OutputError: ``pack-size`` when it would be larger, with its size; or it cannot be written.
    """
    if rounded_hu not in ROUNDED_HU:
        raise ConfigError(f"values rounded to {rounded_hu} HU", expected=f"one of {ROUNDED_HU}")
    names: list[str] = []
    grids: set[tuple[float, float, float]] = set()
    try:
        with whole_file(path) as partial:
            with zipfile.ZipFile(partial, "w") as archive:
                for anatomy in anatomies:
                    if anatomy.name in names:
                        raise ConfigError(f"two anatomies are called {anatomy.name!r}", remedy="rename one of them")
                    names.append(anatomy.name)
                    grids.add(anatomy.spacing_mm)
                    _add(archive, _member(anatomy.name), save(_packed(anatomy, rounded_hu)))
                if len(grids) != 1:
                    raise ConfigError(f"anatomies of {len(grids)} grids", expected="one or more, all of one grid")
                index = PackIndex(tuple(names), grids.pop(), rounded_hu, outlined_by)
                _add(archive, INDEX, json.dumps({"format": FORMAT, **vars(index)}, indent=1).encode())
            size = partial.stat().st_size
            if size > max_bytes:
                raise OutputError(
                    f"the pack of {len(names)} anatomies takes {size / MIB:.1f} MiB",
                    path=path,
                    expected=f"at most {max_bytes / MIB:.1f} MiB",
                    remedy="round values to a larger step, leave anatomies out, or allow more",
                    code="pack-size",
                )
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror or error})", path=path, remedy="make room") from error
    return index


def read_pack_index(path: Path) -> PackIndex:
    """Reads what a pack says of itself.

    Raises:
        ReadError: ``pack`` when it is no pack, or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            content: dict[str, Any] = json.loads(_read(archive, INDEX))
        if content.pop("format", None) != FORMAT:
            raise ValueError("of another format")
        slab, y, x = (float(mm) for mm in content["spacing_mm"])
        return PackIndex(
            tuple(map(str, content["names"])), (slab, y, x), int(content["rounded_hu"]), content.get("outlined_by")
        )
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError) as error:
        raise _no_pack(path, error) from error


def read_packed(path: Path, name: str) -> Anatomy:
    """Reads one anatomy of a pack.

    Raises:
        ReadError: ``pack`` when the pack does not have it, is no pack, or is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = load(_read(archive, _member(name)))
        return _unpacked(name, arrays)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, EOFError, SafetensorError) as error:
        raise _no_pack(path, error) from error


def _packed(anatomy: Anatomy, rounded_hu: int) -> dict[str, np.ndarray]:
    arrays = anatomy.to_arrays()
    volume = arrays.pop("volume_hu")
    steps = volume if rounded_hu == 1 else np.rint(volume / rounded_hu).astype(np.int16)
    # Modulo 2 ** 16, which undoes itself; small differences of either sign become small numbers, bytes apart.
    change = np.diff(steps, axis=2, prepend=np.int16(0))
    unsigned = ((change << 1) ^ (change >> 15)).view(np.uint16)
    arrays["low"], arrays["high"] = (unsigned & 255).astype(np.uint8), (unsigned >> 8).astype(np.uint8)
    arrays["step_hu"] = np.array(rounded_hu, np.int16)
    return arrays


def _unpacked(name: str, arrays: dict[str, np.ndarray]) -> Anatomy:
    unsigned = arrays.pop("low") | (arrays.pop("high").astype(np.uint16) << 8)
    change = (unsigned >> 1).view(np.int16) ^ -(unsigned & 1).view(np.int16)
    volume = np.cumsum(change, axis=2, dtype=np.int16) * arrays.pop("step_hu")
    return Anatomy.from_arrays(name, {**arrays, "volume_hu": volume.astype(np.int16, copy=False)})


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    # Of what zip has, bzip2 packs these volumes smallest.
    archive.writestr(zipfile.ZipInfo(name, _EARLIEST), content, zipfile.ZIP_BZIP2, 9)


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member, unless it would fill the memory; zipfile reads no more than the size that is stated here."""
    size = archive.getinfo(name).file_size
    if size > MAX_ANATOMY_BYTES:
        raise ValueError(f"{name} takes {size / MIB:.0f} MiB, more than {MAX_ANATOMY_BYTES / MIB:.0f}")
    return archive.read(name)


def _member(name: str) -> str:
    return f"anatomies/{name}.safetensors"


def _no_pack(path: Path, error: Exception) -> ReadError:
    return ReadError(
        f"is no pack of anatomies that can be read ({error})",
        path=path,
        expected="a folder of scans, or what `python -m benchmarks.training_pack` wrote",
        remedy="copy it again, or write it anew",
        code="pack",
    )
