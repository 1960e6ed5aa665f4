"""The command line of the node: the configuration that ships is whole, and its queries are understood."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving.node.pieces import RULES, MemoryArchive, answer_simply
from tips_med.cli import build_parser
from tips_med.configs import config_path
from tips_med.errors import ConfigError
from tips_med.query import Lexicon
from tips_med.serving.archive import MoveDestination
from tips_med.serving.node import Node, NodeSettings, PollSettings, Rule


def test_the_configuration_that_ships_is_read_as_rules_and_settings() -> None:
    config = str(config_path("", "node_chest_ct"))
    parser = build_parser("node")
    line = ["node", "--config", config, "--folder", "var", "--archive", "dicom://ORTHANC@127.0.0.1:4242"]
    chosen = parser.instantiate(parser.parse_args(line)).node
    assert isinstance(chosen.settings, NodeSettings)
    assert chosen.settings.host == "127.0.0.1"
    assert list(chosen.settings.callers) == ["ORTHANC"]
    assert chosen.folder == Path("var")
    assert chosen.rules
    lexicon = Lexicon.load("chest_ct")
    for rule in chosen.rules:
        assert isinstance(rule, Rule)
        for query in rule.queries:
            assert lexicon.parse(query).finding is not None


def test_where_c_move_goes_is_configured(tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text(
        """
        rules: [{queries: [nodule]}]
        settings:
          poll: {modalities: [CT], receive: {port: 11113, host: 0.0.0.0, title: TIPS_MOVE, senders: [PACS, PACS2]}}
        """
    )
    parser = build_parser("node")
    line = ["node", "--config", str(tmp_path / "node.yaml"), "--folder", "var", "--archive", "dicom://PACS@pacs:104"]
    chosen = parser.instantiate(parser.parse_args(line)).node
    assert chosen.settings.poll.receive == MoveDestination(11113, "0.0.0.0", "TIPS_MOVE", ["PACS", "PACS2"])
    assert (
        build_parser("fetch")
        .parse_args(
            [
                "fetch",
                "--archive",
                "a",
                "--study",
                "1",
                "--out",
                "o",
                "--plain-http-credentials",
                "--receive_port",
                "104",
            ]
        )
        .fetch.plain_http_credentials
    )


def test_c_move_to_the_title_that_takes_studies_in_is_refused(tmp_path: Path) -> None:
    poll = PollSettings(receive=MoveDestination(11113))
    with pytest.raises(ConfigError, match=r"poll\.receive\.title"):
        Node(tmp_path, MemoryArchive(), RULES, answer_simply, NodeSettings(callers=["PACS"], poll=poll))
