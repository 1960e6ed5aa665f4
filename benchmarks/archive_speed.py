"""How long a search of an archive takes, and how large it is, for 1,000 to 1,000,000 simulated studies.

    python -m benchmarks.archive_speed ARCHIVE --folder SCRATCH [--sizes 1000 10000 100000 1000000] [--write]

ARCHIVE is one that ``tips-med index`` made of real scans: every simulated study is drawn from a study of it. What is
simulated: evidence of all terms and places is that of the drawn study with normal noise of 0.5 logits; a vector is one
of its vectors with normal noise of length 0.1, made a unit again; thickness and year are drawn at random. Up to
``--whole`` studies (1,000) store as many vectors as real ones do, larger archives store ``--vectors`` (4) of them, so
that they fit the disk; instances are left out. Times are of the index alone, in a process that has searched before:
opening and asking the best studies comes on top, and does not depend on the number of studies.
``--write`` keeps the result in docs/measurements/archive_speed.json and draws docs/images/archive-speed.png.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa

from tips_med.archive.conditions import parse_condition
from tips_med.archive.lance import LanceStore, table_schema
from tips_med.archive.places import HEIGHTS, SIDES
from tips_med.archive.ranking import rank
from tips_med.archive.record import StudyRecord
from tips_med.loading import open_model

DOCS = Path(__file__).resolve().parents[1] / "docs"
CONDITION = "thickness_mm <= 2 and date >= 2024"
ROWS = 20_000
REPEATS = 15


def simulated(sources: list[StudyRecord], about: Any, first: int, count: int, vectors: int | None) -> pa.Table:
    """Rows of simulated studies."""
    rng = np.random.default_rng(first)
    drawn = rng.integers(len(sources), size=count)
    columns: dict[str, Any] = {}
    columns["key"] = pa.array([f"{n:032x}" for n in range(first, first + count)])
    columns["modality"] = pa.array(["CT"] * count)
    columns["thickness_mm"] = pa.array(rng.choice([0.625, 1.0, 1.25, 2.0, 2.5, 3.0, 5.0], count).astype(np.float32))
    columns["slices"] = pa.array(rng.integers(40, 600, count).astype(np.int32))
    columns["year"] = pa.array(rng.integers(2010, 2027, count).astype(np.int32))
    for name in ("known", "whole"):
        flags = np.stack([np.packbits(getattr(one, name)) for one in sources])[drawn]
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(flags.ravel()), flags.shape[1])
    for term in about.terms:
        stored = np.stack([one.evidence[term] for one in sources])[drawn]
        stored = stored + rng.normal(0, 0.5, stored.shape)
        for n, side in enumerate(SIDES):
            values = stored[:, n].astype(np.float32).ravel()
            columns[f"{term}__{side}"] = pa.FixedSizeListArray.from_arrays(pa.array(values), len(HEIGHTS))
    schema = table_schema(about)
    columns["instances"] = pa.array([[]] * count, type=schema.field("instances").type)
    number = [len(sources[n].vectors) if vectors is None else vectors for n in drawn]
    offsets = pa.array(np.concatenate([[0], np.cumsum(number)]).astype(np.int32))
    chosen = [rng.permutation(len(sources[n].vectors))[:k] for n, k in zip(drawn, number)]
    directions = np.concatenate([sources[n].vectors.directions[some] for n, some in zip(drawn, chosen)])
    directions = directions + rng.normal(0, 0.1 / about.width**0.5, directions.shape).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(directions.astype(np.float16).ravel()), about.width)
    columns["directions"] = pa.ListArray.from_arrays(offsets, flat)
    for name in ("lengths", "sides", "heights"):
        values = np.concatenate([getattr(sources[n].vectors, name)[some] for n, some in zip(drawn, chosen)])
        columns[name] = pa.ListArray.from_arrays(offsets, pa.array(values))
    places = np.concatenate([sources[n].vectors.lps[some] for n, some in zip(drawn, chosen)])
    three = pa.array(np.asarray(offsets) * 3, pa.int32())
    columns["lps"] = pa.ListArray.from_arrays(three, pa.array(places.ravel()))
    return pa.table([columns[name] for name in schema.names], schema=schema)


def timed(work: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds of repeated calls, after one that is not counted."""
    work()
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - begun))
    return {"median_ms": round(float(np.median(times)), 1), "slowest_ms": round(max(times), 1)}


