"""Painted crops of one slab, each with sentences about one of its findings: frozen to files by a seed.

    python -m benchmarks.alignment.data --out OUT [--train 2400] [--seed 0]

Each crop is one slab with its two neighbours on either side, and holds a target and a distractor: the same finding on
the other side, another finding on the same side, or the same finding with another look. Four sentences belong to it:
two about the target in different words, one about the distractor, and one that is true of nothing in it, made of the
target's by changing one thing. All bodies are torsos of ``tips_med.synthesis``, so that nothing has to be downloaded;
those of validation and test are in no training crop, and half of their sentences use wordings that training never has.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tips_med.errors import QueryError
from tips_med.geometry import LEFT, RIGHT
from tips_med.lexicon.tokens import words_of
from tips_med.query import Lexicon, Side, load_lexicon
from tips_med.slabs import SlabSpec
from tips_med.synthesis.acquisition import acquire
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.deform import Deformation, sample_deformed_crop
from tips_med.synthesis.findings import Canvas, Painted, known_findings
from tips_med.synthesis.language import PhraseSlots, describe
from tips_med.synthesis.phantom import make_phantom
from tips_med.synthesis.scene import Scene
from tips_med.training.questions import answer_mask

SPEC = SlabSpec(spacing_mm=(2.5, 2.5, 2.5), neighbours=2)
SHAPE = (5, 96, 128)
MIDDLE = 2
SENTENCES = 4
FINDINGS = ("nodule", "mass", "consolidation", "ground_glass_opacity", "pleural_effusion")
LOOKS = ("solid", "part_solid", "ground_glass", "spiculated")
SIDE_NUMBERS: dict[str, int] = {"right": RIGHT, "left": LEFT}
BODY_SEED = 4_000_000
"""Of the first torso: none of those that training, calibration and other benchmarks make."""

RIVALS = ("side", "finding", "side", "finding", "look")
"""What differs between target and distractor, crop after crop."""

LEAST_CELLS, LEAST_SPAN = 12, 4
"""A finding fills at least so many pixels of the slab, and its box is at least so many pixels wide and high."""

MEANINGS: tuple[PhraseSlots, ...] = tuple(
    PhraseSlots(finding=finding, side=side, attributes=(look,) if look else ())
    for finding in FINDINGS
    for side in (None, "left", "right")
    for look in ((None, *LOOKS) if finding == "nodule" else (None,))
)
"""Everything that a sentence may mean here."""

MEANING = {meaning: number for number, meaning in enumerate(MEANINGS)}


@dataclass(frozen=True)
class Sentence:
    """A sentence about a crop.

    Attributes:
        words: Its words, separated by single spaces.
        meaning: Its number in ``MEANINGS``.
        kind: ``target``, ``distractor`` or ``false``.
        new_words: Whether findings are worded as no training sentence does.
    """

    words: str
    meaning: int
    kind: str
    new_words: bool


@dataclass(frozen=True, eq=False)
class Crop:
    """One painted crop.

    Attributes:
        volume_hu: Hounsfield units, int16 [slab y x].
        offset_mm: Position of the first pixel from the middle of the body, (y, x) in mm.
        target: Mask of what each sentence names in the middle slab, bool [sentence y x].
        known: Mask of cells where that is known, bool [sentence y x].
        truth: 1 where a meaning is true of the middle slab, -1 where it is false, 0 where nobody knows, int8 [meaning].
        sentences: Sentences.
        body: Name of the body.
        rival: What differs between target and distractor, one of ``RIVALS``.
    """

    volume_hu: np.ndarray
    offset_mm: tuple[float, float]
    target: np.ndarray
    known: np.ndarray
    truth: np.ndarray
    sentences: tuple[Sentence, ...]
    body: str
    rival: str


def paint(canvas: Canvas, slots: PhraseSlots) -> Painted | None:
    """Paints what slots say; None where there is no room."""
    side = SIDE_NUMBERS[str(slots.side)]
    if slots.finding == "nodule":
        look = slots.attributes[0] if slots.attributes else None
        kind = None if look == "spiculated" else look
        return known_findings()["nodule"].paint(canvas, side, float(canvas.rng.uniform(14, 30)), kind)
    if slots.finding == "pleural_effusion":
        return known_findings()["pleural_effusion"].paint(canvas, side, "free")
    return known_findings()[str(slots.finding)].paint(canvas, side)


def draw_pair(rng: np.random.Generator, rival: str) -> tuple[PhraseSlots, PhraseSlots]:
    """A target and a distractor, which differ in one of ``RIVALS``."""

    def look_of(finding: str) -> tuple[str, ...]:
        return (str(rng.choice(LOOKS[:3])),) if finding == "nodule" else ()

    finding = "nodule" if rival == "look" else str(rng.choice(FINDINGS))
    side: Side = "left" if rng.random() < 0.5 else "right"
    target = PhraseSlots(finding=finding, side=side, attributes=look_of(finding))
    if rival == "side":
        across: Side = "right" if side == "left" else "left"
        return target, PhraseSlots(finding=finding, side=across, attributes=look_of(finding))
    if rival == "finding":
        other = str(rng.choice([one for one in FINDINGS if one != finding]))
        return target, PhraseSlots(finding=other, side=side, attributes=look_of(other))
    other = str(rng.choice([one for one in LOOKS[:3] if one not in target.attributes]))
    return target, PhraseSlots(finding="nodule", side=side, attributes=(other,))


def paint_scene(anatomy: Anatomy, wanted: Sequence[PhraseSlots], rng: np.random.Generator) -> Scene | None:
    """A crop of a body with findings; None where one of them has no room."""
    crop = sample_deformed_crop(anatomy, SHAPE, Deformation(), rng)
    if crop.lungs is None or not all((crop.lungs[MIDDLE] == side).any() for side in SIDE_NUMBERS.values()):
        return None
    lungs, hemithorax = crop.lungs, crop.lungs.copy()
    canvas = Canvas(crop.volume_hu, lungs, anatomy.spacing_mm, rng, crop.ignored.copy(), crop.organs)
    known = known_findings()
    for slots in sorted(wanted, key=lambda one: known[str(one.finding)].turn):
        made = paint(canvas, slots)
        if made is None:
            return None
        canvas.add(made)
    volume = acquire(canvas.volume_hu, anatomy.spacing_mm, rng, 0.7)
    ignored, hemithorax = canvas.follow(crop.ignored), canvas.follow(hemithorax)
    return Scene(
        volume, lungs, tuple(canvas.found), ignored, crop.offset_mm, anatomy.spacing_mm, hemithorax=hemithorax
    )  # fmt: skip


def truths(scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What every meaning names in the middle slab: its mask, where it is unknown, and whether it is true."""
    masks, unknown, truth = [], [], []
    for meaning in MEANINGS:
        mask, open_ = (one[MIDDLE] for one in answer_mask(scene, meaning))
        masks.append(mask)
        unknown.append(open_)
        truth.append(1 if mask.sum() >= LEAST_CELLS else 0 if mask.any() or open_.any() else -1)
    return np.stack(masks), np.stack(unknown), np.array(truth, np.int8)


