from __future__ import annotations

import pytest

from tests.encoders.tips.checkpoints import make_folder


@pytest.fixture(scope="session")
def tips_folder(tmp_path_factory):
    """Tiny random TIPS towers; nothing may change them."""
    pytest.importorskip("transformers", reason="needs tips-med[tips]")
    return make_folder(tmp_path_factory.mktemp("tips"))
