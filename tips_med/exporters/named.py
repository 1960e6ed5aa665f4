"""Exporters by name: those for viewers, and those that installed packages add."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from tips_med.errors import ConfigError
from tips_med.exporters.base import Exporter
from tips_med.plugins import load_plugin, plugin_names

VIEWERS: Mapping[str, str] = {
    "itk-snap": "ItkSnapExporter",
    "niivue": "NiivueExporter",
    "slicer": "SlicerExporter",
}
"""Exporters of ``tips_med.exporters.viewer_labels``, by the viewer that opens their files; imported when asked for."""


def named_exporters(names: str | None) -> tuple[Exporter, ...]:
    """The exporters of some names: of viewers, or of entry points of the group ``tips_med.exporters``.

    Args:
        names: Names separated by commas; None for none. One that is given twice is taken once.

    Raises:
        ConfigError: ``unknown-plugin`` or ``broken-plugin``.
    """
    wanted = dict.fromkeys(name.strip() for name in (names or "").split(","))
    return tuple(_named(name) for name in wanted if name)


def _named(name: str) -> Exporter:
    added = plugin_names("exporters")
    if name in VIEWERS and name in added:
        raise ConfigError(
            f"an installed package adds an exporter {name!r}, which is the name of one of tips_med",
            remedy="remove that package",
            code="broken-plugin",
        )
    if name not in VIEWERS and name not in added:
        raise ConfigError(
            f"there is no exporter {name!r}",
            expected=f"one of {', '.join(sorted({*VIEWERS, *added}))}",
            remedy="choose one of these, or install the package that has it in its entry points tips_med.exporters",
            code="unknown-plugin",
        )
    make: Callable[[], Any]
    if name in VIEWERS:
        make = getattr(import_module("tips_med.exporters.viewer_labels"), VIEWERS[name])
    else:
        make = load_plugin("exporters", name)
    exporter = make()
    if not isinstance(exporter, Exporter):
        raise ConfigError(
            f"{name!r} of the entry points tips_med.exporters gives {type(exporter).__name__}",
            expected="a class that derives from tips_med.exporters.base.Exporter",
            code="broken-plugin",
        )
    return exporter
