"""Answers that the exporters are tried on."""

from __future__ import annotations

import pytest

from tests.exporters.patient import DIRECTIONS, make_grounding, make_scan
from tips_med.grounding import Grounding
from tips_med.scan import Scan


@pytest.fixture
def grounding() -> Grounding:
    """One finding in a plain axial CT."""
    return make_grounding()


@pytest.fixture(params=list(DIRECTIONS))
def any_scan(request: pytest.FixtureRequest) -> Scan:
    """The same patient, scanned in every way."""
    return make_scan(request.param)
