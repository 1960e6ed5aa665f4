"""Puts an evaluation of the painted test into the model card, beside the plain rules on the same scans.

tips-med paint --config painted_test --out out/painted
tips-med evaluate --data.manifest out/painted/manifest.csv --split test --paraphrases 1 --out out/evaluation
python -m benchmarks.rule_baseline out/painted/manifest.csv --out docs/measurements/painted_test_rules.json
python -m benchmarks.painted_test out/evaluation
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.marked import DOCS, write_between_marks

MEASURED = DOCS / "measurements" / "painted_test.json"
COLUMNS = ("dice_present", "hit_rate", "f1", "auroc", "false_ml")


def markdown(content: dict[str, Any]) -> str:
    """The weights, a row for each term with a question about what is there, and what is true of all of them.

    Args:
        content: ``model``, ``overall`` and ``terms`` of an evaluation.
    """
    overall = content["overall"]
    lines = [
        f"Weights: {content['model']}.",
        "",
        "| | there | Dice when there | peak inside | F1 of components | AUROC | false ml, mean |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = {term.replace("_", " "): one for term, one in content["terms"].items() if "hit_rate" in one}
    for name, one in {**rows, "all": overall}.items():
        figures = [f"{one[column]['value']:.2f}" if column in one else "-" for column in COLUMNS]
        lines.append(f"| {name} | {one['hit_rate']['cases']} | {' | '.join(figures)} |")
    lines += [
        "",
        f"{overall['dice']['cases']} questions. Calibration error {overall['calibration_error']['value']:.2f}; "
        f"paraphrases agree with {overall['paraphrase_stability']['value']:.2f}; a query for the other side leaves "
        f"{100 * overall['swap_side_leak']['value']:.1f}% marked.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Keeps the figures, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluation", type=Path, help="what tips-med evaluate wrote")
    given = parser.parse_args()
    evaluation = json.loads((given.evaluation / "evaluation.json").read_text("utf-8"))
    content = {key: evaluation[key] for key in ("model", "overall", "terms")}
    MEASURED.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    write_between_marks(DOCS / "model-card.md", "painted test", markdown(content))


if __name__ == "__main__":
    main()
