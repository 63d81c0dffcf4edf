"""The page about antiphon's own client: its board, in a browser, and its scripts in that page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.integration.servers import Server, Servers, until

from .documents import blocks, build, page
from .reader import a_browser, serve, shown

CLIENT = page("docs/howto/browser-client.md")
PUBLISHING, TOKEN = (block.text for block in blocks(CLIENT) if block.language == "javascript")
#: Where the site has no script of its own.
NO_PAGE = "/nothing/"
#: What the site has besides, for tokens.
SETTINGS = 'ANTIPHON["token_secrets"] = [SECRET_KEY]\n'
VIEW = """
from django.http import HttpResponse
from antiphon.tokens import connection_token

def token(request):
    return HttpResponse(connection_token("ada"))
"""


@pytest.fixture
def board(project: Path) -> Path:
    """The page's project."""
    build(CLIENT, project)
    (project / "board/__init__.py").touch()  # all that ``startapp`` makes and the page does not
    return project


def run(servers: Servers, board: Path, *more: str) -> Server:
    """Start the project as the page says, on a free port or as ``more`` says."""
    return serve(servers, board, shown(CLIENT, "python manage.py runserver"), *more).listening()


@pytest.fixture
def window() -> Iterator[Page]:
    """A page of a browser; its errors fail the test."""
    faults: list[str] = []
    with a_browser() as browser:
        window = browser.new_context().new_page()
        window.on("pageerror", lambda fault: faults.append(str(fault)))
        yield window
    assert faults == []


def pin(window: Page, text: str) -> None:
    """Fill in the form and send it."""
    window.locator("input[name=text]").fill(text)
    window.get_by_role("button").click()


def test_the_board(servers: Servers, board: Path, window: Page) -> None:
    server = run(servers, board)
    window.goto(server.url("/", "http"))
    other = window.context.new_page()
    other.goto(server.url("/", "http"))
    pin(window, "milk")
    for each in (window, other):
        expect(each.locator("#notes li")).to_have_text(["milk"])
    expect(window.locator("#unsent li")).to_have_count(0)
    window.reload()
    expect(window.locator("#notes li")).to_have_text(["milk"])
    server.stop()
    expect(window.locator("#state")).to_contain_text("connecting")
    pin(window, "bread")
    expect(window.locator("#unsent li")).to_have_text(["bread"])
    run(servers, board, f"127.0.0.1:{server.port}", "--noreload")
    # The memory engine has forgotten the milk: a gap, and the pages load the board anew.
    for each in (window, other):
        expect(each.locator("#notes li")).to_have_text(["bread"])
    expect(window.locator("#unsent li")).to_have_count(0)


def test_publishing(servers: Servers, board: Path, window: Page) -> None:
    window.goto(run(servers, board).url(NO_PAGE, "http"))
    logged = listen(window)
    window.add_script_tag(type="module", content=_connected(PUBLISHING))
    until(lambda: window.title() and len(logged) == 3, "three lines")
    assert logged == ["pinned at 1", "twice? false true", "refused 103 permission denied"]


def test_a_token(servers: Servers, board: Path, window: Page) -> None:
    for name, text in (("project/settings.py", SETTINGS), ("board/views.py", VIEW)):
        (board / name).write_text((board / name).read_text() + text)
    urls = board / "project/urls.py"
    urls.write_text(urls.read_text() + 'urlpatterns += [path("token/", views.token)]\n')
    window.goto(run(servers, board).url(NO_PAGE, "http"))
    logged = listen(window)
    window.add_script_tag(type="module", content=_IMPORT + TOKEN + _TOKEN)
    until(lambda: window.title() and logged, "the publication")
    assert logged == ["ada"]


def test_the_readme_of_the_npm_package(servers: Servers, board: Path, window: Page) -> None:
    (script,) = (block.text for block in blocks(page("js/README.md")) if block.language == "javascript")
    assert "antiphon-client" in script
    window.goto(run(servers, board).url(NO_PAGE, "http"))
    logged = listen(window)
    window.add_script_tag(type="module", content=script.replace("antiphon-client", "/static/antiphon/client.js"))
    until(lambda: window.title() and logged, "the publication")
    assert logged == ["milk"]


_IMPORT = 'import { Client } from "/static/antiphon/client.js";\n'
_TOKEN = """
client.subscribe("board:kitchen", { onPublication: ({ info }) => console.log(info.user) });
client.connect();
await client.publish("board:kitchen", { text: "milk" });
"""


def _connected(script: str) -> str:
    """Run a script with a client that is connected."""
    begin = 'const client = new Client("/ws/");\nclient.subscribe("board:kitchen");\nclient.connect();\n'
    return f"{_IMPORT}{begin}{script}"


def listen(window: Page) -> list[str]:
    """Return what the page logs from now on."""
    logged: list[str] = []
    window.on("console", lambda message: logged.append(message.text) if message.type == "log" else None)
    return logged
