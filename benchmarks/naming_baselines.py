"""Words against a class index against one output a class: three ways to name a query, on the same tower.

python -m benchmarks.naming_baselines --anatomies runs/chest_ct/anatomies --start tips_med/weights/chest_ct.safetensors
    [--steps 300] [--scans 12] [--out TABLE.json]

All three start from the same image tower, with everything after it fresh, see the same painted scenes and the same
questions in the same order, and are tested on the same whole painted scans of the bodies that were held out:

- ``words``: the text tower and the alignment head, as the model has them; single words are learned, too.
- ``index``: the alignment head with a learned embedding for each class (a finding or the lungs, on a side or anywhere).
- ``outputs``: a plain U-Net, which the image tower is without its patches: one output channel for each class.

A question about an attribute, which only words can express, is not scored.
"""

from __future__ import annotations

import argparse
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from tips_med.alignment import AlignmentHead
from tips_med.card import Calibration
from tips_med.encoders.compact import CompactConfig, CompactImageTower, CompactNet
from tips_med.encoders.compact_text import CompactTextConfig, CompactTextNet
from tips_med.geometry import voxel_volume_mm3
from tips_med.model import load_model
from tips_med.query import Lexicon, Query, Side
from tips_med.slabs import slabs_of
from tips_med.synthesis.acquisition import AcquisitionSpec
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.language import PhraseSlots, describe
from tips_med.synthesis.scene import Scene, SceneSpec, make_scene
from tips_med.training.calibration import Observation, measure, summary
from tips_med.training.losses import map_loss, patch_loss, presence_loss
from tips_med.training.optimizer import OptimizerConfig, adamw_with_cosine
from tips_med.training.painted import PaintedBatch, PaintedScenes
from tips_med.training.questions import answer_mask

CONFIGS = Path(__file__).resolve().parents[1] / "radiology_configs"
SIDES: tuple[Side | None, ...] = (None, "left", "right")


