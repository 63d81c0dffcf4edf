"""The URL of the SQLite engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.engines.sqlite.options import Options, parse
from antiphon.exceptions import ConfigurationError


def test_three_slashes_are_a_relative_path_and_four_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("sqlite:///live.db") == Options(str(tmp_path / "live.db"))
    assert parse("sqlite:////var/lib/live.db") == Options("/var/lib/live.db")
    assert parse("sqlite:///folder/a%20b.db").path == str(tmp_path / "folder/a b.db")


def test_the_query_sets_options() -> None:
    assert parse("sqlite:////x.db?synchronous=full&lease=2.5&busy_timeout=0") == Options("/x.db", "full", 2.5, 0.0)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite://host/x.db", "four slashes"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:////folder/", "names no file"),
        ("sqlite:////x.db?synchronous=1", "normal, full, off"),
        ("sqlite:////x.db?lease=0", "at least 0.1"),
        ("sqlite:////x.db?lease=nan", "takes seconds"),
        ("sqlite:////x.db?lease=long", "takes seconds"),
        ("sqlite:////x.db?busy_timeout=-1", "takes seconds"),
        ("sqlite:////x.db?mode=ro", "none of its options: synchronous, lease, busy_timeout"),
    ],
)
def test_what_can_not_be_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        parse(url)
