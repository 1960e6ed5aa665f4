"""The optional extra ``tips-med[tips]``, imported when it is first needed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from tips_med.errors import ConfigError

NEEDED = (5, 23)
"""The first release of transformers with the TIPSv2 towers as they are used here."""


def tipsv2() -> ModuleType:
    """The module ``transformers.models.tipsv2``.

    Raises:
        ConfigError: ``missing-extra`` when transformers is not installed, or too old.
    """
    try:
        import transformers
        from transformers.models import tipsv2 as module
    except ImportError as error:
        raise ConfigError(
            "the TIPS towers need transformers, which is not installed or has no TIPSv2",
            remedy="run: pip install 'tips-med[tips]'",
            code="missing-extra",
        ) from error
    found = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    if found < NEEDED:
        raise ConfigError(
            f"transformers {transformers.__version__}",
            expected=f"{NEEDED[0]}.{NEEDED[1]} or later",
            remedy="run: pip install 'tips-med[tips]'",
            code="missing-extra",
        )
    return module


def peft() -> ModuleType:
    """The module ``peft``.

    Raises:
        ConfigError: ``missing-extra`` when it is not installed.
    """
    try:
        import peft as module
    except ImportError as error:
        raise ConfigError(
            "LoRA needs peft, which is not installed",
            remedy="run: pip install 'tips-med[tips]', or fine-tune with mode 'full' or 'freeze'",
            code="missing-extra",
        ) from error
    return module


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers' progress bars and reports off the terminal; what matters is said in our errors."""
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
