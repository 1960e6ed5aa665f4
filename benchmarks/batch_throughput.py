"""Times a batch against a loop of commands, and works out what an archive would cost.

    python -m benchmarks.batch_throughput [--scans 3] [--rounds 2] [--write]

The same scans (copies of the bundled one) are asked the same queries with the same files written, in three ways: a
shell loop of ``tips-med ground``, a batch of one process, and one of as many processes as there are cores. The ways
take turns, so that other work on the machine meets all of them. Processor seconds are what all cores together spent;
other work changes them less than the time that passed. Start and end of each way are in its figures: the more scans,
the less they count. ``--write`` keeps the figures in docs/measurements/batch_throughput.json and in the tables of
docs/batch.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tips_med.batch.executors.local import usable_cores
from tips_med.sample import sample_path

DOCS = Path(__file__).resolve().parents[1] / "docs"
QUERIES = ("mass in the left lung", "no pleural effusion", "emphysema")
LOOP, ONE, SEVERAL = "loop of `tips-med ground`", "batch, one process", "batch, a process for each core"
ARCHIVE_STUDIES = 100_000
_COMMAND = [sys.executable, "-W", "ignore", "-m", "tips_med.cli"]


def clocked(commands: list[list[str]]) -> tuple[float, float]:
    """Seconds that passed, and processor seconds, of commands one after the other."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    for command in commands:
        subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - begun, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commands(way: str, scans: Path, out: Path) -> list[list[str]]:
    """What a way runs."""
    if way == LOOP:
        return [
            [*_COMMAND, "ground", str(scan), *QUERIES, "--out", str(out / scan.stem), "--quiet"]
            for scan in sorted(scans.iterdir())
        ]
    workers = "1" if way == ONE else str(usable_cores())
    options = ["--out", str(out / "batch"), "--workers", workers, "--outputs", "all", "--quiet"]
    return [[*_COMMAND, "batch", str(scans), "--query", *QUERIES, *options]]


def disk_bytes(folder: Path) -> dict[str, dict[str, float]]:
    """Bytes and files of a study's folder, by what is kept of it: of the batch of all files, without those left out."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    studies = len([path for path in files if path.name == "study.json"])
    kept = {
        "table": [path for path in files if path.name in ("study.json", "report.json", "thumbnail.jpg")],
        "all": files,
    }
    kept["masks"] = [*kept["table"], *(path for path in files if path.name == "mask.nii.gz")]
    return {
        name: {
            "bytes": sum(path.stat().st_size for path in some) / studies,
            "files": len(some) / studies,
        }
        for name, some in sorted(kept.items())
    }


def measure(count: int, rounds: int) -> dict[str, Any]:
    """Runs every way in turn."""
    taken: dict[str, list[tuple[float, float]]] = {LOOP: [], ONE: [], SEVERAL: []}
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        scans = Path(folder) / "scans"
        scans.mkdir()
        for n in range(count):
            shutil.copy(sample_path(), scans / f"{n:03d}.nii.gz")
        for turn in range(rounds):
            for way in taken if turn % 2 == 0 else reversed(taken):
                out = Path(folder) / f"{turn}-{list(taken).index(way)}"
                taken[way].append(clocked(commands(way, scans, out)))
                print(f"{way}: {taken[way][-1][0]:.1f} s, {taken[way][-1][1]:.1f} processor seconds", flush=True)
        disk = disk_bytes(Path(folder) / "0-1" / "batch" / "studies")
        records = (Path(folder) / "0-1" / "batch" / "studies").rglob("study.json")
        steps = [json.loads(record.read_text())["seconds"] for record in records]
    ways = {
        way: {
            "seconds": round(statistics.median(wall for wall, _ in own) / count, 1),
            "processor_seconds": round(statistics.median(spent for _, spent in own) / count, 1),
        }
        for way, own in taken.items()
    }
    return {
        "machine": platform.machine(),
        "cores": usable_cores(),
        "load": round(load, 1),
        "scans": count,
        "rounds": rounds,
        "queries": len(QUERIES),
        "ways": ways,
        "disk": disk,
        "steps": {name: round(statistics.median(step[name] for step in steps), 2) for name in steps[0]},
    }


def archive_cost(
    result: dict[str, Any], cores: int, scans_per_job: int = 500, poll_s: float = 10.0
) -> dict[str, float]:
    """What an archive would cost, from the measured seconds of one study: nothing but multiplication.

    Args:
        result: Of ``measure``.
        cores: Number of cores of the cluster that are given to the batch.
        scans_per_job: Number of scans of a job.
        poll_s: Seconds between two looks at the queue.
    """
    core_hours = ARCHIVE_STUDIES * result["ways"][SEVERAL]["processor_seconds"] / 3600
    hours = core_hours / cores
    return {
        "core_hours": core_hours,
        "hours": hours,
        "jobs": ARCHIVE_STUDIES / scans_per_job,
        "submissions": 1,
        "queue_requests": hours * 3600 / poll_s,
        "lost_core_hours_per_killed_worker": core_hours / ARCHIVE_STUDIES,
    }


def tables(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    ways, loop = result["ways"], result["ways"][LOOP]
    lines = [
        "| one scan, three queries, all files | seconds | processor seconds | studies an hour and core, to the loop |"
    ]
    lines.append("|---|---:|---:|---:|")
    for way, own in ways.items():
        ratio = loop["processor_seconds"] / own["processor_seconds"]
        lines.append(f"| {way} | {own['seconds']:.1f} | {own['processor_seconds']:.1f} | {ratio:.2f} |")
    lines += [
        "",
        f"{result['machine']}, {result['cores']} cores, medians of {result['rounds']} rounds of {result['scans']} "
        f"scans in turn; load average {result['load']:.1f} when it began.",
        "",
    ]
    cost = archive_cost(result, cores=1000)
    lines += [f"| {ARCHIVE_STUDIES:,} studies | |", "|---|---:|"]
    lines.append(f"| core hours | {cost['core_hours']:,.0f} |")
    lines.append(f"| hours on 1,000 such cores | {cost['hours']:.1f} |")
    for name, own in result["disk"].items():
        total = own["bytes"] * ARCHIVE_STUDIES / 1e9
        count = own["files"] * ARCHIVE_STUDIES / 1e6
        lines.append(f"| disk, `--outputs {name}` | {total:,.0f} GB in {count:.1f} million files |")
    lines.append(f"| submissions to Slurm, jobs of 500 scans | {cost['submissions']:.0f} of {cost['jobs']:.0f} jobs |")
    lines.append(f"| `squeue` of the driver, every 10 s | {cost['queue_requests']:,.0f} in all |")
    return "\n".join(lines)


def main() -> None:
    """Measures, prints, and keeps the result when requested."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    result = measure(options.scans, options.rounds)
    print(json.dumps(result, indent=1))
    print(tables(result))
    if options.write:
        (DOCS / "measurements" / "batch_throughput.json").write_text(json.dumps(result, indent=1) + "\n")
        page = DOCS / "batch.md"
        text = page.read_text("utf-8")
        begin, end = "<!-- batch begins -->\n", "<!-- batch ends -->"
        head, tail = text.split(begin)[0], text.split(end)[1]
        page.write_text(f"{head}{begin}{tables(result)}\n{end}{tail}", "utf-8")


if __name__ == "__main__":
    main()
