"""The command line, with a server that never starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from click.testing import CliRunner, Result

import antiphon
from antiphon import cli, control
from antiphon.cli import main, server_options
from antiphon.config import options
from antiphon.engines.memory import MemoryEngine
from antiphon.exceptions import EngineUnavailable


class Server:
    """Stands for what runs uvicorn."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.error: BaseException | None = None
        self.signals: dict[int, Any] = {}
        self.code = 0

    def run(self, application: str, **options: Any) -> int:
        self.calls.append((application, options))
        # What it is called with has to make a configuration of uvicorn's.
        uvicorn.Config(application, **options)
        if self.error is not None:
            raise self.error
        return self.code


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    import logging

    fake = Server()
    monkeypatch.setattr(cli, "run", fake.run)
    monkeypatch.setattr(signal, "signal", fake.signals.__setitem__)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("logging.config.dictConfig", lambda config: None)
    for option in options():
        # Set and removed: so that monkeypatch takes away what the command sets.
        monkeypatch.setenv(option.environment, "")
        monkeypatch.delenv(option.environment)
    levels = {name: logging.getLogger(name).level for name in ("uvicorn.error", "uvicorn.access", "uvicorn.asgi")}
    yield fake
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_the_version_is_the_packages() -> None:
    assert run("--version").output == f"antiphon, version {antiphon.__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"]])
def test_help_is_given(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 0
    assert "Usage: " in result.output


def test_serve_runs_the_application_with_antiphons_protocol(server: Server) -> None:
    result = run("serve", "project.asgi:app")
    assert result.exit_code == 0, result.output
    ((application, given),) = server.calls
    assert application == "project.asgi:app"
    assert given["ws"] == "antiphon.server:WebSocketProtocol"
    assert (given["host"], given["port"], given["workers"]) == ("127.0.0.1", 8000, 1)
    assert "uds" not in given, "what was not given is left to uvicorn"
    assert "timeout_graceful_shutdown" not in given, "or to antiphon's options"


def test_serve_passes_uvicorns_options_on(server: Server, tmp_path: Path) -> None:
    result = run(
        *["serve", "a:b", "--host", "::", "--port", "0", "--uds", "/tmp/s", "--root-path", "/x", "--no-access-log"],
        *["--log-level", "debug", "--forwarded-allow-ips", "*", "--no-proxy-headers", "--app-dir", str(tmp_path)],
        *["--ws-ping-interval", "5", "--ws-ping-timeout", "2.5", "--timeout-graceful-shutdown", "3"],
    )
    assert result.exit_code == 0, result.output
    given = server.calls[0][1]
    expected = {
        "host": "::",
        "port": 0,
        "uds": "/tmp/s",
        "root_path": "/x",
        "access_log": False,
        "log_level": "debug",
        "forwarded_allow_ips": "*",
        "proxy_headers": False,
        "ws_ping_interval": 5.0,
        "ws_ping_timeout": 2.5,
        "timeout_graceful_shutdown": 3,
    }
    assert {name: given[name] for name in expected} == expected
    assert given["log_config"]["loggers"]["antiphon"]["level"] == "DEBUG"
    assert sys.path[0] == str(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve"], "Missing argument"),
        (["serve", "project.asgi"], "MODULE:APPLICATION"),
        (["serve", "a:b", "--port", "70000"], "--port"),
        (["serve", "a:b", "--workers", "0"], "--workers"),
        (["serve", "a:b", "--log-level", "loud"], "--log-level"),
        (["serve", "a:b", "--timeout-graceful-shutdown", "0"], "--timeout-graceful-shutdown"),
        (["serve", "a:b", "--timeout-graceful-shutdown", "soon"], "--timeout-graceful-shutdown"),
        (["serve", "a:b", "--no-such-option"], "No such option"),
        (["serve", "a:b", "--engine", "nosuch://"], "nosuch://"),
        (["serve", "a:b", "--engine", "memory://host"], "memory://host"),
        (["sing"], "No such command"),
    ],
)
def test_a_mistake_is_told_and_no_server_started(server: Server, arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output
    assert not server.calls


def test_a_mistake_in_the_environment_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_OUTBOX_LIMIT", "lots")
    result = run("serve", "a:b")
    assert result.exit_code == 2
    assert "ANTIPHON_OUTBOX_LIMIT is 'lots'" in result.output
    assert not server.calls


def test_the_engine_is_handed_to_the_workers_by_the_environment(server: Server) -> None:
    assert run("serve", "a:b", "--engine", "memory://").exit_code == 0
    assert os.environ["ANTIPHON_ENGINE"] == "memory://"


def test_several_workers_may_be_meant(server: Server) -> None:
    assert run("serve", "a:b", "--workers", "2", "--engine", "memory://").exit_code == 0
    assert server.calls[0][1]["workers"] == 2


def test_antiphons_loggers_stand_beside_uvicorns() -> None:
    loggers = server_options("warning")["log_config"]["loggers"]
    assert loggers["antiphon"]["level"] == "WARNING"
    assert "uvicorn.error" in loggers


def test_the_exit_code_is_the_servers(server: Server) -> None:
    server.code = 3
    assert run("serve", "a:b").exit_code == 3


def test_sigterm_while_the_application_is_imported_is_an_end_like_any_other(server: Server) -> None:
    assert run("serve", "a:b").exit_code == 0
    with pytest.raises(SystemExit) as caught:
        server.signals[signal.SIGTERM](signal.SIGTERM, None)
    assert caught.value.code == 0


def test_an_interrupt_while_the_application_is_imported_ends_quietly(server: Server) -> None:
    server.error = KeyboardInterrupt()
    assert run("serve", "a:b").exit_code == 130


# Reaching groups


class Shared(MemoryEngine):
    """Stands for an engine that processes share: what one has kept, the next finds."""

    kept: dict[str, Any] = {}
    orders: list[Any] = []
    stopped = 0

    def __init__(self) -> None:
        super().__init__()
        self.__dict__.update(self.kept)

    async def send_control(self, control: bytes, process: str = "") -> None:
        self.orders.append(control)

    async def stop(self) -> None:
        type(self).stopped += 1
        type(self).kept = {name: value for name, value in self.__dict__.items() if name != "_events"}


@pytest.fixture
def shared(server: Server, monkeypatch: pytest.MonkeyPatch) -> type[Shared]:
    """An engine that is shared, and rules that the servers have, too."""
    monkeypatch.setattr("antiphon.app.open_engine", lambda url, counters: Shared())
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    monkeypatch.setenv("ANTIPHON_ENGINE", "shared://host")
    monkeypatch.setenv("ANTIPHON_RULES", '{"room:*": {"history_size": 10, "presence": "kept"}}')
    Shared.kept, Shared.orders, Shared.stopped = {}, [], 0
    return Shared


def printed(*arguments: str, stdin: bytes | None = None) -> Any:
    result = CliRunner().invoke(main, list(arguments), input=stdin)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout) if result.stdout else None


