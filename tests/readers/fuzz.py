"""Mutates files and reads them: bytes flipped, cut, lengths changed. Each ends in a Scan or a ReadError.

    python -m tests.readers.fuzz --files 2000 --seed 1

The reading runs in child processes with limits on memory (2 GiB of address space beyond what the libraries take) and
on time per file, so that a crash of a codec, a hang or an allocation is seen and named with the seed that causes it.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import resource
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from tests.readers.awkward.catalog import CASES
from tests.readers.awkward.writing import make_series, write_file
from tips_med.errors import ReadError
from tips_med.readers import inspect_path, read_scan

SEEDS = (
    "plain axial",
    "implicit little endian",
    "explicit big endian",
    "deflated",
    "RLE",
    "JPEG lossless",
    "JPEG-LS",
    "JPEG 2000",
    "HTJ2K",
    "enhanced CT",
    "enhanced MR, two time points",
    "zip archive",
    "DICOMDIR",
    "no preamble",
    "NIfTI, data in RAS order",
    "NIfTI, oblique, float64",
    "NRRD, oblique",
    "NRRD, compressed",
    "MHA, oblique",
    "MHA, compressed",
)
LIMIT_BYTES = 2 << 30
LIMIT_SECONDS = 20.0
_LENGTHS = (0, 1, 2, 7, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)


def write_seeds(folder: Path, names: Sequence[str] = SEEDS) -> list[tuple[Path, Path]]:
    """One readable path a seed, and the file in it that is to be mutated."""
    made = []
    for name in names:
        case = next(case for case in CASES if case.name == name)
        place = folder / str(len(made))
        place.mkdir()
        path = case.write(place).path
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for extra in files[5:]:
            extra.unlink()
        made.append((path, files[2] if len(files) > 2 else files[0]))
    loose = folder / "loose"
    write_file(loose / "one.dcm", make_series(slices=1)[0].dataset)
    return [*made, (loose, loose / "one.dcm")]


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes, most of them in the first part, where headers are."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        reach = len(changed) if rng.random() < 0.3 else min(len(changed), 2500)
        if reach < 8:
            break
        at = int(rng.integers(0, reach))
        kind = rng.random()
        if kind < 0.45:
            changed[at] ^= 1 << int(rng.integers(0, 8))
        elif kind < 0.6:
            changed[at] = int(rng.integers(0, 256))
        elif kind < 0.75:
            width = int(rng.choice((2, 4)))
            value = int(rng.choice(_LENGTHS)) & ((1 << (8 * width)) - 1)
            changed[at : at + width] = struct.pack("<H" if width == 2 else "<I", value)
        elif kind < 0.85:
            del changed[at : at + int(rng.integers(1, 40))]
        elif kind < 0.93:
            changed[at:at] = bytes(changed[at : at + int(rng.integers(1, 40))])
        else:
            del changed[at:]
    return bytes(changed)


def _work(
    pipe: Connection, ours: Connection, paths: list[tuple[Path, Path]], seed: int, first: int, count: int
) -> None:
    """Mutates and reads ``count`` files, telling the parent before and after each."""
    ours.close()  # so that this process ends with its parent
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT_BYTES, used + LIMIT_BYTES))
    originals = [target.read_bytes() for _, target in paths]
    for number in range(first, first + count):
        rng = np.random.default_rng((seed, number))
        which = number % len(paths)
        path, target = paths[which]
        target.write_bytes(mutate(originals[which], rng))
        pipe.send((number, "begins"))
        pipe.send((number, _outcome(lambda path=path: read_scan(path))))
        if number % 4 == 0:
            pipe.send((number, _outcome(lambda path=path: inspect_path(path))))
        target.write_bytes(originals[which])
    pipe.send((first + count, "done"))


def _outcome(read: Callable[[], object]) -> str:
    try:
        read()
    except ReadError as error:
        if isinstance(error.__cause__, MemoryError):
            return f"failed: a refusal because memory ran out: {error}"
        return f"refused: {error.code}" if str(error) else "failed: a refusal without words"
    except BaseException as error:  # what the fuzzer is for
        return f"failed: {type(error).__name__}: {str(error)[:200]}"
    return "read"


def fuzz(
    files: int, seed: int, tell: Callable[[str], None] = lambda text: None, names: Sequence[str] = SEEDS
) -> Counter[str]:
    """Mutates and reads ``files`` files; counts outcomes. ``failed: ...`` and ``crashed``/``hung`` are faults."""
    counts: Counter[str] = Counter()
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        paths = write_seeds(Path(folder), names)
        originals = [target.read_bytes() for _, target in paths]
        number = 0
        while number < files:
            ours, theirs = context.Pipe(duplex=False)
            child = context.Process(target=_work, args=(theirs, ours, paths, seed, number, files - number), daemon=True)
            child.start()
            theirs.close()
            number = _listen(ours, child, number, files, seed, counts, tell, (*names, "single slice"))
            child.join(timeout=5)
            for (_, target), data in zip(paths, originals, strict=True):
                target.write_bytes(data)
    return counts


def _listen(
    ours: Connection,
    child: multiprocessing.process.BaseProcess,
    number: int,
    files: int,
    seed: int,
    counts: Counter[str],
    tell: Callable[[str], None],
    names: Sequence[str],
) -> int:
    """Takes a child's messages until it is done or dead; gives the number to go on with."""
    while True:
        if not ours.poll(LIMIT_SECONDS):
            child.kill()
            counts["hung"] += 1
            tell(f"seed {seed}, file {number}: hung")
            return number + 1
        try:
            number, outcome = ours.recv()
        except EOFError:
            counts["crashed"] += 1
            tell(f"seed {seed}, file {number} ({names[number % len(names)]}): crashed")
            return number + 1
        if outcome == "done":
            return files
        if outcome == "begins":
            continue
        counts[outcome] += 1
        if outcome.startswith("failed"):
            tell(f"seed {seed}, file {number} ({names[number % len(names)]}): {outcome}")


def main() -> int:
    """Prints outcomes; 1 when there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", action="append", choices=SEEDS, help="only these kinds of file; may be repeated")
    options = parser.parse_args()
    begun = time.perf_counter()
    counts = fuzz(
        options.files, options.seed, tell=lambda text: sys.stdout.write(text + "\n"), names=options.case or SEEDS
    )
    for outcome, count in counts.most_common():
        sys.stdout.write(f"{count:6d}  {outcome}\n")
    sys.stdout.write(f"{time.perf_counter() - begun:.0f} s\n")
    return int(any(not outcome.startswith(("read", "refused")) for outcome in counts))


if __name__ == "__main__":
    raise SystemExit(main())
