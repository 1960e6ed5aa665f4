"""Does an answer ever claim more than the scan showed? Real scans, altered, and queried for what is known of them.

    python -m benchmarks.trust DATA [--model WEIGHTS] [--cases NAME ...] [--out TABLE.json] [--write]

``DATA`` holds a folder for each case (``ct.nii.gz`` or ``dicom``, and ``lungs.nii.gz`` where there are some) and
``presence.csv``: what one reader reported, by finding and side. Every case is cut, shifted, turned, thinned and stored
in other ways, and queried for every finding, with and without a side, for both lungs, and for thirds. Four things are
counted:

- *side wrong*: an outlined instance, or a lung, is reported on the wrong side;
- *denied unseen*: "absent" for a side of which less than ``SEEN`` of the lung is in the scan;
- *denied though there*: "absent" for a finding whose middle is well inside the scan;
- *decided*: answers that are not "unsure", for the whole scan.

``--write`` keeps the counts in docs/measurements/trust.json, and puts them into docs/trust.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.marked import write_between_marks
from benchmarks.trust.asking import run
from benchmarks.trust.cases import HELD_OUT
from benchmarks.trust.report import markdown
from tips_med.loading import open_model

DOCS = Path(__file__).resolve().parents[2] / "docs"


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--cases", nargs="+", default=HELD_OUT)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    model = open_model(given.model, "cpu")
    tallies = dict(run(given.data, given.cases, model))
    ways = {way: {"count": dict(tally.count), "faults": tally.faults} for way, tally in tallies.items()}
    content = {"model": model.identity, "cases": list(given.cases), "ways": ways}
    print(markdown(content))
    for way, tally in tallies.items():
        for fault in tally.faults:
            print(f"{way}: {fault}")
    for file in (given.out, DOCS / "measurements" / "trust.json" if given.write else None):
        if file is not None:
            file.write_text(json.dumps(content, indent=1) + "\n")
    if given.write:
        write_between_marks(DOCS / "trust.md", "trust", markdown(content))


if __name__ == "__main__":
    main()
