"""Configurations are found by name, and by nothing else."""

from pathlib import Path

import pytest
import yaml

from tips_med.configs import config_names, config_path
from tips_med.errors import ConfigError


def test_every_lexicon_that_ships_is_listed_and_readable() -> None:
    names = config_names("lexicons")

    assert "chest_ct" in names
    for name in names:
        assert yaml.safe_load(config_path("lexicons", name).read_text(encoding="utf-8"))["name"] == name


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'ches_ct'.*expected one of .*chest_ct"):
        config_path("lexicons", "ches_ct")


@pytest.mark.parametrize("name", ["../lexicons/chest_ct", "/etc/passwd", "chest_ct.yaml", "", ".", "lexicons/chest_ct"])
def test_a_name_is_never_a_path(name: str) -> None:
    with pytest.raises(ConfigError):
        config_path("lexicons", name)


def test_an_installed_wheel_holds_them_inside_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    inside = tmp_path / "tips_med" / "radiology_configs"
    (inside / "lexicons").mkdir(parents=True)
    (inside / "lexicons" / "inside.yaml").write_text("name: inside")
    monkeypatch.setattr("tips_med.configs._ROOTS", (inside, tmp_path / "radiology_configs"))

    assert config_names("lexicons") == ("inside",)
    assert config_path("lexicons", "inside") == inside / "lexicons" / "inside.yaml"


def test_an_unknown_kind_has_no_names() -> None:
    assert config_names("no_such_kind") == ()
    with pytest.raises(ConfigError):
        config_path("no_such_kind", "chest_ct")