def names_one(mask: np.ndarray, unknown: np.ndarray, one: np.ndarray) -> bool:
    """Whether a mask is that of one finding and large enough, and no more than its rim is unknown."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    large = mask.sum() >= LEAST_CELLS and min(np.ptp(rows), np.ptp(columns)) + 1 >= LEAST_SPAN
    return bool(large and (mask == one & mask).all() and mask.sum() > 0.9 * one.sum() and unknown.sum() < mask.sum())


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The lexicon of the sentences."""
    return load_lexicon("chest_ct")


def write(meaning: int, rng: np.random.Generator, kind: str, new_words: bool) -> Sentence:
    """A sentence of a meaning, half of the time with its organ."""
    slots = MEANINGS[meaning]
    organ = "lung" if slots.finding != "pleural_effusion" and rng.random() < 0.5 else None
    slots = PhraseSlots(finding=slots.finding, structure=organ, side=slots.side, attributes=slots.attributes)
    text = describe(slots, rng, lexicon(), held_out=new_words)
    return Sentence(" ".join(words_of(text)), meaning, kind, new_words)


def false_meanings(meaning: int) -> list[int]:
    """Meanings that differ from one in the finding, the side or the look alone."""
    own = MEANINGS[meaning]
    parts = (own.finding, own.side, own.attributes)
    return [
        number
        for number, other in enumerate(MEANINGS)
        if sum(a != b for a, b in zip(parts, (other.finding, other.side, other.attributes))) == 1
        and other.side is not None
    ]


