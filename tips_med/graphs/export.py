"""Writes a model as a folder of graphs with a description: for ONNX Runtime, and for ``torch.export.load``."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files as package_files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch

from tips_med.errors import MissingExtraError
from tips_med.folders import new_folder
from tips_med.graphs.description import DESCRIPTION, description_of
from tips_med.graphs.tracing import AXES, GRAPHS, Traced, trace
from tips_med.model import GroundingModel, net_of_model
from tips_med.model_files import LEXICON, README, lexicon_text
from tips_med.progress import ProgressCallback

GraphKind = Literal["onnx", "pt2"]
_SYMBOL = re.compile(r"\bs\d+\b")
OPSET = 20
"""Version of ONNX's operators: ONNX Runtime 1.17 and later have it."""


def write_graphs(model: GroundingModel, out: Path, kind: GraphKind, progress: ProgressCallback | None = None) -> Path:
    """Writes a compact model's networks as graphs, whole or not at all.

    Weights are float32 in the graphs: twice the size of the weights' file. An adapter's image graph holds the
    convolutions once more, so that each graph stands alone.

    Args:
        model: A compact model.
        out: A new or empty folder.
        kind: ``onnx`` for ONNX Runtime and others; ``pt2`` for ``torch.export.load``.
        progress: Called with (graphs written, all graphs).

    Raises:
        OutputError: ``not-empty``, or ``not-writable``.
        WeightsError: ``other-model`` for TIPS towers.
        MissingExtraError: ``tips-med[onnx]`` is not installed, for ``onnx``.
    """
    if kind == "onnx" and (lacking := [name for name in ("onnx", "onnxscript") if find_spec(name) is None]):
        raise MissingExtraError("ONNX graphs", " and ".join(lacking), "onnx", otherwise="write --to pt2")
    net = net_of_model(model)
    text = lexicon_text(model.lexicon)
    parts = [(net.image, net.text, net.head), *((one.decoder, one.text, one.head) for one in net.taught)]
    with new_folder(out) as folder:
        written: list[dict[str, Any]] = []
        for number, (decoder, words, head) in enumerate(parts):
            place = folder if number == 0 else folder / "adapters" / str(number)
            place.mkdir(parents=True, exist_ok=True)
            with _quiet():
                traced = trace(net.image, decoder, words, head)
            graphs: dict[str, Any] = {}
            for name, one in traced.items():
                file = place / f"{name}.{kind}"
                _write_graph(one, name, file, kind)
                graphs[name] = _described(file, folder, name)
                if progress:
                    progress(len(written) * len(GRAPHS) + len(graphs), len(parts) * len(GRAPHS))
            written.append(graphs)
        own = description_of(model, kind, written[0], written[1:])
        (folder / DESCRIPTION).write_text(json.dumps(own, indent=2, ensure_ascii=False) + "\n", "utf-8")
        (folder / LEXICON).write_text(text, "utf-8")
        (folder / README).write_text(_readme(model, kind), "utf-8")
    return out


def _write_graph(traced: Traced, name: str, file: Path, kind: GraphKind) -> None:
    inputs, outputs = GRAPHS[name]
    with _quiet():
        if kind == "pt2":
            torch.export.save(traced.program, file)
            return
        made = torch.onnx.export(
            traced.program, (), input_names=inputs, output_names=outputs, opset_version=OPSET, verbose=False
        )
        assert made is not None  # a graph of torch.export is always exported by way of an ONNXProgram
        file.write_bytes(_plain(made.model_proto).SerializeToString())


def _plain(graph: Any) -> Any:
    """An ONNX model without what the exporter noted of the code, and with the names of its open sizes."""
    del graph.metadata_props[:]
    names: dict[str, str] = {}
    for one in graph.graph.input:
        axes = AXES[one.name]
        for axis, size in zip(axes, one.type.tensor_type.shape.dim):
            names.update(dict.fromkeys(_SYMBOL.findall(size.dim_param), axis))
    for node in graph.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for one in (*graph.graph.input, *graph.graph.output, *graph.graph.value_info):
        one.ClearField("metadata_props")
        for size in one.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = _SYMBOL.sub(lambda found: names.get(found[0], found[0]), size.dim_param)
    for weight in graph.graph.initializer:
        weight.ClearField("metadata_props")
    del graph.graph.metadata_props[:]
    return graph


def _described(file: Path, folder: Path, name: str) -> dict[str, Any]:
    inputs, outputs = GRAPHS[name]
    return {
        "file": file.relative_to(folder).as_posix(),
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "inputs": list(inputs),
        "outputs": list(outputs),
    }


def _readme(model: GroundingModel, kind: GraphKind) -> str:
    page = package_files("tips_med.graphs").joinpath(f"configs/{kind}.md").read_text("utf-8")
    about = {
        "{name}": model.card.name,
        "{names}": ", ".join(model.names) or "whatever is asked",
        "{sha256}": model.sha256,
        "{licence}": model.card.licence or "not told",
        "{data}": "\n".join(f"- {one}" for one in model.card.data) or "- not told",
    }
    for mark, value in about.items():
        page = page.replace(mark, value)
    return page


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what PyTorch's exporters say of themselves and of optional packages from the user."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
