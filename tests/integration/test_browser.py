"""The chat example in a real browser: two people, each with a session of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Frame, Locator, Page, async_playwright, expect

from .servers import DIRECT, ROOT, Server, Servers, clean_environment

CHAT = ROOT / "examples" / "chat"
ROOM = "/rooms/general/"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MILLISECONDS = 20_000
expect.set_options(timeout=MILLISECONDS)


@pytest.fixture(scope="session")
def demo_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database that ``manage.py demo`` makes."""
    path = tmp_path_factory.mktemp("chat") / "demo.sqlite3"
    environment = {**clean_environment(), "CHAT_DATABASE": str(path)}
    subprocess.run([sys.executable, "manage.py", "demo"], cwd=CHAT, env=environment, check=True, timeout=60)
    return path


class Demo:
    """The chat example's server, which a test may kill and start again on the same port."""

    def __init__(self, servers: Servers, database: Path) -> None:
        self._servers = servers
        self._database = database
        self.server = self._start("0")

    def _start(self, port: str) -> Server:
        command = (sys.executable, "-m", "antiphon", "serve", "project.asgi:application", "--port", port)
        environment = {"CHAT_DATABASE": str(self._database)}
        return self._servers.run(command, "chat", cwd=CHAT, env=environment).listening()

    def url(self, path: str) -> str:
        """Return the address of a page."""
        return self.server.url(path, "http")

    def kill(self) -> None:
        """End the server without a word to anybody."""
        self.server.signal(signal.SIGKILL)
        self.server.exit_code()

    def start_again(self) -> None:
        """Start on the same port."""
        self.server = self._start(str(self.server.port))


@pytest.fixture
def demo(servers: Servers, demo_database: Path, tmp_path: Path) -> Iterator[Demo]:
    """The demo with a database of its own."""
    database = tmp_path / "chat.sqlite3"
    shutil.copy(demo_database, database)
    demo = Demo(servers, database)
    yield demo
    demo.server.stop()
    assert "Traceback" not in demo.server.log()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium without a window."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@contextlib.asynccontextmanager
async def person(browser: Browser, demo: Demo, name: str) -> AsyncIterator[Page]:
    """Log in as ``name`` in a context of its own and enter the room; errors of the page's script fail the test."""
    context = await browser.new_context()
    context.set_default_timeout(MILLISECONDS)
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    await page.goto(demo.url(f"/login/?next={ROOM}"))
    await page.fill("#login-form [name=username]", name)
    await page.fill("#login-form [name=password]", "antiphon")
    await page.click("#login-form button")
    await expect(state(page)).to_have_attribute("data-state", "online")
    yield page
    await context.close()
    assert faults == []


def state(page: Page) -> Locator:
    """The element that shows whether the page is connected."""
    return page.locator("#connection-state")


async def say(page: Page, text: str) -> None:
    """Write a message and send it."""
    await page.fill("#message-input", text)
    await page.press("#message-input", "Enter")


async def sees_once(page: Page, text: str) -> None:
    """Wait until the message is on the page, stored, and there once."""
    message = page.locator("#messages li.message", has=page.get_by_text(text, exact=True))
    await expect(message).to_have_count(1)
    await expect(message).to_have_attribute("data-state", "sent")


async def test_two_people_hear_each_other(browser: Browser, demo: Demo) -> None:
    async with person(browser, demo, "ada") as ada, person(browser, demo, "alan") as alan:
        await say(ada, "Hello, Alan!")
        for page in (ada, alan):
            await sees_once(page, "Hello, Alan!")
        await say(alan, "Grüße, 世界 🎶 <b>not bold</b>")
        for page in (ada, alan):
            await sees_once(page, "Grüße, 世界 🎶 <b>not bold</b>")
        assert await alan.locator("#account-name").inner_text() == "alan"


async def test_who_is_writing(browser: Browser, demo: Demo) -> None:
    async with person(browser, demo, "ada") as ada, person(browser, demo, "alan") as alan:
        await ada.type("#message-input", "I am about to")
        await expect(alan.locator("#typing-text")).to_have_text("ada is writing")
        await expect(ada.locator("#typing-text")).to_have_text("")
        await ada.fill("#message-input", "")
        await expect(alan.locator("#typing-text")).to_have_text("")