def make_crop(anatomy: Anatomy, rng: np.random.Generator, new_words: bool, rival: str) -> Crop | None:
    """One crop with its sentences; None where the draw gives no clear ones."""
    first, second = draw_pair(rng, rival)
    scene = paint_scene(anatomy, (first, second), rng)
    if scene is None:
        return None
    masks, unknown, truth = truths(scene)
    by_painting = [one.mask[MIDDLE] for one in scene.findings]

    def naming(slots: PhraseSlots) -> list[int]:
        """Meanings that name nothing but the finding which was painted for these slots."""
        ones = [
            mask for mask, one in zip(by_painting, scene.findings)
            if one.finding == slots.finding and one.side == slots.side and set(slots.attributes) <= set(one.attributes)
        ]  # fmt: skip
        if len(ones) != 1:
            return []
        return [
            n for n, m in enumerate(MEANINGS)
            if m.finding == slots.finding and truth[n] > 0 and names_one(masks[n], unknown[n], ones[0])
        ]  # fmt: skip

    of_target, of_rival = naming(first), naming(second)
    if not of_target or not of_rival or set(of_target) & set(of_rival):
        return None
    wrong = [n for n in false_meanings(int(rng.choice(of_target))) if truth[n] < 0]
    if not wrong:
        return None
    chosen = [(int(rng.choice(of_target)), "target"), (int(rng.choice(of_target)), "target"),
              (int(rng.choice(of_rival)), "distractor"), (int(rng.choice(wrong)), "false")]  # fmt: skip
    try:
        sentences = tuple(write(n, rng, kind, new_words and rng.random() < 0.5) for n, kind in chosen)
    except QueryError:
        return None
    numbers = [one.meaning for one in sentences]
    volume = np.rint(scene.volume_hu).clip(-1024, 3071).astype(np.int16)
    return Crop(volume, scene.offset_mm, masks[numbers], ~unknown[numbers], truth, sentences, anatomy.name, rival)


def make_crops(seed: int, split: str, bodies: Sequence[int], number: int) -> list[Crop]:
    """Crops of some bodies, in turn; the same seed gives the same ones.

    Args:
        seed: Random seed (integer, 0 or more).
        split: ``train``, ``validation`` or ``test``; the latter two have new wordings in half of their sentences.
        bodies: Numbers of the torsos.
        number: Number of crops.
    """
    crops: list[Crop] = []
    part = ("train", "validation", "test").index(split)
    for turn, body in enumerate(bodies):
        torso = make_phantom(BODY_SEED + body, SPEC.spacing_mm)
        rng = np.random.default_rng([seed, part, body])
        wanted = number // len(bodies) + (turn < number % len(bodies))
        while wanted:
            crop = make_crop(torso, rng, split != "train", RIVALS[len(crops) % len(RIVALS)])
            if crop is not None:
                crops.append(crop)
                wanted -= 1
    return crops


def save(crops: Sequence[Crop], path: Path) -> str:
    """Writes crops as one safetensors file, and returns its sha256."""
    arrays = {
        "volume_hu": np.stack([one.volume_hu for one in crops]),
        "offset_mm": np.array([one.offset_mm for one in crops], np.float32),
        "target": np.stack([np.packbits(one.target) for one in crops]),
        "known": np.stack([np.packbits(one.known) for one in crops]),
        "truth": np.stack([one.truth for one in crops]),
    }
    about = [{"body": one.body, "rival": one.rival, "sentences": [asdict(s) for s in one.sentences]} for one in crops]
    save_file(arrays, path, {"crops": json.dumps(about)})
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load(path: Path) -> list[Crop]:
    """Reads what ``save`` wrote."""
    arrays = load_file(path)
    with safe_open(path, "np") as file:
        about = json.loads((file.metadata() or {})["crops"])
    shape = (len(about[0]["sentences"]), *arrays["volume_hu"].shape[2:])
    count = int(np.prod(shape))

    def bits(name: str, n: int) -> np.ndarray:
        return np.unpackbits(arrays[name][n], count=count).reshape(shape).astype(bool)

    return [
        Crop(
            arrays["volume_hu"][n], (float(arrays["offset_mm"][n, 0]), float(arrays["offset_mm"][n, 1])),
            bits("target", n), bits("known", n), arrays["truth"][n],
            tuple(Sentence(**s) for s in one["sentences"]), one["body"], one["rival"],
        )
        for n, one in enumerate(about)
    ]  # fmt: skip


def vocabulary(crops: Sequence[Crop]) -> tuple[str, ...]:
    """All words of some crops' sentences, in order."""
    return tuple(sorted({word for crop in crops for one in crop.sentences for word in one.words.split()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=2400)
    parser.add_argument("--validation", type=int, default=96)
    parser.add_argument("--test", type=int, default=384)
    parser.add_argument("--bodies", type=int, nargs=3, default=(64, 12, 24), help="of training, validation and test")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    freeze(given.out, (given.train, given.validation, given.test), given.bodies, given.seed)


def freeze(out: Path, crops: Sequence[int], bodies: Sequence[int], seed: int) -> dict[str, str]:
    """Paints and writes all three parts that are not there yet.

    Returns:
        Sha256 of each file, by its part.
    """
    out.mkdir(parents=True, exist_ok=True)
    first, digests = 0, {}
    for split, count, some in zip(("train", "validation", "test"), crops, bodies):
        path = out / f"{split}.safetensors"
        if not path.is_file():
            made = make_crops(seed, split, range(first, first + some), count)
            digests[split] = save(made, path)
            print(f"{split}: {count} crops of {some} bodies, {digests[split][:12]}", flush=True)
        else:
            digests[split] = hashlib.sha256(path.read_bytes()).hexdigest()
        first += some
    return digests


if __name__ == "__main__":
    main()
