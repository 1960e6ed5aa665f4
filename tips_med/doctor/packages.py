"""Versions, and the extras that are installed."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module, metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import tips_med
from tips_med.doctor.examination import Check, in_words
from tips_med.extras import EXTRAS

DISTRIBUTION = "tips-med"
_PARTS = ("readers", "grounding", "exporters.folder", "loading")
"""Modules of tips_med that an answer goes through; they import every package that it needs."""

VersionOf = Callable[[str], str]
"""Version of an installed distribution; raises ``PackageNotFoundError``."""


def own_version(version_of: VersionOf = metadata.version) -> Check:
    """The version of tips_med: that of the code, and that which was installed."""
    code, data = tips_med.__version__, {"version": tips_med.__version__}
    try:
        installed = version_of(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return Check(
            "versions",
            "tips_med",
            "hint",
            f"{code}, not installed",
            "install it, so that its packages can be checked: pip install tips-med",
            data,
        )
    if installed != code:
        return Check(
            "versions",
            "tips_med",
            "fault",
            f"{code} is imported, {installed} is installed",
            "remove one of the two: pip uninstall tips-med, then install it again",
            data | {"installed": installed},
        )
    return Check("versions", "tips_med", "ok", code, data=data)


def python_version(wanted: str | None = None, version: str | None = None) -> Check:
    """The version of Python.

    Args:
        wanted: Specifier of the versions that fit; that of the installed package if left out.
        version: Version that runs; that of this interpreter if left out.
    """
    version = version or platform.python_version()
    wanted = _requires_python() if wanted is None else wanted
    data = {"version": version}
    if not SpecifierSet(wanted).contains(version, prereleases=True):
        advice = f"make an environment with Python {wanted}"
        return Check("versions", "Python", "fault", f"{version}; needed is {wanted}", advice, data)
    return Check("versions", "Python", "ok", version, data=data)


def packages(requires: Sequence[str] | None = None, version_of: VersionOf = metadata.version) -> list[Check]:
    """The packages that tips_med always needs: one check for all that fit, one for each that does not.

    Args:
        requires: Requirements as in the package's metadata; those of the installed package if left out.
        version_of: Looks versions up.
    """
    found: dict[str, str] = {}
    wrong: list[Check] = []
    for need in _needs(_requires() if requires is None else requires, ""):
        version = _version(need.name, version_of)
        if version is not None and need.specifier.contains(version, prereleases=True):
            found[need.name] = version
            continue
        said = f"{version}; needed is {need.specifier}" if version else "not installed"
        advice = f"run: pip install '{need.name}{need.specifier}'"
        wrong.append(Check("versions", need.name, "fault", said, advice, {"version": version}))
    listed = ", ".join(f"{name} {version}" for name, version in found.items())
    return [*([Check("versions", "packages", "ok", listed, data={"versions": found})] if found else []), *wrong]


def imports(names: Sequence[str] = _PARTS) -> list[Check]:
    """Whether the modules that an answer goes through can be imported; only what fails is told."""
    broken: dict[str, list[str]] = {}
    for name in names:
        try:
            import_module(f"tips_med.{name}")
        except Exception as error:  # a broken binary package raises anything
            broken.setdefault(in_words(error), []).append(name)
    advice = "install the package that the error names again, or all of them into a new environment"
    return [Check("versions", f"import of {', '.join(parts)}", "fault", said, advice) for said, parts in broken.items()]


def extras(requires: Sequence[str] | None = None, version_of: VersionOf = metadata.version) -> list[Check]:
    """Each extra for users: what it is for, and whether it is installed.

    Args:
        requires: Requirements as in the package's metadata; those of the installed package if left out.
        version_of: Looks versions up.
    """
    requires = _requires() if requires is None else requires
    return [_extra(name, list(_needs(requires, name)), version_of) for name in EXTRAS]


def _extra(name: str, needs: Sequence[Requirement], version_of: VersionOf) -> Check:
    versions = {need.name: _version(need.name, version_of) for need in needs}
    data = {"brings": EXTRAS[name], "versions": versions}
    install = f"pip install '{DISTRIBUTION}[{name}]'"
    missing = [package for package, version in versions.items() if version is None]
    unfit = [
        f"{need.name} {version} is not {need.specifier}"
        for need in needs
        if (version := versions[need.name]) is not None and not need.specifier.contains(version, prereleases=True)
    ]
    if not needs:
        return Check("extras", name, "hint", f"{EXTRAS[name]}: not known to the installation", "install it again", data)
    if unfit:
        return Check("extras", name, "hint", f"{EXTRAS[name]}: {', '.join(unfit)}", f"run: {install}", data)
    if missing:  # some of them may have come with other packages
        lacks = f" (lacks {', '.join(missing)})" if len(missing) < len(needs) else ""
        found = f"{EXTRAS[name]}: not installed{lacks}"
        if name == "figures":
            return Check("extras", name, "hint", found, f"run: {install}", data)
        return Check("extras", name, "missing", found, f"to have it, run: {install}", data)
    listed = ", ".join(f"{package} {version}" for package, version in versions.items())
    return Check("extras", name, "ok", f"{EXTRAS[name]}: {listed}", data=data)


def _needs(requires: Sequence[str], extra: str) -> Iterator[Requirement]:
    """The requirements of an extra, or with an empty name those that are always needed, on this machine."""
    for text in requires:
        need = Requirement(text)
        always = need.marker is None or need.marker.evaluate({"extra": ""})
        if always == bool(extra) or (need.marker and not need.marker.evaluate({"extra": extra})):
            continue
        if canonicalize_name(need.name) == DISTRIBUTION:
            for inner in need.extras:
                yield from _needs(requires, inner)
        else:
            yield need


def _version(name: str, version_of: VersionOf) -> str | None:
    try:
        return version_of(name)
    except metadata.PackageNotFoundError:
        return None


def _requires() -> list[str]:
    try:
        return metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []


def _requires_python() -> str:
    try:
        about = metadata.metadata(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return ""
    return str(about.json.get("requires_python", ""))
