"""Whether the tests notice when a line of the code is wrong: a sample of mutants of each package, after ``mutmut``.

    python -m benchmarks.mutants [--sample 60] [--seed 0] [package ...]

Mutants are made anew, drawn at random with a fixed seed, and run one at a time; of a package with fewer, all are run.
The table that it prints stands in ``docs/mutation.md``; ``mutmut show NAME`` shows what a survivor changes.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

PACKAGES = {
    "geometry": "tips_med.geometry.",
    "grounding": "tips_med.grounding.",
    "exporters": "tips_med.exporters.",
    "serving.node": "tips_med.serving.node.",
    "training.calibration": "tips_med.training.calibration.",
}
MIRRORS = {
    "geometry": "test_geometry",
    "grounding.": "grounding/test_",
    "grounding.answer": "grounding/test_ground grounding/test_decision",
    "grounding.coverage": "grounding/test_coverage",
    "grounding.decision": "grounding/test_decision",
    "grounding.evidence": "grounding/test_evidence",
    "grounding.thorax": "grounding/test_coverage grounding/test_thorax",
    "grounding.instances": "grounding/test_instances",
    "grounding.wording": "grounding/test_wording",
    "exporters.": "exporters/test_",
    "exporters.nifti": "exporters/test_nifti",
    "exporters.report": "exporters/test_report",
    "exporters.answers_table": "exporters/test_answers_table",
    "exporters.folder": "exporters/test_folder",
    "exporters.contours": "exporters/test_contours exporters/dicom/test_rtstruct",
    "exporters.label_table": "exporters/test_viewer_labels",
    "exporters.named": "exporters/test_named test_plugins",
    "exporters.viewer_labels": "exporters/test_viewer_labels",
    "exporters.display_windows": "exporters/test_display_windows",
    "exporters.inspection_table": "exporters/test_inspection_table",
    "exporters.dicom.": "exporters/dicom/test_results exporters/dicom/test_sr exporters/dicom/test_attributes",
    "exporters.dicom.heat": "exporters/dicom/test_heat",
    "exporters.dicom.key_image": "exporters/dicom/test_key_image exporters/dicom/test_results",
    "exporters.dicom.captures": "exporters/dicom/test_captures",
    "exporters.dicom.rtstruct": "exporters/dicom/test_rtstruct",
    "exporters.dicom.seg": "exporters/dicom/test_seg",
    "exporters.dicom.source": "exporters/dicom/test_source exporters/dicom/test_results",
    "exporters.dicom.attributes": "exporters/dicom/test_attributes",
    "exporters.dicom.phrasing": "exporters/dicom/test_phrasing",
    "serving.node.": "serving/node/test_",
    "serving.node.ledger": "serving/node/test_ledger serving/node/test_worker serving/node/test_poller",
    "serving.node.worker": "serving/node/test_worker",
    "serving.node.status": "serving/node/test_status",
    "serving.node.heartbeat": "serving/node/test_heartbeat",
    "serving.node.audit": "serving/node/test_audit serving/node/test_worker",
    "serving.node.poller": "serving/node/test_poller",
    "serving.node.rules": "serving/node/test_rules",
    "training.calibration": "training/calibration/test_",
}
"""The test files that a module is judged by, of the longest name that fits: what mirrors it, not all that uses it."""

KILLED = ("killed", "timeout", "segfault", "suspicious")
"""Mutants that a test noticed, also those that make it run for ever or end the process."""


def main() -> None:
    """Runs the sample, and prints a row for each package and the names of what survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="*", default=list(PACKAGES), help="all when none is named")
    parser.add_argument("--sample", type=int, default=60, help="most mutants of a package")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing")
    given = parser.parse_args()
    # The shortest run that makes all mutants, so that there is something to draw from.
    mutmut("run", "--max-children", "1", "tips_med.grounding.decision.x_both__mutmut_1")
    judge_by_mirrors(Path("mutants/mutmut-stats.json"))
    every = sorted(results())
    drawn = {
        package: random.Random(given.seed).sample(names, min(given.sample, len(names)))
        for package in given.packages
        for names in [[name for name in every if name.startswith(PACKAGES[package])]]
    }
    mutmut("run", "--max-children", "1", *(name for names in drawn.values() for name in names))
    found = results()
    print("| package | mutants | run | killed | survived | no test |\n|---|---|---|---|---|---|")
    for package, names in drawn.items():
        states = [found[name] for name in names]
        killed = sum(state in KILLED for state in states)
        untested = states.count("no tests")
        total = sum(name.startswith(PACKAGES[package]) for name in every)
        survived = len(names) - killed - untested
        print(f"| `{package}` | {total} | {len(names)} | {killed} | {survived} | {untested} |")
    for names in drawn.values():
        print(*(f"{found[name]}: {name}" for name in sorted(names) if found[name] not in KILLED), sep="\n")


def judge_by_mirrors(stats: Path) -> None:
    """Leaves each function only those of the tests that run it which stand in the files that mirror its module."""
    content = json.loads(stats.read_text())
    for function, tests in content["tests_by_mangled_function_name"].items():
        module = function.removeprefix("tips_med.")
        files = MIRRORS[max((name for name in MIRRORS if module.startswith(name)), key=len)].split()
        tests[:] = [test for test in tests if test.startswith(tuple(f"tests/{file}" for file in files))]
    stats.write_text(json.dumps(content))


def results() -> dict[str, str]:
    """The state of every mutant by its name."""
    lines = mutmut("results", "--all", "true", quiet=True).splitlines()
    return dict(line.strip().rsplit(": ", 1) for line in lines if ": " in line)  # type: ignore[misc]


def mutmut(*arguments: str, quiet: bool = False) -> str:
    """Calls mutmut of this environment; what it prints goes through unless it is wanted."""
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE if quiet else None).stdout or ""


if __name__ == "__main__":
    main()
