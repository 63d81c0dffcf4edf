"""The servers under test."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon.config import Config, load

from .apps import asgi
from .subjects import SUBJECTS, Subject, source

LARGEST = 16 * 1024 * 1024
"""The suite's largest message."""
OURS = [subject for subject in SUBJECTS.values() if subject.ours]


@pytest.mark.parametrize("subject", OURS, ids=lambda subject: subject.name)
def test_ours_lets_everything_through(subject: Subject) -> None:
    known = {f"ANTIPHON_{field.name.upper()}" for field in dataclasses.fields(Config)}
    assert set(subject.environment) <= known
    config = load(environment=subject.environment)
    assert min(config.max_message_size, config.outbox_limit, config.mailbox_limit) > LARGEST
    assert config.message_rate == config.byte_rate == config.control_rate == 0


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=lambda subject: subject.name)
def test_it_can_be_started(subject: Subject) -> None:
    command = subject.argv()
    assert command[1:3] == ["-m", subject.command[0]]
    assert command[command.index("--port") + 1] == "0"
    for package in subject.packages:
        assert f"{package} " in subject.versions()


def test_the_fingerprint_changes_with_the_source_only(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper/a.py").write_text("a = 1\n")
    first = source(tmp_path)
    (tmp_path / "a.pyc").write_text("compiled")
    assert source(tmp_path) == first
    (tmp_path / "deeper/a.py").write_text("a = 2\n")
    second = source(tmp_path)
    (tmp_path / "b.c").write_text("int b;")
    assert len({first, second, source(tmp_path)}) == 3


async def test_the_bare_application_echoes_each_message_as_what_it_was() -> None:
    events: Iterator[asgi.Message] = iter(
        [
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "text": ""},
            {"type": "websocket.receive", "text": None, "bytes": b"\0"},
            {"type": "websocket.disconnect", "code": 1000},
        ]
    )
    sent = []

    async def receive() -> asgi.Message:
        return next(events)

    async def send(message: asgi.Message) -> None:
        sent.append(message)

    await asgi.app({"type": "websocket"}, receive, send)
    assert sent == [
        {"type": "websocket.accept"},
        {"type": "websocket.send", "text": ""},
        {"type": "websocket.send", "bytes": b"\0"},
    ]
