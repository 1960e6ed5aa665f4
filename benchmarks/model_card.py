"""Writes the measured tables into docs/model-card.md.

python -m benchmarks.model_card --real docs/measurements/real.json --painted docs/measurements/painted.json
    --naming docs/measurements/naming.json --robustness docs/measurements/robustness.json

``painted.json`` is what ``tips-med calibrate`` wrote beside the weights, of painted and of real scans; the others are
what ``benchmarks.real_scans``, ``benchmarks.naming_baselines`` and ``benchmarks.robustness`` wrote.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from tips_med.model import load_model

CARD = Path(__file__).resolve().parents[1] / "docs" / "model-card.md"


def table(headings: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def weights(measured: str) -> str:
    """Which weights these are, and with which the figures were measured."""
    model = load_model()
    if model.identity == measured:
        return f"Weights: {measured}."
    if model.card.trained.get("calibration_kept_from", "")[:12] not in measured:
        raise SystemExit(f"the figures are of {measured}, the weights are {model.identity}")
    return (
        f"Weights: {model.identity}. What follows was measured with {measured}, which has the same weights and "
        "thresholds for findings and lungs, and lacks the other operating points and the organs."
    )


def real_lungs(rows: list[dict[str, Any]]) -> str:
    body = []
    for row in sorted(rows, key=lambda r: not r["held_out"]):
        if "left_lung_dice" not in row:
            continue
        wrong = max(row["left_lung_wrong_side"], row["right_lung_wrong_side"])
        body.append(
            [row["case"], "held out" if row["held_out"] else "trained on", f"{row['left_lung_dice']:.3f}",
             f"{row['right_lung_dice']:.3f}", f"{100 * wrong:.2f} %"]
        )  # fmt: skip
    return table(["case", "", "left lung, Dice", "right lung, Dice", "on the wrong side, at most"], body)


def real_lesions(rows: list[dict[str, Any]]) -> str:
    body = []
    for row in sorted(rows, key=lambda r: not r["held_out"]):
        if "asked" not in row:
            continue
        body.append(
            [row["case"], "held out" if row["held_out"] else "trained on", row["asked"], f"{row['outlined_ml']} ml",
             f"{row['state']} ({row['probability']:.2f})", "yes" if row["peak_inside"] else "no",
             f"{row['dice']:.2f}", row["other_side"]]
        )  # fmt: skip
    return table(["case", "", "query", "outlined", "answer", "peak inside", "Dice", "query for the other side"], body)


def every_lesion(rows: list[dict[str, Any]]) -> str:
    body = [
        [row["case"], "held out" if row["held_out"] else "trained on", one["side"], f"{one['outlined_ml']:.1f} ml",
         one["state"], "yes" if one["found"] else "no", f"{one['dice']:.2f}", f"{one['beside_ml']:.1f} ml"]
        for row in sorted(rows, key=lambda r: not r["held_out"]) for one in row.get("lesions", [])
    ]  # fmt: skip
    return table(["case", "", "side", "outlined", "answer", "found", "Dice", "marked elsewhere on that side"], body)


def real_others(rows: list[dict[str, Any]]) -> str:
    findings = [key for key in rows[0] if " ml" in str(rows[0][key])]
    body = []
    for held_out in (True, False):
        some = [row for row in rows if row["held_out"] == held_out]
        for finding in findings:
            said = [row[finding].split()[0] for row in some]
            ml = [float(row[finding].split()[1]) for row in some]
            body.append(
                [finding, "held out" if held_out else "trained on", str(len(some)), str(said.count("absent")),
                 str(said.count("unsure")), str(said.count("present")), f"{np.median(ml):.1f}", f"{max(ml):.1f}"]
            )  # fmt: skip
    return table(["finding", "", "scans", "absent", "unsure", "present", "median ml", "most ml"], body)


def painted(rows: list[dict[str, Any]]) -> str:
    def number(value: float | None, digits: int = 2) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    body = [
        [row["finding"].replace("_", " ") + ("" if row["answered"] else " (refused)"), str(row["present"]),
         str(row["absent"]), number(row["auroc"]), number(row["dice"]), number(row["hit"]),
         number(row["sensitivity"]), number(row["answered_dice"]), number(row["answered_f1"]),
         number(row["specificity"]), number(row["false_ml_median"], 1), number(row["false_ml_mean"], 1)]
        for row in rows
    ]  # fmt: skip
    return table(
        ["finding", "there", "not there", "AUROC", "Dice when there", "peak inside", "not called absent",
         "Dice of the answer", "F1 of its components", "called absent where not there", "false ml, median", "mean"],
        body,
    )  # fmt: skip


def presence(rows: list[dict[str, Any]]) -> str:
    """Truth and answers on real scans, each patient judged by a calibration that the others fit."""

    def called(counts: dict[str, int]) -> list[str]:
        return [str(counts[state]) for state in ("present", "unsure", "absent")]

    body, total = [], np.zeros(6, int)
    for row in rows:
        counts = [*called(row["there_called"]), *called(row["not_there_called"])]
        total += np.array(counts, int)
        auroc = "-" if row["auroc"] is None else f"{row['auroc']:.2f}"
        body.append([row["finding"].replace("_", " ") + ("" if row["answered"] else " (refused)"), auroc, *counts])
    body.append(["all", "", *(str(n) for n in total)])
    return table(
        ["finding", "AUROC", "there: present", "unsure", "absent", "not there: present", "unsure", "absent"], body
    )


def points(found: dict[str, dict[str, Any]], by_patient: dict[str, dict[str, Any]]) -> str:
    """How each operating point does on real scans, all findings together, and finding by finding where it is there."""

    def share(counts: dict[str, int]) -> str:
        total = sum(counts.values())
        return f"{counts['present']} of {total}" if total else "-"

    names, body = ("sensitive", "balanced", "specific"), []
    total = {name: {"there": np.zeros(3, int), "not_there": np.zeros(3, int)} for name in names}
    for term, one in found.items():
        if not one:
            continue
        for name in names:
            for truth in ("there", "not_there"):
                total[name][truth] += np.array(list(one[name]["real"][truth].values()))
        if sum(one["balanced"]["real"]["there"].values()):
            cells = [share(one[name]["real"][truth]) for name in names for truth in ("there", "not_there")]
            body.append([term.replace("_", " "), *cells])
    cells = [
        f"{total[name][truth][0]} of {total[name][truth].sum()}" for name in names for truth in ("there", "not_there")
    ]
    body.append(["all findings", *cells])
    bodies = load_model().card.trained["anatomies"]
    blind = [one for who, one in by_patient.items() if not any(body.startswith(who) for body in bodies)]
    cells = [
        f"{sum(one[name][truth]['present'] for one in blind)} of {sum(sum(one[name][truth].values()) for one in blind)}"
        for name in names
        for truth in ("there", "not_there")
    ]
    body.append([f"of them, {len(blind)} patients whose bodies were never trained on", *cells])
    missed = [f"{total[name]['there'][2]} of {total[name]['there'].sum()}" for name in names]
    body.append(["there, called absent", *(cell for one in missed for cell in (one, ""))])
    headings = [f"{name}: {what}" for name in names for what in ("there, called present", "not there, called present")]
    return table(["finding", *headings], body)


def reliability(curves: dict[str, list[dict[str, Any]]]) -> str:
    """Answers by their probability, and how often the finding was there."""
    body = []
    for real, fake in zip(curves["real"], curves["painted"]):
        cells = [
            cell
            for one in (real, fake)
            for cell in (str(one["count"]), "-" if one["observed"] is None else f"{one['observed']:.2f}")
        ]
        body.append([f"{real['from']:.1f} to {real['to']:.1f}", *cells])
    return table(["probability", "real answers", "there", "painted answers", "there"], body)


def robustness(rows: list[dict[str, Any]]) -> str:
    body = []
    for row in rows:
        said = {key: value.split() for key, value in row.items() if str(value).endswith(" ml")}
        marked = [f"{key}: {state}, {ml} ml" for key, (state, ml, _) in said.items() if state != "absent"]
        body.append(
            [row["case"], row["scanned"], f"{row['left_lung_dice']:.3f}, {row['right_lung_dice']:.3f}",
             row.get("asked", "-"), f"{row['state']} ({row['probability']:.2f})" if "state" in row else "-",
             "-" if "state" not in row else "yes" if row["peak_inside"] else "no",
             f"{row['dice']:.2f}" if "dice" in row else "-", "; ".join(marked) or "nothing"]
        )  # fmt: skip
    return table(["case", "scanned", "lungs, Dice", "query", "answer", "peak inside", "Dice", "other findings"], body)


def naming(tables: dict[str, dict[str, dict[str, float]]]) -> str:
    """AUROC and Dice of the three ways, finding by finding."""
    ways = list(tables)
    body = []
    for finding in tables[ways[0]]:
        values = [tables[way][finding] for way in ways]
        body.append(
            [finding.replace("_", " "), *(f"{value['auroc']:.2f}" for value in values),
             *(f"{value['dice']:.2f}" for value in values)]
        )  # fmt: skip
    return table(["finding", *(f"{way}, AUROC" for way in ways), *(f"{way}, Dice" for way in ways)], body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--painted", type=Path, required=True)
    parser.add_argument("--naming", type=Path, required=True, help="what benchmarks.naming_baselines wrote")
    parser.add_argument("--robustness", type=Path, required=True, help="what benchmarks.robustness wrote")
    arguments = parser.parse_args()
    real = json.loads(arguments.real.read_text())
    rows = real["rows"]
    parts = {
        "model": weights(real["model"]),
        "lungs": real_lungs(rows),
        "lesions": real_lesions(rows),
        "every lesion": every_lesion(rows),
        "others": real_others(rows),
        "naming": naming(json.loads(arguments.naming.read_text())["tables"]),
        "robustness": robustness(json.loads(arguments.robustness.read_text())["rows"]),
        "painted": painted(json.loads(arguments.painted.read_text())["painted"]),
        "operating points": points(
            *(json.loads(arguments.painted.read_text())[key] for key in ("operating_points", "by_patient"))
        ),
        "reliability": reliability(json.loads(arguments.painted.read_text())["reliability"]),
        "presence": presence(json.loads(arguments.painted.read_text())["real"]),
    }
    text = CARD.read_text()
    for name, content in parts.items():
        pattern = re.compile(rf"(<!-- {name} begins -->\n).*?(<!-- {name} ends -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"{CARD} has no place for {name!r}")
        text = pattern.sub(lambda found, content=content: found[1] + content + "\n" + found[2], text)
    CARD.write_text(text)


if __name__ == "__main__":
    main()
