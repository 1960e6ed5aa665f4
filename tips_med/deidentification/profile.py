"""What the basic profile does to each attribute (PS3.15 table E.1-1), from the library ``dicom-anonymizer``.

The library keeps the table (edition 2024b) and dummy values. Two things are done here instead: it applies the table to
the top level of a data set only, where the profile wants nested items too; and it maps UIDs by chance in a dictionary
of the module, where ours must be the same in the next process.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

from tips_med.errors import MissingExtraError

Action = Literal["remove", "empty", "replace", "map"]
_ACTIONS: dict[str, Action] = {
    "delete": "remove",  # X
    "empty": "empty",  # Z
    "delete_or_empty": "empty",  # X/Z
    "replace": "replace",  # D
    "empty_or_replace": "replace",  # Z/D
    "delete_or_replace": "replace",  # X/D
    "delete_or_empty_or_replace": "replace",  # X/Z/D
    "replace_UID": "map",  # U
    "delete_or_empty_or_replace_UID": "map",  # X/Z/U*, sequences of references
}

_ALWAYS_OPTIONAL = ((0x0008, 0x0012), (0x0008, 0x0013))
"""Instance Creation Date and Time: the table's X/D is X, for they are type 3 in every object."""

_TIME_DUMMIES = {"DA": "19000101", "TM": "000000", "DT": "19000101000000"}
"""Instead of the library's, in the year 1, which validators and archives object to."""


@cache
def profile() -> Callable[[int, int], Action | None]:
    """The action for an attribute by group and element; None where the profile keeps it.

    Raises:
        ConfigError: The library is not installed.
    """
    exact: dict[tuple[int, int], Action] = {}
    repeating: list[tuple[tuple[int, int, int, int], Action]] = []
    for tag, function in _library().initialize_actions_2024b().items():
        action = _ACTIONS[function.__name__]
        if len(tag) == 2:
            exact[tag] = action
        else:
            repeating.append((tag, action))
    exact |= dict.fromkeys(_ALWAYS_OPTIONAL, "remove")

    def of(group: int, element: int) -> Action | None:
        found = exact.get((group, element))
        if found is not None:
            return found
        for (like_group, like_element, group_mask, element_mask), action in repeating:
            if group & group_mask == like_group & group_mask and element & element_mask == like_element & element_mask:
                return action
        return None

    return of


def put_dummy(element: Any) -> bool:
    """Replaces a value by a dummy without information; False when there is none for its value representation."""
    if element.VR in _TIME_DUMMIES:
        element.value = _TIME_DUMMIES[element.VR]
        return True
    try:
        _library().replace_element(element)
    except NotImplementedError:
        return False
    return True


@cache
def _library() -> Any:
    try:
        from dicomanonymizer import simpledicomanonymizer
    except ModuleNotFoundError as error:
        raise MissingExtraError("de-identified results", str(error.name), "pacs") from error
    return simpledicomanonymizer
