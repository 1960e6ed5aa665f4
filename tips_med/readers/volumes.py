"""The volumes of a series: localizers excluded; times, echoes and reconstructions separated."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

from tips_med.errors import ReadError
from tips_med.readers.headers import SPLITTERS, Frame
from tips_med.readers.stacking import ORIENTATION_TOLERANCE

_CLOCKS = ("TriggerTime", "AcquisitionTime", "ContentTime", "FrameReferenceTime")


@dataclass(frozen=True)
class Volume:
    """Frames of one volume, and the label that distinguishes it from the series' other volumes (empty when alone)."""

    label: str
    frames: tuple[Frame, ...]


def split_volumes(frames: Sequence[Frame]) -> tuple[list[Volume], list[str]]:
    """The volumes of one series, in the order that ``phase`` counts, and notes.

    Frames that differ in size, spacing, orientation, frame of reference, kernel or stack are never one volume. Where
    positions then still repeat, the first attribute (or pair of attributes) of ``headers.SPLITTERS`` under which no
    position repeats distinguishes the volumes. Where nothing does, the frames stay together for ``build_stack`` to
    judge: they are copies, or a refusal.
    """
    notes = []
    kept = [frame for frame in frames if not frame.localizer]
    if kept and len(kept) < len(frames):
        notes.append(f"{len(frames) - len(kept)} localizer image(s) inside the series left out.")
    elif not kept:
        kept = list(frames)
    kept, more = _without_idle_attributes(kept)
    notes += more
    volumes = []
    for label, group in _by_stack(kept):
        parts = _by_attribute(group)
        volumes += [Volume(", ".join(filter(None, (label, name))), tuple(part)) for name, part in parts]
    return volumes, notes


def _without_idle_attributes(frames: list[Frame]) -> tuple[list[Frame], list[str]]:
    """Frames without the attributes that would make nearly every slice a volume of its own, and notes on them.

    An attribute that differs in every slice distinguishes no volumes: an anonymiser gave each slice a Frame of
    Reference UID, or a kernel's name carries a number. Their positions then decide whether the slices belong together.
    """
    notes = []
    for keyword in dict.fromkeys(name for frame in frames for name, _ in frame.stack):
        values = Counter(dict(frame.stack).get(keyword) for frame in frames)
        if len(values) < 3 or len(values) <= 0.5 * len(frames):
            continue
        frames = [replace(f, stack=tuple((name, text) for name, text in f.stack if name != keyword)) for f in frames]
        what = "Frame of Reference UIDs" if keyword == "FrameOfReferenceUID" else keyword
        notes.append(
            f"The {len(frames)} slices have {len(values)} different {what}: they were taken for one volume by their "
            "positions" + (", and have no frame of reference in common." if keyword == "FrameOfReferenceUID" else ".")
        )
    return frames, notes


def pick_volume(volumes: list[Volume], phase: int | None, path: Path) -> Volume:
    """The volume that ``phase`` (from 1) names, or the only one.

    Raises:
        ReadError: ``several-phases`` without a choice; ``no-such-phase``.
    """
    if phase is not None:
        if not 1 <= phase <= len(volumes):
            raise ReadError(
                f"the series holds {len(volumes)} volume(s), there is no number {phase}",
                path=path,
                expected=f"a number from 1 to {len(volumes)}",
                code="no-such-phase",
            )
        return volumes[phase - 1]
    if len(volumes) == 1:
        return volumes[0]
    listed = "; ".join(f"{n}: {v.label} ({len(v.frames)} slices)" for n, v in enumerate(volumes[:12], 1))
    more = "; ..." if len(volumes) > 12 else ""
    raise ReadError(
        f"the series holds {len(volumes)} volumes ({listed}{more})",
        path=path,
        expected="one volume",
        remedy="choose one with --phase N (phase=N)",
        code="several-phases",
    )


def _by_stack(frames: Sequence[Frame]) -> list[tuple[str, list[Frame]]]:
    groups: list[list[Frame]] = []
    buckets: dict[object, list[int]] = defaultdict(list)
    for frame in frames:
        layout = frame.layout
        exact = (frame.stack, layout.rows if layout else 0, layout.columns if layout else 0)
        for index in buckets[exact]:
            if _same_plane(groups[index][0], frame):
                groups[index].append(frame)
                break
        else:
            buckets[exact].append(len(groups))
            groups.append([frame])
    groups.sort(key=lambda group: -len(group))
    if len(groups) == 1:
        return [("", groups[0])]
    return [(_differences([g[0] for g in groups], group[0]), group) for group in groups]


