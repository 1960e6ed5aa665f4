"""The manifest itself: one row a pair of a scan and a phrase, in CSV or JSON Lines.

Its published schema is ``manifest.schema.json`` beside this file (of one row of JSON Lines; CSV has the same columns).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from tips_med.errors import OutputError, TipsMedError
from tips_med.folders import whole_file

Label = Literal["present", "absent", "unknown"]
State = Literal["present", "absent", "possible", "prior"]
COLUMNS = ("scan", "phrase", "mask", "part", "label", "patient", "split")
IGNORE_COLUMNS = ("ignore", "ignore_part")
"""Columns that rows with a mask may have besides: see ``Row``."""
WEAK_COLUMNS = ("state", "series", "images", "size_mm", "count", "source", "region", "region_part")
"""Columns that weak rows may have besides: see ``Row``."""
_NAMES = (*COLUMNS, *IGNORE_COLUMNS, *WEAK_COLUMNS)
_DELIMITERS = (",", ";", "\t")
_TABLES = (".csv", ".tsv")


class ManifestError(TipsMedError):
    """A manifest, or a file that it names, that cannot be used as it is."""

    code = "manifest"


@dataclass(frozen=True)
class Row:
    """A phrase and its truth in a scan.

    Attributes:
        scan: Path of a DICOM folder, or of a volume file.
        phrase: A query, or a sentence of a report.
        mask: NIfTI (or NRRD, MHA), DICOM SEG or RTSTRUCT; None for a weak pair.
        part: Which part of the mask: see ``read_mask``; None for all of it.
        label: Whether what the phrase names is in the scan. When left out, what the phrase says (a negated phrase says
            ``absent``), which ``resolved`` fills in.
        patient: Never in two splits, and drawn as one for intervals; the scan's own path when left out.
        split: ``train``, ``val``, ``test`` or any other name.
        line: Line of the manifest, for messages; 0 when made in Python.
        state: What a report says: ``present``, ``absent``, ``possible``, or ``prior`` for what it says was there once.
        series: Series Number that the report cites for it.
        images: Instance Numbers (from 1, as in DICOM) of the images that the report cites for it.
        size_mm: The long axis that the report states.
        count: How many there are by the report.
        source: Where the report says so: number of the report in its file, from 1, and the first and last character,
            as in ``12:340-378``.
        region: Mask of the organ that the phrase is about, as of the liver for "lesion in the liver"; of any kind that
            ``mask`` may be.
        region_part: Which part of the region's file: see ``read_mask``; None for all of it.
        ignore: Mask of the voxels where nobody knows, as where an outline was cut short: they are neither trained on
            nor measured, as with nnU-Net's ignore label. Of any kind that ``mask`` may be.
        ignore_part: Which part of that file: see ``read_mask``; None for all of it.
    """

    scan: Path
    phrase: str
    mask: Path | None = None
    part: str | None = None
    label: Label | None = None
    patient: str | None = None
    split: str = "train"
    line: int = 0
    state: State | None = None
    series: int | None = None
    images: tuple[int, ...] = ()
    size_mm: float | None = None
    count: int | None = None
    source: str | None = None
    region: Path | None = None
    region_part: str | None = None
    ignore: Path | None = None
    ignore_part: str | None = None

    @property
    def scan_key(self) -> Path:
        """The scan's absolute path without links: the same however the manifest writes it."""
        return self.scan.resolve()

    @property
    def patient_key(self) -> str:
        """The patient, or the scan that stands for one."""
        return self.patient or str(self.scan_key)

    def resolved(self, negated: bool) -> Label:
        """The label, whether it was written or follows from the rest of the row.

        Args:
            negated: Whether the phrase is negated.
        """
        if self.label is not None:
            return self.label
        return "absent" if negated else "present"


def read_manifest(path: str | Path, split: str | None = None) -> list[Row]:
    """Reads all rows of a manifest, or those of one split.

    Args:
        path: Path of a ``.csv``, ``.tsv`` or ``.jsonl`` file, UTF-8. Columns are separated by commas, semicolons or
            tabs, as in the header. Relative paths in it start at its folder.
        split: Split to read; None for all rows.

    Raises:
        ManifestError: It cannot be read, a row is wrong (the line is named), or no row is left.
    """
    path = Path(path)
    if path.suffix.lower() not in (*_TABLES, ".jsonl"):
        raise ManifestError("is no manifest", path=path, expected="a .csv, .tsv or .jsonl file", code="manifest-format")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"cannot be read ({error})", path=path, code="manifest-unreadable") from error
    raw = _csv(text, path) if path.suffix.lower() in _TABLES else _jsonl(text, path)
    rows = [_row(values, line, path) for line, values in raw]
    kept = [row for row in rows if split is None or row.split == split]
    if not kept:
        known = ", ".join(sorted({row.split for row in rows}))
        raise ManifestError(
            "holds no row" + (f" of the split {split!r}" if split else ""),
            path=path,
            expected=f"one of the splits {known}" if known else "a header and a row a pair",
            code="manifest-empty",
        )
    return kept


def write_manifest(rows: Iterable[Row], path: str | Path) -> Path:
    """Writes rows as CSV or JSON Lines, whole or not at all; paths inside the manifest's folder become relative.

    Raises:
        OutputError: It cannot be written there.
    """
    path = Path(path)
    try:
        with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            values = [_values(row, path.resolve().parent) for row in rows]
            columns = [
                *COLUMNS,
                *(name for name in (*IGNORE_COLUMNS, *WEAK_COLUMNS) if any(one[name] for one in values)),
            ]
            if path.suffix.lower() == ".jsonl":
                for one in values:
                    file.write(json.dumps({k: v for k, v in one.items() if v}, ensure_ascii=False) + "\n")
            else:
                writer: csv.DictWriter[str] = csv.DictWriter(file, columns, extrasaction="ignore")
                writer.writeheader()
                writer.writerows(values)
    except OSError as error:
        raise OutputError(f"cannot be written ({error})", path=path) from error
    return path


