"""The command line of the node: the configuration that ships is whole, and its queries are understood."""

from __future__ import annotations

from pathlib import Path

from tips_med.cli import build_parser
from tips_med.configs import config_path
from tips_med.query import Lexicon
from tips_med.serving.node import NodeSettings, Rule


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
