"""The command line, with a server that never starts."""

from __future__ import annotations

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
from antiphon import cli
from antiphon.cli import main, server_options
from antiphon.config import options


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
        (["serve", "a:b", "--workers", "2"], "--workers 1"),
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


def test_python_m_antiphon_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "antiphon", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert antiphon.__version__ in done.stdout
