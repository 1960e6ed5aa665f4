"""Tools for assistants, asked over stdio by the protocol's own client library."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed")

from tests.phantom import body, rule_model
from tips_med.assistant import Assistant
from tips_med.errors import QueryError, ReadError
from tips_med.exporters.nifti import write_volume
from tips_med.grounding import encode, ground
from tips_med.readers import read_scan

_SERVER = """
import sys
from pathlib import Path
from tests.phantom import rule_model
from tips_med.assistant import make_assistant_server
make_assistant_server(rule_model(), Path(sys.argv[1])).run("stdio")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    scan = body([((60.0, 0.0, 20.0), 14.0, 45.0)])
    (tmp_path / "scans").mkdir()
    write_volume(scan.voxels.astype(np.int16), scan.lps_from_kji, tmp_path / "scans" / "a.nii.gz")
    (tmp_path / "secret.nii.gz").write_bytes(b"secret")
    (tmp_path / "scans" / "link.nii.gz").symlink_to(tmp_path / "secret.nii.gz")
    return tmp_path / "scans"


def test_the_tools_over_stdio(folder: Path) -> None:
    from mcp.client.session import ClientSession
    from mcp.client.stdio import StdioServerParameters, stdio_client

    async def talk() -> dict[str, Any]:
        command = StdioServerParameters(command=sys.executable, args=["-c", _SERVER, str(folder)], cwd=Path.cwd())
        async with stdio_client(command) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            tools = {tool.name for tool in (await session.list_tools()).tools}
            calls = {
                "findings": ("list_findings", {}),
                "inspect": ("inspect", {"path": "a.nii.gz"}),
                "ask": ("ask", {"path": "a.nii.gz", "query": "mass in the left lung"}),
                "measure": ("measure", {"path": "a.nii.gz", "query": "mass in the left lung"}),
                "outside": ("ask", {"path": "../secret.nii.gz", "query": "mass"}),
                "unknown": ("ask", {"path": "a.nii.gz", "query": "fracture"}),
            }
            told = {name: await session.call_tool(tool, given) for name, (tool, given) in calls.items()}
            return {"tools": tools} | told

    told = asyncio.run(talk())
    assert told["tools"] == {"list_findings", "inspect", "ask", "measure"}
    content = {name: json.loads(told[name].content[0].text) for name in ("findings", "inspect", "ask", "measure")}
    assert "mass" in [one["name"] for one in content["findings"]["findings"]]
    direct = ground(encode(read_scan(folder / "a.nii.gz"), rule_model()), "mass in the left lung", rule_model())
    assert content["ask"]["answers"][0]["sentence"] == direct.sentence
    (measured,) = content["measure"]["answers"][0]["instances"]
    assert measured["lobes"] == list(direct.instances[0].lobes)
    assert measured["side"] == "left" and measured["volume_ml"] == pytest.approx(direct.instances[0].volume_ml)
    assert all("not a medical device" in content[name]["notice"] for name in ("findings", "ask", "measure"))
    for name, code in (("outside", "no-such-path"), ("unknown", "not-trained")):
        text = told[name].content[0].text
        assert told[name].is_error and code in text and str(folder) not in text
    assert str(folder) not in told["inspect"].content[0].text


@pytest.mark.parametrize("path", ["../secret.nii.gz", "link.nii.gz", "/etc/passwd", "nothing", "a\0b", "x" * 5000])
def test_nothing_outside_the_folder_is_read(path: str, folder: Path) -> None:
    with pytest.raises(ReadError, match="no such path"):
        Assistant(rule_model(), folder).ask(path, "mass")


def test_a_scan_is_encoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = Assistant(rule_model(), folder)
    tools.ask("a.nii.gz", "mass")
    monkeypatch.setattr("tips_med.assistant.encode", lambda *_: pytest.fail("encoded again"))
    assert tools.measure("a.nii.gz", "pleural effusion")["answers"][0]["presence"]
    with pytest.raises(QueryError):
        tools.ask("a.nii.gz", "fracture")
