"""Makes a file of weights that can be shipped of ones that were taught organs and calibrated.

    python -m benchmarks.organs.ship CALIBRATED --out tips_med/weights/chest_ct.safetensors [--leave-out ID ...]

Says in the card what the organs were learned from, leaves out those that are not to be answered, and makes sure that
the calibration of everything else is what it is in the weights that are installed.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from tips_med.loading import open_model, save_with_card
from tips_med.model import load_model

SOURCES = (
    "Organs: outlines of small public networks (OBELISK, MIT) and rules, looked at, in 21 of these scans; outlines of "
    "TotalSegmentator's example; hearts: drawn by one careful reader, no radiologist, in 12 of them"
)
"""What the organs were learned from; the scans are named already."""


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("calibrated")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--leave-out", nargs="*", default=[], help="ids of structures that are not to be answered")
    chosen = parser.parse_args()
    taught, shipped = open_model(chosen.calibrated, "cpu"), load_model()
    organs = {one for one in taught.card.structures if taught.adapter_of(taught.lexicon.term(one).name)}
    known = {term: one for term, one in shipped.card.calibration.items() if term not in organs}
    lost = [term for term, one in known.items() if taught.card.calibration.get(term) != one]
    if lost or taught.card.findings != shipped.card.findings:
        raise SystemExit(f"{chosen.calibrated} answers other findings, or has another calibration of {', '.join(lost)}")
    data = [one for one in taught.card.data if not one.startswith("Fine-tuned on ") and one != SOURCES]
    structures = tuple(one for one in taught.card.structures if one not in chosen.leave_out)
    calibration = {term: one for term, one in taught.card.calibration.items() if term not in chosen.leave_out}
    card = replace(taught.card, name=shipped.card.name, data=(*data, SOURCES), structures=structures,
                   calibration=calibration)  # fmt: skip
    print(save_with_card(taught, chosen.calibrated, card, chosen.out), ", ".join(structures))


if __name__ == "__main__":
    main()
