"""The page about tokens says what the SDKs do with ``getToken``: so they do, against its server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from centrifuge import Client, ClientEventHandler, SubscriptionEventHandler, UnauthorizedError

from tests.forge import OTHER_SECRET, token
from tests.integration.conftest import NODE_FOLDER
from tests.integration.conftest import node_packages as node_packages
from tests.integration.servers import PATIENCE, Server, Servers, until

from .documents import build, page
from .reader import in_node, running, serve, shown

TOKENS = page("docs/howto/tokens.md")
SCRIPT = Path(__file__).with_name("tokens.mjs")
SECRET = "a secret without a comma and long enough for HMAC"
GROUP = "team:red"


class Row(NamedTuple):
    """One thing that may happen: what ``getToken`` gives, one call after the other, and what comes of it.

    ``asked``: it was called; ``on``: connected, or subscribed; ``off``: for good, with a code; ``gone``: the client of
    a subscription, for good.
    """

    given: str
    client: str
    subscription: str


ROWS = {
    "expired": Row("expired good", "asked, asked, on", "asked, asked, on"),
    "new in time": Row("short short good", "asked, on, asked, asked", "asked, on, asked, asked"),
    "expired in time": Row("short expired", "asked, on, asked, off 110", "asked, on, asked, off 109"),
    "another's in time": Row("short alan", "asked, on, asked, off 3500", "asked, on, asked, gone 3500"),
    "unauthorized": Row("UNAUTHORIZED", "asked, off 1", "asked, off 1"),
    "failure": Row("FAILURE good", "asked, asked, on", "asked, asked, on"),
    "empty": Row("empty", "asked, off 4500", "asked, off 1"),
    "empty in time": Row("short empty", "asked, on, asked, off 1", "asked, on, asked, off 1"),
    "forged": Row("forged", "asked, off 3500", "asked, off 103"),
}


def given(name: str, claims: dict[str, Any]) -> str:
    """Return the token of that name."""
    seconds = {"short": 1, "expired": -3600}.get(name, 600)
    content = {"sub": "alan" if name == "alan" else "ada", "exp": time.time() + seconds, **claims}
    return "" if name == "empty" else token(content, key=OTHER_SECRET if name == "forged" else SECRET)


def scenarios(channel: str) -> dict[str, dict[str, Any]]:
    """Return what an SDK is to be given, by row."""
    claims = {"channel": channel} if channel else {}
    return {
        name: {
            "given": [each if each.isupper() else given(each, claims) for each in row.given.split()],
            "count": len(expected(channel)[name]),
            "channel": channel,
            "token": given("good", {}),
        }
        for name, row in ROWS.items()
    }


class Watch(ClientEventHandler, SubscriptionEventHandler):  # type: ignore[misc]
    """Notes what happens to a client or to a subscription."""

    def __init__(self, happened: Callable[[str], None], on: str = "on", off: str = "off") -> None:
        self._happened = happened
        self._off = off
        setattr(self, f"on_{on}", self._begins)

    async def _begins(self, context: Any) -> None:
        self._happened("on")

    async def on_disconnected(self, context: Any) -> None:
        self._happened(f"{self._off} {context.code}")

    async def on_unsubscribed(self, context: Any) -> None:
        self._happened(f"off {context.code}")


async def happens(url: str, scenario: dict[str, Any]) -> list[str]:
    """Let the SDK for Python do it."""
    events: list[str] = []
    over = asyncio.Event()

    def happened(event: str) -> None:
        events.append(event)
        if len(events) == scenario["count"]:
            over.set()

    async def get_token(*channel: str) -> str:
        happened("asked")
        token: str = scenario["given"].pop(0)
        if token == "UNAUTHORIZED":
            raise UnauthorizedError
        if token == "FAILURE":
            raise RuntimeError("the site does not answer")
        return token

    channel = scenario["channel"]
    known = {"token": scenario["token"]} if channel else {"get_token": get_token}
    watch = Watch(happened, *(("nothing", "gone") if channel else ("connected",)))
    client = Client(url, events=watch, min_reconnect_delay=0.02, proxy=None, **known)
    if channel:
        subscription = client.new_subscription(
            channel, events=Watch(happened, "subscribed"), get_token=get_token, min_resubscribe_delay=0.02
        )
        await subscription.subscribe()
    await client.connect()
    await asyncio.wait_for(over.wait(), PATIENCE)
    result = events[:]
    await client.disconnect()
    return result


async def closed_in_the_background() -> None:
    """Wait until the SDK has closed what it closes behind its user's back."""
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)


@pytest.fixture
def orders(servers: Servers, folder: Path) -> Server:
    """The page's server."""
    build(TOKENS, folder)
    environment = {"ANTIPHON_TOKEN_SECRETS": SECRET}
    return serve(servers, folder, shown(TOKENS, "antiphon serve orders:app"), env=environment).listening()


CHANNELS = pytest.mark.parametrize("channel", ["", GROUP], ids=["connection", "subscription"])


def expected(channel: str) -> dict[str, list[str]]:
    """Return what has to happen, by row."""
    return {name: (row.subscription if channel else row.client).split(", ") for name, row in ROWS.items()}


@CHANNELS
async def test_in_python(orders: Server, channel: str) -> None:
    asked = scenarios(channel)
    happened = await asyncio.gather(*(happens(orders.url("/"), scenario) for scenario in asked.values()))
    await closed_in_the_background()
    assert dict(zip(asked, happened, strict=True)) == expected(channel)


@CHANNELS
def test_in_javascript(orders: Server, folder: Path, node_packages: None, channel: str) -> None:
    (folder / "node_modules").symlink_to(NODE_FOLDER / "node_modules")
    command = [*in_node(folder, SCRIPT.read_text()), orders.url("/"), json.dumps(scenarios(channel))]
    with running(command, folder) as (_, printed):
        until(lambda: printed().endswith("\n"), "all that happens")
        assert json.loads(printed()) == expected(channel)
