"""The optional extra ``tips-med[tips]``, imported when it is first needed."""

from __future__ import annotations

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
