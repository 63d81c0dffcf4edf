"""The examples of the documents, run as a reader would run them: the files of a page, its command, and clients."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from websockets.asyncio.client import connect, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.integration.clients import Wire
from tests.integration.servers import PATIENCE, Server, Servers, until

from .documents import PAGES, Block, blocks, build, page
from .reader import (
    a_browser,
    ask,
    closed,
    cookie,
    django,
    everybody_hears,
    in_node,
    receive,
    running,
    serve,
    shown,
    tell,
    type_in,
)

README = page("README.md")
TUTORIAL = page("docs/tutorial/chat.md")
BROWSER = page("docs/howto/errors-in-the-browser.md")
SERVERS = page("docs/howto/other-servers.md")
DEPLOY = page("docs/deploy/one-process.md")
SLOW = page("docs/howto/slow-clients.md")

# README


@pytest.fixture
def lobby(servers: Servers, folder: Path) -> Server:
    """The README's example without Django, started by the README's command."""
    build(README, folder)
    return serve(servers, folder, shown(README, "antiphon serve chat:app")).listening()


async def test_readme_thirty_seconds(lobby: Server) -> None:
    await everybody_hears(lobby.url("/"), {"text": "hello"}, {"text": "hello"})


def test_readme_terminal(lobby: Server, folder: Path) -> None:
    line = next(text for text in README.read_text().splitlines() if text.startswith("python -m websockets"))
    command, typed = line.split(" # then type: ")
    words = shlex.split(command.replace("ws://localhost:8000/", lobby.url("/")))
    with running([sys.executable, *words[1:]], folder) as (process, printed):
        until(lambda: "Connected" in printed(), "the client to connect")
        type_in(process, typed)
        until(lambda: '{"text":"hello"}' in printed(), "the answer")


def test_readme_browser_console(lobby: Server, folder: Path) -> None:
    script, _ = (block.text for block in blocks(README) if block.language == "javascript")
    with running(in_node(folder, script.replace("ws://localhost:8000/", lobby.url("/"))), folder) as (_, printed):
        until(lambda: printed() == '{"text":"hello"}\n', "the answer")


async def test_readme_two_ways_in_one_order(servers: Servers, folder: Path) -> None:
    build(README, folder)
    server = serve(servers, folder, "antiphon serve news:app").listening()
    async with connect(server.url("/")) as first, connect(server.url("/")) as second:
        for number in range(5):
            await tell(first, {"text": str(number)})
        for client in (first, second):
            for number in range(5):
                assert await receive(client) == {"type": "headline", "text": str(number)}
                assert await receive(client) == {"type": "read", "text": str(number)}


@pytest.fixture
def site(project: Path) -> Path:
    """The README's example in a Django project."""
    build(README, project)
    (project / "chat.py").unlink()  # the example without Django; here chat is a package
    return project


async def test_readme_django(servers: Servers, site: Path) -> None:
    server = serve(servers, site, shown(README, "antiphon serve project")).listening()
    url, origin = server.url("/ws/chat/kitchen/"), server.url("", "http")
    with pytest.raises(InvalidStatus):
        async with connect(url, origin=origin):  # type: ignore[arg-type]
            pass
    heard = {"type": "message", "text": "hello"}
    headers = {"Cookie": cookie(site)}
    await everybody_hears(url, {"text": "hello"}, heard, origin=origin, additional_headers=headers)


# The tutorial


async def test_tutorial_up_to_the_page(servers: Servers, project: Path) -> None:
    build(TUTORIAL, project, before="## 4. Users")
    server = serve(servers, project, shown(TUTORIAL, "python manage.py runserver")).listening()
    assert b'id="messages"' in server.get("/rooms/lobby/").body
    heard = {"type": "message", "text": "hello"}
    await everybody_hears(server.url("/ws/rooms/lobby/"), {"text": "hello"}, heard, origin="http://localhost:8000")


async def test_tutorial_with_users(servers: Servers, project: Path) -> None:
    build(TUTORIAL, project, before="## 5. Messages that stay")
    server = serve(servers, project, "python manage.py runserver").listening()
    url, origin = server.url("/ws/rooms/lobby/"), "http://localhost:8000"
    assert server.get("/rooms/lobby/").status == 302
    with pytest.raises(InvalidStatus):
        async with connect(url, origin=origin):  # type: ignore[arg-type]
            pass
    headers = {"Cookie": cookie(project)}
    heard = {"type": "message", "author": "ada", "text": "hello"}
    await everybody_hears(url, {"text": "hello"}, heard, origin=origin, additional_headers=headers)


