"""Texts in another language: recognised and said, not guessed at."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from tips_med.errors import QueryError
from tips_med.lexicon.matching import Match

NAMES = {
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "hu": "Hungarian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
_MARGIN = 5.0
"""How much more likely (natural logarithm) than English a language has to be."""


class OtherLanguageError(QueryError):
    """A text that is not in the language of the lexicon.

    Args:
        text: As typed.
        language: Two-letter code (ISO 639-1).
    """

    code = "other-language"

    def __init__(self, text: str, language: str) -> None:
        super().__init__(
            f"{text!r} seems to be {NAMES[language]}",
            expected="English, the language of the lexicon",
            remedy='ask in English, as in "nodule in the left lung", or name a lexicon of your own',
            code="other-language",
        )
        self.language = language


def refuse_foreign(text: str, matches: Sequence[Match]) -> None:
    """Refuses a text in another language.

    Only a text is looked at of which the lexicon knows less than half of the words: Latin stands in every report.

    Raises:
        OtherLanguageError: With the language.
    """
    words = [match for match in matches if any(word.isalpha() for word in match.words)]
    unknown = [match for match in words if match.role == "unknown"]
    strange = len(unknown) + sum(bool(match.mended) and len(match.words) == 1 for match in words)
    if 2 * strange < len(words) or not unknown or (len(words) < 2 and text.isascii()):
        return
    language = _language(text)
    if language is not None:
        raise OtherLanguageError(text, language)


def _language(text: str) -> str | None:
    """The code of the language of a text; None for English, and where it is not clear."""
    ranked = dict(_identifier().rank(text.lower()))
    best = max(NAMES, key=lambda code: ranked[code])
    return best if ranked[best] - ranked["en"] >= _MARGIN else None


@cache
def _identifier():  # type: ignore[no-untyped-def]
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(["en", *NAMES])
    return identifier
