"""Active learning: which unlabelled scans would teach a model most, so that they are outlined first."""

from tips_med.suggestion.acquisition import PhraseValue, StudyValue, value_study
from tips_med.suggestion.run import Suggestion, Suggestions, suggest_scans
from tips_med.suggestion.selection import Selected, select_diverse

__all__ = [
    "PhraseValue",
    "Selected",
    "StudyValue",
    "Suggestion",
    "Suggestions",
    "select_diverse",
    "suggest_scans",
    "value_study",
]
