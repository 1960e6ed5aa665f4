"""Configurations by name: what ships with the package, found in a wheel and in a source checkout alike."""

from __future__ import annotations

from pathlib import Path

from tips_med.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent
_ROOTS = (_PACKAGE / "radiology_configs", _PACKAGE.parent / "radiology_configs")
"""In an installed wheel the configurations lie inside the package, in a source checkout beside it."""


def config_names(kind: str) -> tuple[str, ...]:
    """Lists the configurations of one kind.

    Args:
        kind: A folder of ``radiology_configs`` (``lexicons``), or an empty string for its top.

    Returns:
        The names, sorted, without ``.yaml``; empty when there is no such kind.
    """
    return tuple(sorted({file.stem for root in _ROOTS for file in (root / kind).glob("*.yaml")}))


def config_path(kind: str, name: str) -> Path:
    """Finds a configuration that ships with the package.

    Args:
        kind: A folder of ``radiology_configs`` (``lexicons``), or an empty string for its top.
        name: A name as listed by ``config_names``; never a path.

    Returns:
        The YAML file.

    Raises:
        ConfigError: If no configuration of that kind has that name; the known names are listed.
    """
    # Looked up among the known names, so that no part of a path can come in through the name.
    known = config_names(kind)
    if name not in known:
        raise ConfigError(
            f"no configuration {name!r}" + (f" among the {kind}" if kind else ""),
            expected=f"one of {', '.join(known)}" if known else "a configuration that ships with tips_med",
            remedy="" if known else "reinstall tips_med: its configurations are missing",
            code="unknown-config",
        )
    return next(path for root in _ROOTS if (path := root / kind / f"{name}.yaml").is_file())