def _values(row: Row, folder: Path) -> dict[str, str]:
    def shown(path: Path | None) -> str:
        if path is None:
            return ""
        whole = path.resolve()
        return whole.relative_to(folder).as_posix() if whole.is_relative_to(folder) else str(whole)

    return {
        "scan": shown(row.scan),
        "phrase": row.phrase,
        "mask": shown(row.mask),
        "part": row.part or "",
        "label": row.label or "",
        "patient": row.patient or "",
        "split": row.split,
        "state": row.state or "",
        "series": "" if row.series is None else str(row.series),
        "images": " ".join(str(image) for image in row.images),
        "size_mm": "" if row.size_mm is None else f"{row.size_mm:g}",
        "count": "" if row.count is None else str(row.count),
        "source": row.source or "",
        "region": shown(row.region),
        "region_part": row.region_part or "",
        "ignore": shown(row.ignore),
        "ignore_part": row.ignore_part or "",
    }


def _csv(text: str, path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    # A cell in quotes may hold line breaks, as spreadsheets write them; only the reader knows where a row ends.
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="", strict=True, delimiter=_delimiter(text))
    try:
        names = {(name or "").strip() for name in reader.fieldnames or ()}
        if names and not names & {"scan", "phrase"}:
            raise ManifestError(
                f"begins with {text.strip().splitlines()[0][:80]!r}, which is no header",
                path=path,
                expected=f"a first line that names the columns, scan,phrase at least, of {', '.join(COLUMNS)}",
                code="no-header",
            )
        for values in reader:
            if "" in values:
                raise ManifestError(f"line {reader.line_num} has more cells than the header", path=path)
            yield reader.line_num, dict(values)
    except csv.Error as error:
        raise ManifestError(f"line {reader.line_num} is no CSV ({error})", path=path) from error


def _delimiter(text: str) -> str:
    """What separates the columns of the header: spreadsheets write semicolons where numbers have decimal commas."""
    header = text.lstrip().partition("\n")[0]
    return max(_DELIMITERS, key=lambda one: sum(name.strip('" \r') in _NAMES for name in header.split(one)))


def _jsonl(text: str, path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    # JSON Lines end with a line feed: the other line separators may stand within a string.
    for line, one in enumerate(text.split("\n"), start=1):
        if one.strip():
            try:
                values = json.loads(one)
            except json.JSONDecodeError as error:
                raise ManifestError(f"line {line} is no JSON ({error.msg})", path=path) from error
            if not isinstance(values, dict):
                raise ManifestError(f"line {line} is no object", path=path, expected='{"scan": ..., "phrase": ...}')
            yield line, values


def _row(values: dict[str, object], line: int, path: Path) -> Row:
    cells: dict[str, str] = {}
    for name, value in values.items():
        if name not in _NAMES:
            raise ManifestError(
                f"line {line} has a column {name!r}",
                path=path,
                expected=f"only {', '.join(_NAMES)}",
                code="column",
            )
        if value is not None and not isinstance(value, str):
            raise ManifestError(f"line {line}: {name} is {value!r}", path=path, expected="text", code="type")
        cells[name] = (value or "").strip()
    if "phrase" in cells:
        cells["phrase"] = " ".join(cells["phrase"].split())
    for name in ("scan", "phrase"):
        if not cells.get(name):
            raise ManifestError(f"line {line} has no {name}", path=path, code=f"no-{name}")
    label = cells.get("label") or None
    if label is not None and label not in get_args(Label):
        raise ManifestError(
            f"line {line} has the label {label!r}", path=path, expected=", ".join(get_args(Label)), code="label"
        )
    mask = cells.get("mask")
    return Row(
        scan=path.parent / cells["scan"],
        phrase=cells["phrase"],
        mask=path.parent / mask if mask else None,
        part=cells.get("part") or None,
        label=cast("Label | None", label),
        patient=cells.get("patient") or None,
        split=cells.get("split") or "train",
        line=line,
        region=path.parent / cells["region"] if cells.get("region") else None,
        region_part=cells.get("region_part") or None,
        ignore=path.parent / cells["ignore"] if cells.get("ignore") else None,
        ignore_part=cells.get("ignore_part") or None,
        **_said_by_a_report(cells, line, path),
    )


def _said_by_a_report(cells: dict[str, str], line: int, path: Path) -> dict[str, Any]:
    """The columns that rows of reports have besides."""
    state = cells.get("state") or None
    if state is not None and state not in get_args(State):
        raise ManifestError(
            f"line {line} has the state {state!r}", path=path, expected=", ".join(get_args(State)), code="state"
        )
    try:
        return {
            "state": state,
            "series": int(cells["series"]) if cells.get("series") else None,
            "images": tuple(int(image) for image in cells.get("images", "").split()),
            "size_mm": float(cells["size_mm"]) if cells.get("size_mm") else None,
            "count": int(cells["count"]) if cells.get("count") else None,
            "source": cells.get("source") or None,
        }
    except ValueError as error:
        raise ManifestError(
            f"line {line}: {error}", path=path, expected="numbers in series, images, size_mm and count", code="type"
        ) from error
