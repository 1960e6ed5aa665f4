"""Times every stage from a file to an answer, on the bundled scan and on the same chest at a clinical matrix.

    python -m benchmarks.stages [--runs 3] [--write]

It is ``tips-med benchmark`` on two scans. ``--write`` keeps the figures in docs/measurements/stages.json and in the
table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.clinical_scan import SHAPE, write_clinical_scan
from benchmarks.marked import DOCS, write_between_marks
from tips_med.benchmarking import run_benchmark
from tips_med.benchmarking.markdown import stages_markdown


def main() -> None:
    """Measures, prints, and keeps the result when requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    bundled = run_benchmark(runs=options.runs)
    shape = " x ".join(map(str, bundled.scan["shape"]))
    cases = {f"bundled scan, {shape}": bundled.to_dict()}
    with tempfile.TemporaryDirectory() as folder:
        clinical = write_clinical_scan(Path(folder) / "clinical.nii.gz")
        told = run_benchmark(str(clinical), runs=options.runs).to_dict()
    cases[" x ".join(map(str, SHAPE))] = told
    print(stages_markdown(cases))
    if options.write:
        (DOCS / "measurements" / "stages.json").write_text(json.dumps(cases, indent=1) + "\n", "utf-8")
        write_between_marks(DOCS / "performance.md", "stages", stages_markdown(cases))


if __name__ == "__main__":
    main()
