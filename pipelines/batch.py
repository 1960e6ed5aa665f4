"""Queries every scan of a folder or manifest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from tips_med.batch import Answering, BatchResult, BatchSettings, Executor, LocalExecutor, run_batch
from tips_med.batch.executors.ray_cluster import RayExecutor
from tips_med.batch.executors.slurm import NO_SLURM, SlurmExecutor, SlurmOptions
from tips_med.batch.folder import BatchFolder
from tips_med.batch.run import Shard, batch_secret
from tips_med.batch.table import check_tables
from tips_med.batch.work import batch_exporters
from tips_med.card import BALANCED, OperatingPointName
from tips_med.errors import ConfigError
from tips_med.grounding.questions import understand
from tips_med.loading import open_model_at
from tips_med.progress import StepFactory, no_progress


def batch(
    path: str,
    query: Sequence[str],
    out: Path,
    model: str | None = None,
    device: str = "auto",
    outputs: Literal["table", "masks", "all"] = "masks",
    exporter: str | None = None,
    match: str | None = None,
    fill_gaps: bool = False,
    untilt: bool = False,
    modality: Literal["CT", "MR"] | None = None,
    deidentify: bool = False,
    key: Path | None = None,
    retry: bool = False,
    again: bool = False,
    workers: int = 1,
    cores: int | None = None,
    shard: str | None = None,
    list_only: bool = False,
    slurm: SlurmOptions = NO_SLURM,
    ray: str | None = None,
    gpu_workers: int = 0,
    tables: Literal["auto", "csv", "parquet"] = "auto",
    page_rows: int = 500,
    operating_point: OperatingPointName = BALANCED,
    steps: StepFactory = no_progress,
) -> BatchResult:
    """Queries every scan of a folder or manifest once, and writes one folder a scan, one table and one page.

    The same command again goes on where an earlier run stopped.

    Args:
        path: Folder, searched with those below it, or manifest (.csv, .tsv, .jsonl).
        query: Findings or structures to search, in words; each scan is encoded once for all of them.
        out: Folder of the batch: new, empty, or that of an earlier run with the same settings.
        model: File of weights, or tips:FOLDER; the shipped model if left out.
        device: auto, cpu or cuda.
        outputs: Files of each answer beside the picture: table (none), masks, or all that the command ground writes.
        exporter: Further files, as of the command ground.
        match: Pattern of the paths of files that are taken, such as '*/ct.nii.gz'; DICOM is always taken.
        fill_gaps: Leave empty slices where some are missing, with a note.
        untilt: Resample a tilted gantry's slices to an upright grid, with a note.
        modality: Modality of files that do not state it, such as NIfTI: CT (in Hounsfield units) or MR.
        deidentify: Write results without the patient's identity (DICOM PS3.15 basic profile), with other UIDs.
        key: File with the secret of the studies' keys, made if missing; with the same one, a scan has the same key in
            every batch. A file in out if left out.
        retry: Try again what failed in an earlier run.
        again: Answer every scan anew where the settings are not those of the earlier run.
        workers: Number of processes, each with a model and a scan: here, in each job on Slurm, or those without a GPU
            on Ray.
        cores: Number of cores of each; a fair share if left out.
        shard: Answer a part of the scans, such as 0/8 to 7/8; a last run without it writes the table.
        list_only: Find the scans, write their list, which all shards then share, and stop.
        slurm: Run on Slurm, where any of these is given: --slurm.partition NAME.
        ray: Run on the Ray cluster at an address: auto, or HOST:PORT.
        gpu_workers: Number of workers on the Ray cluster that have a GPU each.
        tables: csv, parquet (and csv), or auto: Parquet where pyarrow is installed.
        page_rows: Number of answers on the page, 0 or more.
        operating_point: Thresholds of present and absent: sensitive (fewer misses), balanced, or specific (fewer false
            alarms). See the model card for what each did on real scans.
        steps: Progress of the work; the command line shows a bar.

    Returns:
        Counts and files; the command line exits with 3 where a scan or a query is not answered.

    Raises:
        TipsMedError: Nothing is found, the settings are not those of the earlier run, or no worker can work.
    """
    check_tables(tables)
    executor = _executor(out, workers, cores, slurm, ray, gpu_workers)
    load = partial(open_model_at, model, operating_point)
    with steps("loading the model"):
        opened = load(device="cpu")
        _, declined = understand(query, opened)
    settings = BatchSettings(
        queries=tuple(query),
        weights_sha256=opened.sha256,
        model=opened.card.name,
        operating_point=operating_point,
        outputs=outputs,
        exporter=exporter,
        fill_gaps=fill_gaps,
        untilt=untilt,
        modality=modality,
        deidentify=deidentify,
    )
    batch_exporters(settings)
    if deidentify:
        from tips_med.deidentification import Deidentifier

        Deidentifier()  # a missing extra is told now
    BatchFolder(out).prepare(settings, again=again)
    return run_batch(
        Path(path),
        Answering(out.resolve(), settings, batch_secret(out, key), load, device),
        executor,
        retry=retry,
        again=again,
        shard=None if shard is None else Shard.parse(shard),
        list_only=list_only,
        match=match,
        tables=tables,
        page_rows=page_rows,
        declined=declined,
        steps=steps,
    )


def _executor(
    out: Path, workers: int, cores: int | None, slurm: SlurmOptions, ray: str | None, gpu_workers: int
) -> Executor:
    if slurm != NO_SLURM and ray is not None:
        raise ConfigError("both --slurm and --ray", expected="one of them", code="executor")
    if slurm != NO_SLURM:
        return SlurmExecutor(slurm, out.resolve() / "slurm", workers)
    if ray is not None:
        return RayExecutor(ray, workers, gpu_workers, cores)
    return LocalExecutor(workers, cores)