def test_publish_and_history(shared: type[Shared]) -> None:
    first = printed("publish", "room:1", '{"a": 1}', "--tag", "kind=a", "--tag", "empty=", "--idempotency-key", "x")
    assert (first["offset"], first["repeated"]) == (1, False)
    assert printed("publish", "room:1", "2", "--idempotency-key", "x") == {**first, "repeated": True}
    assert printed("publish", "room:1", "-", stdin='["é"]\n'.encode())["offset"] == 2
    page = printed("history", "room:1")
    assert page == {
        "epoch": first["epoch"],
        "offset": 2,
        "publications": [
            {"data": {"a": 1}, "offset": 1, "tags": {"kind": "a", "empty": ""}},
            {"data": ["é"], "offset": 2},
        ],
    }
    newest = printed("history", "room:1", "--reverse", "--limit", "1")
    assert newest["publications"] == page["publications"][1:]
    assert printed("history", "room:1", "--since", f"{first['epoch']}:1") == newest
    assert printed("history", "room:1", "--limit", "0")["publications"] == []
    assert shared.stopped == 7


def test_presence(shared: type[Shared]) -> None:
    assert printed("presence", "room:1") == {}


def test_kick(shared: type[Shared]) -> None:
    assert printed("kick", "7", "--session", "key", "--code", "4500", "--reason", "go") is None
    assert printed("kick", "--client", "id") is None
    assert shared.orders == [
        control.encode(control.Kick(control.Whom("7", "", control.session_digest("key")), 4500, "go")),
        control.encode(control.Kick(control.Whom("", "id"))),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["publish", "room:1", "{"], "not JSON"),
        (["publish", "room:1", "\udcff"], "not JSON"),
        (["publish", "a\nb", "1"], "can't name a group"),
        (["publish", "room:1", "1", "--tag", "kind"], "NAME=VALUE"),
        (["publish", "room:1", "1", "--key", ""], "key"),
        (["history", "other"], "history_size"),
        (["history", "room:1", "--since", "5"], "EPOCH:OFFSET"),
        (["history", "room:1", "--since", "epoch:"], "EPOCH:OFFSET"),
        (["history", "room:1", "--limit", "-1"], "--limit"),
        (["presence", "other"], "presence"),
        (["kick"], "whose connections"),
        (["kick", "7", "--code", "1005"], "1005"),
        (["kick", "7", "--engine", "memory://"], "the memory engine lives in one process"),
    ],
)
def test_what_can_not_be_is_told(shared: type[Shared], arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output


def test_an_unknown_engine_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    result = run("kick", "7", "--engine", "nosuch://")
    assert (result.exit_code, "nosuch://" in result.output) == (2, True)


def test_a_stream_that_is_gone_is_told(shared: type[Shared]) -> None:
    result = run("history", "room:1", "--since", "gone:1")
    assert (result.exit_code, "'gone' is gone" in result.output) == (1, True)


def test_an_engine_that_is_away_is_told(shared: type[Shared], monkeypatch: pytest.MonkeyPatch) -> None:
    async def send_control(self: Shared, control: bytes, process: str = "") -> None:
        raise EngineUnavailable("nobody answers")

    monkeypatch.setattr(Shared, "send_control", send_control)
    result = run("kick", "7")
    assert (result.exit_code, result.output) == (1, "Error: engine shared: nobody answers\n")
    assert shared.stopped == 1


def test_settings_that_do_not_exist_are_told() -> None:
    command = [sys.executable, "-m", "antiphon", "kick", "7", "--settings", "no.such.settings"]  # not this Django's
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Django's settings can't be used: No module named 'no'" in done.stderr) == (2, True)


def test_python_m_antiphon_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "antiphon", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert antiphon.__version__ in done.stdout
