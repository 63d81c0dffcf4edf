"""Which web pages may connect, on every server: the Origin header against the host and the options."""

from __future__ import annotations

import asyncio

import pytest

from .clients import Wire, connect, eventually, exchange, upgrade_request
from .servers import ALL, DIRECT, Kind, Server, Servers

APP = "tests.integration.apps.limits:app"
OPTIONS = {"ANTIPHON_ALLOWED_ORIGINS": "https://page.io, https://*.example.com:8443, http://localhost:5173"}


@pytest.fixture(scope="session")
def shared() -> dict[Kind, Server]:
    """The servers of this module, by their kind."""
    return {}


@pytest.fixture
def guarded(servers: Servers, kind: Kind, shared: dict[Kind, Server], visited: list[Server]) -> Server:
    """``apps/limits.py`` with some origins allowed on each kind of server."""
    if kind not in shared:
        shared[kind] = servers.start(kind, APP, env=OPTIONS)
    visited.append(shared[kind])
    return shared[kind]


async def status(server: Server, *lines: str) -> int:
    """Ask for a WebSocket as a page does; return the status of the answer."""
    host = f"Host: {server.host}:{server.port}"
    lines = lines if any(line.startswith("Host:") for line in lines) else (host, *lines)
    async with await exchange(server, upgrade_request("/echo/page/", *lines)) as wire:
        return wire.status


async def test_page_of_the_same_host_connects(guarded: Server, name: str) -> None:
    origin = f"http://{guarded.host}:{guarded.port}"
    async with await connect(guarded, f"/echo/{name}/", origin=origin) as client:
        await client.send("hello")
        assert await client.receive() == "hello"
    assert await status(guarded, f"Origin: https://{guarded.host}:{guarded.port}") == 101, "a proxy may have ended TLS"


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Host: example.org", "Origin: http://example.org"),
        ("Host: EXAMPLE.org:80", "Origin: http://example.org"),
        ("Host: example.org:443", "Origin: https://example.org"),
        ("Host: [::1]:8000", "Origin: http://[::1]:8000"),
        ("Origin: https://page.io",),
        ("Origin: https://a.b.example.com:8443",),
        ("Origin: http://localhost:5173",),
    ],
    ids=repr,
)
async def test_who_is_let_in(guarded: Server, lines: tuple[str, ...]) -> None:
    assert await status(guarded, *lines) == 101


async def test_foreign_page_is_refused_before_there_is_a_consumer(guarded: Server, name: str) -> None:
    before, printed = guarded.stats(), len(guarded.log())
    request = upgrade_request(f"/hanging/{name}/?client={name}", "Host: chat.test", "Origin: https://evil.io")
    async with await exchange(guarded, request) as wire:
        assert wire.status == 403
    assert guarded.records(name) == []
    after = guarded.stats()
    assert after["origins_refused"] == before["origins_refused"] + 1
    assert after["connections_refused"] == before["connections_refused"]
    (line,) = [line for line in guarded.log(printed).splitlines() if "evil.io" in line]
    assert "'https://evil.io'" in line
    assert "'chat.test'" in line
    assert 'allowed_origins=["https://evil.io"]' in line
    assert 'ANTIPHON = {"allowed_origins": ["https://evil.io"]}' in line


@pytest.mark.parametrize(
    "lines",
    [
        ("Origin: null",),
        ("Origin: http://page.io",),
        ("Origin: https://page.io:444",),
        ("Origin: https://page.io.evil.io",),
        ("Origin: https://evilpage.io",),
        ("Origin: https://example.com:8443",),
        ("Origin: https://evilexample.com:8443",),
        ("Origin: https://page.io@evil.io",),
        ("Origin: https://evil.io#page.io",),
        ("Origin: https://evil.io/https://page.io",),
        ("Origin: https://page.io, https://evil.io",),
        ("Origin: https://page.io", "Origin: https://evil.io"),
        ("Origin: https://evil.io", "Origin: https://page.io"),
        ("Origin: https://page.io", "Origin: https://page.io"),
        ("Origin: https://p\xe4ge.io",),
        ("Origin: http://localhost:5174",),
        ("Origin: http://127.0.0.1:5173",),
        ("Host: example.org", "Origin: http://example.org:8000"),
        ("Host: example.org:8000", "Origin: http://example.org"),
        ("Origin: https://" + "a" * 3000 + ".example.com:8443",),
    ],
    ids=lambda lines: f"{lines!r:.70}",
)
async def test_who_is_not(guarded: Server, lines: tuple[str, ...]) -> None:
    before = guarded.stats()["origins_refused"]
    # A server may say so itself: daphne takes no Origin that is no URL, and hypercorn no header that is not ASCII.
    assert await status(guarded, *lines) in ((403,) if guarded.kind is not None and guarded.kind.direct else (400, 403))
    assert guarded.stats()["origins_refused"] <= before + 1


async def test_origin_of_64_kilobytes_harms_nobody(guarded: Server, name: str) -> None:
    async with await connect(guarded, f"/echo/{name}/") as other:
        async with await Wire.dial(guarded) as wire:
            await wire.write(upgrade_request("/echo/page/", "Origin: https://" + "a." * 32768 + "page.io"))
            if guarded.kind is not None and guarded.kind.direct:  # others may not answer at all
                await wire.read_head()
                assert wire.status in (400, 403, 431)
        await other.send("still here")
        assert await other.receive() == "still here"


#: The others are not told of TLS that a proxy has ended.
BEHIND_PROXIES = [kind for kind in ALL if kind.module not in ("daphne", "hypercorn")]


@pytest.mark.parametrize("kind", BEHIND_PROXIES, ids=lambda kind: kind.name)
async def test_over_tls_the_page_has_to_come_by_tls_too(guarded: Server) -> None:
    host, tls = "Host: chat.test", "X-Forwarded-Proto: https"
    assert await status(guarded, host, "Origin: https://chat.test", tls) == 101
    assert await status(guarded, host, "Origin: http://chat.test", tls) == 403
    assert await status(guarded, host, "Origin: http://chat.test") == 101


async def test_foreign_pages_without_end_are_a_few_lines(guarded: Server) -> None:
    before, printed = guarded.stats(), len(guarded.log())
    lines = ("Host: chat.test", "Origin: https://flood.io")
    await asyncio.gather(*(status(guarded, *lines) for _ in range(100)))
    after = await eventually(lambda: guarded.stats(), "the server")
    assert after["origins_refused"] == before["origins_refused"] + 100
    written = [line for line in guarded.log(printed).splitlines() if "flood.io" in line]
    assert len(written) + after["log_lines_suppressed"] - before["log_lines_suppressed"] == 100


@pytest.mark.parametrize("entry", ["page.io", "https://page.io/", "https://*page.io"])
def test_entry_that_is_no_origin_is_told(servers: Servers, entry: str) -> None:
    server = servers.spawn(DIRECT[0], APP, env={"ANTIPHON_ALLOWED_ORIGINS": entry})
    assert server.exit_code() != 0
    assert f"allowed_origins has '{entry}'" in server.log()
    assert "Traceback" not in server.log()
