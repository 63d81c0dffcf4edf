"""The plugin in a pytest of its own: what a person sees who runs tests with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

CONSUMER = """
    import asyncio
    import pytest
    from antiphon import AsyncJsonWebsocketConsumer
    from antiphon.testing import WebsocketCommunicator

    class Chat(AsyncJsonWebsocketConsumer):
        groups = ["everybody"]
        left = []

        async def receive_json(self, content):
            if content == "fail":
                raise LookupError("a fault of the consumer")
            if content == "hang":
                await asyncio.Event().wait()
            await self.send_json(content)

        async def disconnect(self, code):
            await asyncio.sleep(0)
            self.left.append(code)

    chat = Chat.as_asgi()
"""


def run(pytester: pytest.Pytester, tests: str, *options: str, scope: str = "function") -> pytest.RunResult:
    """Run ``tests`` in a process of their own, with warnings as errors."""
    pytester.makeini(f"""
        [pytest]
        asyncio_mode = auto
        asyncio_default_fixture_loop_scope = {scope}
        asyncio_default_test_loop_scope = {scope}
        filterwarnings = error
    """)
    pytester.makepyfile(chat=CONSUMER, test_it=tests)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *options, timeout=120)


FORGETFUL = """
    import gc
    from chat import *
    from antiphon import stats

    async def test_that_never_connects():
        WebsocketCommunicator(chat, "/")

    def test_that_is_not_even_a_coroutine():
        WebsocketCommunicator(chat, "/")

    async def test_that_forgets_to_disconnect():
        communicator = WebsocketCommunicator(chat, "/")
        await communicator.connect()
        await communicator.send_json_to(1)
        assert await communicator.receive_json_from() == 1

    async def test_that_leaves_a_handler_in_the_middle():
        communicator = WebsocketCommunicator(chat, "/")
        await communicator.connect()
        await communicator.send_json_to("hang")
        assert await communicator.receive_nothing()

    async def test_that_leaves_a_client(live_antiphon):
        assert not stats()["connections"], "those of the tests before are gone"
        client = await live_antiphon(chat).aconnect("/")
        await client.send_json(1)
        assert await client.receive_json() == 1

    def test_that_leaves_a_client_and_is_no_coroutine(live_antiphon):
        client = live_antiphon(chat).connect("/")
        client.send_json(1)
        assert client.receive_json() == 1

    async def test_that_leaves_what_it_holds_in_a_cycle():
        communicator = WebsocketCommunicator(chat, "/")
        await communicator.connect()
        cycle = [communicator]
        cycle.append(cycle)