class Naming(nn.Module, ABC):
    """A way to give a query to a network."""

    @abstractmethod
    def forward(self, phrases: Sequence[str], patches: Tensor, fine: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits of phrases, equally many for each scene, [scene phrase slab y x], and those of patches, if any."""

    def words(self, batch: PaintedBatch, patches: Tensor, fine: Tensor) -> Tensor | None:
        """Logits of one word of each phrase, [scene phrase slab y x]; None where there are no words."""
        return None


class ByWords(Naming):
    """The text tower and the alignment head."""

    def __init__(self, config: CompactConfig, lexicon: Lexicon) -> None:
        super().__init__()
        self.text = CompactTextNet(CompactTextConfig(lexicon.vocabulary))
        self.head = AlignmentHead(self.text.config.width, config.patch_width, config.fine_width)

    def forward(self, phrases: Sequence[str], patches: Tensor, fine: Tensor) -> tuple[Tensor, Tensor | None]:
        """See Naming."""
        _, pooled = self.text(self.text.indices(phrases))
        of_phrases = pooled.unflatten(0, (len(patches), -1))
        return self.head.fine_scores(of_phrases, patches, fine), self.head.patch_scores(of_phrases, patches)

    def words(self, batch: PaintedBatch, patches: Tensor, fine: Tensor) -> Tensor | None:
        """See Naming."""
        tokens, _ = self.text(self.text.indices(batch.phrases))
        one = tokens[torch.arange(len(tokens)), batch.word.flatten()]
        return self.head.fine_scores(one.unflatten(0, batch.word.shape), patches, fine)


class ByIndex(Naming):
    """The alignment head with an embedding for each class instead of a text tower."""

    def __init__(self, config: CompactConfig, classes: Classes, width: int = 128) -> None:
        super().__init__()
        self.classes = classes
        self.embedding = nn.Embedding(len(classes), width)
        self.head = AlignmentHead(width, config.patch_width, config.fine_width)

    def forward(self, phrases: Sequence[str], patches: Tensor, fine: Tensor) -> tuple[Tensor, Tensor | None]:
        """See Naming."""
        of_phrases = self.embedding(self.classes.of(phrases)).unflatten(0, (len(patches), -1))
        return self.head.fine_scores(of_phrases, patches, fine), self.head.patch_scores(of_phrases, patches)


class ByOutputs(Naming):
    """An output channel for each class, as a plain U-Net has."""

    def __init__(self, config: CompactConfig, classes: Classes) -> None:
        super().__init__()
        self.classes = classes
        self.outputs = nn.Linear(config.fine_width, len(classes))
        nn.init.constant_(self.outputs.bias, -3.0)

    def forward(self, phrases: Sequence[str], patches: Tensor, fine: Tensor) -> tuple[Tensor, Tensor | None]:
        """See Naming."""
        which = self.classes.of(phrases).unflatten(0, (len(patches), -1))
        maps = [nn.functional.linear(f, self.outputs.weight[w], self.outputs.bias[w]) for f, w in zip(fine, which)]
        return torch.stack(maps).permute(0, 4, 1, 2, 3), None


class Classes:
    """Every finding and the lungs, on either side or anywhere, by number."""

    def __init__(self, findings: Sequence[str], lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self.number = {
            (term, side): n for n, (term, side) in enumerate((t, s) for t in (*findings, "lung") for s in SIDES)
        }
        self.read: dict[str, Query] = {}

    def __len__(self) -> int:
        return len(self.number)

    def query(self, phrase: str) -> Query:
        """The meaning of a phrase."""
        if phrase not in self.read:
            self.read[phrase] = self.lexicon.parse(phrase)
        return self.read[phrase]

    def of(self, phrases: Sequence[str]) -> Tensor:
        """Numbers of the classes that phrases name, [phrase]; their other words are lost."""
        numbers = []
        for phrase in phrases:
            query = self.query(phrase)
            side = query.side if query.side in ("left", "right") else None
            numbers.append(self.number[query.finding.id if query.finding else "lung", side])
        return torch.tensor(numbers)

    def complete(self, phrases: Sequence[str]) -> Tensor:
        """1 where a class means all that the phrase means, [phrase]."""
        return torch.tensor([float(not self.query(phrase).attributes) for phrase in phrases])


def train(
    image: CompactNet, naming: Naming, batches: PaintedScenes, classes: Classes, steps: int, config: OptimizerConfig
) -> None:
    """Trains a copy of the tower and a fresh naming; the same steps see the same batches."""
    both = nn.ModuleList([image, naming]).train()
    optimizing: dict[str, Any] = adamw_with_cosine(both.parameters(), config)
    optimizer, schedule = optimizing["optimizer"], optimizing["lr_scheduler"]["scheduler"]
    for step in range(steps):
        batch = batches.make(step)
        patches, fine = image(batch.pixels, batch.offset_mm)
        logits, coarse = naming(batch.phrases, patches, fine)
        questions = batch.word.shape[1]
        target, known = batch.target.float(), batch.known.float()
        of_phrases = target[:, :questions].flatten(0, 1), known[:, :questions].flatten(0, 1)
        scored = classes.complete(batch.phrases)
        maps = logits.flatten(0, 1)
        loss = map_loss(maps, *of_phrases) + config.presence_weight * presence_loss(maps, *of_phrases)
        if coarse is not None:
            loss = loss + config.patch_weight * patch_loss(coarse.flatten(0, 1), *of_phrases)
        loss = (loss * scored).sum() / scored.sum().clamp(min=1)
        words = naming.words(batch, patches, fine)
        if words is not None:
            named = known[:, questions:].flatten(0, 1)
            named_there = (named.flatten(1).amax(1) > 0).float()
            each = map_loss(words.flatten(0, 1), target[:, questions:].flatten(0, 1), named)
            loss = loss + config.word_weight * (each * named_there).sum() / named_there.sum().clamp(min=1)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 25 == 0:
            print(f"{type(naming).__name__} step {step}: {float(loss):.3f}", flush=True)


@torch.inference_mode()
def look(image: CompactNet, scene: Scene) -> tuple[Tensor, Tensor]:
    """Features of a whole scene, as one item of a batch."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(scene.spacing_mm)[::-1]
    affine[1, 3], affine[0, 3] = scene.offset_mm
    features = CompactImageTower(image).encode(slabs_of(scene.volume_hu, affine, image.config.slabs))
    assert features.fine is not None
    return features.patches.float()[None], features.fine.float()[None]


@torch.inference_mode()
def test(
    image: CompactNet, naming: Naming, scene: Scene, findings: Sequence[str], lexicon: Lexicon, rng: np.random.Generator
) -> list[Observation]:
    """Queries one whole scene for every finding; what is there on either side, too."""
    naming.eval()
    patches, fine = look(image, scene)
    ml = voxel_volume_mm3(np.diag([*scene.spacing_mm[::-1], 1.0])) / 1000
    rows = []
    for finding in findings:
        there = scene.where(finding).any()
        for side in SIDES if there else (SIDES[int(rng.integers(3))],):
            slots = PhraseSlots(finding=finding, side=side)
            phrase = lexicon.parse(describe(slots, rng, lexicon)).phrase
            heat = naming([phrase], patches, fine)[0][0, 0].sigmoid().numpy()
            rows.append(measure(0, finding, side, heat, *answer_mask(scene, slots), ml))
    return rows


def tabulated(rows: list[Observation]) -> dict[str, dict[str, float]]:
    """By finding, where some are there and some are not, and the mean of these findings."""
    table: dict[str, dict[str, float]] = {}
    for row in summary(rows, lambda _: Calibration()):
        absent = [one.mask_ml for one in rows if one.finding == row["finding"] and not one.there]
        if row["auroc"] is not None:
            measured = {key: float(str(row[key])) for key in ("auroc", "dice", "hit")}
            counts = {"there": int(str(row["present"])), "not_there": len(absent)}
            table[str(row["finding"])] = {**counts, **measured, "false_ml": float(np.mean(absent))}
    keys = ("auroc", "dice", "hit", "false_ml")
    table["mean of findings"] = {key: float(np.mean([row[key] for row in table.values()])) for key in keys}
    return {name: {key: round(value, 3) for key, value in row.items()} for name, row in table.items()}


def named(name: str, config: CompactConfig, classes: Classes) -> Naming:
    """A fresh one of the three."""
    if name == "words":
        return ByWords(config, classes.lexicon)
    return ByIndex(config, classes) if name == "index" else ByOutputs(config, classes)


def spec_of(raw: dict[str, object], **more: object) -> SceneSpec:
    """Scenes as in a configuration."""
    acquisition = raw.get("acquisition")
    return SceneSpec(
        weights=dict(raw["weights"]),  # type: ignore[call-overload]
        acquisition=AcquisitionSpec(**acquisition) if isinstance(acquisition, dict) else None,
        **more,  # type: ignore[arg-type]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--anatomies", type=Path, required=True)
    parser.add_argument(
        "--start",
        type=Path,
        default=None,
        help="weights whose image tower all three start from; the shipped ones if left out",
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--scans", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7000)
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    training = yaml.safe_load((CONFIGS / "pretrain_chest_ct.yaml").read_text())
    painting = yaml.safe_load((CONFIGS / "calibrate_chest_ct.yaml").read_text())["painting"]
    findings, lexicon = tuple(training["card"]["findings"]), Lexicon.load("chest_ct")
    bodies = {p.stem: p for p in sorted(given.anatomies.glob("*.safetensors")) if not p.stem.startswith("phantom-")}
    held_out = [Anatomy.load(bodies.pop(name)) for name in training["held_out"]]
    model = load_model(given.start)
    started = model.image
    assert isinstance(started, CompactImageTower)
    batches = PaintedScenes(
        [Anatomy.load(path) for path in bodies.values()],
        spec_of(training["scenes"], shape=(8, 96, 128)),
        started.net.config.slabs,
        findings,
        lexicon,
        batch=2,
        questions=training["questions"],
        seed=given.seed,
        weights=training["question_weights"],
    )
    classes = Classes(findings, lexicon)
    config = replace(OptimizerConfig(), steps=given.steps, warmup=30, learning_rate=8e-4)
    test_spec = spec_of(
        painting, shape=None, empty=painting["empty"], max_findings=painting["max_findings"], strength=0.7
    )
    tables = {}
    for name in ("words", "index", "outputs"):
        torch.manual_seed(given.seed)
        image = CompactNet(started.net.config)
        image.load_state_dict(started.net.state_dict())
        image.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        naming = named(name, image.config, classes)
        began = time.perf_counter()
        train(image, naming, batches, classes, given.steps, config)
        image.eval()
        rows = []
        for number in range(given.scans):
            rng = np.random.default_rng([given.seed + 1, number])
            scene = make_scene(held_out[number % len(held_out)], test_spec, rng, test_spec.in_turn(number))
            rows += test(image, naming, scene, findings, lexicon, rng)
        tables[name] = tabulated(rows)
        print(name, f"{time.perf_counter() - began:.0f} s", json.dumps(tables[name]), flush=True)
    if given.out:
        about = {"steps": given.steps, "scans": given.scans, "start": model.identity}
        given.out.write_text(json.dumps({**about, "tables": tables}, indent=1) + "\n")


if __name__ == "__main__":
    main()
