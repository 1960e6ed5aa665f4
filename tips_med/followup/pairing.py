"""Whether two scans are a pair: of one patient, and in this order."""

from __future__ import annotations

from tips_med.errors import ReadError
from tips_med.readers import PatientTrace


def check_patients(
    prior: PatientTrace, current: PatientTrace, *, allow_different: bool = False
) -> tuple[int | None, tuple[str, ...]]:
    """Checks what the headers say of patient and date; neither is told, only whether they fit.

    Args:
        prior: What the prior scan's headers say.
        current: What the current scan's headers say.
        allow_different: Go on where the Patient IDs differ.

    Returns:
        Days from the prior to the current scan, None where one states no date; and notes, one sentence each.

    Raises:
        ReadError: ``different-patients``, or ``prior-is-later``.
    """
    notes = []
    if prior.key and current.key and prior.key != current.key:
        if not allow_different:
            raise ReadError(
                "the two scans have different Patient IDs",
                expected="two scans of one patient",
                remedy="check the files, or add --allow-different-patients, as for scans that were deidentified apart",
                code="different-patients",
            )
        notes.append("The two scans have different Patient IDs, and were compared all the same.")
    elif not prior.key or not current.key:
        notes.append("Whether both scans are of one patient was not checked: not both state a Patient ID.")
    days = None
    if prior.acquired is not None and current.acquired is not None:
        days = (current.acquired - prior.acquired).days
        if days < 0 and not (prior.identity_removed or current.identity_removed):
            raise ReadError(
                f"the prior scan was made {-days} days after the current one",
                expected="the earlier scan first",
                remedy="swap them",
                code="prior-is-later",
            )
        if days < 0:
            notes.append("By their dates, which deidentification may have moved, the prior scan is the later one.")
            days = None
    return days, tuple(notes)
