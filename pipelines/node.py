"""Receives studies, asks them, and sends the answers to the archive, until it is stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tips_med.exporters.dicom import DicomExporter
from tips_med.grounding import encode, ground
from tips_med.grounding.ground import understand
from tips_med.models import open_model
from tips_med.readers import read_scan
from tips_med.serving.connect import open_archive
from tips_med.serving.node import Node, NodeSettings, Rule


def node(
    folder: Path,
    archive: str,
    rules: list[Rule],
    settings: NodeSettings,
    model: str | None = None,
    device: str = "auto",
    credentials: Path | None = None,
) -> str:
    """Receives studies, asks them, and sends the answers to the archive, until it is stopped.

    Args:
        folder: The node's own folder: queue, images on their way, results, audit log.
        archive: Where results go: https://host/dicom-web, or dicom://AETITLE@host:port.
        rules: Which series are asked what.
        settings: How it listens, who may call, how patient it is.
        model: A file of weights, or tips:FOLDER; the shipped model if left out.
        device: auto, cpu or cuda.
        credentials: A file with user:password, or Bearer and a token, for DICOMweb.

    Returns:
        That it has stopped, in words.
    """
    opened = open_model(model, device)
    asked = {text: understand(text, opened) for rule in rules for text in rule.queries}

    def answer(images: Path, series_uid: str, queries: Sequence[str], out: Path) -> None:
        exporter = DicomExporter(images, weights_sha256=opened.sha256)
        scan = read_scan(images, series=series_uid)
        exporter.prepare(scan)
        study = encode(scan, opened)
        for n, text in enumerate(queries):
            place = out / f"{n:03d}"
            place.mkdir()
            exporter.export(ground(study, asked[text], opened), place)

    results = open_archive(archive, credentials=credentials, calling=settings.title)
    Node(folder, results, rules, answer, settings).run()
    return "stopped"
