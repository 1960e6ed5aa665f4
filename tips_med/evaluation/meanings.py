"""The meaning of each metric in one line, for the page."""

from __future__ import annotations

from inspect import getdoc

from tips_med.plugins import load_plugin, plugin_names

_MEANINGS = {
    "dice": "overlap of the mask with the truth, 0 to 1; both empty counts 1",
    "dice_present": "the same, of findings that are there",
    "nsd": "share of the two surfaces within 2 mm of each other",
    "hit_rate": "share of findings with a Dice of at least 0.1",
    "precision": "share of marked components that are true ones",
    "recall": "share of true components that are marked",
    "f1": "harmonic mean of precision and recall",
    "rex_dice": "Dice as ReXGroundingCT's script has it: small predicted components are dropped first",
    "rex_hit_rate": "share of findings whose rex_dice is at least 0.1",
    "rex_precision": "share of predicted components that match a stored instance of the truth",
    "rex_recall": "share of the truth's stored instances that are matched",
    "rex_f1": "harmonic mean of rex_precision and rex_recall",
    "pointing": "is the map's highest place in the truth?",
    "cnr": "contrast of the map in the truth against the rest; higher is better",
    "miou": "overlap of the map with the truth, over thresholds 0.1 to 0.5",
    "auroc": "does presence get a higher probability than absence? 0.5 is chance",
    "sensitivity": "share of what is there that is found, at 95% specificity",
    "calibration_error": "distance of probabilities from how often they are right; lower is better",
    "false_ml": "ml marked where the finding is absent; lower is better",
    "clean": "share of absent findings with nothing marked",
    "follows": "does the right wording beat the wrong one?",
    "drop": "Dice lost by the wrong wording; higher is better",
    "leak": "share of the truth still marked for the wrong wording; lower is better",
    "stability": "overlap of the masks of other wordings, 0 to 1",
    "spread": "how far the probabilities of other wordings lie apart; lower is better",
}
_SWAPS = {
    "swap_side_": "left for right: ",
    "swap_level_": "upper for lower: ",
    "swap_finding_": "another finding: ",
    "paraphrase_": "",
}


def meaning_of(name: str) -> str:
    """The line for a measure, by the name that it has in tables; empty for one that is unknown here."""
    for prefix, words in _SWAPS.items():
        if name.startswith(prefix):
            return words + _MEANINGS.get(name.removeprefix(prefix), "")
    if name in _MEANINGS:
        return _MEANINGS[name]  # before plugins are looked for, which takes a tenth of a second
    for added in plugin_names("metrics"):
        if name.startswith(f"{added}_"):
            return (getdoc(load_plugin("metrics", added)) or "").partition("\n")[0]
    return ""
