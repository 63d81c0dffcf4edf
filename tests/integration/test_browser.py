"""The chat example in a real browser: two people, each with a session of their own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from subprocess import PIPE
from typing import NamedTuple

import pytest
from playwright.async_api import Browser, Frame, Locator, Page, Route, async_playwright, expect

from .servers import DIRECT, ROOT, Server, Servers, clean_environment, until

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


#: Makes what the demo has, logs in as everybody who lives in it, and prints the keys of the sessions.
PREPARE = """
import json
from django.contrib.auth import get_user_model, login
from django.http import HttpRequest
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
call_command("demo")
keys = {}
for user in get_user_model().objects.all():
    request = HttpRequest()
    request.session = SessionStore()
    login(request, user)
    request.session.save()
    keys[user.username] = request.session.session_key
print(json.dumps(keys))
"""


class Prepared(NamedTuple):
    """The database that ``manage.py demo`` makes, and a session for each of the people in it."""

    database: Path
    sessions: dict[str, str]


def manage(*arguments: str, **environment: str) -> str:
    """Run ``manage.py`` of the demo and return what it prints."""
    environment = {**clean_environment(), **environment}
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=CHAT, env=environment, check=True, timeout=60, stdout=PIPE, text=True).stdout


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A database to copy."""
    path = tmp_path_factory.mktemp("chat") / "demo.sqlite3"
    answer = manage("shell", "-v", "0", "-c", PREPARE, CHAT_DATABASE=str(path))
    return Prepared(path, json.loads(answer.splitlines()[-1]))


def _is_open(server: Server) -> bool:
    """Tell whether somebody listens at the server's address."""
    with socket.socket() as probe:
        return probe.connect_ex((server.host, server.port)) == 0


class Demo:
    """The chat example's server, which a test may kill and start again on the same port."""

    def __init__(self, servers: Servers, prepared: Prepared, folder: Path, workers: int = 1) -> None:
        self._servers = servers
        self._workers = workers
        self.sessions = prepared.sessions
        self._environment = {
            "CHAT_DATABASE": str(folder / "chat.sqlite3"),
            "ANTIPHON_ENGINE": f"sqlite:///{folder / 'stream.sqlite3'}",
        }
        shutil.copy(prepared.database, folder / "chat.sqlite3")
        self.server = self._start("0")

    def _start(self, port: str) -> Server:
        options = ("project.asgi:application", "--workers", str(self._workers), "--port", port)
        command = (sys.executable, "-m", "antiphon", "serve", *options)
        server = self._servers.run(command, "chat", cwd=CHAT, env=self._environment).listening()
        until(lambda: _is_open(server), "a worker to listen")  # the address is printed before there are workers
        return server

    def url(self, path: str) -> str:
        """Return the address of a page."""
        return self.server.url(path, "http")

    def manage(self, *arguments: str) -> None:
        """Run ``manage.py`` in a process of its own, whether there is a server or not."""
        manage(*arguments, **self._environment)

    def kill(self) -> None:
        """End the server without a word to anybody."""
        self.server.signal(signal.SIGKILL)
        self.server.exit_code()

    def start_again(self) -> None:
        """Start on the same port."""
        self.server = self._start(str(self.server.port))


