"""A question to the server, and its answer as layers and as rows of a table. No Qt, no napari."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import map_coordinates
from tips_med_client import Answer, Client, Volume, read_nifti

from napari_tips_med.placing import KEY, index_of, sliders_at, turned, volume_of, zyx_from_index
from napari_tips_med.reading import LayerData

NOTICE = "Research use only, not a medical device"
COLUMNS = ("query", "answer", "probability", "assessed", "notes")


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        texts: One text for each of ``COLUMNS``.
        goes_to: Where napari's sliders show it, (z, y, x) in mm; None where it has no place.
        tip: The whole of it in words.
    """

    texts: tuple[str, ...]
    goes_to: tuple[float, float, float] | None
    tip: str


@dataclass(frozen=True)
class Shown:
    """What a question brings.

    Attributes:
        layers: Layers of napari.
        rows: Rows of the table: an answer, then its instances; none for the maps of words.
    """

    layers: list[LayerData]
    rows: list[Row]


def ask(client: Client, layer: Any, query: str, *, words: bool = True) -> Iterator[str | Shown]:
    """Sends the scan of a layer, if the server does not have it yet, and asks.

    Args:
        client: The server.
        layer: Image layer of a scan; gets the id of the study, so that the next question does not send it again.
        query: What is looked for, in words.
        words: Whether to fetch the maps of the words.

    Yields:
        What is being done, in words, and what came of it: the answers first, then the maps of their words.

    Raises:
        NotPlacedError: The layer does not tell where it lies in the patient.
        tips_med_client.ServerError: The server refused, or cannot be reached.
    """
    volume = volume_of(layer)
    place: dict[str, Any] = layer.metadata[KEY]
    study, order = place.get("study"), tuple(place["order"])
    if study is None or not _is_known(client, study):
        yield "Sending the scan ..."
        order = (0, 1, 2)  # the server gets it in the order in which it is shown
        modality = place.get("modality")
        study = client.upload(to_send(volume), modality=None if modality == "OT" else modality)
        yield "Encoding, once for this scan ..."
    client.wait(study)
    place.update(study=study, order=list(order))
    yield "Asking ..."
    answers = client.ask(study, query)
    given = [answer for answer in answers if answer.declined is None]
    for answer in answers:
        layers = layers_of(client, answer, volume, order) if answer in given else []
        yield Shown(layers, rows_of(answer, volume))
    for answer in given if words else []:
        for word in answer.words:
            yield Shown([word_layer(client, answer, word, volume)], [])


def to_send(volume: Volume) -> Volume:
    """The voxels as int16 where that loses nothing, else as float32."""
    voxels = volume.voxels
    if voxels.dtype != np.int16:
        whole = bool(np.isfinite(voxels).all()) and float(np.abs(voxels).max(initial=0)) < 32768
        same = whole and bool((voxels == np.rint(voxels)).all())
        voxels = voxels.astype(np.int16 if same else np.float32)
    return Volume(voxels, volume.lps_from_kji)


def layers_of(client: Client, answer: Answer, scan: Volume, order: tuple[int, ...] = (0, 1, 2)) -> list[LayerData]:
    """The layers of an answer, all with the affine of the scan.

    Args:
        client: The server.
        answer: An answer that was not declined.
        scan: The scan as it is shown.
        order: Order of the axes of the server's scan in which they are shown.

    Returns:
        What was not assessed, hidden; the instances as labels; their peaks as points.
    """
    affine = zyx_from_index(scan)
    about = {"tips_med_answer": answer.entry}
    layers: list[LayerData] = []
    hidden = on_scan(read_nifti(client.file(answer.url("not-assessed"))), scan, np.uint8)
    if hidden.any():
        options = {"name": f"{answer.query}: not assessed", "affine": affine, "visible": False, "metadata": about}
        layers.append((hidden, options | {"opacity": 0.4}, "labels"))
    labels = turned(read_nifti(client.file(answer.url("labels"))), (order[0], order[1], order[2])).voxels
    if labels.shape != scan.voxels.shape:
        raise ValueError(f"the answer has the shape {labels.shape}, the scan {scan.voxels.shape}")
    options = {"name": f"{answer.query}: {answer.presence}", "affine": affine, "opacity": 0.5, "metadata": about}
    layers.append((np.array(labels), options, "labels"))
    if answer.instances:
        peaks = np.array([index_of(scan, tuple(one["peak_lps"])) for one in answer.instances])
        features = {"instance": [one["label"] for one in answer.instances]}
        options = {"name": f"{answer.query}: peaks", "affine": affine, "features": features, "metadata": about}
        options |= {"size": 8, "symbol": "cross", "face_color": "white", "out_of_slice_display": True}
        layers.append((peaks, options, "points"))
    return layers


def word_layer(client: Client, answer: Answer, word: str, scan: Volume) -> LayerData:
    """What a word of the query lights up, hidden at first, with the affine of the scan."""
    options = {"name": f"{answer.query}: “{word}”", "affine": zyx_from_index(scan), "visible": False}
    options |= {"colormap": "inferno", "blending": "additive", "opacity": 0.7, "contrast_limits": (0.0, 1.0)}
    return on_scan(client.word(answer, word), scan, np.float16), options, "image"


def on_scan(volume: Volume, scan: Volume, kind: type[np.generic]) -> np.ndarray:
    """A volume on the grid of the scan, [k j i]; 0 where it has no value.

    Args:
        volume: Map on a grid of its own.
        scan: The scan as it is shown.
        kind: Type of the values: for an integer the nearest one is taken, else they are interpolated.
    """
    index_from_scan = np.linalg.inv(volume.lps_from_kji) @ scan.lps_from_kji
    values = np.nan_to_num(volume.voxels.astype(np.float32))
    found = np.empty(scan.voxels.shape, kind)
    degree = 0 if np.issubdtype(kind, np.integer) else 1
    j, i = np.indices(found.shape[1:], dtype=np.float64)
    for k in range(len(found)):  # one slice at a time: a scan of indices would take gigabytes
        at = [line[0] * k + line[1] * j + line[2] * i + line[3] for line in index_from_scan[:3]]
        found[k] = map_coordinates(values, at, order=degree, mode="constant", cval=0.0)
    return found


def rows_of(answer: Answer, scan: Volume) -> list[Row]:
    """An answer, and below it each of its instances."""
    if answer.declined is not None:
        return [Row((answer.query, "no answer", "", "", answer.declined), None, answer.declined)]
    entry = answer.entry
    probability = "not calibrated" if answer.probability is None else f"{answer.probability:.2f}"
    limits = [one["meaning"] for one in entry["reasons"]]
    limits += [f"not understood: {word}" for word in entry["unknown_words"]]
    limits += [f"not checked: {part}" for part in entry["unchecked"]]
    peak = None if answer.peak_lps is None else sliders_at(scan, answer.peak_lps)
    assessed = f"{100 * entry['assessed_fraction']:.0f}%"
    rows = [Row((answer.query, answer.presence, probability, assessed, "; ".join(limits)), peak, answer.sentence)]
    for one in answer.instances:
        size = f"{one['volume_ml']:.1f} ml, {one['long_axis_mm']:.0f} mm"
        place = one.get("place", one["region"])  # an older server gives the region alone
        texts = (f"  {one['label']}: {place}", size, f"{one['score']:.2f}", "", f"{one['mean_hu']:.0f} HU")
        rows.append(Row(texts, sliders_at(scan, tuple(one["peak_lps"])), f"{place}, {size}"))
    return rows


def _is_known(client: Client, study: str) -> bool:
    return any(one["id"] == study and one["state"] not in ("failed", "cancelled") for one in client.studies())
