"""Headers from which no valid object can be made."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from tips_med.errors import OutputError


@contextmanager
def refuse_unfit() -> Iterator[None]:
    """While objects are made: no warnings about the source's odd values, and a refusal where they cannot be made.

    Raises:
        OutputError: ``source-unfit``, without the message of the library, which may quote the header and so the
            patient.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise OutputError(
            f"the source's headers do not allow DICOM results ({type(error).__name__})",
            remedy="leave DICOM results out for this series",
            code="source-unfit",
        ) from error
