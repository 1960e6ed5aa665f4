"""Stores for an archive, tried alike: speed, size, a reader beside a writer, and a writer that is killed.

    pip install lancedb milvus-lite pymilvus duckdb sqlite-vec
    python -m benchmarks.archive_stores --folder SCRATCH [--vectors 100000]

Each store gets the same random unit vectors of 128 numbers, 2,000 a write, with a study's key and a thickness, and is
asked for the nearest 20, with and without a condition. While the writer holds it open another process reads; then a
third process writes on and is killed. Stores that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, BATCH, COUNT = 128, 2_000, 20


def vectors(first: int) -> np.ndarray:
    drawn = np.random.default_rng(first).normal(size=(BATCH, WIDTH)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


class Lance:
    """LanceDB: a table in files of versions."""

    needs = "lancedb"

    def __init__(self, place: Path) -> None:
        import lancedb

        self.base = lancedb.connect(place)
        self.table = self.base.open_table("v") if "v" in self.base.list_tables().tables else None

    def write(self, first: int) -> None:
        """Writes the vectors from a number on, in place of earlier ones."""
        import pyarrow as pa

        flat = pa.FixedSizeListArray.from_arrays(vectors(first).ravel(), WIDTH)
        rows = pa.table({"id": range(first, first + BATCH), "thickness": np.arange(BATCH) % 5.0, "v": flat})
        if self.table is None:
            self.table = self.base.create_table("v", rows)
        else:
            merge = self.table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            merge.execute(rows)

    def nearest(self, vector: np.ndarray, where: bool) -> int:
        """How many are found."""
        query = self.table.search(vector).distance_type("cosine").limit(COUNT).select(["id", "_distance"])
        return len((query.where("thickness <= 2", prefilter=True) if where else query).to_arrow())

    def count(self) -> int:
        """Rows that are stored."""
        return self.table.count_rows()


class Milvus:
    """Milvus Lite, through its own client."""

    needs = "milvus_lite"

    def __init__(self, place: Path) -> None:
        from pymilvus import DataType, MilvusClient

        self.client = MilvusClient(f"{place}.db")
        if not self.client.has_collection("v"):
            schema = self.client.create_schema(auto_id=False)
            schema.add_field("id", DataType.INT64, is_primary=True)
            schema.add_field("thickness", DataType.FLOAT)
            schema.add_field("v", DataType.FLOAT_VECTOR, dim=WIDTH)
            index = self.client.prepare_index_params()
            index.add_index("v", index_type="IVF_FLAT", metric_type="COSINE", params={"nlist": 256})
            self.client.create_collection("v", schema=schema, index_params=index)

    def write(self, first: int) -> None:
        """Writes the vectors from a number on, in place of earlier ones."""
        rows = [{"id": first + n, "thickness": n % 5.0, "v": one} for n, one in enumerate(vectors(first))]
        self.client.upsert("v", rows)

    def nearest(self, vector: np.ndarray, where: bool) -> int:
        """How many are found."""
        return len(self.client.search("v", [vector], limit=COUNT, filter="thickness <= 2" if where else "")[0])

    def count(self) -> int:
        """Rows that are stored."""
        return self.client.query("v", output_fields=["count(*)"])[0]["count(*)"]


class Duck:
    """DuckDB: one file."""

    needs = "duckdb"

    def __init__(self, place: Path) -> None:
        import duckdb

        self.base = duckdb.connect(f"{place}.duckdb")
        self.base.execute(f"create table if not exists v (id bigint primary key, thickness float, v float[{WIDTH}])")

    def write(self, first: int) -> None:
        """Writes the vectors from a number on, in place of earlier ones."""
        import pandas as pd

        rows = pd.DataFrame(
            {"id": range(first, first + BATCH), "thickness": np.arange(BATCH) % 5.0, "v": list(vectors(first))}
        )
        self.base.register("rows", rows)
        self.base.execute(f"insert or replace into v select id, thickness, v::float[{WIDTH}] from rows")

    def nearest(self, vector: np.ndarray, where: bool) -> int:
        """How many are found."""
        condition = "where thickness <= 2" if where else ""
        text = f"select id from v {condition} order by array_cosine_distance(v, ?::float[{WIDTH}]) limit {COUNT}"
        return len(self.base.execute(text, [vector.tolist()]).fetchall())

    def count(self) -> int:
        """Rows that are stored."""
        return self.base.execute("select count(*) from v").fetchone()[0]


class SqliteVec:
    """SQLite in WAL mode, with sqlite-vec's table."""

    needs = "sqlite_vec"

    def __init__(self, place: Path) -> None:
        import sqlite3

        import sqlite_vec

        self.base = sqlite3.connect(f"{place}.sqlite", timeout=60)
        self.base.enable_load_extension(True)
        sqlite_vec.load(self.base)
        self.base.execute("pragma journal_mode=wal")
        self.base.execute(
            f"create virtual table if not exists v using "
            f"vec0(id integer primary key, thickness float, v float[{WIDTH}] distance_metric=cosine)"
        )

    def write(self, first: int) -> None:
        """Writes the vectors from a number on, in place of earlier ones."""
        with self.base:
            self.base.execute("delete from v where id >= ? and id < ?", (first, first + BATCH))
            rows = ((first + n, n % 5.0, one.tobytes()) for n, one in enumerate(vectors(first)))
            self.base.executemany("insert into v values (?, ?, ?)", rows)

    def nearest(self, vector: np.ndarray, where: bool) -> int:
        """How many are found."""
        condition = "and thickness <= 2" if where else ""
        text = f"select id from v where v match ? and k = {COUNT} {condition}"
        return len(self.base.execute(text, (vector.tobytes(),)).fetchall())

    def count(self) -> int:
        """Rows that are stored."""
        return self.base.execute("select count(*) from v").fetchone()[0]


