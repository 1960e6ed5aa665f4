"""Serves tools for assistants on standard input and output."""

from __future__ import annotations

from pathlib import Path

from tips_med.assistant import make_assistant_server
from tips_med.errors import ConfigError
from tips_med.loading import open_model


def mcp(folder: Path = Path(), model: str | None = None, device: str = "auto") -> str:
    """Serves tools for assistants (Model Context Protocol, stdio): inspect, ask, measure, list findings.

    Args:
        folder: Folder of scans; nothing outside it is read.
        model: File of weights, or tips:FOLDER; the shipped model if left out.
        device: auto, cpu or cuda.

    Returns:
        Nothing to print, since standard output belongs to the protocol.
    """
    if not folder.is_dir():
        raise ConfigError("is no folder", path=folder, expected="a folder of scans")
    make_assistant_server(open_model(model, device), folder).run("stdio")
    return ""
