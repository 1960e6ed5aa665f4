from __future__ import annotations

import pytest

from tests.transforms.patients import WAYS, patient
from tips_med.scan import Scan


@pytest.fixture(scope="session", params=list(WAYS))
def scan(request: pytest.FixtureRequest) -> Scan:
    return patient(request.param)
