"""antiphon's own client in a real browser: reloads, tabs, sleep, and what is written while there is no network."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from .clientjs import Blackhole, NodeScript, connected, flood, heard
from .clientjs import other as other
from .proxy import Proxy
from .servers import DIRECT, PATIENCE, Server, Servers
from .test_browser import browser as browser


@pytest.fixture(scope="module")
def site(servers: Servers) -> Server:
    """A server of the page, which goes on while the proxies between the page's client and it do not."""
    env = {"ANTIPHON_LOCALHOST_ORIGINS": "on"}  # a proxy has another port than the page
    return servers.start(DIRECT[0], "tests.integration.apps.clientjs:app", env=env)


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A fresh profile whose pages are this file's."""
    context = await browser.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    yield context
    await context.close()


class Window:
    """A page of a context; an error in it fails the test."""

    def __init__(self, page: Page, proxy: Proxy) -> None:
        self.page = page
        self._proxy = proxy

    @classmethod
    async def open(cls, context: BrowserContext, site: Server, proxy: Proxy) -> Window:
        """Open a page whose client is to go through the proxy."""
        window = cls(await context.new_page(), proxy)
        await window.page.goto(site.url("/page/", "http"))
        await window.page.wait_for_function("globalThis.isReady")
        return window

    async def reload(self) -> None:
        """Load it anew."""
        await self.page.reload()
        await self.page.wait_for_function("globalThis.isReady")

    async def run(self, script: str, **args: Any) -> Any:
        """Run code and return what it returns."""
        args = {"url": self._proxy.url("/connection/room"), **args}
        return await asyncio.wait_for(self.page.evaluate(f"async (args) => {{ {script} }}", args), PATIENCE)

    async def connect(self, room: str, **options: Any) -> None:
        """Connect and subscribe, without waiting for it."""
        await self.run("connect(args.url, args.options)", options=options)
        await self.run("join(args.room)", room=room)

    async def write(self, room: str, first: int, count: int) -> None:
        """Publish numbers, and wait until they are stored."""
        script = """
            for (let n = args.first; n < args.first + args.count; n++) client.publish(args.room, { n });
            await until(() => heard.outbox.filter(({ state }) => state === "stored").length >= args.count);
        """
        await self.run(script, room=room, first=first, count=count)


@pytest.fixture
async def listener(site: Server, other: NodeScript, name: str) -> NodeScript:
    """Somebody else in the room of the test's name, who hears what arrives."""
    await connected(other, site.url("/connection/room"))
    await other.run("join(args.room); await client.subscriptions.get(args.room).ready()", room=f"room:{name}")
    return other


# Reloads


async def test_a_reload_goes_on_where_the_page_was(
    context: BrowserContext, site: Server, listener: NodeScript, name: str
) -> None:
    room = f"room:{name}"
    async with Proxy(site) as proxy:
        window = await Window.open(context, site, proxy)
        begin = "connect(args.url, { storage: sessionStorage }); join(args.room)"
        await window.run(begin + "; await client.subscriptions.get(args.room).ready()", room=room)
        seen = "const { publications } = heard.groups[args.room]; await until(() => publications.length >= args.count);"
        seen += "return publications.map(({ n }) => n)"
        await flood(listener, room, 0, 5)
        assert await window.run(seen, room=room, count=5) == [0, 1, 2, 3, 4]
        proxy.go_away()
        await window.reload()
        await flood(listener, room, 5, 5)
        proxy.come_back()
        await window.run(begin, room=room)
        await flood(listener, room, 10, 5)
        assert await window.run(seen, room=room, count=10) == list(range(5, 15))
        assert await window.run("return heard.groups[args.room].gaps", room=room) == []
        await window.page.close()


async def test_200_written_offline_and_across_a_reload_arrive_once_and_in_order(
    context: BrowserContext, site: Server, listener: NodeScript, name: str
) -> None:
    room = f"room:{name}"
    async with Proxy(site) as proxy:
        window = await Window.open(context, site, proxy)
        proxy.go_away()
        await window.connect(room)
        await window.write(room, 0, 100)
        await window.reload()
        await window.connect(room)
        await window.write(room, 100, 100)
        assert await window.run("return (await client.outbox.pending()).length") == 200
        assert await window.run("return client.outbox.persistent") is True
        proxy.come_back()
        assert await heard(listener, room, 200) == list(range(200))
        await window.run("await until(async () => !(await client.outbox.pending()).length)")
        sent = await window.run("return heard.outbox.filter(({ state }) => state === 'sent').map(({ data }) => data.n)")
        assert sent == list(range(200))
        await flood(listener, room, 200, 1)
        assert await heard(listener, room, 201) == list(range(201))
        await window.page.close()


async def test_a_reload_in_the_middle_of_a_send_doubles_nothing(
    context: BrowserContext, site: Server, listener: NodeScript, name: str
) -> None:
    room = f"room:{name}"
    async with Proxy(site) as proxy:
        window = await Window.open(context, site, proxy)
        await window.connect(room)
        await window.run("await client.publish(args.room, { n: 0 })", room=room)
        proxy.hold()
        # The proxy waits for bytes of the server already: those it passes on, and what is published is not answered.
        await window.run("client.send('the last'); await until(() => heard.messages.length)")
        await window.write(room, 1, 3)
        assert await heard(listener, room, 2) == [0, 1]
        await window.reload()
        proxy.resume()
        await window.connect(room)
        told = await window.run("""
            const told = () => heard.outbox.filter(({ state }) => state !== "waiting"); // until it is in the group
            await until(() => told().length === 3);
            return told().map(({ state, data, repeated }) => [state, data.n, repeated]);
        """)
        assert told == [["sent", 1, True], ["sent", 2, False], ["sent", 3, False]]
        await flood(listener, room, 4, 1)
        assert await heard(listener, room, 5) == [0, 1, 2, 3, 4]
        await window.page.close()


