"""Tables that a measurement writes into a page, between two marks."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def write_between_marks(page: Path, name: str, text: str) -> None:
    """Replaces what stands between ``<!-- NAME begins -->`` and ``<!-- NAME ends -->``.

    Args:
        page: Markdown file that has both marks.
        name: Name of the part.
        text: Text to put there.
    """
    before, begins, rest = page.read_text("utf-8").partition(f"<!-- {name} begins -->")
    _, ends, after = rest.partition(f"<!-- {name} ends -->")
    if not begins or not ends:
        raise SystemExit(f"{page.name} lacks the marks of {name!r}")
    page.write_text(f"{before}{begins}\n{text}\n{ends}{after}", "utf-8")


def between_marks(page: Path, name: str) -> str:
    """What stands there."""
    return page.read_text("utf-8").split(f"<!-- {name} begins -->")[1].split(f"<!-- {name} ends -->")[0].strip()
