"""The model card of a folder on the hub: YAML front matter for machines, a page for people.

Front matter: https://huggingface.co/docs/hub/model-cards. The figures are those of ``measured_results``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from tips_med.card import ModelCard

_LICENCES = {"apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-sa-4.0"}
"""Licences that the hub knows by these names."""


def readme_text(card: ModelCard, sha256: str, results: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """The README.md of a model folder.

    Args:
        card: What the model knows of itself.
        sha256: Of its weights.
        results: Measured figures of these very weights; maybe none.
        names: What it finds, in words.
    """
    front = yaml.safe_dump(front_matter(card, results), sort_keys=False, allow_unicode=True, width=110)
    data = "\n".join(f"- {one}" for one in card.data) or "- not told"
    calibrated = sorted(term for term in card.findings if card.calibration_of(term) is not None)
    says = (
        "Present, absent or unsure is said of: " + ", ".join(calibrated).replace("_", " ") + "."
        if calibrated
        else "None of its findings is calibrated: its answers are scores, and nothing is called present or absent."
    )
    return f"""---
{front}---

# {card.name}

**Research use only, not a medical device.** A radiologist's words go in; the voxels, the slices, the side, the volume
and an honest *present*, *absent* or *unsure* come out.

```python
import tips_med

model = tips_med.GroundingModel.from_pretrained("this folder, or hf://owner/name")
study = tips_med.encode(tips_med.read_scan("chest_ct/"), model)
print(tips_med.ground(study, "{names[0] if names else "nodule"}", model).sentence)
```

- **It looks for**: {", ".join(names) or "whatever is asked"}. Anything else is declined.
- **{says}**
- **Weights**: sha256 `{sha256}`.
- **Licence**: {card.licence}.

## Trained on

{data}

{_measured(results)}
## Files

`model.safetensors` has the weights, `config.json` the sizes, the card and the calibration, `lexicon.yaml` the words
that a query may use. There is no pickle.
"""


def front_matter(card: ModelCard, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What stands in the YAML before the page."""
    licence = card.licence.strip().lower()
    front: dict[str, Any] = {"license": licence if licence in _LICENCES else "other"}
    if front["license"] == "other":
        front["license_name"] = card.licence or "not told"
    front |= {
        "library_name": "tips_med",
        "pipeline_tag": "image-segmentation",
        "language": ["en"],
        "tags": ["computed-tomography", "grounding", "medical", "radiology", "research-use-only"],
    }
    if results:
        front["model-index"] = [{"name": card.name, "results": list(results)}]
    return front


def _measured(results: Sequence[dict[str, Any]]) -> str:
    if not results:
        return "## Measured\n\nNo figures of these weights are known.\n"
    lines = ["## Measured", "", "| what | on | figure | value |", "|---|---|---|---|"]
    for one in results:
        lines += [
            f"| {one['task']['name']} | {one['dataset']['name']} | {metric['name']} | {metric['value']:g} |"
            for metric in one["metrics"]
        ]
    return "\n".join(lines) + "\n"
