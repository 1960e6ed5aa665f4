"""Writes the parts of tips_med that this package shares with it: what finds bodies, lungs, evidence and components.

They need neither PyTorch nor the rest of tips_med, and an answer is the same only where they are the same. So they are
written by

    python integrations/tips-med-runtime/copies.py

and never by hand; a test compares them with what they were copied from.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE, TARGET = HERE.parents[1] / "tips_med", HERE / "tips_med_runtime"

COPIES: dict[str, tuple[str, tuple[str, ...]]] = {
    name: (name, ())
    for name in (
        "body/__init__.py",
        "body/body.py",
        "body/midline.py",
        "body/outline.py",
        "card.py",
        "errors.py",
        "geometry.py",
        "grounding/coverage.py",
        "grounding/decision.py",
        "grounding/evidence.py",
        "grounding/instances.py",
        "grounding/lobes.json",
        "grounding/lobes.py",
        "grounding/organs.py",
        "grounding/thorax.py",
        "scan.py",
    )
} | {
    "grounding/answer.py": ("grounding/answer.py", ("State", "Reason", "Coverage", "Decision", "Instance")),
    "grounding/modality.py": ("grounding/modality.py", ("looks_like_hounsfield",)),
    "grounding/wording.py": ("grounding/wording.py", ("REASONS", "place_in_words", "lobes_in_words", "_list")),
    "grid.py": (
        "slabs.py",
        ("MAX_CELLS", "MAX_BRIDGE_MM", "BODY_MARGIN", "SlabSpec", "working_grid", "bridge_gaps", "body_crop"),
    ),
    "sampling.py": (
        "resampling.py",
        (
            "MAX_DRIFT",
            "MIN_SIGMA",
            "MIN_SMOOTHED",
            "_Axis",
            "_aligned_axes",
            "_resample_along_axes",
            "_weights",
            "smoothing_mm",
            "blend_planes",
        ),
    ),
}
"""Each file of this package, what it is copied from, and which of its names; all of them when empty."""


def copied(name: str) -> str:
    """The text of a copy."""
    source, names = COPIES[name]
    text = (SOURCE / source).read_text("utf-8")
    if name.endswith(".json"):
        return text
    if names:
        text = _only(text, names)
    if name == "sampling.py":
        text = text.replace("tips_med.resampling", "tips_med_runtime.sampling")
    text = re.sub(r"^(from|import) tips_med(?=[. ])", r"\1 tips_med_runtime", text, flags=re.MULTILINE)
    return f"# Copied from tips_med/{source} by copies.py: change it there.\n{text}"


def _only(text: str, names: tuple[str, ...]) -> str:
    """The parts of a module that define some names, with what they import."""
    lines = text.splitlines()
    body = ast.parse(text).body
    kept: list[ast.stmt] = []
    for place, node in enumerate(body):
        defined = _defines(node)
        if defined is not None and defined in names:
            kept.append(node)
            after = body[place + 1] if place + 1 < len(body) else None
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(after, ast.Expr):
                kept.append(after)  # what the name means
    missing = set(names) - {_defines(node) for node in kept}
    if missing:
        raise LookupError(f"{sorted(missing)} are no longer there")
    used = {one.id for node in kept for one in ast.walk(node) if isinstance(one, ast.Name)}
    parts = [_text(lines, body[0]), "", "from __future__ import annotations", ""]
    gap = False
    for node in body[2:]:
        gap = gap or not lines[node.lineno - 2]
        if line := _import(node, used):
            parts += ["", line] if gap and parts[-1] else [line]
            gap = False
    for node in kept:
        blank = 0 if isinstance(node, ast.Expr) else 1 if isinstance(node, ast.Assign | ast.AnnAssign) else 2
        parts += [""] * blank + [_text(lines, node)]
    return "\n".join(parts) + "\n"


def _text(lines: list[str], node: ast.stmt) -> str:
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
    return "\n".join(lines[first - 1 : node.end_lineno])


def _defines(node: ast.stmt) -> str | None:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    return target.id if isinstance(target, ast.Name) else None


def _import(node: ast.stmt, used: set[str]) -> str:
    """An import with the names that are used; empty without any."""
    if not isinstance(node, ast.Import | ast.ImportFrom) or getattr(node, "module", "") == "__future__":
        return ""
    names = [one for one in node.names if (one.asname or one.name) in used]
    if not names:
        return ""
    listed = ", ".join(one.name + (f" as {one.asname}" if one.asname else "") for one in names)
    return f"from {node.module} import {listed}" if isinstance(node, ast.ImportFrom) else f"import {listed}"


def write() -> None:
    """Writes all copies."""
    for name in COPIES:
        file = TARGET / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(copied(name), "utf-8")


if __name__ == "__main__":
    write()