async def test_killed_server_is_noticed_and_nothing_is_lost_or_doubled(browser: Browser, demo: Demo) -> None:
    async with person(browser, demo, "ada") as ada, person(browser, demo, "alan") as alan:
        await say(ada, "before")
        await sees_once(alan, "before")
        demo.kill()
        for page in (ada, alan):
            await expect(state(page)).to_have_attribute("data-state", "reconnecting")
            await expect(page.locator("#connection-banner")).to_be_visible()
        await say(ada, "written while the server was away")
        await expect(ada.get_by_text("Waits for the connection")).to_be_visible()
        demo.start_again()
        for page in (ada, alan):
            await expect(state(page)).to_have_attribute("data-state", "online")
            await expect(page.locator("#connection-banner")).to_be_hidden()
            await sees_once(page, "before")
            await sees_once(page, "written while the server was away")
        await say(alan, "after")
        await sees_once(ada, "after")


async def test_what_was_missed_offline_is_there_once_and_in_order(browser: Browser, demo: Demo) -> None:
    async with person(browser, demo, "ada") as ada, person(browser, demo, "alan") as alan:
        await alan.context.set_offline(True)
        await expect(state(alan)).to_have_attribute("data-state", "offline")
        for number in range(5):
            await say(ada, f"missed {number}")
            await sees_once(ada, f"missed {number}")
        assert await alan.get_by_text("missed 0").count() == 0
        await alan.context.set_offline(False)
        await expect(state(alan)).to_have_attribute("data-state", "online")
        for number in range(5):
            await sees_once(alan, f"missed {number}")
        texts = await alan.locator("#messages li.message .text").all_inner_texts()
        assert texts[-5:] == [f"missed {number}" for number in range(5)]


async def test_server_that_stops_in_good_order_is_come_back_to(browser: Browser, demo: Demo) -> None:
    async with person(browser, demo, "ada") as ada:
        demo.server.stop(signal.SIGTERM)
        assert "Traceback" not in demo.server.log()
        await expect(state(ada)).to_have_attribute("data-state", "reconnecting")
        demo.start_again()
        await expect(state(ada)).to_have_attribute("data-state", "online")
        await say(ada, "back again")
        await sees_once(ada, "back again")


async def test_logging_out_elsewhere_closes_the_room(browser: Browser, demo: Demo) -> None:
    async with person(browser, demo, "ada") as ada, person(browser, demo, "alan") as alan:
        tab = await ada.context.new_page()
        await tab.goto(demo.url("/"))
        await tab.click("#logout")
        await expect(state(ada)).to_have_attribute("data-state", "closed")
        await expect(state(alan)).to_have_attribute("data-state", "online")


# Pages of other origins


OPEN = """
    ([url, protocols]) => new Promise((resolve) => {
        const socket = new WebSocket(url, protocols);
        socket.onopen = () => { socket.close(); resolve("open"); };
        socket.onclose = ({ code }) => resolve(code);
    })
"""


async def opens(page: Page | Frame, server: Server, path: str = "/room/page/") -> object:
    """Open a WebSocket in a page: ``"open"``, or the code that it gets instead."""
    return await page.evaluate(OPEN, [server.url(path), []])


async def test_page_of_another_site_can_not_connect(browser: Browser, servers: Servers) -> None:
    server = servers.share(DIRECT[0], "tests.integration.apps.rooms:app")
    other = servers.share(DIRECT[0], "tests.integration.apps.spec:app")
    page = await (await browser.new_context()).new_page()
    await page.goto(server.url("/", "http"))
    assert await opens(page, server) == "open"
    before = server.stats()["origins_refused"]
    await page.goto(other.url("/", "http"))
    assert await opens(page, server) == 1006
    await page.goto(server.url("/", "http"))
    await page.set_content("<iframe sandbox='allow-scripts' srcdoc='a part of the page that is not trusted'></iframe>")
    assert await opens(page.frames[1], server) == 1006
    assert server.stats()["origins_refused"] == before + 2
    for origin in (other.url("", "http"), "null"):
        assert f"a page of origin '{origin}' wants to connect" in server.log()
    await page.context.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_demo_is_reached_by_each_of_its_names(browser: Browser, demo: Demo, host: str) -> None:
    page = await (await browser.new_context()).new_page()
    page.set_default_timeout(MILLISECONDS)
    await page.goto(f"http://{host}:{demo.server.port}/login/?next={ROOM}")
    await page.fill("#login-form [name=username]", "ada")
    await page.fill("#login-form [name=password]", "antiphon")
    await page.click("#login-form button")
    await expect(state(page)).to_have_attribute("data-state", "online")
    await page.context.close()
