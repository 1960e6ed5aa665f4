"""Values of patient and study as real sources write them, in the form in which an object may hold them.

A date of zeros or a sex written out must not prevent a result: the evident meaning of a value is kept, and
the rest is left empty, which all of these attributes allow (type 2 or 3).
"""

from __future__ import annotations

import re
from datetime import date
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.valuerep import PersonName

_DATE = re.compile(r"(\d{4})([-./]?)(\d{2})\2(\d{2})(?!\d)")
_TIME = re.compile(r"([01]\d|2[0-3])(?::?([0-5]\d)(?::?([0-5]\d)(?:[.,](\d{1,6})\d*)?)?)?")
_AGE = re.compile(r"(\d{1,3})([DWMY])", re.IGNORECASE)
_SEXES = {"m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O"}


def fitting(keyword: str, value: Any) -> Any:
    """A value that an object may hold.

    Args:
        keyword: Keyword of the attribute.
        value: Value in the source; None where it has none.

    Returns:
        The value, in the standard's own form; None where the attribute has no such value.
    """
    if isinstance(value, MultiValue):
        value = value[0] if len(value) else None
    if value is None or value == "":
        return None
    if keyword == "PatientSex":
        return _SEXES.get(str(value).strip().lower())
    kind = dictionary_VR(keyword)
    if kind == "PN":
        return PersonName(str(value))
    form = {"DA": _date, "TM": _time, "AS": _age}.get(kind)
    return value if form is None else form(str(value).strip())


def _date(text: str) -> str | None:
    found = _DATE.match(text)
    if found is None:
        return None
    try:
        return f"{date(int(found[1]), int(found[3]), int(found[4])):%Y%m%d}"
    except ValueError:
        return None


def _time(text: str) -> str | None:
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    hours, minutes, seconds, fraction = found.groups()
    return hours + (minutes or "") + (seconds or "") + (f".{fraction}" if fraction else "")


def _age(text: str) -> str | None:
    found = _AGE.fullmatch(text)
    return f"{int(found[1]):03d}{found[2].upper()}" if found else None