STORES: dict[str, Any] = {"LanceDB": Lance, "Milvus Lite": Milvus, "DuckDB": Duck, "SQLite with sqlite-vec": SqliteVec}


def child(name: str, place: Path, task: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "benchmarks.archive_stores", "--folder", str(place), "--child", name, task]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_child(name: str, place: Path, task: str) -> None:
    store = STORES[name](place)
    if task == "read":
        store.nearest(vectors(0)[0], False)
        print("read", flush=True)
    for first in range(0, 10**9, BATCH) if task == "write" else ():
        store.write(first)
        print(store.count(), flush=True)


def seconds(work: Any) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measure(name: str, folder: Path, count: int) -> dict[str, Any]:
    """One store."""
    place = folder / name.replace(" ", "-").lower()
    opened = STORES[name](place)
    written = seconds(lambda: [opened.write(first) for first in range(0, count, BATCH)])
    asked = vectors(10**7)[:7]
    plain = sorted(seconds(lambda one=one: opened.nearest(one, False)) for one in asked)[3]
    filtered = sorted(seconds(lambda one=one: opened.nearest(one, True)) for one in asked)[3]
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    reader = child(name, place, "read")
    beside = reader.communicate(timeout=300)[0].strip() == "read"
    del opened
    result = {
        "version": importlib.import_module(STORES[name].needs).__version__,
        "write_s": round(written, 2),
        "nearest_ms": round(1000 * plain, 1),
        "nearest_where_ms": round(1000 * filtered, 1),
        "mib": round(size / 2**20, 1),
        "reader_beside_writer": beside,
    }
    other = folder / "killed"
    writer = child(name, other, "write")
    assert writer.stdout is not None
    acknowledged = [writer.stdout.readline().strip() for _ in range(4)]
    if "" in acknowledged:  # it ended by itself
        return result | {"whole_after_kill": None, "why": writer.communicate()[1][-300:]}
    time.sleep(0.05)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    left = STORES[name](other).count()
    return result | {"rows_after_kill": left, "whole_after_kill": left % BATCH == 0 and left >= 4 * BATCH}


def main() -> None:
    """Measures every store that is installed, each in a process of its own, and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--child", nargs=2)
    parser.add_argument("--one")
    options = parser.parse_args()
    if options.child:
        run_child(options.child[0], options.folder, options.child[1])
        return
    if options.one:
        print("RESULT", json.dumps(measure(options.one, options.folder, options.vectors)), flush=True)
        os._exit(0)  # servers that a store started in this process do not always stop
    for name, store in STORES.items():
        if importlib.util.find_spec(store.needs) is None:
            continue
        folder = options.folder / "one"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        command = [sys.executable, "-m", "benchmarks.archive_stores", "--one", name, "--folder", str(folder)]
        command += ["--vectors", str(options.vectors)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        print(name, lines[0].removeprefix("RESULT ") if lines else done.stderr[-300:], flush=True)


if __name__ == "__main__":
    main()
