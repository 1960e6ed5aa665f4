"""An archive in LanceDB: one table, one row a study; a folder on disk, or an object store by its URL.

A row holds everything of a study, so that one commit writes it: a process that is killed leaves the earlier version,
which is what readers go on to see.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import IvfRq

from tips_med.archive.conditions import Comparison, Condition, Not, Several
from tips_med.archive.places import HEIGHTS, SIDES
from tips_med.archive.record import FORMAT, About, StoredInstance, StudyRecord, Vectors
from tips_med.archive.store import ArchiveError, Evidence

_TABLE, _ABOUT = "studies", b"tips_med"
_COLUMN = {"thickness_mm": "thickness_mm", "slices": "slices", "date": "year", "modality": "modality"}
_PUT_TOGETHER = 64
"""Number of writes after which small files are put together."""

_KEPT_FOR = timedelta(hours=1)
"""How long replaced data stay, for readers that began before."""

MIN_INDEXED_STUDIES = 20_000
"""From this number on an approximate index is made; below it, all vectors are compared."""

_RETRIES = 10


class LanceStore:
    """An archive in LanceDB.

    Args:
        place: Folder, or the URL of one in an object store (``s3://bucket/folder``).
        create: Whether it may be new.

    Raises:
        ArchiveError: It is not there, not an archive, or of another version.
    """

    def __init__(self, place: str, *, create: bool = False) -> None:
        self.place = place
        if not create and "://" not in place and not Path(place).is_dir():
            raise ArchiveError(
                "no such archive", path=place, remedy="make one with tips-med index", code="missing-archive"
            )
        try:
            # Several readers have to see what the writer has written since.
            self._base = lancedb.connect(place, read_consistency_interval=timedelta(0))
            self._table = self._base.open_table(_TABLE) if _TABLE in self._base.list_tables().tables else None
        except (OSError, RuntimeError, ValueError) as error:
            raise self._broken(error) from error
        self._writes = 0
        self._lock = threading.Lock()
        self.about = None if self._table is None else self._read_about(self._table.schema)
        if self.about is None and not create:
            raise ArchiveError("holds no study", path=place, remedy="fill it with tips-med index", code="empty-archive")

    def put(self, record: StudyRecord, about: About) -> None:
        """See ``Store``."""
        with self._lock:
            rows = pa.Table.from_pylist([_row(record)], schema=table_schema(about))
            try:
                if self._table is None:
                    self._table = self._base.create_table(_TABLE, rows)
                    self.about = about
                else:
                    merge = self._table.merge_insert("key").when_matched_update_all().when_not_matched_insert_all()
                    merge.execute(rows)
            except (OSError, RuntimeError, ValueError) as error:
                raise ArchiveError(f"cannot be written ({_short(error)})", path=self.place) from error
            self._writes += 1
            if self._writes % _PUT_TOGETHER == 0:
                self._table.optimize(cleanup_older_than=_KEPT_FOR)

    def keys(self) -> set[str]:
        """See ``Store``."""
        return set() if self._table is None else set(self._read(["key"], None)["key"].to_pylist())

    def count(self, where: Condition | None = None) -> int:
        """See ``Store``."""
        return 0 if self._table is None else self._table.count_rows(None if where is None else sql(where))

    def evidence(self, terms: Sequence[str], sides: Sequence[str], where: Condition | None = None) -> Evidence:
        """See ``Store``."""
        columns = [f"{term}__{side}" for term in terms for side in sides]
        table = self._read(["key", "known", "whole", *columns], where)
        shape = (len(table), len(SIDES), len(HEIGHTS))
        logits = {}
        for term in terms:
            logits[term] = np.full(shape, np.nan, np.float32)
            for side in sides:
                logits[term][:, SIDES.index(side)] = _matrix(table[f"{term}__{side}"], len(HEIGHTS))
        flags = (
            np.unpackbits(_matrix(table[name], _FLAG_BYTES), axis=1, count=shape[1] * shape[2]).reshape(shape) > 0
            for name in ("known", "whole")
        )
        return Evidence(_Keys(table["key"]), logits, *flags)

    def nearest(self, direction: np.ndarray, count: int, where: Condition | None = None) -> list[tuple[str, float]]:
        """See ``Store``."""
        if self._table is None:
            return []
        query: Any = self._table.search(direction.astype(np.float32), vector_column_name="directions")
        query = query.distance_type("cosine").limit(_WIDENED * count).select(["key", "_distance"]).nprobes(_PROBES)
        query = query.refine_factor(_REFINED)
        if where is not None:
            query = query.where(sql(where), prefilter=True)
        found = query.to_arrow()
        pairs = zip(found["key"].to_pylist(), found["_distance"].to_numpy())
        return sorted(((key, 1 - float(distance)) for key, distance in pairs), key=lambda pair: -pair[1])[:count]

    def records(self, keys: Sequence[str]) -> dict[str, StudyRecord]:
        """See ``Store``."""
        if self._table is None or not keys:
            return {}
        listed = ", ".join(f"'{_hexadecimal(key)}'" for key in keys)
        rows = self._table.search().where(f"key in ({listed})").limit(len(keys)).to_arrow()
        assert self.about is not None
        return {row["key"]: _record(row, self.about) for row in rows.to_pylist()}

    def maintain(self) -> None:
        """See ``Store``."""
        if self._table is None:
            return
        try:
            self._table.optimize(cleanup_older_than=_KEPT_FOR)
            if self._table.count_rows() >= MIN_INDEXED_STUDIES and not self._table.list_indices():
                self._table.create_index("directions", config=IvfRq(distance_type="cosine"))
        except (OSError, RuntimeError, ValueError) as error:
            raise ArchiveError(f"cannot be tidied ({_short(error)})", path=self.place) from error

    def _read(self, columns: list[str], where: Condition | None) -> pa.Table:
        if self._table is None:
            raise ArchiveError("holds no study", path=self.place, remedy="fill it with tips-med index")
        query = self._table.search().select(columns).limit(self._table.count_rows() or 1)
        return (query if where is None else query.where(sql(where))).to_arrow()

    def _read_about(self, schema: pa.Schema) -> About:
        try:
            raw = json.loads((schema.metadata or {})[_ABOUT])
            if raw["format"] != FORMAT:
                raise ArchiveError(
                    f"an archive of another version ({raw['format']})",
                    path=self.place,
                    expected=FORMAT,
                    remedy="index into a new place",
                    code="other-version",
                )
            return About(**raw | {"terms": tuple(raw["terms"]), "centre": tuple(raw["centre"])})
        except (KeyError, TypeError, ValueError) as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> ArchiveError:
        return ArchiveError(
            f"is no archive that can be read ({_short(error)})",
            path=self.place,
            remedy="name the place that tips-med index wrote",
            code="not-an-archive",
        )


def sql(condition: Condition) -> str:
    """A condition in DataFusion's SQL: known names, numbers, and words of letters and digits only."""
    if isinstance(condition, Not):
        return f"(NOT {sql(condition.part)})"
    if isinstance(condition, Several):
        return "(" + f" {condition.join.upper()} ".join(sql(part) for part in condition.parts) + ")"
    assert isinstance(condition, Comparison)
    value = condition.value
    if isinstance(value, str):
        assert value.replace("_", "").isalnum()
        value = f"'{value}'"
    return f"({_COLUMN[condition.column]} {condition.operator} {value})"


_FLAG_BYTES = -(-len(SIDES) * len(HEIGHTS) // 8)
_PROBES, _REFINED = 32, 20
_WIDENED = 10
"""Number of studies, in units of those wanted, that the store is asked for: with hundreds of vectors a study its
approximate index ranks the first few poorly."""


def table_schema(about: About) -> pa.Schema:
    """Columns of the table of an archive, with what holds for all its studies as metadata."""
    heights = pa.list_(pa.float32(), len(HEIGHTS))
    place = pa.list_(pa.float32(), 3)
    instance = pa.struct(
        [
            ("term", pa.string()),
            ("side", pa.string()),
            ("region", pa.string()),
            ("volume_ml", pa.float32()),
            ("long_axis_mm", pa.float32()),
            ("score", pa.float32()),
            ("peak_lps", place),
            ("centroid_lps", place),
            ("lobes", pa.list_(pa.string())),
        ]
    )
    fields = [
        pa.field("key", pa.string(), nullable=False),
        pa.field("modality", pa.string()),
        pa.field("thickness_mm", pa.float32()),
        pa.field("slices", pa.int32()),
        pa.field("year", pa.int32()),
        pa.field("known", pa.list_(pa.uint8(), _FLAG_BYTES)),
        pa.field("whole", pa.list_(pa.uint8(), _FLAG_BYTES)),
        *(pa.field(f"{term}__{side}", heights) for term in about.terms for side in SIDES),
        pa.field("instances", pa.list_(instance)),
        pa.field("directions", pa.list_(pa.list_(pa.float16(), about.width))),
        pa.field("lengths", pa.list_(pa.float32())),
        pa.field("lps", pa.list_(pa.float32())),
        pa.field("sides", pa.list_(pa.uint8())),
        pa.field("heights", pa.list_(pa.float32())),
    ]
    return pa.schema(fields, metadata={_ABOUT: json.dumps(asdict(about)).encode()})


def _row(record: StudyRecord) -> dict[str, Any]:
    vectors = record.vectors
    columns = {f"{term}__{side}": values[n] for term, values in record.evidence.items() for n, side in enumerate(SIDES)}
    return {
        "key": record.key,
        "modality": record.modality,
        "thickness_mm": round(record.thickness_mm, 4),
        "slices": record.slices,
        "year": record.year,
        "known": np.packbits(record.known),
        "whole": np.packbits(record.whole),
        **columns,
        "instances": [asdict(one) for one in record.instances],
        "directions": list(vectors.directions.astype(np.float16)),
        "lengths": vectors.lengths,
        "lps": vectors.lps.ravel(),
        "sides": vectors.sides,
        "heights": vectors.heights,
    }


def _record(row: dict[str, Any], about: About) -> StudyRecord:
    shape = (len(SIDES), len(HEIGHTS))
    lists = ("peak_lps", "centroid_lps", "lobes")
    instances = [StoredInstance(**one | {name: tuple(one[name]) for name in lists}) for one in row["instances"]]
    known, whole = (
        np.unpackbits(np.array(row[name], np.uint8), count=shape[0] * shape[1]).reshape(shape) > 0
        for name in ("known", "whole")
    )
    return StudyRecord(
        key=row["key"],
        modality=row["modality"],
        thickness_mm=row["thickness_mm"],
        slices=row["slices"],
        year=row["year"],
        evidence={term: np.array([row[f"{term}__{side}"] for side in SIDES], np.float32) for term in about.terms},
        known=known,
        whole=whole,
        instances=tuple(instances),
        vectors=Vectors(
            np.array(row["directions"], np.float32).reshape(-1, about.width),
            np.array(row["lengths"], np.float32),
            np.array(row["lps"], np.float32).reshape(-1, 3),
            np.array(row["sides"], np.uint8),
            np.array(row["heights"], np.float32),
        ),
    )


class _Keys(Sequence[str]):
    """Keys of a column, made to text only where they are asked for: a million of them take a second."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, index: Any) -> Any:
        return self._column[int(index)].as_py()


def _matrix(column: pa.ChunkedArray, width: int) -> np.ndarray:
    values = pa.concat_arrays([chunk.flatten() for chunk in column.chunks]) if column.num_chunks else None
    return (
        np.empty((0, width), np.uint8) if values is None else values.to_numpy(zero_copy_only=False).reshape(-1, width)
    )


def _hexadecimal(key: str) -> str:
    int(key, 16)
    return key


def _short(error: Exception) -> str:
    """The first line of an error of the store, which may run over pages; no data of a study is in it."""
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200]}" if str(error) else type(error).__name__
