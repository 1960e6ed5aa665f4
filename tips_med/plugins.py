"""What installed packages add: exporters, encoders, findings, metrics and lexicons, by Python entry points.

A package names its addition in its own ``pyproject.toml``, and after ``pip install`` the command line, the node and
``train`` know it by that name:

    [project.entry-points."tips_med.exporters"]
    csv = "my_package:CsvExporter"

Only what is requested by name is imported, except findings and metrics, which are all imported where all are used.
See https://packaging.python.org/en/latest/specifications/entry-points/.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from tips_med.errors import ConfigError

Group = Literal["exporters", "encoders", "findings", "metrics", "lexicons"]


def plugin_names(group: Group) -> tuple[str, ...]:
    """The names that installed packages add to a group, sorted."""
    return tuple(sorted(_entry_points(group)))


def load_plugin(group: Group, name: str) -> Any:
    """Imports what a package added under a name.

    Raises:
        ConfigError: ``unknown-plugin``: no installed package adds it; ``broken-plugin``: its module cannot be imported.
    """
    known = _entry_points(group)
    if name not in known:
        raise ConfigError(
            f"no installed package adds {name!r} to {group}",
            expected=f"one of {', '.join(sorted(known))}" if known else "a package with an entry point of this name",
            remedy=f"install the package that has it in its entry points tips_med.{group}",
            code="unknown-plugin",
        )
    entry = known[name]
    try:
        return entry.load()
    except Exception as error:  # somebody else's module may raise anything while it is imported
        package = entry.dist.name if entry.dist is not None else entry.module
        raise ConfigError(
            f"{name!r}, which the package {package} adds to {group}, cannot be imported "
            f"({type(error).__name__}: {error})",
            remedy=f"fix or remove {package}",
            code="broken-plugin",
        ) from error


def load_plugins(group: Group) -> dict[str, Any]:
    """Imports everything that installed packages add to a group, by name.

    Raises:
        ConfigError: See ``load_plugin``.
    """
    return {name: load_plugin(group, name) for name in plugin_names(group)}


def _entry_points(group: Group) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=f"tips_med.{group}"):
        if entry.name in found and found[entry.name].value != entry.value:
            raise ConfigError(
                f"two packages add {entry.name!r} to {group}: {found[entry.name].value} and {entry.value}",
                remedy="remove one of them",
                code="broken-plugin",
            )
        found[entry.name] = entry
    return found
