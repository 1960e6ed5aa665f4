"""All answers as one table: CSV for people and spreadsheets, Parquet for programs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from tips_med.batch.rows import COLUMNS
from tips_med.errors import MissingExtraError, OutputError
from tips_med.folders import whole_file

CSV, PARQUET = "answers.csv", "answers.parquet"
_ROWS_AT_A_TIME = 50_000

TableFormat = Literal["auto", "csv", "parquet"]


def check_tables(tables: TableFormat) -> None:
    """Makes sure, before any long work, that the tables can be written.

    Raises:
        MissingExtraError: Parquet is asked for, and pyarrow is not installed.
    """
    if tables == "parquet" and find_spec("pyarrow") is None:
        raise MissingExtraError("tables in Parquet", "pyarrow", "archive", otherwise="set --tables csv")


def write_tables(records: Iterable[Mapping[str, Any]], out: Path, tables: TableFormat = "auto") -> list[Path]:
    """Writes ``answers.csv`` and, with pyarrow, ``answers.parquet``: a row for each study and query, by study.

    Args:
        records: Records of the studies, see ``BatchFolder.record``; gone through once a file, one by one.
        out: Folder to write to.
        tables: ``csv``, ``parquet`` (CSV is written, too), or ``auto``: Parquet where pyarrow is installed.

    Returns:
        The files written. An empty cell of the CSV file is a value that is not there.

    Raises:
        MissingExtraError: See ``check_tables``.
        OutputError: They cannot be written.
    """
    check_tables(tables)
    written = [out / CSV]
    try:
        with whole_file(written[0]) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(COLUMNS))
            writer.writeheader()
            writer.writerows(_safe(row) for row in all_rows(records))
        if tables == "parquet" or (tables == "auto" and find_spec("pyarrow") is not None):
            written.append(out / PARQUET)
            with whole_file(written[1]) as partial:
                _write_parquet(records, partial)
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror or error})", path=out, code="not-writable") from error
    return written


def all_rows(records: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The rows of all records, in their order."""
    for record in records:
        yield from record["answers"]


def _safe(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row in which no text is a formula to a spreadsheet: queries are typed by people."""
    return {
        name: f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
        for name, value in row.items()
    }


def _write_parquet(records: Iterable[Mapping[str, Any]], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    types = {str: pa.string(), bool: pa.bool_(), float: pa.float64(), int: pa.int32()}
    schema = pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    rows = all_rows(records)
    with parquet.ParquetWriter(path, schema) as writer:
        while some := list(islice(rows, _ROWS_AT_A_TIME)):
            writer.write_table(pa.Table.from_pylist(some, schema=schema))
