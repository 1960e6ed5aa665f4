"""Times every step from a file to an answer, on the bundled scan and on the same chest at a clinical matrix.

    python -m benchmarks.asking_speed [--runs 5] [--write]

Every run is a process of its own, so that nothing is warm but the file cache. Each figure is the lowest of
all runs, since other work on the machine can only add to it. Time is given twice: as it passed, and as the
processor spent it on this process, on all cores together, which other work changes little.
``--write`` keeps them in docs/measurements/asking_speed.json and in the table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tips_med.readers import read_scan
from tips_med.resampling import resample
from tips_med.sample import sample_path

DOCS = Path(__file__).resolve().parents[1] / "docs"
STEPS = ("import", "load the weights", "read", "encode", "first question", "further question", "save", "load")
_MEASURE = """
import json, sys, time
def clocks():
    return time.perf_counter(), time.process_time()
begun = clocks()
steps = {}
def done(name):
    global begun
    now = clocks()
    steps[name] = [now[0] - begun[0], now[1] - begun[1]]
    begun = clocks()
import tips_med
from tips_med.encoders.study import EncodedStudy
from tips_med.grounding.ground import default_model
done("import")
model = default_model()
done("load the weights")
scan = tips_med.read_scan(sys.argv[1])
done("read")
study = tips_med.encode(scan)
done("encode")
tips_med.ground(study, "mass in the left lung")
done("first question")
tips_med.ground(study, "no pleural effusion")
done("further question")
study.save(sys.argv[2])
done("save")
EncodedStudy.load(sys.argv[2])
done("load")
status = open("/proc/self/status").read()
steps["peak_mib"] = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps(steps))
"""


def finer(path: Path) -> Path:
    """The bundled scan on a grid of 512 x 512 with slices of 1.25 mm, as NIfTI."""
    import nibabel as nib

    scan = read_scan(sample_path())
    extent = np.abs(np.diag(scan.lps_from_kji[:3, :3][:, ::-1]))[::-1] * scan.shape
    step = np.array([1.25, extent[1] / 512, extent[2] / 512])
    affine = scan.lps_from_kji.copy()
    affine[:3, :3] = affine[:3, :3] / np.abs(affine[:3, :3]).sum(axis=0) * step
    shape = (int(extent[0] / 1.25), 512, 512)
    voxels = np.nan_to_num(resample(scan.voxels, scan.lps_from_kji, affine, shape), nan=-1024).round().astype(np.int16)
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine[:, [2, 1, 0, 3]]
    image = nib.Nifti1Image(voxels.transpose(2, 1, 0), ras)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def measure(scan: Path, runs: int) -> dict[str, Any]:
    """The lowest figures of fresh processes."""
    made = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-W", "ignore", "-c", _MEASURE, str(scan), f"{folder}/study.safetensors"]
            made.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    lowest: dict[str, Any] = {"peak_mib": round(min(run["peak_mib"] for run in made))}
    for name in STEPS:
        wall, processor = (round(min(run[name][n] for run in made), 2) for n in (0, 1))
        lowest[name] = {"seconds": wall, "processor_seconds": processor}
    return lowest


def processor() -> str:
    """The relevant instructions of the processor."""
    flags = Path("/proc/cpuinfo").read_text()
    return "with bfloat16 (AMX)" if "amx_bf16" in flags else "without bfloat16 instructions"


def table(result: dict) -> str:
    """The figures as Markdown."""
    cases = list(result["cases"])
    lines = [f"| step | {' | '.join(f'{case} | processor' for case in cases)} |", "|---|" + "---:|" * 2 * len(cases)]
    measured = result["cases"].values()
    for step in STEPS:
        lines.append(" | ".join([f"| {step}", *(_both(case[step]) for case in measured)]) + " |")
    peaks = [f"{case['peak_mib'] / 1024:.1f} GiB | " for case in measured]
    lines.append(" | ".join(["| peak memory of the process", *peaks]) + " |")
    where = f"{result['cores']} cores {result['processor']}, the fastest of {result['runs']} runs"
    load = f"load average {result['load']:.1f} when it began" + (
        " (other work ran beside it)" if result["load"] > 1 else ""
    )
    return "\n".join([*lines, "", f"{result['machine']}, {where}; {load}."])


def _both(figures: dict[str, float]) -> str:
    return f"{figures['seconds']:.1f} s | {figures['processor_seconds']:.1f} s"


def main() -> None:
    """Measures, prints, and keeps the result when requested."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        fine = finer(Path(folder) / "fine.nii.gz")
        scans = {"bundled scan, 123 x 184 x 208": sample_path(), "245 slices of 512 x 512": fine}
        cases = {}
        for name, path in scans.items():
            cases[name] = measure(path, options.runs)
    result = {
        "machine": platform.machine(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "runs": options.runs,
        "load": round(load, 1),
        "cases": cases,
    }
    print(table(result))
    if options.write:
        (DOCS / "measurements" / "asking_speed.json").write_text(json.dumps(result, indent=2) + "\n")
        page = DOCS / "performance.md"
        before, _, rest = page.read_text("utf-8").partition("<!-- asking begins -->")
        after = rest.partition("<!-- asking ends -->")[2]
        page.write_text(f"{before}<!-- asking begins -->\n{table(result)}\n<!-- asking ends -->{after}", "utf-8")


if __name__ == "__main__":
    main()
