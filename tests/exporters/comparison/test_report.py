from __future__ import annotations

import jsonschema

from tips_med.exporters.comparison import comparison_schema
from tips_med.exporters.report import schema
from tips_med.followup.change import REASONS


def test_what_answers_and_comparisons_share_is_defined_alike():
    ours, theirs = comparison_schema()["$defs"], schema()["$defs"]
    shared = set(ours) & set(theirs)
    assert {"scan", "instance", "reason", "point"} <= shared
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


def test_every_reason_is_in_the_schema():
    jsonschema.Draft202012Validator.check_schema(comparison_schema())
    assert comparison_schema()["$defs"]["change_reason"]["properties"]["code"]["enum"] == list(REASONS)
