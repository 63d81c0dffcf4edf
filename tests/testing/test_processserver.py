"""Servers in a process of their own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from antiphon.testing.processserver import ProcessServer
from tests.integration.servers import until

from .conftest import Live

MODULE = """
import os
from antiphon import AsyncJsonWebsocketConsumer

class Process(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        await self.send_json({"process": os.getpid(), "word": os.environ.get("WORD")})

app = Process.as_asgi()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that only this test finds, and not because of where it runs."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "own_process.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.chdir(tmp_path)
    return "own_process:app"


def test_it_serves_with_options_and_environment(live_antiphon: Live, module: str) -> None:
    server = live_antiphon(module, process=True, options=["--log-level", "debug"], env={"WORD": "tea"})
    assert isinstance(server, ProcessServer)
    with server.connect("/") as client:
        client.send_json(1)
        answer = client.receive_json()
    assert answer["word"] == "tea"
    assert answer["process"] not in (os.getpid(), None)
    assert "[accepted]" in server.output
    server.stop()
    server.stop()
    assert "Finished server process" in server.output
    with pytest.raises(ProcessLookupError):
        os.kill(answer["process"], 0)


def test_one_that_does_not_start_shows_what_it_printed(live_antiphon: Live) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)ended with \d+ before it listened. It printed:.*nowhere_at_all"):
        live_antiphon("nowhere_at_all:app", process=True)
    with pytest.raises(RuntimeError, match=r"(?s)It printed:.*No such option.*--nonsense"):
        live_antiphon("nowhere_at_all:app", process=True, options=["--nonsense"])


def test_one_that_does_not_listen_is_ended(live_antiphon: Live, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.testing.processserver.PATIENCE", 0.0)
    with pytest.raises(RuntimeError, match="has not said within 0 s where it listens"):
        live_antiphon(module, process=True)


def test_one_that_ended_during_the_test_is_told(module: str) -> None:
    server = ProcessServer(module, [], {})
    with server.connect("/") as client:
        client.send_json(1)
        os.kill(client.receive_json()["process"], signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"(?s)the server ended with -9. It printed:.*Uvicorn running"):
        server.stop()
    server.stop()


def test_one_that_does_not_end_is_killed(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ProcessServer(module, [], {})
    process = server._process.pid
    os.kill(process, signal.SIGSTOP)
    monkeypatch.setattr("antiphon.testing.processserver.PATIENCE", 0.1)
    with pytest.raises(RuntimeError, match="the server did not end and was killed"):
        server.stop()
    until(lambda: server._process.poll() is not None, "the process to be gone")
