"""Packs the scans of a training into one file, for a machine that has none of them.

    python -m benchmarks.training_pack DATA --out pack.zip [--held-out] [--lung-bodies N] [--rounded-hu 1]
        [--max-mib 64]

DATA is the folder that ``tips-med pretrain --data`` takes, and the pack takes its place. In it are the bodies as they
are trained on: on the network's own grid, with lungs, lesions and places of real findings that nobody outlined, by the
names of the public cases. Nothing is resampled again, so with ``--rounded-hu 1`` scenes are the same, value by value;
a larger step makes a smaller file and moves each value by half of it at most. ``--held-out`` packs the cases that are
never trained on as well, into which ``tips-med calibrate`` paints; ``--lung-bodies 10`` packs as many torsos around the
lungs of real people, where DATA has their shapes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from tips_med.cli import build_parser
from tips_med.configs import config_path
from tips_med.errors import ConfigError, TipsMedError
from tips_med.loading import open_model
from tips_med.model import GroundingModel
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.pack import MIB, ROUNDED_HU, write_pack
from tips_med.training.cases import prepare_cases, prepare_lung_bodies, read_spheres


def training_settings(config: str, data: Path) -> dict[str, Any]:
    """The arguments that a configuration gives to ``pretrain``."""
    parser = build_parser("pretrain")
    line = ["pretrain", "--config", str(config_path("", config)), "--data", str(data), "--out", "unused"]
    return vars(parser.instantiate(parser.parse_args(line))["pretrain"])


def bodies(
    settings: dict[str, Any], data: Path, folder: Path, outliner: GroundingModel | None = None, held_out: bool = False
) -> Iterator[Anatomy]:
    """The cases of a configuration on the network's grid, one at a time: those trained on first.

    Args:
        settings: Of ``training_settings``.
        data: Folder of the scans, or a pack of them.
        folder: Folder of prepared anatomies; what it has is not made again.
        outliner: Model that outlines lungs that nobody has; a pack needs none.
        held_out: Whether to give the cases that are never trained on as well.
    """
    seen = settings["seen_by_reader"]
    spheres = read_spheres(data / seen) if seen and data.is_dir() else {}
    cases = sorted(settings["cases"], key=lambda case: case.name in settings["held_out"])
    for case in cases:
        if held_out or case.name not in settings["held_out"]:
            yield from prepare_cases([case], data, folder, settings["image"], outliner, spheres)


def pack(
    data: Path,
    out: Path,
    config: str = "pretrain_chest_ct",
    model: str | None = None,
    anatomies: Path | None = None,
    held_out: bool = False,
    lung_bodies: int = 0,
    rounded_hu: int = 1,
    max_mib: float = 64.0,
) -> str:
    """Writes the pack; gives what it holds in words."""
    if not data.is_dir():
        raise ConfigError("is no folder", path=data, expected="the folder of the scans")
    settings, outliner = training_settings(config, data), open_model(model, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        prepared = anatomies or Path(folder)
        made = chain(
            bodies(settings, data, prepared, outliner, held_out), _around(settings, data, prepared, lung_bodies)
        )
        limit = int(max_mib * MIB)
        index = write_pack(out, made, rounded_hu=rounded_hu, max_bytes=limit, outlined_by=outliner.sha256)
    return f"{out}: {len(index.names)} bodies, {out.stat().st_size / MIB:.1f} MiB"


def _around(settings: dict[str, Any], data: Path, folder: Path, count: int) -> Iterator[Anatomy]:
    """Torsos around real lungs, made when they are taken."""
    if count and settings["lung_shapes"]:
        yield from prepare_lung_bodies(settings["lung_shapes"], count, data, folder, settings["image"])


def main() -> None:
    """Writes a pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", default="pretrain_chest_ct")
    parser.add_argument("--model", default=None, help="weights that outline lungs that nobody has; the shipped ones")
    parser.add_argument("--anatomies", type=Path, default=None, help="folder of bodies that pretrain prepared before")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--lung-bodies", type=int, default=0, help="number of torsos around real lungs to pack, too")
    parser.add_argument("--rounded-hu", type=int, choices=ROUNDED_HU, default=1)
    parser.add_argument("--max-mib", type=float, default=64.0)
    options = vars(parser.parse_args())
    try:
        print(pack(**options))
    except TipsMedError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