async def test_what_another_page_wrote_to_a_group_waits_for_somebody_in_it(
    context: BrowserContext, site: Server, listener: NodeScript, name: str
) -> None:
    room = f"room:{name}"
    async with Proxy(site) as proxy:
        window = await Window.open(context, site, proxy)
        proxy.go_away()
        await window.connect(room)
        await window.write(room, 0, 2)
        await window.reload()
        proxy.come_back()
        await window.run("connect(args.url); await until(() => heard.outbox.length)")
        states = "return heard.outbox.map(({ state, code }) => [state, code ?? null])"
        assert await window.run(states) == [["waiting", 103]]
        await window.run("join(args.room)", room=room)
        assert await heard(listener, room, 2) == [0, 1]
        await window.run("await until(() => heard.outbox.length === 3)")
        assert await window.run(states) == [["waiting", 103], ["sent", None], ["sent", None]]
        await window.page.close()


# Tabs


@pytest.mark.parametrize("locks", [True, False])
async def test_two_tabs_share_the_outbox(
    context: BrowserContext, site: Server, listener: NodeScript, name: str, locks: bool
) -> None:
    room = f"room:{name}"
    if not locks:  # as on a site without TLS: the keys alone have to do
        await context.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
    async with Proxy(site) as proxy:
        tabs = [await Window.open(context, site, proxy) for _ in range(2)]
        proxy.go_away()
        for tab in tabs:
            await tab.connect(room)
        for first in range(0, 100, 20):
            await tabs[first // 20 % 2].run(
                """
                    const numbers = Array.from({ length: 20 }, (_, each) => args.first + each);
                    (globalThis.mine ??= []).push(...numbers.map((n) => client.publish(args.room, { n })));
                    const isStored = ({ state, data }) => state === "stored" && data.n === args.first + 19;
                    await until(() => heard.outbox.some(isStored));
                """,
                room=room,
                first=first,
            )
        before = site.stats()["publications"]
        proxy.come_back()
        assert await heard(listener, room, 100) == list(range(100))
        answers = [answer for tab in tabs for answer in await tab.run("return Promise.all(mine)")]
        assert sorted(answer["offset"] for answer in answers) == list(range(1, 101))
        if locks:
            assert not any(answer["repeated"] for answer in answers)
            assert site.stats()["publications"] == before + 100
        for tab in tabs:
            sent = "new Set(heard.outbox.filter(({ state }) => state === 'sent').map(({ id }) => id))"
            await tab.run(f"await until(() => {sent}.size === 100)")
            await tab.page.close()


async def test_a_tab_sends_what_another_has_left(
    context: BrowserContext, site: Server, listener: NodeScript, name: str
) -> None:
    room = f"room:{name}"
    async with Proxy(site) as proxy:
        stays, goes = [await Window.open(context, site, proxy) for _ in range(2)]
        await stays.connect(room)
        await stays.run("await client.subscriptions.get(args.room).ready()", room=room)
        await goes.run("globalThis.client = new Client(args.url)")  # never connects
        await goes.run("client.publish(args.room, { n: 0 })", room=room)
        assert await heard(listener, room, 1) == [0]
        await goes.page.close()
        await stays.page.close()


# The network and the computer


async def test_a_browser_that_slept_notices_at_once_that_its_line_is_dead(
    browser: Browser, context: BrowserContext, site: Server, name: str
) -> None:
    room = f"room:{name}"
    async with Blackhole(site) as proxy:
        window = await Window.open(context, site, proxy)
        await window.connect(room, timeout=300)
        await window.run("await client.subscriptions.get(args.room).ready()", room=room)
        session = await browser.new_browser_cdp_session()
        processes = (await session.send("SystemInfo.getProcessInfo"))["processInfo"]
        pids = [int(process["id"]) for process in processes]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            proxy.swallow()
            await asyncio.sleep(1)  # longer than the client's looks at the clock are apart
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        # The server's pings are 25 seconds apart: without a look at the clock it would take longer than this waits.
        await window.run("await until(() => states().length === 4)")
        assert (await window.run("return states()"))[2:] == ["connecting 1", "connected 0"]
        await window.page.close()


async def test_nothing_is_tried_without_a_network_and_all_at_once_with_it(
    context: BrowserContext, site: Server, name: str
) -> None:
    async with Proxy(site) as proxy:
        window = await Window.open(context, site, proxy)
        await window.connect(f"room:{name}", minDelay=60_000, maxDelay=60_000)
        await window.run("await client.ready()")
        await context.set_offline(True)
        proxy.cut()
        await window.run("await until(() => client.state === 'connecting')")
        before = proxy.accepted
        await context.set_offline(False)
        await window.run("await client.ready()")
        assert proxy.accepted == before + 1
        await window.page.close()


async def test_without_a_database_the_page_is_told_that_nothing_outlives_it(
    context: BrowserContext, site: Server, listener: NodeScript, name: str
) -> None:
    room = f"room:{name}"
    await context.add_init_script("Object.defineProperty(globalThis, 'indexedDB', { value: undefined })")
    async with Proxy(site) as proxy:
        window = await Window.open(context, site, proxy)
        await window.connect(room)
        await window.run("await client.publish(args.room, { n: 0 })", room=room)
        assert await window.run("return client.outbox.persistent") is False
        assert await heard(listener, room, 1) == [0]
        await window.page.close()
