"""How well an archive's index ranks, against asking every study, and how well the answers fit what is known.

    python -m benchmarks.archive_recall --real STUDIES --painted STUDIES --data DATA --manifest PAINTED/manifest.csv
        --cache FOLDER [--write]

``--real`` and ``--painted`` are folders of encoded studies (``tips-med encode``), named like the folders of DATA and
the scans of the manifest. DATA has presence.csv and the labels that ``radiology_configs/pretrain_chest_ct.yaml`` names.
Every query is asked of each study exactly, and each is indexed. What is done is kept in the cache, so that a stopped
run goes on. ``--write`` keeps the result in docs/measurements/archive_recall.json and draws
docs/images/archive-recall.png.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import ndimage

from benchmarks.real_scans import labels as read_labels
from tips_med.archive.describe import about_archive, describe
from tips_med.archive.lance import LanceStore
from tips_med.archive.ranking import rank
from tips_med.archive.record import About
from tips_med.archive.vectors import directions, region_means, region_vector
from tips_med.configs import config_path
from tips_med.encoders.study import EncodedStudy
from tips_med.errors import QueryError
from tips_med.geometry import transform_points
from tips_med.grounding.ground import assess
from tips_med.loading import open_model
from tips_med.manifest import read_manifest
from tips_med.metrics import RetrievalLocalization, RetrievalMeanAveragePrecision, RetrievalRecall, peak_in_mask
from tips_med.model import GroundingModel

DOCS = Path(__file__).resolve().parents[1] / "docs"
PLACES = ("", "left lung", "upper third of the right lung", "left lower lobe")
ATTRIBUTES = ("spiculated mass", "part-solid nodule", "ground-glass nodule", "solid lesion right lung")
KS = (1, 3, 5, 10)
RADIUS_MM = 15.0
REGIONS = 24
SECRET = bytes(32)
WORDS_OPENED, LIKE_OPENED = 2, 3
"""Number of studies, in units of those wanted, that a search opens at most."""


def queries(model: GroundingModel) -> list[str]:
    """Every finding anywhere and in some places, and findings with an attribute."""
    names = [model.lexicon.term(term).name for term in model.card.findings]
    return [f"{name} {place}".strip() for name in names for place in PLACES] + list(ATTRIBUTES)


def outlined(name: str, data: Path, manifest: Path, model: GroundingModel) -> dict[str, Any]:
    """Masks by finding on the study's own scan, from the manifest or from DATA; and what is known to be there."""
    found: dict[str, Any] = {"masks": {}, "state": {}}
    rows = [row for row in read_manifest(manifest) if row.scan.name.split(".")[0] == name] if manifest else []
    for row in rows:
        query = model.lexicon.parse(row.phrase)
        if query.finding is None or query.negated:
            continue
        present = row.resolved(query.negated) == "present"
        term = query.finding.id
        if query.side is None and not query.locations and not query.attributes:
            found["state"].setdefault(term, present)
        if present:
            found["state"][term] = True
            if row.mask is not None:
                mask = read_labels(row.mask) > 0
                found["masks"][term] = found["masks"].get(term, False) | mask
    return found if rows else _known_of_real(name, data)


