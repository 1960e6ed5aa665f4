"""All checks, each of which may fail without stopping the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tips_med.doctor import machine, packages, places
from tips_med.doctor.examination import Check, Examination, in_words
from tips_med.progress import StepFactory, no_progress


def examine(
    model: str | None = None, device: str = "auto", *, probe_speed: bool = True, steps: StepFactory = no_progress
) -> Examination:
    """Examines the installation, the machine and a model.

    Args:
        model: As ``open_model`` takes it; the shipped model if left out.
        device: ``auto``, ``cpu`` or ``cuda``.
        probe_speed: Whether to time the image tower (a few seconds).
        steps: Progress of the work.
    """
    checks: list[Check] = []
    with steps("looking at packages"):
        checks += _looked("versions", "tips_med", packages.own_version)
        checks += _looked("versions", "Python", packages.python_version)
        checks += _looked("versions", "packages", packages.packages)
        broken = _looked("versions", "imports", packages.imports)
        checks += broken
        checks += _looked("device", "system", machine.system)
        checks += _looked("device", "memory", machine.memory)
        if not broken:  # these need torch, and would only tell the same again
            checks += _looked("device", "processor", machine.processor)
            checks += _looked("device", "GPU", machine.graphics)
        checks += _looked("extras", "extras", packages.extras)
    if not broken:
        with steps("loading the model"):
            checks += _looked("model", "weights", lambda: _model(model, device, probe_speed))
    checks += _looked("files", "temporary folder", places.temporary)
    checks += _looked("files", "cache", places.cache)
    return Examination(tuple(checks))


def _model(name: str | None, device: str, probe_speed: bool) -> list[Check]:
    from tips_med.doctor.model import language, weights
    from tips_med.doctor.speed import speed

    found, model = weights(name, device)
    if model is None:
        return [found]
    return [found, language(model), *(_looked("speed", "bfloat16", lambda: speed(model)) if probe_speed else ())]


def _looked(topic: str, name: str, look: Callable[[], Check | Iterable[Check]]) -> list[Check]:
    try:
        found = look()
    except Exception as error:  # an installation that is broken raises anything, and the rest is still worth telling
        advice = "install tips-med again, into a new environment; if it stays, report this line"
        return [Check(topic, name, "fault", f"could not be looked at ({in_words(error)})", advice)]
    return [found] if isinstance(found, Check) else list(found)
