"""Bursts to consumers of Channels' that are slow: who is in the group gets everything, or is told that it did not."""

from __future__ import annotations

import asyncio
import json
import re
import time

from websockets.exceptions import ConnectionClosed

from .clients import Client, Closed, connect, eventually
from .projects import ANTIPHON, project, serve
from .servers import Server, Servers

COUNT = 1000
NUMBERS = list(range(COUNT))
#: Seconds that a burst may take until everybody has it.
PATIENCE = 15.0


async def join(server: Server, pause: int) -> Client:
    """Open a WebSocket whose consumer sleeps for ``pause`` milliseconds in its handler."""
    return await connect(server, f"/member/{pause}/")


async def collect(client: Client, count: int) -> list[int]:
    """Return the numbers of the next ``count`` messages, or of those that came before the end."""
    numbers: list[int] = []
    try:
        while len(numbers) < count:
            number, _ = json.loads(await client.websocket.recv())
            numbers.append(number)
    except ConnectionClosed:
        pass
    return numbers


async def send(sender: Client, first: int, count: int, size: int) -> None:
    """Have a consumer send to the group, one after another without a pause."""
    assert await sender.ask({"from": first, "count": count, "size": size}) == {"sent": count}


async def test_a_hundred_slow_members_get_all_of_a_burst(servers: Servers) -> None:
    server = serve(servers, ANTIPHON, project("burst"), "asgi:application")
    members = [await join(server, pause) for pause in (0, 0, 0, 1, 3) * 20]
    sender = await connect(server, "/sender/")
    before, began = server.stats(), time.monotonic()
    async with asyncio.timeout(PATIENCE):
        collecting = asyncio.gather(*(collect(member, COUNT) for member in members))
        await send(sender, 0, COUNT, size=0)
        received = await collecting
    print(f"{COUNT} messages to {len(members)} members in {time.monotonic() - began:.1f} s")
    for numbers in received:
        assert numbers == NUMBERS
    assert server.stats() == {**before, "events": before["events"] + COUNT}
    assert server.get("/members").json() == {"members": len(members)}
    assert await asyncio.to_thread(server.stop) == 0


async def test_who_is_too_slow_for_a_burst_of_large_messages_is_told(servers: Servers) -> None:
    size, limit, batch = 2048, 100_000, 40  # a batch is less than what may wait
    env = {"ANTIPHON_MAILBOX_LIMIT": str(limit)}
    server = serve(servers, ANTIPHON, project("burst"), "asgi:application", env)
    steady = [await join(server, pause) for pause in (0,) * 16 + (1,) * 4]
    slow = [await join(server, pause) for pause in (5, 10, 20, 50, 100, 100, 100, 100)]
    sender = await connect(server, "/sender/")
    async with asyncio.timeout(PATIENCE):
        collecting = asyncio.gather(*(collect(member, COUNT) for member in slow))
        for first in range(0, COUNT, batch):
            await send(sender, first, batch, size)
            for numbers in await asyncio.gather(*(collect(member, batch) for member in steady)):
                assert numbers == NUMBERS[first : first + batch]
        received = await collecting
    losers = [member for member, numbers in zip(slow, received, strict=True) if len(numbers) < COUNT]
    for numbers in received:
        assert numbers == NUMBERS[: len(numbers)], "a hole in front of the loss"
    for member in losers:
        assert await member.closed() == Closed(1011, "the application failed")
    assert set(slow[4:]) <= set(losers), "a tenth of a second for each message is too slow"

    stats = server.stats()
    assert stats["channel_overflows"] == len(losers)
    assert 0 < stats["channel_messages_dropped"] <= sum(COUNT - len(numbers) for numbers in received)
    assert stats["channels_full"] == 0, "the sender was refused for the sake of a slow member"
    log = server.log()
    dropped = re.findall(
        r"ERROR: +channel \S+: its reader is so slow .*?; (\d+) messages dropped at mailbox_limit", log
    )
    assert len(dropped) == len(losers)
    assert sum(map(int, dropped)) == stats["channel_messages_dropped"]
    assert len(re.findall(r"^antiphon\.exceptions\.MessagesLost: channel ", log, re.MULTILINE)) == len(losers)

    members = len(steady) + len(slow) - len(losers)
    await eventually(lambda: server.get("/members").json() == {"members": members}, "those who lost to be gone")
    again = [await join(server, 0) for _ in losers]
    await send(sender, COUNT, 1, size)
    for member in steady + again:
        assert await collect(member, 1) == [COUNT]
    assert await asyncio.to_thread(server.stop) == 0
