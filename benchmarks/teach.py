"""Teaches the shipped model organs that it does not know, and measures whole scans of patients that it never saw.

    python -m benchmarks.teach --data DATA --out OUT [--steps 300] [--mode adapter|full|index|outputs|unet]

DATA is the folder of public scans that the weights are made from (docs/training.md), with ``organs.nii.gz`` beside
each scan. ``adapter`` is what ``tips-med train`` does by default; ``full`` lets all weights learn; ``index`` and
``outputs`` name by number instead of words (benchmarks/teach_naming.py); ``unet`` is DynUNet of MONAI, in nnU-Net's
way, trained from nothing on the same prepared studies and crops, for as long. Dice is that of
``tips-med evaluate`` on the scan's own grid; the outlines are those of small public networks, looked at by hand.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.losses.dice import DiceCELoss
from monai.networks.nets.dynunet import DynUNet
from torch import Tensor

from benchmarks.teach_naming import taught_by_index
from pipelines.train import train
from tips_med.encoders.tips import FineTuning
from tips_med.grounding import encode, ground
from tips_med.loading import open_model
from tips_med.manifest import Row, read_mask, write_manifest
from tips_med.query import load_lexicon
from tips_med.readers import read_scan
from tips_med.resampling import resample
from tips_med.slabs import BODY_MARGIN, make_slabs
from tips_med.training.crops import DataSpec, StudyCrops
from tips_med.training.finetune import FinetuneConfig
from tips_med.training.fitting import TrainerSpec
from tips_med.training.manifest_data import ManifestData
from tips_med.training.towers import Tuning

ORGANS = {"liver": 10, "spleen": 11}
"""Phrases, and their numbers in organs.nii.gz."""

TRAIN = (
    "ACRIN-FLT-Breast_001-t2", "ACRIN-NSCLC-FDG-PET-042", "CPTAC-PDA-00189", "CRLM-CT-1004", "LIDC-IDRI-0001",
    "Pancreas-CT-CB_001",
)  # fmt: skip
VAL = ("TCGA-LIHC-A3KF-acq2",)
TEST = ("LIDC-IDRI-0003", "4D-Lung-113", "CRLM-CT-1006")
"""No patient is in two of them. The shipped weights saw the bodies of all but the first two test cases."""


def scan_of(data: Path, case: str) -> Path:
    """A case's scan: NIfTI, or the folder of its DICOM files."""
    file = data / case / "ct.nii.gz"
    return file if file.exists() else data / case / "dicom"


def manifest(data: Path, out: Path) -> Path:
    """One row for each organ of each case."""
    rows = []
    for split, cases in (("train", TRAIN), ("val", VAL)):
        for case in cases:
            for organ, number in ORGANS.items():
                mask = data / case / "organs.nii.gz"
                row = Row(scan_of(data, case), organ, mask, part=str(number), patient=case, split=split)
                rows.append(row)
    return write_manifest(rows, out / "manifest.csv")


def cpu_s() -> float:
    """CPU time of this process in seconds: what is comparable where other work shares the cores."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """Dice of two masks."""
    return 2 * float((found & truth).sum()) / max(float(found.sum() + truth.sum()), 1.0)


def measure(data: Path, answer: Callable[[Path], dict[str, np.ndarray]]) -> dict[str, dict[str, float]]:
    """Dice of every organ of every test scan, on the scan's own grid."""
    found: dict[str, dict[str, float]] = {}
    for case in TEST:
        masks, scan = answer(scan_of(data, case)), read_scan(scan_of(data, case))
        truth = {o: read_mask(data / case / "organs.nii.gz", scan, str(n)) for o, n in ORGANS.items()}
        found[case] = {organ: round(dice(masks[organ], truth[organ]), 3) for organ in ORGANS if truth[organ].any()}
        print(case, found[case], flush=True)
    return found


def taught(chosen: argparse.Namespace, spec: DataSpec) -> tuple[dict[str, dict[str, float]], float]:
    """Trains with this package."""
    begun = cpu_s()
    trainer = TrainerSpec(
        "cpu", 1, ema=0.95, checkpoint_every=100, validate_every=chosen.validate_every, threads=chosen.threads
    )
    config = FinetuneConfig(steps=chosen.steps, warmup=20, learning_rate=chosen.learning_rate)
    out = chosen.out / chosen.mode
    if chosen.mode in ("index", "outputs"):
        model = taught_by_index(chosen.mode, spec, out, config, trainer)
    else:
        tuning = Tuning(image=FineTuning("full")) if chosen.mode == "full" else None
        file = train(
            spec, out, name="taught", optimizer=config, tuning=tuning, trainer=trainer,
            check_scans=chosen.check_scans,
        )  # fmt: skip
        model = open_model(str(file), "cpu")
    spent = cpu_s() - begun

    def answer(path: Path) -> dict[str, np.ndarray]:
        study = encode(read_scan(path), model, adapters="all")
        return {organ: ground(study, organ, model).mask for organ in ORGANS}

    return measure(chosen.data, answer), spent


