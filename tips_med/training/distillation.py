"""Distillation: a teacher's patch embeddings, stored beforehand, and how a student is compared with them.

The loss is one minus the cosine, averaged over all patches and not only masked ones, as TIPSv2's own distillation does
(Cao 2026, arXiv:2604.12012, section on iBOT++); the alignment loss of the training stands beside it.

The embeddings of a study are one safetensors file, which any tower may have made.

A file holds ``patches`` [slab row col embedding], of any floating type, and ``lps_from_patch``, the 4 x 4 affine that
maps (slab, row, col, 1), patch centres, to LPS in mm, as float64. Teacher and student cut the scan in different slabs,
so patches meet by their affines.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from tips_med.encoders.base import ImageFeatures
from tips_med.errors import OutputError, TipsMedError
from tips_med.folders import whole_file
from tips_med.geometry import index_from_crop
from tips_med.grounding import encode
from tips_med.grounding.encoding import finding_adapters, patches_of
from tips_med.manifest import ManifestError
from tips_med.model import GroundingModel
from tips_med.readers import read_scan
from tips_med.shapes import Affine

FORMAT = "tips_med-teacher-1"


def teacher_file(folder: Path, scan: Path, base: Path) -> Path:
    """The file of a scan's embeddings: named by the scan's path from the manifest's folder, so that both may move.

    Args:
        folder: Folder of the embeddings.
        scan: Path of a DICOM folder or a file.
        base: Folder of the manifest.
    """
    relative = Path(os.path.relpath(scan.resolve(), base.resolve())).as_posix()
    digest = hashlib.sha256(relative.encode()).hexdigest()[:8]
    readable = "-".join(part for part in relative.split("/") if part != "..")[-80:]
    return folder / f"{readable}.{digest}.safetensors"


def store_embeddings(
    scans: Sequence[Path],
    model: GroundingModel,
    folder: Path,
    base: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
    skipped: Callable[[Path, TipsMedError], None] | None = None,
) -> list[Path]:
    """Encodes every scan and stores its patches, with those of adapters for findings; files that are there stay.

    Args:
        scans: Scans to encode.
        model: Teacher model.
        folder: Folder to write to.
        base: Folder of the manifest.
        progress: Called with (scans done, total scans).
        skipped: Called with a scan that cannot be read, and why; without it, that stops everything.

    Raises:
        TipsMedError: A scan cannot be encoded; or a file cannot be written, or is of another teacher.
    """
    files = []
    for done, scan in enumerate(scans, start=1):
        file = teacher_file(folder, scan, base)
        try:
            if not file.is_file():
                study = encode(read_scan(scan), model, adapters=finding_adapters(model))
                features = replace(study.features, patches=patches_of(study, model, finding_adapters(model)))
                write_embeddings(file, features, model.image.name)
            elif (made_by := _metadata(file).get("encoder")) != model.image.name:
                raise OutputError(
                    f"is of the teacher {made_by!r}",
                    path=file,
                    expected=model.image.name,
                    remedy="choose another folder",
                )
            files.append(file)
        except OutputError:
            raise
        except TipsMedError as error:
            if skipped is None:
                raise
            skipped(scan, error)
        if progress:
            progress(done, len(scans))
    return files


def write_embeddings(path: Path, features: ImageFeatures, encoder: str) -> Path:
    """Writes the patches of one study, whole or not at all.

    Args:
        path: Path to write, ending in .safetensors.
        features: Features of an image tower; its fine features are not stored.
        encoder: Name of the tower.

    Raises:
        OutputError: It cannot be written there.
    """
    tensors = {
        "patches": features.patches.contiguous(),
        "lps_from_patch": torch.from_numpy(np.ascontiguousarray(features.lps_from_patch, dtype=np.float64)),
    }
    try:
        with whole_file(path) as partial:
            save_file(tensors, partial, {"format": FORMAT, "encoder": encoder})
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"cannot be written ({error})", path=path, remedy="make room, or choose another place"
        ) from error
    return path


def width_of(path: Path) -> int:
    """Embedding size of stored patches.

    Raises:
        ManifestError: The file is damaged, or holds something else.
    """
    try:
        with safe_open(path, "pt") as file:
            return int(file.get_slice("patches").get_shape()[3])
    except (OSError, SafetensorError, IndexError) as error:
        raise _damaged(path, error) from error


def read_embeddings(path: Path, lps_from_patch: Affine, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Stored patches at the patch centres of a crop; only the slabs near it are read.

    Args:
        path: Path of the study.
        lps_from_patch: Maps (slab, row, col, 1), patch centres of the crop, to LPS in mm.
        shape: Number of slabs, rows and columns of the crop, in patches.

    Returns:
        Embeddings [slab row col embedding], interpolated, float32; and the mask of those that the teacher encoded.

    Raises:
        ManifestError: The file is damaged, or holds something else.
    """
    try:
        with safe_open(path, "pt") as file:
            affine = file.get_tensor("lps_from_patch").numpy().astype(np.float64)
            stored = file.get_slice("patches")
            slabs = int(stored.get_shape()[0])
            ends = np.array([[k, j, i, 1.0] for k in (0, shape[0]) for j in (0, shape[1]) for i in (0, shape[2])])
            slab = (ends @ (np.linalg.inv(affine) @ lps_from_patch).T)[:, 0]
            first = int(np.clip(np.floor(slab.min()) - 1, 0, slabs - 1))
            last = int(np.clip(np.ceil(slab.max()) + 2, first + 1, slabs))
            features = ImageFeatures(stored[first:last], affine @ index_from_crop((first, 0, 0)))
    except (OSError, SafetensorError, ValueError, IndexError, np.linalg.LinAlgError) as error:
        raise _damaged(path, error) from error
    return sample_patches(features, lps_from_patch, shape)


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ManifestError:
    return ManifestError(
        f"holds no embeddings of a teacher ({error})",
        path=path,
        expected="patches [slab row col embedding] and lps_from_patch",
        remedy="delete it and make it again with tips-med embed",
        code="teacher",
    )


