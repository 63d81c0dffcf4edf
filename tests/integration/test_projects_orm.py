"""Synchronous consumers, the ORM and people who have logged in, in a Django project with a database in a file."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from .clients import Client, Closed, connect, eventually, exchange, release_all, upgrade_request
from .projects import ANTIPHON, manage, project, serve
from .servers import Server, Servers


class Poll(NamedTuple):
    """A poll: its key, and those of its choices."""

    number: int
    tea: int
    coffee: int


#: The one that every new site has.
FIRST = Poll(1, 1, 2)
FAILED = Closed(1011, "the application failed")


class Site:
    """A server of the project."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.origin = server.url("", "http")

    def ask(self) -> Poll:
        """Return a new poll."""
        answer = self.server.get("/ask/").json()
        return Poll(answer["poll"], answer["tea"], answer["coffee"])

    def results(self, poll: Poll) -> dict[str, dict[str, int]]:
        """Return the votes and claps of a poll as a page shows them: what is in the database."""
        results: dict[str, dict[str, int]] = self.server.get(f"/results/{poll.number}/").json()
        return results

    def visits(self) -> list[tuple[str, int]]:
        """Return who has left, and the code of each end."""
        return [(name, code) for name, code in self.server.get("/visits/").json()["visits"]]

    def connections(self) -> int:
        """Return how many connections to the database are open."""
        return int(self.server.get("/connections/").body)

    def log_in(self, name: str) -> str:
        """Log in by the form of the site, and return the key of the session."""
        with httpx.Client(base_url=self.origin, trust_env=False) as browser:
            browser.get("/accounts/login/")
            form = {"username": name, "password": name, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
            assert browser.post("/accounts/login/", data=form).status_code == 302
            assert browser.get("/whoami/").text == name
            return browser.cookies["sessionid"]

    def who_is(self, session: str) -> str:
        """Return whom a page takes for the one with this session."""
        return self.server.get("/whoami/", {"Cookie": f"sessionid={session}"}).body.decode()

    async def open(self, poll: Poll, session: str | None = None, *, kind: str = "polls") -> Client:
        """Open a WebSocket as a page of this browser does."""
        headers = {"Cookie": f"sessionid={session}"} if session else {}
        return await connect(self.server, f"/ws/{kind}/{poll.number}/", headers, origin=self.origin)

    async def enter(self, poll: Poll, session: str | None = None) -> tuple[Client, str]:
        """Open one, and return whom the consumer says that it is."""
        client = await self.open(poll, session)
        welcome = await client.receive_json()
        assert welcome["question"] == "Tea or coffee?"
        return client, welcome["user"]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the tables of the project, its users and its first poll."""
    path = tmp_path_factory.mktemp("polls") / "polls.sqlite3"
    for command in ("migrate", "populate"):
        manage(project("orm"), command, "--verbosity=0", env={"POLLS_DATABASE": str(path)})
    return path


def start(servers: Servers, database: Path | str, **env: str) -> Iterator[Site]:
    """Run the project."""
    env["POLLS_DATABASE"] = str(database)
    server = serve(servers, ANTIPHON, project("orm"), "pollsite.asgi:application", env)
    yield Site(server)
    assert server.stop() == 0


@pytest.fixture(scope="module")
def running(servers: Servers, database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The project as most run it: a database connection is closed when its work is done."""
    yield from start(servers, shutil.copy(database, tmp_path_factory.mktemp("running")))


@pytest.fixture
async def site(running: Site) -> AsyncIterator[Site]:
    """The project; when the test is over, it may have no connection left, to clients or to the database."""
    yield running
    await release_all()
    await eventually(lambda: running.server.stats()["connections"] == 0, "the connections to end")
    await eventually(lambda: running.connections() == 0, "the database to be left alone")


@pytest.fixture
def persistent(servers: Servers, database: Path, tmp_path: Path) -> Iterator[Site]:
    """The project with database connections that are kept."""
    yield from start(servers, shutil.copy(database, tmp_path), POLLS_CONN_MAX_AGE="600")


@pytest.fixture
def poll(site: Site) -> Poll:
    """A poll of the test's own."""
    return site.ask()


# Who is there


async def test_who_has_logged_in_on_a_page_is_the_consumers_user(site: Site, poll: Poll) -> None:
    ada, name = await site.enter(poll, site.log_in("ada"))
    assert name == "ada"
    assert await ada.ask({"do": "who"}) == {"user": "ada"}
    stranger, name = await site.enter(poll)
    assert name == ""
    assert await stranger.ask({"do": "who"}) == {"user": ""}
    _, name = await site.enter(poll, "x0x0x0x0x0x0x0x0x0x0x0x0x0x0x0x0")
    assert name == ""


async def test_login_in_a_consumer_lasts_beyond_its_connection(site: Site, poll: Poll) -> None:
    client, name = await site.enter(poll)
    assert await client.ask({"do": "log_in", "username": "alan", "password": "wrong"}) == {"refused": "alan"}
    assert await client.ask({"do": "who"}) == {"user": ""}
    answer = await client.ask({"do": "log_in", "username": "alan", "password": "alan"})
    assert answer["user"] == "alan"
    assert await client.ask({"do": "who"}) == {"user": "alan"}
    await client.send_json({"do": "vote", "choice": poll.tea})
    assert await client.receive_json() == {"by": "alan", "votes": 1}
    await client.close()
    _, name = await site.enter(poll, answer["session"])
    assert name == "alan"
    assert site.who_is(answer["session"]) == "alan"


async def test_logout_in_a_consumer_ends_the_session_everywhere(site: Site, poll: Poll) -> None:
    session = site.log_in("ada")
    client, _ = await site.enter(poll, session)
    assert await client.ask({"do": "log_out"}) == {"user": ""}
    assert await client.ask({"do": "who"}) == {"user": ""}
    _, name = await site.enter(poll, session)
    assert name == ""
    assert site.who_is(session) == ""


async def test_get_user_notices_that_the_password_was_changed_meanwhile(site: Site, poll: Poll) -> None:
    session = site.log_in("kurt")
    first, _ = await site.enter(poll, session)
    second, _ = await site.enter(poll, session)
    assert await first.ask({"do": "who"}) == {"user": "kurt"}
    assert await second.ask({"do": "change_password", "password": "kurt"}) == {"changed": "kurt"}
    assert await first.ask({"do": "who"}) == {"user": ""}


# Transactions


async def test_the_group_is_told_when_the_vote_is_in_the_database(site: Site, poll: Poll) -> None:
    voter, _ = await site.enter(poll, site.log_in("ada"))
    watcher = await site.open(poll, kind="results")
    await voter.send_json({"do": "vote", "choice": poll.coffee, "wait": True})
    # This one is sent within the transaction, which goes on: others do not see the vote yet.
    assert await watcher.receive_json() == {"cast by": "ada"}
    assert site.results(poll)["coffee"]["votes"] == 0
    assert site.server.get("/return/").status == 200
    assert await watcher.receive_json() == {"counted by": "ada", "votes": 1}
    assert site.results(poll)["coffee"]["votes"] == 1
    assert await voter.receive_json() == {"by": "ada", "votes": 1}


async def test_a_vote_that_is_rolled_back_is_not_counted_and_not_told(site: Site, poll: Poll) -> None:
    before, printed = site.server.stats(), len(site.server.log())
    first, _ = await site.enter(poll, site.log_in("ada"))
    watcher = await site.open(poll, kind="results")
    assert await first.ask({"do": "vote", "choice": poll.tea}) == {"by": "ada", "votes": 1}
    assert await watcher.receive_json() == {"counted by": "ada", "votes": 1}
    await first.send_json({"do": "vote", "choice": poll.coffee})
    assert await first.closed() == FAILED
    assert site.results(poll) == {"tea": {"votes": 1, "claps": 0}, "coffee": {"votes": 0, "claps": 0}}
    second, _ = await site.enter(poll, site.log_in("alan"))
    assert await second.ask({"do": "vote", "choice": poll.coffee}) == {"by": "alan", "votes": 1}
    assert await watcher.receive_json() == {"counted by": "alan", "votes": 1}, "it was told of the second vote"
    assert site.server.stats()["handler_errors"] == before["handler_errors"] + 1
    log = site.server.log(printed)
    assert "IntegrityError" in log
    assert f"PollConsumer at '/ws/polls/{poll.number}/' (user 1): exception in receive_json()" in log


# Failures


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"do": "look", "choice": 0}, "Choice.DoesNotExist"),
        ({"do": "look", "choice": "tea"}, "ValueError"),
        ({"do": "clap", "choice": 0}, "Choice.DoesNotExist"),
        ({"do": "vote", "choice": 1}, "ValueError"),  # whoever has not logged in is no voter
    ],
    ids=lambda each: each if isinstance(each, str) else each["do"],
)
async def test_an_error_of_the_orm_ends_that_connection_and_no_other(
    site: Site, poll: Poll, message: dict[str, Any], error: str
) -> None:
    printed, before = len(site.server.log()), site.visits()
    unlucky, _ = await site.enter(poll)
    other, _ = await site.enter(poll, site.log_in("grace"))
    await unlucky.send_json(message)
    assert await unlucky.closed() == FAILED
    await eventually(lambda: site.visits()[len(before) :] == [("", 1011)], "disconnect() to run")
    assert error in site.server.log(printed)
    assert await other.ask({"do": "look", "choice": poll.tea}) == {"text": "tea", "votes": 0, "claps": 0}
    assert await other.ask({"do": "vote", "choice": poll.tea}) == {"by": "grace", "votes": 1}


