"""What the fixture gives: servers of both kinds, and what can't be one."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.exceptions import UsageError
from antiphon.testing import LiveServer, LiveServers

from .apps import echo, scripted
from .conftest import Live


class Stopped(LiveServer):
    """A server that only remembers when it was stopped."""

    order: list[int] = []

    def _end(self) -> None:
        self.order.append(self.port)
        if self.port == 2:
            raise LookupError("did not end well")


def test_where_it_listens() -> None:
    plain, secure = Stopped("http", "127.0.0.1", 80), Stopped("https", "127.0.0.1", 443)
    assert (plain.url, plain.ws_url) == ("http://127.0.0.1:80", "ws://127.0.0.1:80")
    assert (secure.url, secure.ws_url) == ("https://127.0.0.1:443", "wss://127.0.0.1:443")


def test_all_are_stopped_the_newest_first_and_the_fault_of_one_is_told() -> None:
    Stopped.order = []
    servers = LiveServers()
    servers._servers = [Stopped("http", "127.0.0.1", port) for port in (1, 2, 3)]
    with pytest.raises(LookupError, match="did not end well"):
        servers.stop()
    assert Stopped.order == [3, 2, 1]
    servers.stop()
    assert len(Stopped.order) == 3


def test_as_context_managers() -> None:
    with LiveServers() as servers, servers.start(scripted) as server, server.connect("/") as client:
        client.send_json(1)
        assert client.receive_json() == 1
    with pytest.raises(OSError, match="refused"):
        server.connect("/")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"application": echo, "process": True}, "another process can't have <function echo.*'module:application'"),
        ({"application": echo, "options": ["--port", "1"]}, "say process=True"),
        ({"application": echo, "env": {"A": "b"}}, "say process=True"),
        ({"application": "tests.testing.apps", "process": True}, "names no application: write 'module:application'"),
    ],
)
def test_what_can_not_be_is_told(live_antiphon: Live, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        live_antiphon(**arguments)


def test_a_path_begins_with_a_slash(server: LiveServer) -> None:
    with pytest.raises(UsageError, match=r"'room/' is no path of the server"):
        server.connect("room/")
