"""Times reading a series against SimpleITK's series reader, and measures the peak memory.

    python -m benchmarks.reading_speed [--slices 300] [--side 512] [--memory-slices 800]

Both readers get the same uncompressed files, warm in the file cache; every figure is the median of five runs, taken
in turns. The peak is that of a fresh process that reads once, less what it held after its imports.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its own documentation's name

from tests.readers.awkward.writing import make_series, write_file
from tips_med.readers import read_scan

_MEASURE = """
import sys
from pathlib import Path
from tips_med.readers import read_scan
import tips_med.readers.images

def kib(name):
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0])

before = kib("VmRSS")
scan = read_scan(sys.argv[1])
print((kib("VmHWM") - before) * 1024 / scan.voxels.nbytes)
"""


def write(folder: Path, slices: int, side: int) -> None:
    """A series of noise with a plain geometry."""
    noise = np.random.default_rng(0)
    template = make_series(slices=1, rows=4, columns=4)[0].dataset
    for k in range(slices):
        template.Rows = template.Columns = side
        template.SOPInstanceUID, template.InstanceNumber = f"1.2.3.{k + 1}", k + 1
        template.ImagePositionPatient = [0, 0, k]
        template.PixelData = noise.integers(0, 4096, side * side, dtype="<u2").tobytes()
        write_file(folder / f"{k:04d}.dcm", template)


def with_simpleitk(folder: Path) -> None:
    """As in SimpleITK's examples."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    sitk.GetArrayFromImage(reader.Execute())


def seconds(read: object, folder: Path) -> float:
    """Wall time of one reading."""
    begun = time.perf_counter()
    read(folder)  # type: ignore[operator]
    return time.perf_counter() - begun


def main() -> None:
    """Prints both figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--memory-slices", type=int, default=800)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, options.slices, options.side)
        with_simpleitk(folder)
        times = [(seconds(read_scan, folder), seconds(with_simpleitk, folder)) for _ in range(5)]
        ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
        print(
            f"{options.slices} slices of {options.side} x {options.side}: tips_med {ours:.2f} s, "
            f"SimpleITK {theirs:.2f} s, ratio {ours / theirs:.2f}"
        )
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), options.memory_slices, options.side)
        out = subprocess.run([sys.executable, "-c", _MEASURE, name], check=True, capture_output=True, text=True)
        print(f"{options.memory_slices} slices: peak {float(out.stdout):.2f} times the float32 volume")


if __name__ == "__main__":
    main()
