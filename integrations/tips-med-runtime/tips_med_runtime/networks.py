"""The three graphs of a model, or of an adapter: slabs to features, words to embeddings, both to scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from tips_med_runtime.errors import QueryError, WeightsError

SLABS_AT_ONCE = 4
"""Number of slabs that are scored at once: few enough for the processor's cache."""


@dataclass(frozen=True)
class Features:
    """What an image network made of a scan, in the precision that tips_med keeps.

    Attributes:
        patches: Embeddings, float16 [slab row col embedding].
        fine: Features in steps, int8 [slab y x feature]; 0 outside the body.
        step: Value of one step, float32 [slab feature].
    """

    patches: np.ndarray
    fine: np.ndarray
    step: np.ndarray


class Networks:
    """The graphs in ONNX Runtime, on the CPU.

    Args:
        folder: Folder of the model.
        graphs: ``graphs`` of ``model.json``, or of one of its adapters.
        vocabulary: Words of the word network.
        threads: Number of threads; as many as ONNX Runtime takes when None.
    """

    def __init__(
        self, folder: Path, graphs: dict[str, Any], vocabulary: Sequence[str], threads: int | None = None
    ) -> None:
        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        for name, graph in graphs.items():
            file = folder / graph["file"]
            try:
                self._sessions[name] = onnxruntime.InferenceSession(
                    str(file), options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # of ONNX Runtime's own kinds, which have no common base
                raise WeightsError(f"ONNX Runtime cannot load it ({error})", path=file) from error
        self._index = {word: n for n, word in enumerate(vocabulary, start=1)}
        self._pooled: dict[str, np.ndarray] = {}

    def features(self, pixels: np.ndarray, offset_mm: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """Patches and fine features of slabs [slab channel y x], whose first pixel lies (y, x) mm from the middle."""
        patches, fine = self._sessions["image"].run(
            None, {"pixels": pixels[None], "offset_mm": np.array([offset_mm], np.float32)}
        )
        return np.asarray(patches)[0], np.asarray(fine)[0]

    def pooled(self, phrase: str) -> np.ndarray:
        """The embedding of a phrase, [1 width].

        Raises:
            QueryError: A word that is not in the vocabulary.
        """
        if phrase not in self._pooled:
            unknown = [word for word in phrase.split() if word not in self._index]
            if unknown:
                raise QueryError(f"the model's vocabulary lacks {', '.join(map(repr, unknown))}", code="unknown-words")
            indices = np.array([[self._index[word] for word in phrase.split()]], np.int64)
            self._pooled[phrase] = np.asarray(self._sessions["words"].run(["pooled"], {"indices": indices})[0])
        return self._pooled[phrase]

    def scores(self, phrase: str, features: Features) -> np.ndarray:
        """Logits of a phrase, [slab y x]."""
        text = self.pooled(phrase)
        out = np.empty(features.fine.shape[:3], np.float32)
        for first in range(0, len(out), SLABS_AT_ONCE):
            some = slice(first, first + SLABS_AT_ONCE)
            fine = features.fine[some] * features.step[some, None, None, :]
            given = {"text": text, "patches": features.patches[some].astype(np.float32), "fine": fine}
            out[some] = np.asarray(self._sessions["head"].run(None, given)[0])[0]
        return out


def quantized(fine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fine features [slab y x feature] as int8, and the value of one step, [slab feature]; as tips_med keeps them."""
    step = (np.maximum(np.abs(fine).max(axis=(1, 2)), np.float32(1e-6)) / 127).astype(np.float32)
    return np.clip(np.rint(fine / step[:, None, None]), -127, 127).astype(np.int8), step


def adapter_of(words: Sequence[str], taught: Sequence[Sequence[str]]) -> int:
    """Number of the adapter that answers a phrase, from 1; 0 for what the model knew before."""
    typed = set(words)
    for number in range(len(taught), 0, -1):
        if any(typed.issuperset(phrase.split()) for phrase in taught[number - 1]):
            return number
    return 0