"""


@pytest.mark.parametrize("scope", ["function", "session"])
def test_who_forgets_to_disconnect_neither_waits_nor_is_warned(pytester: pytest.Pytester, scope: str) -> None:
    last = """
    async def test_last():
        gc.collect()
        while any("_run" in str(task.get_coro()) for task in asyncio.all_tasks()):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert len(Chat.left) == 5, Chat.left
    """
    result = run(pytester, FORGETFUL + last, scope=scope)
    result.assert_outcomes(passed=8)
    assert result.stderr.str() == ""


def test_a_test_that_fails_and_holds_its_communicator_is_only_that(pytester: pytest.Pytester) -> None:
    tests = """
    from chat import *

    async def test_that_fails(live_antiphon):
        communicator = WebsocketCommunicator(chat, "/")
        await communicator.connect()
        await communicator.send_json_to("hang")
        await communicator.receive_nothing()
        assert False, "on purpose"

    async def test_that_fails_with_a_client(live_antiphon):
        client = await live_antiphon(chat).aconnect("/")
        assert False, "on purpose"

    async def test_of_another():
        async with WebsocketCommunicator(chat, "/"):
            pass
    """
    result = run(pytester, tests)
    result.assert_outcomes(passed=1, failed=2)
    assert result.stderr.str() == ""


def test_a_consumer_that_fails_shows_its_traceback(pytester: pytest.Pytester) -> None:
    tests = """
    from chat import *

    async def test_chat():
        async with WebsocketCommunicator(chat, "/room/") as communicator:
            await communicator.send_json_to("fail")
            assert await communicator.receive_json_from() == "fail"
    """
    result = run(pytester, tests)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            ">           assert await communicator.receive_json_from() == 'fail'".replace("'", '"'),
            '>           raise LookupError("a fault of the consumer")',
            "E           LookupError: a fault of the consumer",
            "E           (raised by the application under test, in receive_json() of Chat at '/room/' (no user))",
            "chat.py:*: LookupError",
            "FAILED test_it.py::test_chat - LookupError: a fault of the consumer*",
        ]
    )
    shown = result.stdout.str().split("Captured")[0]
    assert "testing/communicator.py" not in shown, "the communicator's own frames are hidden"
    assert "testing/application.py" not in shown


def test_a_timeout_shows_what_the_application_did(pytester: pytest.Pytester) -> None:
    tests = """
    from chat import *

    async def test_chat():
        communicator = WebsocketCommunicator(chat, "/")
        await communicator.connect()
        await communicator.receive_from(timeout=0.01)
    """
    result = run(pytester, tests)
    result.assert_outcomes(failed=1)
    words = "receive_from(): nothing came within 0.01 s. The application still runs and has sent websocket.accept."
    result.stdout.fnmatch_lines([f"E       TimeoutError: {words}"])


def test_the_servers_of_a_test_end_with_it_also_where_it_fails(pytester: pytest.Pytester) -> None:
    tests = """
    import threading
    from chat import *
    servers = []

    def test_that_fails(live_antiphon):
        servers.append(live_antiphon(chat))
        servers.append(live_antiphon("chat:chat", process=True))
        raise LookupError("on purpose")

    def test_next(live_antiphon):
        assert not [thread for thread in threading.enumerate() if thread.name == "antiphon-live"]
        for server in servers:
            with pytest.raises(OSError):
                server.connect("/")
        with live_antiphon(chat).connect("/") as client:
            client.send_json(1)
            assert client.receive_json() == 1
    """
    result = run(pytester, tests)
    result.assert_outcomes(passed=1, failed=1)
    assert result.stderr.str() == ""


def test_a_closed_connection_shows_the_line_of_the_test(pytester: pytest.Pytester) -> None:
    tests = """
    from chat import *

    def test_chat(live_antiphon):
        client = live_antiphon(chat).connect("/")
        client.send_json("fail")
        client.receive_json()

    async def test_chat_in_a_coroutine(live_antiphon):
        client = await live_antiphon(chat).aconnect("/")
        await client.send_json("fail")
        await client.receive_json()
    """
    result = run(pytester, tests)
    result.assert_outcomes(failed=2)
    words = "antiphon.testing.clients.Closed: the connection was closed with 1011: the application failed"
    result.stdout.fnmatch_lines([f"E       {words}", "*LookupError: a fault of the consumer", f"E       {words}"])
    assert "testing/clients.py" not in result.stdout.str()


def test_the_fixture_says_what_it_is(pytester: pytest.Pytester) -> None:
    result = run(pytester, "", "--fixtures", "-v")
    result.stdout.fnmatch_lines(
        ["live_antiphon -- *antiphon/testing/plugin.py:*", "*Start real servers for this test*"]
    )


def test_it_may_be_turned_off(pytester: pytest.Pytester) -> None:
    result = run(pytester, "def test_it(live_antiphon): pass", "-p", "no:antiphon")
    result.stdout.fnmatch_lines(["*fixture 'live_antiphon' not found*"])


def test_loading_it_imports_nothing_but_antiphon() -> None:
    """It is loaded wherever antiphon is installed, used or not, and before coverage begins to measure."""
    code = """
import sys
import antiphon, pytest
before = set(sys.modules)
import antiphon.testing.plugin
print(*sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["antiphon.testing", "antiphon.testing.plugin"]


@pytest.mark.parametrize("module", ["uvicorn", "django", "channels", "click", "antiphon.server", "antiphon.cli"])
def test_antiphon_does_not_import_it_either(module: str) -> None:
    code = f"import sys, antiphon.testing.plugin; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