def test_tutorial_to_the_end_in_a_browser(servers: Servers, project: Path) -> None:
    build(TUTORIAL, project)
    for command in re.findall(r"^python manage.py (make.*)$", TUTORIAL.read_text(), re.MULTILINE):
        django(project, *command.split())
    django(project, "migrate")
    accounts = re.findall(r"^python manage.py (createsuperuser.*)$", TUTORIAL.read_text(), re.MULTILINE)
    for command in accounts:
        django(project, *command.split(), "--noinput", env={"DJANGO_SUPERUSER_PASSWORD": "secret"})
    server = serve(servers, project, "python manage.py runserver").listening()
    with a_browser() as browser:
        ada, alan = (log_in(browser.new_context().new_page(), server, name) for name in ("ada", "alan"))
        say(ada, "Hello")
        for window in (ada, alan):
            expect(window.locator("#messages li")).to_have_text(["ada: Hello"])
        say(alan, "")
        expect(alan.locator("#messages li").last).to_have_text("(a message has a text of 1 to 500 characters)")
        alan.reload()
        expect(alan.locator("#messages li")).to_have_text(["ada: Hello"])
        token = next(each for each in ada.context.cookies() if each.get("name") == "csrftoken")
        answer = ada.request.post(
            server.url("/rooms/lobby/announce/", "http"),
            form={"text": "Tea is ready"},
            headers={"X-CSRFToken": token.get("value", "")},
        )
        assert answer.status == 204
        for window in (ada, alan):
            expect(window.locator("#messages li").last).to_have_text("ada: Tea is ready")
        server.stop()
        expect(ada.locator("#messages li").last).to_have_text("(closed: the server restarts, come back)")


def log_in(window: Page, server: Server, name: str) -> Page:
    """Go to the room by way of the login page."""
    window.goto(server.url("/rooms/lobby/", "http"))
    window.get_by_label("Username").fill(name)
    window.get_by_label("Password").fill("secret")
    window.get_by_role("button").click()
    window.wait_for_function("typeof socket !== 'undefined' && socket.readyState === WebSocket.OPEN")
    return window


def say(window: Page, text: str) -> None:
    """Fill in the form and send it."""
    window.locator("input[name=text]").fill(text)
    window.get_by_role("button", name="Say").click()


# How-to guides and topics


@pytest.mark.parametrize(
    ("application", "path"),
    [("bare:app", "/room"), ("configured:app", "/room"), ("on_starlette:app", "/ws/a"), ("on_fastapi:app", "/ws/a")],
)
async def test_without_django(servers: Servers, folder: Path, application: str, path: str) -> None:
    build(page("docs/howto/without-django.md"), folder)
    server = serve(servers, folder, f"antiphon serve {application}").listening()
    await everybody_hears(server.url(path), {"text": "hello"}, {"text": "hello"})
    if application == "bare:app":
        assert server.get("/").body == b"There is a WebSocket here.\n"


@pytest.mark.parametrize(("application", "text"), [("on_starlette:app", None), ("on_fastapi:app", "tea")])
async def test_http_speaks_to_a_group(servers: Servers, folder: Path, application: str, text: str | None) -> None:
    build(page("docs/howto/without-django.md"), folder)
    server = serve(servers, folder, f"antiphon serve {application}").listening()
    async with connect(server.url("/ws/a")) as client:
        answer = await asyncio.to_thread(post, server, f"/rooms/a?text={text}" if text else "/rooms/a", text or "tea")
        assert answer == {"offset": 1}
        assert await receive(client) == {"text": "tea"}


def post(server: Server, path: str, body: str) -> Any:
    """Post a text; return the JSON of the answer."""
    with subprocess.Popen(
        [sys.executable, "-c", _POST, server.url(path, "http"), body], stdout=subprocess.PIPE, text=True
    ) as process:
        return json.loads(process.communicate(timeout=PATIENCE)[0])


_POST = "import sys, httpx; print(httpx.post(sys.argv[1], content=sys.argv[2]).text)"


async def test_origin_is_looked_at(servers: Servers, folder: Path) -> None:
    build(page("docs/howto/without-django.md"), folder)
    server = serve(servers, folder, "antiphon serve guarded:app").listening()
    own = server.url("", "http")
    for origin in (None, own, "https://chat.example", "https://www.chat.example", "http://localhost:3000"):
        async with connect(server.url("/"), origin=origin) as client:  # type: ignore[arg-type]
            assert await ask(client, 1) == {"echo": 1}
    with pytest.raises(InvalidStatus):
        async with connect(server.url("/"), origin="https://elsewhere.example"):  # type: ignore[arg-type]
            pass


async def test_from_a_thread(servers: Servers, folder: Path) -> None:
    build(page("docs/howto/from-sync-code.md"), folder)
    server = serve(servers, folder, "antiphon serve poll:app").listening()
    await everybody_hears(server.url("/"), {"votes": 12}, {"votes": 12})
    until(lambda: "published at offset 1" in server.log(), "the position")


