"""Receives or fetches studies, queries them, and sends the answers to the archive, until it is stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tips_med.card import BALANCED, OperatingPointName
from tips_med.deidentification import Deidentifier
from tips_med.exporters.dicom import DicomExporter
from tips_med.exporters.named import named_exporters
from tips_med.grounding import encode, ground
from tips_med.grounding.ground import adapters_of, parse_query
from tips_med.loading import open_model_at
from tips_med.readers import read_scan
from tips_med.serving.connect import open_archive
from tips_med.serving.node import Heartbeat, Node, NodeSettings, Rule


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
    plain_http_credentials: bool = False,
    dicom_rtstruct: bool = False,
    dicom_captures: bool = False,
    exporter: str | None = None,
    operating_point: OperatingPointName = BALANCED,
) -> str:
    """Receives or fetches studies, queries them, and sends the answers to the archive, until it is stopped.

    Args:
        folder: Folder of the node alone: queue, images on their way, results, audit log.
        archive: Archive that results are sent to: https://host/dicom-web, or dicom://AETITLE@host:port.
        rules: Rules: which queries for which series.
        settings: Settings: ports, callers, pauses, limits.
        model: File of weights, or tips:FOLDER; the shipped model if left out.
        device: auto, cpu or cuda.
        credentials: File with user:password, or Bearer and a token, for DICOMweb.
        ca: Certificates to trust instead of the system's, for DICOMweb (a PEM file).
        source: Archive that is searched when settings.poll is set; that of the results if left out.
        source_credentials: Credentials of the source.
        plain_http_credentials: Send credentials over plain http too, where others on the network can read them.
        dicom_rtstruct: Send the contours as an RT Structure Set, too.
        dicom_captures: Send all slices as secondary captures with the contour burnt in, too.
        exporter: Names of exporters that installed packages add, separated by commas; DICOM objects that they write are
            sent with the others.
        operating_point: Thresholds of present and absent: sensitive (fewer misses), balanced, or specific (fewer false
            alarms). See the model card for what each did on real scans.

    Returns:
        A message that it has stopped.
    """
    private = Deidentifier.from_file(folder / "deidentify.key") if settings.deidentify else None
    opened = open_model_at(model, operating_point, device)
    added = named_exporters(exporter)
    heartbeat = Heartbeat(settings.stall_s)
    parsed = {text: parse_query(text, opened) for rule in rules for text in rule.queries}

    def answer(images: Path, series_uid: str, queries: Sequence[str], out: Path) -> None:
        results = DicomExporter(
            images,
            weights_sha256=opened.sha256,
            structure_set=dicom_rtstruct,
            captures=dicom_captures,
            deidentifier=private,
        )
        scan = read_scan(images, series=series_uid)
        if private is not None:
            scan = private.scan(scan)
        results.prepare(scan)
        study = encode(scan, opened, heartbeat.beat, adapters_of([parsed[text] for text in queries], opened))
        for n, text in enumerate(queries):
            place = out / f"{n:03d}"
            place.mkdir()
            heartbeat.beat()
            answered = ground(study, parsed[text], opened)
            for each in (results, *added):
                each.export(answered, place)

    move = settings.poll.receive if settings.poll is not None else None
    options = {
        "ca": ca,
        "calling": settings.title,
        "receive": move,
        "plain_http_credentials": plain_http_credentials,
    }
    archive_of_results = open_archive(archive, credentials=credentials, **options)
    looked_through = None
    if source is not None:
        looked_through = open_archive(source, credentials=source_credentials, **options)
    place = private.uid if private is not None else str
    Node(
        folder,
        archive_of_results,
        rules,
        answer,
        settings,
        source=looked_through,
        result_study=place,
        heartbeat=heartbeat,
    ).run()
    return "stopped"