async def test_bad_json_costs_an_error_frame(site: Site, poll: Poll) -> None:
    client, _ = await site.enter(poll)
    await client.send("{")
    assert (await client.receive_json())["code"] == "invalid_json"
    await client.send(b"\0")
    assert (await client.receive_json())["type"] == "error"
    assert await client.ask({"do": "clap", "choice": poll.tea}) == {"clapped": poll.tea}


async def test_what_a_handler_sends_comes_in_its_order(site: Site, poll: Poll) -> None:
    client, _ = await site.enter(poll)
    await client.send_json({"do": "count", "to": 1000})
    await client.send_json({"do": "who"})
    assert [await client.receive_json() for _ in range(1000)] == [{"number": number} for number in range(1000)]
    assert await client.receive_json() == {"user": ""}


async def test_close_in_connect_refuses(site: Site) -> None:
    before = site.visits()
    host = site.origin.removeprefix("http://")
    request = upgrade_request("/ws/polls/0/", f"Origin: {site.origin}", f"Host: {host}")
    async with await exchange(site.server, request) as refusal:
        assert refusal.status == 403
    assert site.visits() == before


async def test_disconnect_writes_to_the_database_however_it_ended(site: Site, poll: Poll) -> None:
    before = len(site.visits())
    session = site.log_in("alan")
    leaves, _ = await site.enter(poll, session)
    await leaves.close(4000, "enough")
    await eventually(lambda: site.visits()[before:] == [("alan", 4000)], "the one who left to be written down")
    vanishes, _ = await site.enter(poll, session)
    vanishes.vanish()
    await eventually(lambda: site.visits()[before + 1 :] == [("alan", 1006)], "the one who vanished, too")