async def test_three_ways(servers: Servers, folder: Path) -> None:
    build(page("docs/topics/groups.md"), folder)
    server = serve(servers, folder, "antiphon serve rooms:app").listening()
    async with connect(server.url("/")) as first, connect(server.url("/de")) as second:
        await tell(first, ["handler", "shared", "publish", "shared", "handler"])
        clock, text = {"minute": 7}, {"text": "the same for all"}
        for client, greeting in ((first, {"text": "Hello"}), (second, {"text": "Hallo"})):
            assert [await receive(client) for _ in range(5)] == [greeting, clock, text, clock, greeting]


async def test_timeouts_and_context(servers: Servers, folder: Path) -> None:
    build(page("docs/topics/consumers.md"), folder)
    server = serve(servers, folder, "antiphon serve timed:app").listening()
    async with connect(server.url("/ada")) as client:
        assert await ask(client, {"patience": 0.001, "work": 60}) == {"visitor": "ada", "result": "took too long"}
        assert await ask(client, {"patience": 60, "work": 0.001}) == {"visitor": "ada", "result": "done"}


SCRIPTS = [block for path in PAGES for block in blocks(path) if block.role == "run"]


@pytest.mark.parametrize("block", SCRIPTS, ids=str)
def test_script(block: Block, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block.text],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("await the coroutine of the same name", "antiphon has no option 'outbox_size'"):
        if name.split()[-1] in block.text:
            assert name in done.stdout


# Other servers

COMMANDS = re.findall(r"^\| [^|]+ \| `(\w+ [^`]+)` \|", SERVERS.read_text(), re.MULTILINE)


def test_the_table_has_every_server() -> None:
    assert [command.split()[0] for command in COMMANDS] == ["antiphon", "uvicorn", "uvicorn", "hypercorn", "daphne"]


@pytest.mark.parametrize("command", [*COMMANDS, shown(SERVERS, "uvicorn chat:app --ws .*--timeout-graceful")])
async def test_other_servers(servers: Servers, folder: Path, command: str) -> None:
    build(README, folder)
    build(page("docs/topics/consumers.md"), folder)
    server = serve(servers, folder, command).listening()
    await everybody_hears(server.url("/"), {"text": "hello"}, {"text": "hello"})


@pytest.mark.parametrize("command", COMMANDS)
async def test_close_codes_on_other_servers(servers: Servers, folder: Path, command: str) -> None:
    build(BROWSER, folder)
    build(page("docs/topics/consumers.md"), folder)
    daphne = command.startswith("daphne")
    server = serve(servers, folder, command.replace("chat:app", "timed:app")).listening()
    async with connect(server.url("/")) as client:
        await tell(client, {})  # a KeyError
        assert await closed(client) == ((4011, "") if daphne else (1011, "the application failed"))
    if not command.startswith("hypercorn"):
        async with connect(server.url("/")) as client:
            await ask(client, {"patience": 60, "work": 0})
            server.signal(signal.SIGTERM)
            code, reason = await closed(client)
        direct = "antiphon" in command
        assert code == (1006 if daphne else 1012)
        assert reason == ("the server restarts, come back" if direct else "")


async def test_closing_to_say_why(servers: Servers, folder: Path) -> None:
    build(BROWSER, folder)
    server = serve(servers, folder, "antiphon serve orders:app").listening()
    async with connect(server.url("/private")) as client:
        assert await closed(client) == (4401, "log in first")
    async with connect(server.url("/")) as client:
        assert (await ask(client, {"count": "many"}))["code"] == "bad_order"
        await client.send("{]")
        (frame, *_) = (json.loads(block.text) for block in blocks(BROWSER) if block.language == "json")
        assert (await receive(client)).keys() == frame.keys()
        assert await ask(client, {"count": 3}) == {"type": "ordered", "count": 3}


#: Makes what a script logs visible to the test, and its ``orders``; and takes the chance out of its delays.
_WINDOW = """
Math.random = () => 0.1;
console.log = (...words) => document.body.append(words.join(" ") + "\\n");
globalThis.orders = orders;
"""


