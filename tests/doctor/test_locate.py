"""Which settings a project has."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.doctor.locate import VARIABLE, settings_in_manage, settings_module
from antiphon.exceptions import ConfigurationError

MANAGE = 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")\n'


def test_what_is_given_goes_first(tmp_path: Path) -> None:
    (tmp_path / "manage.py").write_text(MANAGE)
    assert settings_module("a.b", {VARIABLE: "c.d"}, tmp_path) == "a.b"
    assert settings_module(None, {VARIABLE: "c.d"}, tmp_path) == "c.d"
    assert settings_module(None, {}, tmp_path) == "project.settings"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MANAGE, "project.settings"),
        ('def main():\n    environ.setdefault("DJANGO_SETTINGS_MODULE", "a.b")\n', "a.b"),
        ('os.environ["DJANGO_SETTINGS_MODULE"] = "a.b"', "a.b"),
        ('os.environ.setdefault("OTHER", "a.b")', None),
        ('os.environ.setdefault("DJANGO_SETTINGS_MODULE", name)', None),
        ("def (", None),
        ("", None),
    ],
)
def test_manage(text: str, expected: str | None) -> None:
    assert settings_in_manage(text) == expected


def test_where_nobody_says_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no manage.py in .*--app-dir"):
        settings_module(None, {}, tmp_path)
    (tmp_path / "manage.py").write_text("")
    with pytest.raises(ConfigurationError, match=r"does not name the settings: .*--settings"):
        settings_module(None, {}, tmp_path)
    with pytest.raises(ConfigurationError, match="there is no folder"):
        settings_module(None, {}, tmp_path / "nowhere")