# Many at once


async def repeat(client: Client, times: int, message: dict[str, Any], answer: dict[str, Any]) -> None:
    """Send the same again and again, without waiting for the answers; then take them."""
    for _ in range(times):
        await client.send_json(message)
    for _ in range(times):
        assert await client.receive_json() == answer


async def test_no_update_is_lost(site: Site, poll: Poll) -> None:
    def clap_by_http(number: int) -> None:
        assert site.server.get(f"/clap/{poll.number}/{poll.tea}/").json() == {"clapped": 1}

    crowd = [(await site.enter(poll))[0] for _ in range(15)]
    crowd += [await site.open(poll, kind="results") for _ in range(5)]
    with ThreadPoolExecutor(4) as pages:
        requests = [pages.submit(clap_by_http, number) for number in range(20)]
        await asyncio.gather(
            *(repeat(client, 8, {"do": "clap", "choice": poll.tea}, {"clapped": poll.tea}) for client in crowd)
        )
        await asyncio.to_thread(lambda: [request.result() for request in requests])
    assert site.results(poll)["tea"]["claps"] == 20 * 8 + 20


async def most_connections(site: Site, poll: Poll, crowd: list[Client]) -> int:
    """Return how many database connections were open at most while the whole crowd looks at the poll."""
    look, seen = {"do": "look", "choice": poll.tea}, {"text": "tea", "votes": 0, "claps": 0}
    looking = asyncio.gather(*(repeat(client, 800 // len(crowd), look, seen) for client in crowd))
    counts = [0]
    while not looking.done():
        counts.append(await asyncio.to_thread(site.connections))
    await looking
    return max(counts)


async def test_database_connections_do_not_grow_with_the_clients(site: Site, poll: Poll) -> None:
    session = site.log_in("ada")
    alone, _ = await site.enter(poll, session)
    assert await most_connections(site, poll, [alone]) == 1
    crowd = [(await site.enter(poll, session))[0] for _ in range(40)]
    assert await most_connections(site, poll, crowd) == 1
    assert await eventually(lambda: site.connections() == 0, "the connection to be closed")


async def test_a_database_connection_that_is_kept_is_one_for_all(persistent: Site) -> None:
    site, poll = persistent, FIRST  # a page that asks for another would have a connection of its own
    crowd = [(await site.enter(poll))[0] for _ in range(40)]
    watchers = [await site.open(poll, kind="results") for _ in range(10)]
    assert await most_connections(site, poll, crowd + watchers) == 1
    for client in crowd + watchers:
        await client.close()
    await eventually(lambda: site.server.stats()["connections"] == 0, "the clients to be gone")
    assert site.connections() == 1
