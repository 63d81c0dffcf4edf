"""Web pages that want in: origins that look like those that are allowed, and what the header may be made of."""

from __future__ import annotations

import pytest

from tests.integration.clients import Wire, exchange, upgrade_request
from tests.integration.servers import Server

from .conftest import Start

HOST = "Host: chat.example.com"

FOREIGN = [
    "http://evil.example",
    "https://evil.example",
    "null",
    "",
    "http://",
    "//",
    "http://evilexample.com",
    "http://chat.example.com.evil.io",
    "http://evil.io/chat.example.com",
    "http://evil.io#chat.example.com",
    "http://evil.io?chat.example.com",
    "http://chat.example.com@evil.io",
    "http://chat.example.com:80@evil.io",
    "http://evil.io\\chat.example.com",
    "http://evil.io\\@chat.example.com",
    "http://chat.example.com.",
    "http://chat.example.com..",
    "http://chat.example.com:8080",
    "http://chat.example.com:",
    "http://chat.example.com:0",
    "http://chat.example.com:65616",
    "http://chat.example.com:080",
    "http://chat.example.com/",
    "http://chat.example.com/path",
    "http://chat.example.com http://evil.example",
    "http://evil.example http://chat.example.com",
    "http://chat.example.com, http://evil.example",
    "http://chat.example.com,http://evil.example",
    "http://chat%2eexample%2ecom",
    "http://chat.example.com%00.evil.io",
    "http://ch\xe4t.example.com",
    "http://[chat.example.com]",
    "file://chat.example.com",
    "ftp://chat.example.com",
    "javascript:chat.example.com",
    "chrome-extension://chat.example.com",
    "ws://chat.example.com",
    "chat.example.com",
    "//chat.example.com",
    "http:chat.example.com",
    "http:///chat.example.com",
    "http://*.example.com",
    "*",
    "http://localhost",
    "http://localhost:3000",
    "http://127.0.0.1",
    "http://[::1]",
    "http://0.0.0.0",
    "http://" + "a." * 10_000 + "chat.example.com",
]


@pytest.mark.parametrize("origin", FOREIGN, ids=lambda origin: repr(origin[:40]))
async def test_page_of_elsewhere_is_refused(target: Server, origin: str) -> None:
    before = target.stats()["origins_refused"]
    async with await exchange(target, upgrade_request("/room/origins/", HOST, f"Origin: {origin}")) as wire:
        assert wire.status == 403
        await wire.read_to_end()
    assert target.stats()["origins_refused"] == before + 1


@pytest.mark.parametrize("origin", ["http://chat.example.com", "HTTP://CHAT.EXAMPLE.COM", "http://chat.example.com:80"])
async def test_page_of_the_host_is_let_in(target: Server, origin: str) -> None:
    async with await Wire.open(target, "/room/origins/", HOST, f"Origin: {origin}"):
        pass


async def test_two_origins_are_none(target: Server) -> None:
    for first, second in (("http://chat.example.com", "http://evil.example"), ("http://chat.example.com",) * 2):
        lines = (HOST, f"Origin: {first}", f"Origin: {second}")
        async with await exchange(target, upgrade_request("/room/origins/", *lines)) as wire:
            assert wire.status in (400, 403)


async def test_program_without_an_origin_is_let_in(target: Server) -> None:
    async with await Wire.open(target, "/room/origins/", HOST):
        pass


async def test_host_that_is_forwarded_lets_no_page_in(target: Server) -> None:
    """Which host it is, the Host header says, and no other that a page or a client may add."""
    lines = (HOST, "Origin: http://evil.example", "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example")
    async with await exchange(target, upgrade_request("/room/origins/", *lines)) as wire:
        assert wire.status == 403


BELOW = {
    "https://www.example.com": True,
    "https://a.b.example.com": True,
    "https://WWW.EXAMPLE.COM": True,
    "https://example.com": False,
    "https://evilexample.com": False,
    "https://www.example.com.evil.io": False,
    "https://.example.com": False,
    "https://*.example.com": False,
    "https://www.example.com:8443": False,
    "http://www.example.com": False,
    "https://evil.io/.example.com": False,
    "https://evil.io#.example.com": False,
    "https://evil.io\\.example.com": False,
    "https://user@www.example.com": False,
    "https://evil.io:443@www.example.com": False,
    "https://www.example.com@evil.io": False,
    "null": False,
}


@pytest.fixture
def wild(start: Start) -> Server:
    """A server that lets in all pages below one host."""
    return start(allowed_origins="https://*.example.com")


async def test_wildcard_admits_hosts_below_and_nothing_that_looks_like_one(wild: Server) -> None:
    let_in = {}
    for origin in BELOW:
        lines = ("Host: api.example.net", f"Origin: {origin}")
        async with await exchange(wild, upgrade_request("/room/origins/", *lines)) as wire:
            let_in[origin] = wire.status == 101
    assert let_in == BELOW


async def test_every_route_asks_for_the_origin(target: Server) -> None:
    """Also an application that decides for itself is not asked by a foreign page where it is antiphon's consumer."""
    for path in ("/room/origins/", "/target/origins/", "/raw/origins/", "/late/origins/", "/undecided/origins/"):
        async with await exchange(target, upgrade_request(path, HOST, "Origin: http://evil.example")) as wire:
            assert wire.status == 403
