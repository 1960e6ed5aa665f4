"""The optional extra ``tips-med[tips]``, imported when it is first needed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from tips_med.errors import MissingExtraError

NEEDED = (5, 23)
"""The first release of transformers with the TIPSv2 towers as they are used here."""


def tipsv2() -> ModuleType:
    """The module ``transformers.models.tipsv2``.

    Raises:
        MissingExtraError: When transformers is not installed, or too old.
    """
    try:
        import transformers
        from transformers.models import tipsv2 as module
    except ImportError as error:
        raise MissingExtraError("TIPS towers", f"transformers {NEEDED[0]}.{NEEDED[1]} or later", "tips") from error
    found = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    if found < NEEDED:
        raise MissingExtraError("TIPS towers", f"transformers {NEEDED[0]}.{NEEDED[1]} or later", "tips")
    return module


def peft() -> ModuleType:
    """The module ``peft``.

    Raises:
        MissingExtraError: When it is not installed.
    """
    try:
        import peft as module
    except ImportError as error:
        raise MissingExtraError(
            "LoRA weights", "peft", "tips", otherwise="fine-tune with 'full' or 'freeze'"
        ) from error
    return module


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers' progress bars and reports off the terminal; what matters is in our errors."""
    tipsv2()
    from transformers.utils import logging as hf_logging

    bars, level = hf_logging.is_progress_bar_enabled(), hf_logging.get_verbosity()
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()
