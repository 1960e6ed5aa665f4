"""All comparisons of two scans in one folder, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tips_med.errors import OutputError
from tips_med.exporters.comparison.figure import write_comparison_figure
from tips_med.exporters.comparison.masks import write_masks
from tips_med.exporters.comparison.report import comparison_report
from tips_med.exporters.folder import REPORT, slug, write_folder
from tips_med.followup import Comparison
from tips_med.grounding import Declined


def write_comparisons(
    comparisons: Sequence[Comparison],
    out: str | Path,
    model: Mapping[str, Any],
    *,
    days_between: int | None = None,
    declined: Sequence[Declined] = (),
    notes: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Writes ``report.json`` and, for each query, a folder with masks and ``figure.png``.

    Args:
        comparisons: Comparisons of the same two scans, in the order of the queries.
        out: Folder to write to; see ``tips_med.exporters.folder.check_writable``. Earlier results in it are replaced.
        model: Description of the model in the report.
        days_between: Days from the prior to the current scan; None where a file does not state its date.
        declined: Queries that got no answer; the report lists them.
        notes: Notes about the pair.
        progress: Called with (comparisons done, total comparisons).

    Returns:
        The files written, the report first.

    Raises:
        OutputError: When they cannot be written; the folder then has its earlier content, and nothing else.
    """
    if not comparisons:
        raise OutputError("there is nothing to write", path=out, remedy="ask at least one query", code="no-answer")

    def write(folder: Path) -> list[Path]:
        names, files = [], []
        for n, one in enumerate(comparisons, 1):
            name = f"{n:0{max(2, len(str(len(comparisons))))}}-{slug(one.query.text)}"
            (folder / name).mkdir()
            write_masks(one, folder / name)
            write_comparison_figure(one, folder / name / "figure.png", days_between=days_between)
            names.append(name)
            files.append(sorted(p.relative_to(folder).as_posix() for p in (folder / name).rglob("*")))
            if progress is not None:
                progress(n, len(comparisons))
        content = comparison_report(
            comparisons,
            model,
            days_between=days_between,
            folders=names,
            files=files,
            declined=declined,
            notes=notes,
        )
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        (folder / REPORT).write_text(text, "utf-8")
        return [Path(REPORT), *(Path(file) for some in files for file in some)]

    return write_folder(out, write)