def patch_distance(patches: Tensor, target: Tensor, inside: Tensor) -> Tensor:
    """One minus the cosine with the teacher, averaged over all patches that it encoded.

    Args:
        patches: Patches of the student, at the teacher's width, [batch slab row col embedding].
        target: Patches of the teacher, the same shape; no gradient flows.
        inside: Mask of patches that the teacher encoded, [batch slab row col].

    Returns:
        One distance an item, 0 to 2, [batch]; 0, without a gradient, where the teacher encoded nothing.
    """
    cosine = functional.cosine_similarity(patches, target.detach().to(patches.dtype), dim=-1)
    weight = inside.to(cosine.dtype)
    return ((1 - cosine) * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=1)


def sample_patches(
    features: ImageFeatures, lps_from_patch: Affine, shape: tuple[int, int, int]
) -> tuple[Tensor, Tensor]:
    """Patch embeddings at the patch centres of another grid.

    Args:
        features: Features of the teacher for a scan.
        lps_from_patch: Maps (slab, row, col, 1), patch centres of the student, to LPS in mm.
        shape: Number of slabs, rows and columns of the student's patches.

    Returns:
        Embeddings [slab row col embedding], interpolated, float32; and whether the teacher has patches around that
        place, [slab row col]. Out of its grid the nearest patch stands in, marked as not inside.
    """
    theirs_from_ours = np.linalg.inv(features.lps_from_patch) @ lps_from_patch
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    where = index @ theirs_from_ours[:3, :3].T + theirs_from_ours[:3, 3]
    size = np.asarray(features.patches.shape[:3])
    inside = ((where >= -0.5) & (where <= size - 0.5)).all(axis=1)
    # grid_sample counts from -1 to 1 between the outermost centres, in the order x, y, z.
    unit = np.where(size > 1, where / np.maximum(size - 1, 1) * 2 - 1, 0.0)
    grid = torch.from_numpy(unit[:, ::-1].astype(np.float32)).view(1, *shape, 3)
    volume = features.patches.float().permute(3, 0, 1, 2)[None]
    sampled = functional.grid_sample(volume, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return sampled[0].permute(1, 2, 3, 0).contiguous(), torch.from_numpy(inside.reshape(shape))
