# Copied from tips_med/errors.py by copies.py: change it there.
"""Errors that a user can fix.

Each names what was found and, where it helps, the file, what was expected and what to do. The command line prints
exactly this text on one line and leaves with exit code 2; anything else that escapes is a bug.
"""

from __future__ import annotations

from pathlib import Path


class TipsMedError(Exception):
    """An error that the user can fix.

    Args:
        found: What was found, in plain words.
        path: The file or folder it was found in.
        expected: What was expected.
        remedy: What to do about it, as an imperative.
        code: A short stable name of the kind of problem (``missing-slice``), for scripts to branch on.
    """

    code = "error"

    def __init__(
        self,
        found: str,
        *,
        path: str | Path | None = None,
        expected: str | None = None,
        remedy: str | None = None,
        code: str | None = None,
    ) -> None:
        self.found, self.expected, self.remedy = found, expected, remedy
        self.path = Path(path) if path is not None else None
        if code is not None:
            self.code = code
        super().__init__(found)

    def __str__(self) -> str:
        text = f"{self.path}: {self.found}" if self.path is not None else self.found
        if self.expected:
            text += f"; expected {self.expected}"
        if self.remedy:
            text += f". {self.remedy[0].upper()}{self.remedy[1:]}"
        return " ".join(text.split())


class ReadError(TipsMedError):
    """A scan that cannot be read without guessing; ``code`` names the reason."""

    code = "unreadable"


class QueryError(TipsMedError):
    """A query in which nothing is understood, or that contradicts itself."""

    code = "query"


class ModalityError(TipsMedError):
    """A scan of a modality that the model was not trained on."""

    code = "modality"


class WeightsError(TipsMedError):
    """Weights that are missing, damaged, or of another model."""

    code = "weights"


class OutputError(TipsMedError):
    """A place that results cannot be written to."""

    code = "output"


class MissingExtraError(TipsMedError):
    """Something needs a package that is not installed.

    Args:
        what: Feature that needs the package, in the plural: ``figures``.
        package: Missing package, with the reason if it is installed but unfit: ``matplotlib``.
        extra: Extra that installs it: ``figures``.
        otherwise: What to do without it, as an imperative.
    """

    code = "missing-extra"

    def __init__(self, what: str, package: str, extra: str, *, otherwise: str = "") -> None:
        remedy = f"run: pip install 'tips-med[{extra}]'" + (f", or {otherwise}" if otherwise else "")
        super().__init__(f"{what} need {package}, which is not installed", remedy=remedy)


class ConfigError(TipsMedError):
    """A configuration that is unknown or wrong."""

    code = "config"
