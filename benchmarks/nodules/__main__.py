"""Nodules found against false marks a scan (FROC, LUNA16), on real scans and, apart from them, on painted torsos.

    python -m benchmarks.nodules DATA [--model WEIGHTS] [--out FOLDER] [--write]

DATA holds the cases of ``radiology_configs/pretrain_chest_ct.yaml``. ``--out`` gets the marks of each scan and PNGs of
its surest false marks; what is there is not measured again, so that several runs share the work. ``--write`` puts the
tables into docs/model-card.md and docs/training.md and what they are made of into docs/measurements/nodules.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

from benchmarks.marked import DOCS, write_between_marks
from benchmarks.nodules.cases import TORSOS, Case, painted_cases, real_cases
from benchmarks.nodules.measuring import QUERIES, by_weight, markdown, row_of, values, weights_markdown, write
from benchmarks.nodules.pictures import draw_false_marks
from tips_med.grounding import encode
from tips_med.loading import open_model
from tips_med.model import GroundingModel


def measured(case: Case, model: GroundingModel, out: Path | None) -> list[dict[str, Any]]:
    """The rows of one scan, encoded once; from the folder where they are there, and kept there."""
    stored = None if out is None else out / f"{case.name.replace(' ', '-')}-{model.sha256[:12]}.json"
    if stored is not None and stored.is_file():
        return json.loads(stored.read_text("utf-8"))
    scan, truth, excluded = case.read()
    study = encode(scan, model)
    rows = [row_of(case, study, truth, excluded, query, model) for query in QUERIES]
    if stored is not None:
        draw_false_marks(scan, rows[0], stored.parent / "pictures")
        stored.write_text(json.dumps(rows), "utf-8")
    return rows


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=None)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--torsos", type=int, nargs="*", default=TORSOS)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    model = open_model(chosen.model, "cpu")
    rows: list[dict[str, Any]] = []
    for case in itertools.chain(real_cases(chosen.data), painted_cases(chosen.torsos)):
        own = measured(case, model, chosen.out)
        rows += own
        for row in own:
            print(row["case"], row["query"], row["sizes_mm"], [mark[3:] for mark in row["marks"][:6]], flush=True)
    table = values(rows)
    weights = by_weight(rows)
    print(markdown(table))
    print(weights_markdown(weights))
    if chosen.write:
        write(DOCS / "measurements" / "nodules.json", model.identity, table, weights, rows)
        write_between_marks(DOCS / "model-card.md", "nodules", markdown(table))
        write_between_marks(DOCS / "training.md", "nodules by roundness", weights_markdown(weights))


if __name__ == "__main__":
    main()
