"""What there is to know of a SQLite engine."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from antiphon.doctor.engine import sqlite as module
from antiphon.doctor.engine.examination import Examination
from antiphon.doctor.engine.sqlite import examine
from antiphon.doctor.finding import Level
from antiphon.engines import open_engine
from antiphon.engines.sqlite import schema
from antiphon.exceptions import ConfigurationError
from antiphon.types import Publishing, Retention

from ...engines.contract import Heard


def nothing(text: str) -> None:
    raise AssertionError(f"nothing is slow here: {text}")


def facts(found: Examination) -> dict[str, str]:
    return {fact.title: fact.text for fact in found.facts}


def names(found: Examination) -> set[str]:
    return {finding.name for finding in found.findings}


@pytest.fixture
def on_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said does not depend on the machine that the tests run on."""
    monkeypatch.setattr(schema, "filesystem", lambda path: "ext4")
    monkeypatch.setattr(schema, "current_boot", lambda: "this")
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type(usage)(10 << 30, 5 << 30, 5 << 30))


@pytest.fixture
async def url(tmp_path: Path, on_a_disk: None) -> Any:
    """A file with a group of three publications, of which it keeps two; a process lives."""
    url = f"sqlite:///{tmp_path}/live.db"
    engine = open_engine(url)
    await engine.start(Heard(), "other")
    for _ in range(3):
        await engine.publish("room:1", b"1", "", Publishing(Retention(2, 60, 60, 60)))
    yield url
    await engine.stop()


async def test_a_file_that_is_in_use(url: str) -> None:
    found = await examine(url, nothing)
    told = facts(found)
    assert "journal mode wal" in told["file"]
    assert told[""] == "2 publications kept in 1 group"
    assert told["antiphon"] == "1 process lives"
    assert told["disk"] == "ext4, 5.0 GiB of 10.0 GiB free"
    assert told["synchronous"].startswith("normal")
    assert "works for the user" in told["rights"]
    assert [each.what for each in found.times] == ["publish"]
    assert found.findings == []
    assert facts(await examine(url, nothing))[""] == told[""], "it leaves nothing behind"


async def test_a_file_that_is_not_there_is_not_made(tmp_path: Path, on_a_disk: None) -> None:
    found = await examine(f"sqlite:///{tmp_path}/live.db", nothing)
    assert "there is none yet" in facts(found)["file"]
    assert (found.findings, list(tmp_path.iterdir())) == ([], [])


async def test_a_file_that_can_not_be(tmp_path: Path, on_a_disk: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"can't start: .*there is no folder"):
        await examine(f"sqlite:///{tmp_path}/none/live.db", nothing)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ConfigurationError, match="the right to write to"):
        await examine(f"sqlite:///{tmp_path}/live.db", nothing)
    monkeypatch.setattr(schema, "filesystem", lambda path: "nfs4")
    with pytest.raises(ConfigurationError, match="other hosts"):
        await examine(f"sqlite:///{tmp_path}/live.db", nothing)


async def test_a_database_of_another_program_is_left_alone(tmp_path: Path, on_a_disk: None) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(ConfigurationError, match="another program"):
        await examine(f"sqlite:///{path}", nothing)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch, on_a_disk: None) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type(usage)(10 << 30, 10 << 30, 1 << 20))
    monkeypatch.setattr(schema, "filesystem", lambda path: "tmpfs")


async def test_a_disk_that_is_nearly_full_or_none(tmp_path: Path, full: None) -> None:
    found = await examine(f"sqlite:///{tmp_path}/live.db", nothing)
    levels = {finding.name: finding.level for finding in found.findings}
    assert levels == {"nearly-full": Level.WARNING, "fleeting": Level.ADVICE}


@pytest.mark.parametrize(
    ("option", "boot", "expected"),
    [
        ("normal", "this", set()),
        ("normal", "unknown", {"unnoticed"}),
        ("full", "unknown", set()),
        ("off", "this", {"unsafe"}),
    ],
)
async def test_a_power_cut(
    tmp_path: Path, on_a_disk: None, monkeypatch: pytest.MonkeyPatch, option: str, boot: str, expected: set[str]
) -> None:
    monkeypatch.setattr(schema, "current_boot", lambda: boot)
    found = await examine(f"sqlite:///{tmp_path}/live.db?synchronous={option}", nothing)
    assert names(found) == expected
    assert all(finding.level is Level.WARNING for finding in found.findings)


async def test_a_file_of_somebody_else(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    found = await examine(url, nothing)
    assert names(found) == {"other-user"}
    assert "ran as 4242" in found.findings[0].spot.problem


async def test_a_log_that_something_keeps_from_ending(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONG_LOG", 0)
    assert names(await examine(url, nothing)) == {"long-log"}


async def test_a_file_that_is_locked(url: str, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "live.db", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(ConfigurationError, match="lock"):
        await examine(f"{url}?busy_timeout=0.01", nothing)
    connection.execute("ROLLBACK")
    connection.close()
