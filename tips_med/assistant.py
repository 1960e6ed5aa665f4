"""Tools for assistants, by the Model Context Protocol: inspect, ask, measure, list findings (extra ``mcp``)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from anyio import to_thread
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

import tips_med
from tips_med.encoders.study import EncodedStudy, is_study
from tips_med.errors import ReadError, TipsMedError
from tips_med.exporters.report import plain_json, report
from tips_med.grounding import encode, ground
from tips_med.grounding.ground import adapters_of
from tips_med.grounding.questions import understand
from tips_med.model import GroundingModel
from tips_med.readers import inspect_path, read_scan
from tips_med.sample import sample_path

P = ParamSpec("P")
T = TypeVar("T")

NOTICE = "Research use only, not a medical device."
MAX_STUDIES = 2
"""Number of encoded scans that are kept in memory."""

_ABOUT = (
    "Searches CT scans of the chest for findings named in words, and measures them. An answer is present, absent or "
    "unsure, with reasons: report the state, its probability and its reasons as they are, and never call something "
    "absent that the answer does not. Paths are relative to the folder of the server; 'sample' is a bundled scan. "
    f"{NOTICE}"
)


class Assistant:
    """What the tools do.

    Args:
        model: Model that encodes and answers.
        folder: Folder outside which nothing is read.
    """

    def __init__(self, model: GroundingModel, folder: Path) -> None:
        self.model, self.folder = model, folder.resolve()
        self._studies: OrderedDict[tuple[Any, ...], EncodedStudy] = OrderedDict()
        self._lock = threading.Lock()

    def list_findings(self) -> dict[str, Any]:
        """What can be asked for."""
        lexicon, card = self.model.lexicon, self.model.card

        def terms(ids: tuple[str, ...]) -> list[dict[str, Any]]:
            return [
                {"name": lexicon.term(one).name, "synonyms": list(lexicon.term(one).synonyms)[:8]}
                | {"calibrated": card.calibration_of(one) is not None}
                for one in ids
            ]

        return {
            "model": self.model.identity,
            "findings": terms(card.findings),
            "structures": terms(card.structures),
            "notice": NOTICE,
        }

    def inspect(self, path: str) -> dict[str, Any]:
        """The series under a path, and which one would be read; file names are relative to the folder."""
        found = plain_json(inspect_path(self._inside(path)).to_dict())
        return _without(found, str(self.folder))

    def ask(self, path: str, query: str, series: str | None = None) -> dict[str, Any]:
        """Answers, as ``report.json`` has them."""
        queries, declined = understand([query], self.model)
        study = self._study(path, series, adapters_of(queries, self.model))
        with self._lock:  # a study's caches are for one query at a time
            answers = [ground(study, one, self.model) for one in queries]
        content = report(study.scan, answers, {"name": self.model.identity}, declined=declined)
        return {"answers": content["answers"], "notes": content["scan"]["notes"], "notice": NOTICE}

    def measure(self, path: str, query: str, series: str | None = None) -> dict[str, Any]:
        """What was found, one entry a component, with its measurements."""
        rows = []
        for entry in self.ask(path, query, series)["answers"]:
            if "declined" in entry:
                rows.append(entry)
                continue
            names = ("side", "place", "lobes", "volume_ml", "long_axis_mm", "slices", "mean_hu", "score", "peak_lps")
            found = [{name: one[name] for name in names} for one in entry["instances"]]
            rows.append(
                {name: entry[name] for name in ("query", "presence", "probability", "sentence")}
                | {"reasons": [one["code"] for one in entry["reasons"]], "instances": found}
            )
        return {"answers": rows, "notice": NOTICE}

    def _inside(self, path: str) -> Path:
        if path == "sample":
            return sample_path()
        try:
            found = (self.folder / path).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            found = None
        if found is None or not found.is_relative_to(self.folder):
            raise ReadError(
                "there is no such path in the folder of the server",
                expected="a path relative to it, or 'sample'",
                code="no-such-path",
            )
        return found

    def _study(self, path: str, series: str | None, adapters: tuple[int, ...]) -> EncodedStudy:
        place = self._inside(path)
        key = (place, series, place.stat().st_mtime_ns)
        with self._lock:
            if key not in self._studies:
                if is_study(place):
                    self._studies[key] = EncodedStudy.load(place)
                else:
                    scan = read_scan(place, series=series)
                    self._studies[key] = encode(scan, self.model, adapters=adapters)
            self._studies.move_to_end(key)
            while len(self._studies) > MAX_STUDIES:
                self._studies.popitem(last=False)
            return self._studies[key]


def make_assistant_server(model: GroundingModel, folder: Path) -> MCPServer:
    """The tools as a server; ``run("stdio")`` serves standard input and output.

    Args:
        model: Model that encodes and answers.
        folder: Folder outside which nothing is read.
    """
    tools = Assistant(model, folder)
    server = MCPServer("tips-med", instructions=_ABOUT, version=tips_med.__version__, log_level="ERROR")

    @server.tool()
    async def list_findings() -> dict[str, Any]:
        """Lists the findings and structures that can be asked for, with synonyms."""
        return await _told(tools.list_findings)

    @server.tool()
    async def inspect(path: str) -> dict[str, Any]:
        """Lists the series in a folder or file, which one would be read, and why others would not."""
        return await _told(tools.inspect, path)

    @server.tool()
    async def ask(path: str, query: str, series: str | None = None) -> dict[str, Any]:
        """Answers where a finding is in a scan: "mass in the left lung". The first question of a scan takes longer."""
        return await _told(tools.ask, path, query, series)

    @server.tool()
    async def measure(path: str, query: str, series: str | None = None) -> dict[str, Any]:
        """Measures each component of a finding: side, region, volume in ml, long axis in mm, slices, mean HU."""
        return await _told(tools.measure, path, query, series)

    return server


async def _told(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Works in a thread; errors that the user can fix name no path of this machine."""
    try:
        return await to_thread.run_sync(partial(work, *args, **kwargs))
    except TipsMedError as error:
        error.path = None
        raise ToolError(f"{error} [{error.code}]") from None
    except Exception as error:
        raise ToolError(f"a fault of tips_med ({type(error).__name__})") from None  # its text may quote a file


def _without(content: Any, folder: str) -> Any:
    if isinstance(content, dict):
        return {key: _without(value, folder) for key, value in content.items()}
    if isinstance(content, list):
        return [_without(value, folder) for value in content]
    return content.replace(folder, ".") if isinstance(content, str) else content
