"""Nodules found against false marks a scan (FROC, LUNA16), on real scans and, apart from them, on painted torsos.

    python -m benchmarks.nodules DATA [--model WEIGHTS] [--studies FOLDER] [--pictures FOLDER] [--write]

DATA holds the cases of ``radiology_configs/pretrain_chest_ct.yaml``. ``--studies`` keeps encoded scans, ``--pictures``
gets a PNG of each of the surest false marks. ``--write`` puts the table into docs/model-card.md and what it is made of
into docs/measurements/nodules.json.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from benchmarks.marked import DOCS, write_between_marks
from benchmarks.nodules.cases import TORSOS, painted_cases, real_cases
from benchmarks.nodules.measuring import Marked, markdown, marked, values, write
from benchmarks.nodules.pictures import draw_false_marks
from tips_med.loading import open_model


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=None)
    parser.add_argument("--studies", type=Path, default=None)
    parser.add_argument("--pictures", type=Path, default=None)
    parser.add_argument("--torsos", type=int, default=TORSOS)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    model = open_model(chosen.model, "cpu")
    found: list[Marked] = []
    for case in itertools.chain(real_cases(chosen.data), painted_cases(chosen.torsos)):
        scan, own = marked(case, model, chosen.studies)
        found += own
        if chosen.pictures is not None:
            draw_false_marks(scan, own[0], chosen.pictures)
        for one in own:
            print(case.name, one.query, one.truth.sizes_mm().round(1).tolist(), one.kinds()[:8], flush=True)
    table = values(found)
    text = markdown(table)
    print(text)
    if chosen.write:
        write(DOCS / "measurements" / "nodules.json", model.identity, table, found)
        write_between_marks(DOCS / "model-card.md", "nodules", text)


if __name__ == "__main__":
    main()