def test_coming_back_in_a_browser(servers: Servers, folder: Path) -> None:
    """Not in Node: its experimental WebSocket says nothing of a connection that could not be opened."""
    build(BROWSER, folder)
    (script,) = (block.text for block in blocks(BROWSER) if block.language == "javascript" and not block.role)
    elsewhere = {"ANTIPHON_LOCALHOST_ORIGINS": "on"}  # the page comes from another port
    first = serve(servers, folder, "antiphon serve orders:app", env=elsewhere).listening()
    script = script.replace("ws://localhost:8000/", first.url("/")) + _WINDOW
    (folder / "index.html").write_text(f'<body><script type="module">{script}</script>')
    command = [sys.executable, "-m", "http.server", "0", "--bind", "127.0.0.1"]
    files = servers.run(command, "http.server", cwd=folder).listening(re.compile(r"HTTP on (\S+) port (\d+)"))
    with a_browser() as browser:
        window = browser.new_page()
        window.goto(files.url("/index.html", "http"))
        log = window.locator("body")
        answer = r'message \{"type":"ordered","count":3\}'
        expect(log).to_contain_text(re.compile(answer))
        window.evaluate('orders.send({ count: "many" })')
        expect(log).to_contain_text("error bad_order")
        first.stop()
        expect(log).to_contain_text("waiting the server restarts, come back")
        again = serve(servers, folder, "antiphon serve orders:app", "--port", str(first.port), env=elsewhere)
        again.listening()
        expect(log).to_contain_text(re.compile(f"{answer}.*{answer}", re.DOTALL))


def test_staying_away(servers: Servers, folder: Path) -> None:
    build(BROWSER, folder)
    (script,) = (block.text for block in blocks(BROWSER) if block.language == "javascript" and not block.role)
    server = serve(servers, folder, "antiphon serve orders:app").listening()
    command = in_node(folder, script.replace("ws://localhost:8000/", server.url("/private")))
    with running(command, folder) as (process, printed):
        until(lambda: process.poll() is not None, "the client to give up")
        assert "closed log in first" in printed()
        assert server.log().count("[accepted]") == 1


def test_reconnecting_takes_25_lines() -> None:
    (code,) = (block.text for block in blocks(BROWSER) if block.path == "reconnect.mjs")
    assert len([line for line in code.splitlines()[1:] if line]) <= 25


# Slow clients


@pytest.fixture
def board(servers: Servers, folder: Path) -> Server:
    """The page's example, started by its command."""
    build(SLOW, folder)
    return serve(servers, folder, shown(SLOW, "antiphon serve board:app")).listening()


async def test_a_slow_client_gets_the_newest_cursor_and_every_note(board: Server) -> None:
    moves, notes = 600, 5
    async with await Wire.open(board, "/kitchen", receive_buffer=8192) as slow, connect(board.url("/kitchen")) as fast:
        for number in range(moves):
            cursor = await ask(fast, {"type": "cursor", "at": [number, "x" * 20_000]})
            assert cursor["at"][0] == number
            if number % (moves // notes) == 0:
                assert await ask(fast, {"type": "note", "text": str(number)}) == {"type": "note", "text": str(number)}
        heard: list[Any] = []
        while not heard or heard[-1].get("at", [0])[0] != moves - 1:
            heard.append(json.loads((await slow.receive_frame())[1]))
        cursors = [message["at"][0] for message in heard if message["type"] == "cursor"]
        missed = [message for message in heard if message["type"] == "error"]
        assert cursors == sorted(cursors)
        assert len(cursors) + sum(message["missed"] for message in missed) == moves
        assert sum(message["type"] == "note" for message in heard) == notes
        (frame,) = (json.loads(block.text) for block in blocks(SLOW) if block.language == "json")
        assert {**missed[0], "missed": 12} == frame


def test_the_board_in_javascript(board: Server, folder: Path) -> None:
    (script,) = (block.text for block in blocks(SLOW) if block.language == "javascript")
    script = script.replace("ws://localhost:8000/", board.url("/"))
    with running(in_node(folder, script), folder) as (_, printed):
        until(lambda: printed().splitlines() == ["cursor [ 3, 4 ]", "note milk"], "both messages")


# Deployment


async def test_behind_a_proxy(servers: Servers, site: Path, tmp_path: Path) -> None:
    socket = str(tmp_path / "antiphon.sock")
    # With antiphon's own middleware, imported as the reference says.
    asgi = site / "project/asgi.py"
    (block,) = (each.text for each in blocks(page("docs/reference/api.md")) if each.role == "fragment")
    theirs = "from channels.auth import AuthMiddlewareStack"
    assert theirs in asgi.read_text()
    asgi.write_text(asgi.read_text().replace(theirs, block.strip()))
    command = shown(DEPLOY, "antiphon serve .*--uds").replace("/run/talk/antiphon.sock", socket)
    server = serve(servers, site, command, "--log-level", "info")
    until(lambda: "running on unix socket" in server.log(), "the server to listen")
    headers = {"Cookie": cookie(site), "X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    async with unix_connect(
        socket,
        "ws://localhost/ws/chat/kitchen/",
        origin="https://localhost",
        additional_headers=headers,
    ) as client:
        assert await ask(client, {"text": "hello"}) == {"type": "message", "text": "hello"}
        server.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed):
            await receive(client)
        assert await closed(client) == (1012, "the server restarts, come back")
    assert server.exit_code() == 0
    assert '203.0.113.7:0 - "WebSocket /ws/chat/kitchen/" [accepted]' in server.log()