def unet(chosen: argparse.Namespace, spec: DataSpec) -> tuple[dict[str, dict[str, float]], float]:
    """Trains DynUNet on the same crops, for the given CPU time."""
    model, lexicon = open_model(None, "cpu"), load_lexicon("chest_ct")
    module = ManifestData(spec, model, lexicon, chosen.out / "cache", 10**6)
    module.prepare_data()
    begun = cpu_s()
    torch.manual_seed(0)
    kernels = [[1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]]
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]]
    net = DynUNet(
        3, 1, 1 + len(ORGANS), kernels, strides, strides[1:], filters=[16, 32, 64, 128, 160], norm_name="instance"
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.99, nesterov=True, weight_decay=3e-5)
    criterion = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)
    crops, step = StudyCrops(module.files["train"], spec, model.image.slab_spec, lexicon), 0
    while cpu_s() - begun < chosen.seconds:
        made = [crops.crop(step * spec.batch + n) for n in range(spec.batch)]
        target = torch.zeros(len(made), 1, *spec.shape)
        for n, crop in enumerate(made):
            for one in crop.targets:
                if one.phrase in ORGANS and one.target.any():
                    number = 1 + list(ORGANS).index(one.phrase)
                    target[n, 0][torch.from_numpy(one.target > 0.5)] = number
        images = torch.stack([normalised(torch.from_numpy(crop.volume_hu))[None] for crop in made])
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * max(1 - (cpu_s() - begun) / chosen.seconds, 0.0) ** 0.9
        loss = criterion(net(images), target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 12)
        optimizer.step()
        step += 1
        if step % 20 == 0:
            print(f"step {step}: loss {float(loss.detach()):.3f}, {cpu_s() - begun:.0f} CPU s", flush=True)
    spent = cpu_s() - begun
    net.eval()

    @torch.inference_mode()
    def answer(path: Path) -> dict[str, np.ndarray]:
        from monai.inferers.utils import sliding_window_inference

        scan = read_scan(path)
        slabs = make_slabs(scan, model.image.slab_spec, margin=BODY_MARGIN)
        slab, y, x = (int(n) for n in slabs.seen.shape)
        volume = resample(scan.voxels, scan.lps_from_kji, slabs.lps_from_pixel, (slab, y, x))
        image = normalised(torch.from_numpy(np.nan_to_num(volume, nan=-1024.0)))[None, None]
        logits = sliding_window_inference(image, spec.shape, 1, net, overlap=0.5, mode="gaussian")
        chance = torch.as_tensor(logits).softmax(1)[0].numpy()
        on_scan = [resample(one, slabs.lps_from_pixel, scan.lps_from_kji, scan.shape) for one in chance[1:]]
        return {organ: np.nan_to_num(one) > 0.5 for organ, one in zip(ORGANS, on_scan)}

    return measure(chosen.data, answer), spent


def normalised(volume_hu: Tensor) -> Tensor:
    """Values of an abdominal window, about -1 to 1, as nnU-Net's clipping makes them."""
    return (volume_hu.clamp(-160, 240) - 40) / 200


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mode", choices=("adapter", "full", "index", "outputs", "unet"), default="adapter")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--seconds", type=float, default=1800, help="CPU seconds of the U-Net")
    parser.add_argument("--validate-every", type=int, default=100)
    parser.add_argument("--check-scans", type=int, default=0, help="painted scans of the table before and after")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shape", type=int, nargs=3, default=(8, 128, 160))
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(chosen.threads)
    begun = time.perf_counter()
    spec = DataSpec(
        manifest(chosen.data, chosen.out), shape=tuple(chosen.shape), batch=2, questions=2, negative_prob=0.0
    )
    values, spent = (unet if chosen.mode == "unet" else taught)(chosen, spec)
    result = {
        "mode": chosen.mode,
        "steps": chosen.steps,
        "dice": values,
        "mean_dice": round(float(np.mean([one for case in values.values() for one in case.values()])), 3),
        "training_cpu_s": round(spent),
        "wall_s": round(time.perf_counter() - begun),
    }
    (chosen.out / f"{chosen.mode}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