def _same_plane(a: Frame, b: Frame) -> bool:
    return _near(a.orientation, b.orientation, ORIENTATION_TOLERANCE) and _near(
        a.pixel_spacing_mm, b.pixel_spacing_mm, 1e-4
    )


def _near(a: Sequence[float] | None, b: Sequence[float] | None, tolerance: float) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.abs(np.subtract(a, b)).max() <= tolerance)


def _differences(heads: list[Frame], own: Frame) -> str:
    """In what this group differs from the others, in words."""

    def facts(frame: Frame) -> dict[str, str]:
        layout = frame.layout
        found = dict(frame.stack)
        found["size"] = f"{layout.rows} x {layout.columns}" if layout else "none"
        found["pixel spacing"] = " x ".join(f"{x:g}" for x in frame.pixel_spacing_mm or ()) or "none"
        found["orientation"] = "\\".join(f"{x:.4g}" for x in frame.orientation or ()) or "none"
        return found

    every = [facts(head) for head in heads]
    mine = facts(own)
    names = [name for name in mine if len({fact.get(name) for fact in every}) > 1]
    return ", ".join(f"{name} {mine[name]}" for name in names)


def _by_attribute(frames: list[Frame]) -> list[tuple[str, list[Frame]]]:
    whole = [("", frames)]
    if any(frame.position_mm is None for frame in frames):
        return whole
    places = _place_numbers(frames)
    most = max(Counter(places).values())
    if most == 1:
        return whole
    present = [name for name in SPLITTERS if len({frame.splitters.get(name) for frame in frames}) > 1]
    for names in [*((n,) for n in present), *combinations(present, 2)]:
        found = _split(frames, places, most, lambda frame, names=names: tuple(frame.splitters.get(n) for n in names))
        if found is not None:
            keys = sorted(found, key=lambda key: tuple((isinstance(v, str), v if v is not None else "") for v in key))
            return [
                (", ".join(f"{n} {_shown(v)}" for n, v in zip(names, key, strict=True)), found[key]) for key in keys
            ]
    return _by_clock(frames, places, most) or whole


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _place_numbers(frames: list[Frame]) -> list[int]:
    """The same number for frames at the same position (within 0.01 mm)."""
    positions = np.array([frame.position_mm for frame in frames], dtype=np.float64)
    keys: dict[tuple[int, ...], int] = {}
    order = np.lexsort(positions.T)
    numbers = [0] * len(frames)
    for n in order:
        cell = tuple(np.rint(positions[n] / 0.02).astype(np.int64).tolist())
        numbers[n] = keys.setdefault(cell, len(keys))
    return numbers


def _split(
    frames: list[Frame], places: list[int], volumes: int, key: Callable[[Frame], tuple[object, ...]]
) -> dict[tuple, list[Frame]] | None:
    """Groups by ``key``, if there are as many as positions repeat and none repeats a position."""
    groups: dict[tuple, list[Frame]] = defaultdict(list)
    taken: dict[tuple, set[int]] = defaultdict(set)
    for frame, place in zip(frames, places, strict=True):
        value = key(frame)
        if place in taken[value] or (value not in groups and len(groups) == volumes):
            return None
        taken[value].add(place)
        groups[value].append(frame)
    return groups if len(groups) == volumes else None


def _by_clock(frames: list[Frame], places: list[int], volumes: int) -> list[tuple[str, list[Frame]]] | None:
    """Rounds of a series whose slices each have their own time: the n-th visit of every position.

    Accepted only when every position is visited equally often and one round ends before the next begins.
    """
    if set(Counter(places).values()) != {volumes}:
        return None
    for clock in _CLOCKS:
        times = [_seconds(frame.splitters.get(clock)) for frame in frames]
        if any(time is None for time in times) or len(set(times)) <= volumes:
            continue
        visits: dict[int, list[int]] = defaultdict(list)
        for n in sorted(range(len(frames)), key=lambda n: times[n]):  # type: ignore[arg-type, return-value]
            visits[places[n]].append(n)
        rounds = [[visit[r] for visit in visits.values()] for r in range(volumes)]
        ends = [(min(times[n] for n in r), max(times[n] for n in r)) for r in rounds]  # type: ignore[type-var]
        if all(a[1] < b[0] for a, b in pairwise(ends)):  # type: ignore[operator]
            return [(f"{clock} from {ends[r][0]:g}", [frames[n] for n in rounds[r]]) for r in range(volumes)]
    return None


def _seconds(value: str | float | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None