def _known_of_real(name: str, data: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"masks": {}, "state": {}}
    sides: dict[str, list[str]] = {}
    with (data / "presence.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["case"] == name:
                sides.setdefault(row["finding"], []).append(row["state"])
    for finding, states in sides.items():
        if "present" in states:
            found["state"][finding] = True
        elif set(states) == {"absent"}:
            found["state"][finding] = False
    config = yaml.safe_load(config_path("", "pretrain_chest_ct").read_text())
    for case in config["cases"]:
        if case["name"] == name and "votes" in case:
            found["masks"]["lesion"] = read_labels(data / case["votes"]) >= case["outlined_from"]
            found["state"]["lesion"] = True
    return found


def ask(path: Path, asked: list[str], model: GroundingModel, known: dict[str, Any], cache: Path) -> dict[str, Any]:
    """Exact answers of one study, by query: known, probability, peak, and whether that is in the outline."""
    kept = cache / f"{path.parent.name}-{path.stem}.json"
    if kept.is_file():
        return json.loads(kept.read_text())
    study = EncodedStudy.load(path)
    answers = {}
    for text in asked:
        query = model.lexicon.parse(text)
        found = assess(study, query, model)
        coverage = found.regions["searched"].coverage
        peak = [float(v) for v in transform_points(found.lps_from_heat, np.array(found.peak))[0]]
        mask = known["masks"].get(query.finding.id) if query.finding else None
        inside = None
        if mask is not None and mask.shape == study.scan.shape:
            inside = peak_in_mask(peak, mask, study.scan.lps_from_kji)
        probability = found.decision.score if found.decision.probability is None else found.decision.probability
        answers[text] = [coverage.side_known and coverage.height_known, probability, peak, inside]
    regions = []
    for term, mask in known["masks"].items():
        pieces, count = ndimage.label(mask)
        for label in (np.argsort(-np.bincount(pieces.ravel())[1:])[:2] + 1).tolist() if count else []:
            index = np.array(ndimage.center_of_mass(pieces == label))
            regions.append([term, [float(v) for v in transform_points(study.scan.lps_from_kji, index)[0]]])
    result = {"answers": answers, "regions": regions, "state": known["state"]}
    kept.write_text(json.dumps(result))
    return result


def overlap(index: list[str], exact: list[str], k: int, opened: int = 1) -> float:
    """Share of the exact first k that are among the index's first k, or among those that a search for k opens."""
    return len(set(index[: k * opened]) & set(exact[:k])) / min(k, len(exact))


def measure(paths: list[Path], data: Path, manifest: Path, cache: Path, model: GroundingModel, name: str) -> dict:
    """All figures of one set of studies."""
    asked = queries(model)
    exact: dict[str, dict[str, Any]] = {}
    place, names = cache / f"{name}.archive", cache / f"{name}.keys.json"
    store = LanceStore(str(place), create=True)
    stem_of: dict[str, str] = json.loads(names.read_text()) if names.is_file() else {}
    for path in paths:
        exact[path.stem] = ask(path, asked, model, outlined(path.stem, data, manifest, model), cache)
    for path in paths:
        if path.stem in stem_of.values():
            continue
        study = EncodedStudy.load(path)
        about = store.about or about_archive(study, model)
        record = describe(study, model, about, SECRET)
        stem_of[record.key] = path.stem
        store.put(record, about)
        names.write_text(json.dumps(stem_of))
        print(name, path.stem, len(record.vectors), flush=True)
    store.maintain()
    about = store.about
    assert about is not None
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) / len(paths)
    result: dict[str, Any] = {"studies": len(paths), "kib_per_study": round(size / 1024, 1)}
    kinds: dict[str, list[list[float]]] = {"known terms": [], "with an attribute": [], "with an attribute, opened": []}
    for text in asked:
        query = model.lexicon.parse(text)
        ranked = [stem_of[one.key] for one in rank(store, query, model, len(paths)).candidates]
        order = sorted(exact, key=lambda stem: tuple(exact[stem]["answers"][text][:2]), reverse=True)
        kind = "with an attribute" if text in ATTRIBUTES else "known terms"
        kinds[kind].append([overlap(ranked, order, k) for k in KS])
        if text in ATTRIBUTES:
            kinds[f"{kind}, opened"].append([overlap(ranked, order, k, WORDS_OPENED) for k in KS])
    kinds |= alike(paths, exact, store, about, model, stem_of)
    for kind, rows in kinds.items():
        mean = np.mean(rows, axis=0)
        result[kind] = {"queries": len(rows)} | {f"recall@{k}": round(float(v), 4) for k, v in zip(KS, mean)}
    result["against what is known"] = against_truth(exact, model)
    return result


