"""Receives or fetches studies, asks them, and sends the answers to the archive, until it is stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tips_med.deidentification import Deidentifier
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
    ca: Path | None = None,
    source: str | None = None,
    source_credentials: Path | None = None,
) -> str:
    """Receives or fetches studies, asks them, and sends the answers to the archive, until it is stopped.

    Args:
        folder: The node's own folder: queue, images on their way, results, audit log.
        archive: Where results go: https://host/dicom-web, or dicom://AETITLE@host:port.
        rules: Which series are asked what.
        settings: How it listens, who may call, how patient it is.
        model: A file of weights, or tips:FOLDER; the shipped model if left out.
        device: auto, cpu or cuda.
        credentials: A file with user:password, or Bearer and a token, for DICOMweb.
        ca: Certificates to trust instead of the system's, for DICOMweb (a PEM file).
        source: The archive that is looked through when settings.poll says so; that of the results if left out.
        source_credentials: Credentials of the source.

    Returns:
        That it has stopped, in words.
    """
    private = Deidentifier.from_file(folder / "deidentify.key") if settings.deidentify else None
    opened = open_model(model, device)
    asked = {text: understand(text, opened) for rule in rules for text in rule.queries}

    def answer(images: Path, series_uid: str, queries: Sequence[str], out: Path) -> None:
        exporter = DicomExporter(images, weights_sha256=opened.sha256, deidentifier=private)
        scan = read_scan(images, series=series_uid)
        if private is not None:
            scan = private.scan(scan)
        exporter.prepare(scan)
        study = encode(scan, opened)
        for n, text in enumerate(queries):
            place = out / f"{n:03d}"
            place.mkdir()
            exporter.export(ground(study, asked[text], opened), place)

    results = open_archive(archive, credentials=credentials, ca=ca, calling=settings.title)
    looked_through = None
    if source is not None:
        looked_through = open_archive(source, credentials=source_credentials, ca=ca, calling=settings.title)
    place = private.uid if private is not None else str
    Node(folder, results, rules, answer, settings, source=looked_through, result_study=place).run()
    return "stopped"
