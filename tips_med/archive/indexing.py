"""Fills an archive: scan after scan is encoded where it has to be, described, and stored whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tips_med.archive.describe import about_archive, describe
from tips_med.archive.keys import key_of
from tips_med.archive.ranking import check_weights
from tips_med.archive.store import Store
from tips_med.archive.studies import Studies
from tips_med.encoders.base import Progress
from tips_med.encoders.study import EncodedStudy, is_study
from tips_med.errors import ReadError, TipsMedError
from tips_med.grounding.maps import prepare
from tips_med.manifest import read_manifest
from tips_med.model import GroundingModel

_MANIFESTS = (".csv", ".tsv", ".jsonl")


@dataclass(frozen=True)
class Refused:
    """A scan that was not indexed.

    Attributes:
        path: File or folder; it may tell whose scan it is.
        error: The reason.
    """

    path: Path
    error: TipsMedError


@dataclass(frozen=True)
class Indexed:
    """What became of the scans.

    Attributes:
        written: Keys of the studies that were written, new or in place of an earlier one.
        unchanged: Number of files that were in the archive already and have not changed since.
        declined: Scans that were not indexed, with the reason.
        studies: Number of studies in the archive.
        archive: Name of the archive.
    """

    written: tuple[str, ...]
    unchanged: int
    declined: tuple[Refused, ...]
    studies: int
    archive: str

    def __str__(self) -> str:
        """One line."""
        parts = [f"{len(self.written)} indexed", f"{self.unchanged} unchanged", f"{len(self.declined)} refused"]
        return f"{', '.join(parts)}; {self.archive} holds {self.studies} studies"


def find_sources(source: str) -> list[Path]:
    """The scans to index: encoded studies of a folder and of those below it, scans of a manifest, or one scan.

    Raises:
        ReadError: There is nothing to index.
        ManifestError: The manifest cannot be read.
    """
    path = Path(source)
    if path.suffix.lower() in _MANIFESTS and not path.is_dir():
        return sorted({row.scan_key for row in read_manifest(path)})
    if path.is_dir():
        found = sorted(one for one in path.rglob("*.safetensors") if is_study(one) and not one.name.startswith("."))
        if found:
            return found
        raise ReadError(
            "holds no encoded study",
            path=path,
            expected="files that tips-med encode wrote",
            remedy="encode the scans first, or list them in a manifest",
            code="no-study",
        )
    if not path.exists():
        raise ReadError("does not exist", path=path, code="not-found", remedy="check the path")
    return [path]


def index_scans(
    sources: list[Path],
    store: Store,
    studies: Studies,
    model: GroundingModel,
    encode: Callable[[Path], EncodedStudy],
    *,
    archive: str,
    again: bool = False,
    progress: Progress | None = None,
) -> Indexed:
    """Indexes scans, one commit each: a process that is killed loses the one it was at.

    Args:
        sources: Encoded studies, or scans.
        store: Archive to write to.
        studies: Its keys, and where its studies lie.
        model: Model that indexes.
        encode: Reads and encodes a scan.
        archive: Name of the archive, for messages.
        again: Index files that have not changed, too.
        progress: Called with (scans done, scans).

    Raises:
        WeightsError: The archive was indexed by other weights.
        ArchiveError: It cannot be written.
    """
    if store.about is not None:
        check_weights(store.about, model, archive)
    there = store.keys()
    written: list[str] = []
    refused: list[Refused] = []
    unchanged = 0
    for n, path in enumerate(sources, start=1):
        if not again and studies.key_of_file(path) in there and path.is_file():
            unchanged += 1
        else:
            try:
                written.append(_index(path, store, studies, model, encode))
            except TipsMedError as error:
                if error.code in ("archive", "output"):
                    raise
                refused.append(Refused(path, error))
        if progress:
            progress(n, len(sources))
    store.maintain()
    return Indexed(tuple(written), unchanged, tuple(refused), store.count(), archive)


def _index(
    path: Path, store: Store, studies: Studies, model: GroundingModel, encode: Callable[[Path], EncodedStudy]
) -> str:
    secret = studies.secret()
    if is_study(path):
        study, place = EncodedStudy.load(path), path
    else:
        study = encode(path)
        prepare(study, model)
        place = study.save(studies.new_file(key_of(study, secret)))
    about = store.about or about_archive(study, model)
    record = describe(study, model, about, secret)
    # First where it lies, then the study: a study in the archive can always be opened.
    studies.remember(record.key, place)
    store.put(record, about)
    return record.key