def nearest_exactly(store: LanceStore, direction: np.ndarray, count: int) -> list[str]:
    """The nearest studies, every vector compared."""
    table = store._table
    assert table is not None
    best: list[tuple[float, str]] = []
    for batch in table.search().select(["key", "directions"]).to_batches(batch_size=ROWS):
        nested = batch.column("directions")
        width = nested.type.value_type.list_size
        flat = nested.flatten().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
        cosine = flat.astype(np.float32) @ direction
        highest = np.maximum.reduceat(cosine, np.asarray(nested.offsets)[:-1] - np.asarray(nested.offsets)[0])
        some = np.argsort(-highest)[:count]
        best += [(float(highest[n]), batch.column("key")[int(n)].as_py()) for n in some]
        best = sorted(best, reverse=True)[:count]
    return [key for _, key in best]


def measure(
    size: int, sources: list[StudyRecord], about: Any, folder: Path, whole: int, vectors: int
) -> dict[str, Any]:
    """Writes an archive of a size, and searches it."""
    model = open_model(None)
    place = folder / str(size)
    shutil.rmtree(place, ignore_errors=True)
    base = lancedb.connect(place)
    begun = time.perf_counter()
    few = None if size <= whole else vectors
    table = None
    for first in range(0, size, ROWS):
        rows = simulated(sources, about, first, min(ROWS, size - first), few)
        if table is None:
            table = base.create_table("studies", rows)
        else:
            table.add(rows)
    result: dict[str, Any] = {"studies": size, "write_s": round(time.perf_counter() - begun, 1)}
    store = LanceStore(str(place))
    begun = time.perf_counter()
    store.maintain()
    result["maintain_s"] = round(time.perf_counter() - begun, 1)
    size_bytes = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    result["kib_per_study"] = round(size_bytes / size / 1024, 2)
    result["vectors_per_study"] = (
        round(float(np.mean([len(one.vectors) for one in sources])), 0) if few is None else few
    )
    condition = parse_condition(CONDITION)
    words = {"ground-glass opacity left lung": None, "lesion in the upper third of the right lung": None}
    for text in words:
        query = model.lexicon.parse(text)
        result[text] = timed(lambda query=query: rank(store, query, model, 20))
    query = model.lexicon.parse("ground-glass opacity left lung")
    result["the first, where " + CONDITION] = timed(lambda: rank(store, query, model, 20, condition))
    rng = np.random.default_rng(1)
    directions = [one.vectors.directions[rng.integers(len(one.vectors))] for one in sources[:10]]
    turn = iter(range(10**6))
    result["more like this"] = timed(lambda: store.nearest(directions[next(turn) % len(directions)], 60))
    result["more like this, where " + CONDITION] = timed(lambda: store.nearest(directions[0], 60, condition))
    shares = []
    for direction in directions[:4]:
        exact = nearest_exactly(store, direction, 10)
        found = [key for key, _ in store.nearest(direction, 60)]
        shares.append(len(set(exact) & set(found)) / 10)
    result["more like this, recall of the exact first 10 among 60"] = round(float(np.mean(shares)), 3)
    shutil.rmtree(place)
    return result


def draw(result: dict[str, Any], path: Path) -> None:
    """Milliseconds by the number of studies."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    names = [name for name, value in result["sizes"][0].items() if isinstance(value, dict)]
    with mpl.rc_context(mpl.rcParamsDefault):
        figure = Figure(figsize=(7.5, 4), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        for name, marker in zip(names, "osd^v"):
            points = [(one["studies"], one[name]["median_ms"]) for one in result["sizes"] if name in one]
            axes.plot(*zip(*points), marker=marker, label=name)
        axes.set(xscale="log", yscale="log", xlabel="studies (simulated)", ylabel="milliseconds, median")
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)
        figure.savefig(path, metadata={"Software": None})


def main() -> None:
    """Measures, prints, and keeps the result when requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--whole", type=int, default=1_000)
    parser.add_argument("--vectors", type=int, default=4)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    source = LanceStore(options.archive)
    records = list(source.records(sorted(source.keys())).values())
    result: dict[str, Any] = {
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_when_it_began": round(os.getloadavg()[0], 1),
        "drawn_from": len(records),
        "lancedb": lancedb.__version__,
        "sizes": [],
    }
    for size in options.sizes:
        one = measure(size, records, source.about, options.folder, options.whole, options.vectors)
        print(json.dumps(one, indent=1), flush=True)
        result["sizes"] = sorted([*result["sizes"], one], key=lambda each: each["studies"])
        if options.write:
            (DOCS / "measurements" / "archive_speed.json").write_text(json.dumps(result, indent=1) + "\n")
            draw(result, DOCS / "images" / "archive-speed.png")


if __name__ == "__main__":
    main()
