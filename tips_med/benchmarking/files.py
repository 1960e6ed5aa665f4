"""A benchmark's files."""

from __future__ import annotations

import json
import tempfile
from importlib.util import find_spec
from pathlib import Path

from tips_med.benchmarking.markdown import curve_markdown, stages_markdown
from tips_med.benchmarking.report import Benchmark
from tips_med.errors import OutputError
from tips_med.folders import whole_file

JSON, MARKDOWN = "benchmark.json", "benchmark.md"


def check_report_folder(out: Path) -> None:
    """Makes sure, before anything is measured, that a folder can be written to; it is made if it is missing.

    Raises:
        OutputError: It cannot.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise OutputError(f"cannot be written ({error})", path=out, remedy="choose another folder") from error


def write_report(measured: Benchmark, out: Path) -> list[Path]:
    """Writes JSON, Markdown and, where matplotlib is installed, a picture of each curve.

    Args:
        measured: What was measured.
        out: Folder; earlier files of these names in it are replaced.

    Raises:
        OutputError: It cannot be written.
    """
    told = measured.to_dict()
    name = "bundled scan" if measured.scan["bundled"] else "scan"
    shape = " x ".join(map(str, measured.scan["shape"]))
    parts = [stages_markdown({f"{name}, {shape}": told})]
    parts += [f"## {curve}\n\n{curve_markdown(curve, points)}" for curve, points in measured.curves.items()]
    texts = {JSON: json.dumps(told, indent=1), MARKDOWN: "\n\n".join(parts)}
    try:
        for file, text in texts.items():
            with whole_file(out / file) as partial:
                partial.write_text(text + "\n", "utf-8")
        written = [out / file for file in texts]
        if measured.curves and find_spec("matplotlib"):
            from tips_med.benchmarking.figures import draw_curve

            written += [draw_curve(one, points, out / f"{one}.png") for one, points in measured.curves.items()]
    except OSError as error:
        raise OutputError(f"cannot be written ({error})", path=out, remedy="make room and run it again") from error
    return written
