"""What was counted, as the page tells it."""

from __future__ import annotations

from collections import Counter
from typing import Any

COLUMNS = (
    "asked", "decided", "sides named", "side wrong", "unseen asked", "denied unseen", "there asked", "there present",
    "there unsure", "denied though there", "not there asked", "not there absent", "not there present", "third asked",
    "denied in its third", "claimed in nothing",
)  # fmt: skip


def markdown(content: dict[str, Any]) -> str:
    """Weights and cases, the totals, and a row for each way that a scan was altered.

    Args:
        content: What ``python -m benchmarks.trust --out`` writes.
    """
    counts = {way: Counter(one["count"]) for way, one in content["ways"].items()}
    total: Counter[str] = sum(counts.values(), Counter())
    whole, cases = counts["as it is"], content["cases"]
    named = f"{total['denied in its third']} of {total['third asked']}"
    absent = f"{whole['not there absent']} of {whole['not there asked']}"
    lines = [
        f"Weights: {content['model']}. Cases: {', '.join(cases)}: `python -m benchmarks.trust DATA --cases "
        f"{' '.join(cases)} --write`.",
        "",
        f"- side wrong: **{total['side wrong']}** of {total['sides named']} instances with a side;",
        f"- denied unseen: **{total['denied unseen']}** of {total['unseen asked']} questions;",
        f"- denied though there: **{total['denied though there']}** of {total['there asked']} questions (present "
        f"{total['there present']}, unsure {total['there unsure']}); in its own third {named};",
        f"- claimed in water or air: **{total['claimed in nothing']}**;",
        f"- decided on the whole scans: {whole['decided']} of {whole['asked']} questions; of findings that are not "
        f"there {absent} are called absent, {whole['not there present']} present.",
        "",
        "| altered | " + " | ".join(COLUMNS) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for way, count in [*counts.items(), ("**all**", total)]:
        lines.append(f"| {way} | " + " | ".join(str(count[name]) for name in COLUMNS) + " |")
    return "\n".join(lines)