def alike(
    paths: list[Path],
    exact: dict[str, dict[str, Any]],
    store: LanceStore,
    about: About,
    model: GroundingModel,
    stem_of: dict[str, str],
) -> dict[str, list[list[float]]]:
    """The index's nearest studies to regions of outlined findings, against comparing every patch of every study."""
    centre = np.array(about.centre, np.float32)
    asked: list[tuple[str, str, np.ndarray]] = []
    cosines: dict[str, list[float]] = {}
    for path in paths:
        study = EncodedStudy.load(path)
        for term, at in exact[path.stem]["regions"]:
            try:
                vector = region_vector(study, (at[0], at[1], at[2]), RADIUS_MM, model)
            except QueryError:
                continue
            asked.append((path.stem, term, directions(vector[None], centre)[0][0]))
    rng = np.random.default_rng(0)
    asked = [asked[n] for n in sorted(rng.permutation(len(asked))[:REGIONS])]
    towards = np.array([direction for *_, direction in asked]).T
    for path in paths:
        means, valid = region_means(EncodedStudy.load(path), RADIUS_MM, model)
        moved = means[valid] - centre
        moved /= np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-6)
        cosines[path.stem] = (moved @ towards).max(axis=0).tolist()
    rows: dict[str, list[list[float]]] = {"more like this": [], "more like this, opened": []}
    for n, (own, _, direction) in enumerate(asked):
        order = sorted((stem for stem in cosines if stem != own), key=lambda stem: -cosines[stem][n])
        ranked = [stem_of[key] for key, _ in store.nearest(direction, len(paths)) if stem_of[key] != own]
        rows["more like this"].append([overlap(ranked, order, k) for k in KS])
        rows["more like this, opened"].append([overlap(ranked, order, k, LIKE_OPENED) for k in KS])
    return rows


def against_truth(exact: dict[str, dict[str, Any]], model: GroundingModel) -> dict[str, Any]:
    """Retrieval measures of the final ranking, one query a finding, among the scans whose truth is known."""
    recall, precision = RetrievalRecall(k=KS), RetrievalMeanAveragePrecision()
    places = RetrievalLocalization(k=KS)
    chance = []
    for term in model.card.findings:
        text = model.lexicon.term(term).name
        known = {stem: one["answers"][text] for stem, one in exact.items() if term in one["state"]}
        relevant = np.array([exact[stem]["state"][term] for stem in known], bool)
        scores = np.array([answer[0] + answer[1] for answer in known.values()])
        inside = np.array([bool(answer[3]) for answer in known.values()])
        outline = relevant & np.array([answer[3] is not None for answer in known.values()], bool)
        if known:
            places.update(scores, outline, inside)
        if not relevant.any() or relevant.all():
            continue
        recall.update(scores, relevant)
        precision.update(scores, relevant)
        chance.append(relevant.mean())
    values = {**recall.compute(), **precision.compute(), **places.compute()}
    return {
        "queries": precision.cases,
        "queries with outlines": places.cases,
        "share of relevant scans": round(float(np.mean(chance)), 3) if chance else None,
        **{name: round(float(value), 3) for name, value in values.items()},
    }


def draw(result: dict[str, Any], path: Path) -> None:
    """Recall of the index by k."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(mpl.rcParamsDefault):
        figure = Figure(figsize=(9, 3.6), dpi=110, layout="constrained")
        for n, (name, one) in enumerate(result["sets"].items()):
            axes = figure.add_subplot(1, len(result["sets"]), n + 1)
            for kind, marker in (("known terms", "o"), ("with an attribute", "s"), ("more like this", "^")):
                values = [one[kind][f"recall@{k}"] for k in KS]
                axes.plot(KS, values, marker=marker, label=f"{kind} ({one[kind]['queries']})")
            axes.axhline(0.98, color="grey", linewidth=0.8, linestyle="--")
            axes.set(title=f"{name}, {one['studies']} studies", xlabel="k", xticks=KS, ylim=(0, 1.03))
            axes.set_ylabel("recall@k of the index alone")
            axes.legend(loc="lower right", fontsize=8, title="queries", title_fontsize=8)
            axes.grid(alpha=0.3)
        figure.savefig(path, metadata={"Software": None})


def main() -> None:
    """Measures, prints, and keeps the result when requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--painted", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--only", choices=["real", "painted"], help="measure one of the sets, and keep it in the cache")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    model = open_model(None)
    sets = {}
    for name, folder in (("real", options.real), ("painted", options.painted)):
        paths = sorted(folder.glob("*.safetensors"))
        manifest = options.manifest if name == "painted" else None
        kept = options.cache / f"{name}.result.json"
        if options.only in (None, name) and not kept.is_file():
            kept.write_text(json.dumps(measure(paths, options.data, manifest, options.cache, model, name)))
        if kept.is_file():
            sets[name] = json.loads(kept.read_text())
    result = {
        "model": model.identity,
        "radius_mm": RADIUS_MM,
        "sets": sets,
    }
    print(json.dumps(result, indent=1))
    if options.write:
        (DOCS / "measurements" / "archive_recall.json").write_text(json.dumps(result, indent=1) + "\n")
        draw(result, DOCS / "images" / "archive-recall.png")


if __name__ == "__main__":
    main()