@pytest.fixture(scope="module")
def shared_demo(servers: Servers, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo in two processes, for tests that leave its server alone."""
    demo = Demo(servers, prepared, tmp_path_factory.mktemp("shared"), workers=2)
    yield demo
    demo.server.stop()
    assert "Traceback" not in demo.server.log()


@pytest.fixture
def demo(servers: Servers, prepared: Prepared, tmp_path: Path) -> Iterator[Demo]:
    """The demo for one test alone."""
    demo = Demo(servers, prepared, tmp_path)
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


REMOVE_ALAN, ALLOW_ALAN = "[aria-label='Remove alan from the room']", "[aria-label='Allow alan again']"
#: Posts a form with the page's token, and returns the status.
POST = """
    async (path) => {
        const body = new FormData(document.querySelector(".account form"));
        return (await fetch(path, { method: "POST", body })).status;
    }
"""
#: Publishes a message three times: again with its key, and with another one, as if the first was long forgotten.
SAY_THRICE = """
    async (data) => {
        const { Client } = await import("antiphon");
        const client = new Client("/ws/").connect();
        const publish = async (key) => (await client.publish("room:general", data, { key })).repeated;
        const repeated = [await publish("one"), await publish("one"), await publish("two")];
        client.disconnect();
        return repeated;
    }
"""
#: Tells whether these are the last messages, and each is there once.
SEES = """
    (texts) => {
        const items = [...document.querySelectorAll("#messages li.message")];
        const all = items.map((item) => item.querySelector(".text").textContent);
        const last = items.slice(-texts.length);
        const areStored = last.every((item) => item.dataset.state === "sent" && item.dataset.messageId);
        const areOnce = texts.every((text) => all.indexOf(text) === all.lastIndexOf(text));
        return areStored && areOnce && all.slice(-texts.length).join() === texts.join();
    }
"""


@contextlib.asynccontextmanager
async def person(browser: Browser, demo: Demo, name: str) -> AsyncIterator[Page]:
    """Enter the room as ``name``, in a context of its own; errors of the page's script fail the test."""
    context = await browser.new_context()
    context.set_default_timeout(MILLISECONDS)
    await context.add_cookies([{"name": "sessionid", "value": demo.sessions[name], "url": demo.url("/")}])
    faults: list[str] = []
    context.on("weberror", lambda fault: faults.append(str(fault.error)))
    yield await enter(await context.new_page(), demo)
    await context.close()
    assert faults == []


async def enter(page: Page, demo: Demo) -> Page:
    """Open the room, and wait until the page is connected."""
    await page.goto(demo.url(ROOM))
    await is_in(page, "online")
    return page


async def is_in(page: Page, state: str) -> None:
    """Wait until the page shows that this is the state of its connection."""
    await expect(page.locator("#connection-state")).to_have_attribute("data-state", state)


async def comes_back(page: Page) -> None:
    """Wait until the page is connected again; it need not wait for its next try."""
    await page.evaluate("dispatchEvent(new Event('online'))")
    await is_in(page, "online")


async def say(page: Page, text: str) -> None:
    """Write a message and send it."""
    await page.fill("#message-input", text)
    await page.press("#message-input", "Enter")


async def sees(page: Page, *texts: str) -> None:
    """Wait until these are the last messages on the page, stored, in this order, and each of them is there once."""
    await page.wait_for_function(SEES, arg=list(texts))


def here(page: Page) -> Locator:
    """The names of those who are shown to be in the room."""
    return page.locator("#people-list .person-name")


# People


async def test_two_people_hear_each_other(browser: Browser, shared_demo: Demo) -> None:
    async with person(browser, shared_demo, "ada") as ada, person(browser, shared_demo, "alan") as alan:
        await say(ada, "Hello, Alan!")
        await sees(alan, "Hello, Alan!")
        await say(alan, "Grüße, 世界 🎶 <b>not bold</b>")
        for page in (ada, alan):
            await sees(page, "Hello, Alan!", "Grüße, 世界 🎶 <b>not bold</b>")
        assert await alan.locator("#account-name").inner_text() == "alan"


async def test_message_that_is_sent_again_is_there_once(browser: Browser, shared_demo: Demo) -> None:
    async with person(browser, shared_demo, "ada") as ada, person(browser, shared_demo, "alan") as alan:
        data = {"text": "once", "client_id": uuid.uuid4().hex}
        assert await alan.evaluate(SAY_THRICE, data) == [False, True, False]
        await say(alan, "and that is all")
        await sees(ada, "once", "and that is all")
        await ada.reload()
        await sees(ada, "once", "and that is all")


async def test_what_is_said_while_the_page_loads_is_not_missed(browser: Browser, shared_demo: Demo) -> None:
    async with person(browser, shared_demo, "ada") as ada, person(browser, shared_demo, "alan") as alan:

        async def say_something_first(route: Route) -> None:
            await say(ada, "behind the page, before the client")
            await sees(ada, "behind the page, before the client")
            await route.continue_()

        await alan.route("**/antiphon/client.js", say_something_first)
        await alan.reload()
        await sees(alan, "behind the page, before the client")
        await is_in(alan, "online")


async def test_who_is_writing(browser: Browser, shared_demo: Demo) -> None:
    async with person(browser, shared_demo, "ada") as ada, person(browser, shared_demo, "alan") as alan:
        await ada.type("#message-input", "I am about to")
        await expect(alan.locator("#typing-text")).to_have_text("ada is writing")
        await expect(ada.locator("#typing-text")).to_have_text("")
        await ada.fill("#message-input", "")
        await expect(alan.locator("#typing-text")).to_have_text("")


async def test_who_is_here(browser: Browser, shared_demo: Demo) -> None:
    async with person(browser, shared_demo, "ada") as ada:
        await expect(here(ada)).to_have_text(["ada"])
        async with person(browser, shared_demo, "alan") as alan:
            await expect(here(ada)).to_have_text(["ada", "alan"])
            await expect(here(alan)).to_have_text(["alan", "ada"])
            tab = await enter(await alan.context.new_page(), shared_demo)
            await expect(here(tab)).to_have_text(["alan", "ada"])
            await alan.close()
            await say(tab, "one tab is enough")
            await sees(ada, "one tab is enough")
            await expect(here(ada)).to_have_text(["ada", "alan"])
        await expect(here(ada)).to_have_text(["ada"])
        assert await ada.locator("#people-news").inner_text() == "alan has left"


async def test_who_is_removed_stays_out_until_allowed_again(browser: Browser, shared_demo: Demo) -> None:
    words = "ada has removed you from General."
    async with person(browser, shared_demo, "ada") as ada, person(browser, shared_demo, "alan") as alan:
        tabs = [alan, *[await enter(await alan.context.new_page(), shared_demo) for _ in range(3)]]
        assert await alan.locator("#people button").count() == 0
        assert await alan.evaluate(POST, "/rooms/general/people/2/remove/") == 403
        await ada.click(REMOVE_ALAN)
        for tab in tabs:
            await is_in(tab, "closed")
            await expect(tab.locator("#banner-text")).to_have_text(words)
        await expect(here(ada)).to_have_text(["ada"])
        await say(alan, "But why?")
        await expect(alan.locator(".status-text", has_text=f"Not sent. {words}")).to_be_visible()
        await alan.click("[data-action=discard]:visible")
        answer = await tabs[1].reload()
        assert answer is not None
        assert answer.status == 403
        await expect(tabs[1].get_by_text(words)).to_be_visible()
        await ada.click(ALLOW_ALAN)
        await is_in(alan, "online")
        await expect(here(ada)).to_have_text(["ada", "alan"])
        await say(alan, "I will be good")
        await sees(ada, "I will be good")


# Lost connections


async def test_killed_server_is_noticed_and_nothing_is_lost_or_doubled(browser: Browser, demo: Demo) -> None:
    async with person(browser, demo, "ada") as ada, person(browser, demo, "alan") as alan:
        await say(ada, "before")
        await sees(alan, "before")
        demo.kill()
        for page in (ada, alan):
            await is_in(page, "reconnecting")
            await expect(page.locator("#connection-banner")).to_be_visible()
        await say(ada, "written while the server was away")
        await expect(ada.get_by_text("Waits for the connection")).to_be_visible()
        demo.manage("say", "general", "alan", "said elsewhere meanwhile")
        demo.start_again()
        for page in (ada, alan):
            await comes_back(page)
            await sees(page, "before", "said elsewhere meanwhile", "written while the server was away")
            await expect(page.locator("#connection-banner")).to_be_hidden()
            await expect(page.locator("#gap")).to_be_hidden()
        await say(alan, "after")
        await sees(ada, "said elsewhere meanwhile", "written while the server was away", "after")


async def test_what_is_written_offline_outlives_the_page(browser: Browser, demo: Demo) -> None:
    written = [f"written {number}" for number in range(3)]
    async with person(browser, demo, "ada") as ada, person(browser, demo, "alan") as alan:
        demo.server.stop(signal.SIGTERM)
        assert "Traceback" not in demo.server.log()
        await is_in(ada, "reconnecting")
        for text in written:
            await say(ada, text)
            await expect(ada.locator("li.message", has_text=text)).to_have_attribute("data-state", "queued")
        context = ada.context
        await ada.close()
        demo.start_again()
        await comes_back(alan)
        again = await enter(await context.new_page(), demo)
        for page in (again, alan):
            await sees(page, *written)


async def test_what_was_missed_offline_is_there_once_and_in_order(browser: Browser, shared_demo: Demo) -> None:
    missed = [f"missed {number}" for number in range(5)]
    async with person(browser, shared_demo, "ada") as ada, person(browser, shared_demo, "alan") as alan:
        await alan.context.set_offline(True)
        await is_in(alan, "offline")
        for text in missed:
            await say(ada, text)
        await sees(ada, *missed)
        assert await alan.get_by_text("missed 0").count() == 0
        await alan.context.set_offline(False)
        await is_in(alan, "online")
        await sees(alan, *missed)


async def test_gap_is_told_and_read_from_the_database(browser: Browser, shared_demo: Demo) -> None:
    async with person(browser, shared_demo, "ada") as ada, person(browser, shared_demo, "alan") as alan:
        await say(alan, "kept")
        await sees(alan, "kept")
        await ada.click(REMOVE_ALAN)
        await is_in(alan, "closed")
        await say(ada, "no longer kept")
        await sees(ada, "kept", "no longer kept")
        shared_demo.manage("shell", "-c", "from antiphon import sync; sync.remove_history('room:general')")
        await ada.click(ALLOW_ALAN)
        await is_in(alan, "online")
        await expect(alan.locator("#gap-text")).to_contain_text("have been read again")
        await sees(alan, "kept", "no longer kept")
        await alan.click("#gap-seen")
        await expect(alan.locator("#gap")).to_be_hidden()
        await say(ada, "what comes next")
        await sees(alan, "kept", "no longer kept", "what comes next")


# Sessions


async def test_logging_out_elsewhere_closes_the_room(browser: Browser, shared_demo: Demo) -> None:
    address = f"http://localhost:{shared_demo.server.port}"  # the other name that the demo is reached by
    async with person(browser, shared_demo, "alan") as alan:
        page = await (await browser.new_context()).new_page()
        page.set_default_timeout(MILLISECONDS)
        await page.goto(f"{address}/login/?next={ROOM}")
        await page.fill("#login-form [name=username]", "ada")
        await page.fill("#login-form [name=password]", "antiphon")
        await page.click("#login-form button")
        await is_in(page, "online")
        await expect(here(alan)).to_have_text(["alan", "ada"])
        tab = await page.context.new_page()
        await tab.goto(address)
        await tab.click("#logout")
        await is_in(page, "closed")
        await expect(page.locator("#banner-text")).to_have_text("You are logged out.")
        await expect(here(alan)).to_have_text(["alan"])
        await is_in(alan, "online")
        await page.context.close()


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
