"""Draws how cost grows with slices, questions, the lexicon and threads.

    python -m benchmarks.curves [slices queries lexicon threads] [--sizes 60 125] [--write]

It is ``tips-med benchmark --curves``. Curves that are not named stay as they were measured before. ``--write`` keeps
them in docs/measurements/curves.json, in the tables of docs/performance.md, and as docs/images/performance-NAME.png.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from typing import Any

from benchmarks.marked import DOCS, write_between_marks
from tips_med.benchmarking import CURVES, CurveSizes
from tips_med.benchmarking.curves import measured_curve
from tips_med.benchmarking.figures import draw_curve
from tips_med.benchmarking.markdown import curve_markdown
from tips_med.benchmarking.report import BUSY_LOAD
from tips_med.encoders.precision import cpu_name
from tips_med.sample import sample_path

FILE = DOCS / "measurements" / "curves.json"
_SIZES = {"slices": "slices", "queries": "queries", "lexicon": "terms", "threads": "threads"}


def curve_part(name: str, measured: dict[str, Any]) -> str:
    """The table of a curve, and where it was measured."""
    load = f"load average {measured['load']:.1f} when it began"
    busy = " (other work ran beside it)" if measured["load"] > BUSY_LOAD else ""
    where = f"{measured['processor']}, {measured['cores']} cores, {load}{busy}; {measured['took_s']:.0f} s in all."
    return f"{curve_markdown(name, measured['points'])}\n\n{where}"


def main() -> None:
    """Measures, prints, and keeps the result when requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(CURVES), metavar="NAME", help=", ".join(CURVES))
    parser.add_argument("--sizes", type=int, nargs="+", help="where a single curve is measured")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if set(options.names) - set(CURVES) or (options.sizes and len(options.names) != 1):
        parser.error(f"names are {', '.join(CURVES)}; --sizes is for one of them")
    results = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}
    for name in options.names:
        sizes = replace(CurveSizes(), **({_SIZES[name]: tuple(options.sizes)} if options.sizes else {}))
        load, began = os.getloadavg()[0], time.monotonic()
        opened = {"model": None, "device": "cpu"}
        points = measured_curve(name, sizes, str(sample_path()), opened, lambda done, total: None)
        results[name] = {
            "processor": cpu_name(),
            "cores": len(os.sched_getaffinity(0)),
            "load": round(load, 2),
            "took_s": round(time.monotonic() - began, 1),
            "points": points,
        }
        print(f"{name}\n\n{curve_part(name, results[name])}\n", flush=True)
        if options.write:
            FILE.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
            draw_curve(name, points, DOCS / "images" / f"performance-{name}.png")
            write_between_marks(DOCS / "performance.md", f"curve {name}", curve_part(name, results[name]))


if __name__ == "__main__":
    main()
