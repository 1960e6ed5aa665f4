"""What a bundle's inference.yaml is made of: scans go in, masks with their reports come out."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from monai.config.type_definitions import KeysCollection
from monai.data.utils import decollate_batch, list_data_collate
from monai.inferers.inferer import Inferer
from monai.transforms.transform import MapTransform

from tips_med.errors import OutputError, WeightsError
from tips_med.exporters.report import report
from tips_med.folders import whole_file
from tips_med.grounding import encode, ground
from tips_med.grounding.ground import adapters_of, parse_query
from tips_med.loading import model_of_bundle
from tips_med.model import GroundingModel
from tips_med.net import GroundingNet
from tips_med.sample import sample_path
from tips_med.transforms import mask_of_answer, scan_of_tensor

REPORT = "report"
"""Where ``meta`` of a mask keeps the report, as JSON."""


class QueryInferer(Inferer):
    """Asks whole scans: ``tips_med.encode`` and ``tips_med.ground`` with the bundle's network.

    Args:
        models: The bundle's folder ``models``: what the network was taught, its calibration and its lexicon.
        query: What to look for, in words; several give a channel each.
    """

    def __init__(self, models: str | Path, query: str | Sequence[str]) -> None:
        self.models, self.queries = Path(models), [query] if isinstance(query, str) else list(query)
        self._known: tuple[str, GroundingModel] | None = None

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Where it is, in each scan of a batch.

        Args:
            inputs: Scans that know their places, from ``LoadScand``: [batch 1 i j k] in HU, NaN where nothing was
                measured.
            network: The bundle's ``GroundingNet``.
            *args: Not used.
            **kwargs: Not used.

        Returns:
            uint8 [batch query i j k], on the scans' own grids. The ``meta`` of every mask has the report as JSON: what
            is present, absent or unsure, and why.

        Raises:
            QueryError: A query is not understood, or asks for what the model was not trained to find.
            ReadError: A scan does not know its place.
            WeightsError: The network is not a ``GroundingNet``, or is not this bundle's.
        """
        del args, kwargs
        model = self._model(network)
        queries = [parse_query(query, model) for query in self.queries]
        about = asdict(model.card) | {"name": model.card.name, "weights_sha256": model.sha256}
        masks = []
        images: Any = decollate_batch(inputs)
        for image in images:
            study = encode(scan_of_tensor(image), model, adapters=adapters_of(queries, model))
            answers = [ground(study, query, model) for query in queries]
            mask = mask_of_answer(answers[0])
            mask.set_array(torch.cat([mask_of_answer(answer).as_tensor() for answer in answers]))
            mask.meta |= {
                "filename_or_obj": image.meta.get("filename_or_obj", "scan"),
                REPORT: json.dumps(report(study.scan, answers, about), ensure_ascii=False),
            }
            masks.append(mask)
        return list_data_collate(masks).to(inputs.device)

    def _model(self, network: Callable[..., torch.Tensor]) -> GroundingModel:
        if not isinstance(network, GroundingNet):
            raise WeightsError(
                f"a network of the class {type(network).__name__}",
                expected="a tips_med GroundingNet",
                code="other-model",
            )
        fingerprint = network.fingerprint()  # weights may be loaded into it, or trained, from one scan to the next
        if self._known is None or self._known[0] != fingerprint:
            self._known = fingerprint, model_of_bundle(network, self.models)
        return self._known[1]


class SaveReportd(MapTransform):
    """Writes the report of a mask from ``QueryInferer`` as ``NAME_report.json``, NAME being that of the scan's file.

    Args:
        keys: Keys of masks.
        output_dir: Where to write; made if it is not there.
        allow_missing_keys: Do not mind a key that is not there.
    """

    def __init__(self, keys: KeysCollection, output_dir: str | Path, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.output_dir = Path(output_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Writes; the data stay as they are.

        Raises:
            OutputError: It cannot be written there.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            meta = d[key].meta
            name = Path(str(meta["filename_or_obj"])).name
            for suffix in (".gz", ".nii", ".nrrd", ".mha", ".mhd", ".dcm", ".zip"):
                name = name.removesuffix(suffix)
            path = self.output_dir / f"{name}_report.json"
            content = json.dumps(json.loads(meta[REPORT]), indent=2, ensure_ascii=False) + "\n"
            try:
                with whole_file(path) as partial:
                    partial.write_text(content, "utf-8")
            except OSError as error:
                raise OutputError(f"cannot be written ({error.strerror or error})", path=path) from error
        return d


def scan_items(image: str | Sequence[str], dataset_dir: str = ".") -> list[dict[str, str]]:
    """The items of a dataset: one for each scan.

    Args:
        image: A path, or several; ``sample`` is the bundled scan.
        dataset_dir: Where relative paths begin.
    """
    images = [image] if isinstance(image, str) else list(image)
    return [{"image": str(sample_path() if one == "sample" else Path(dataset_dir) / one)} for one in images]
