"""antiphon's server as a process of ``multiprocessing``, in scripts of their own: pytest's process has threads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json
import multiprocessing
import os
import sys
import urllib.request

from websockets.sync.client import connect

import antiphon
from antiphon.testing import AntiphonProcess


class Echo(antiphon.AsyncJsonWebsocketConsumer):
    groups = ["everybody"]

    async def receive_json(self, content):
        await antiphon.publish("everybody", [content, os.getpid()])


async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await Echo.as_asgi()(scope, receive, send)
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": scope["root_path"].encode()})
    else:
        raise ValueError(scope["type"])


def get_application():
    return application


def fail():
    raise LookupError("in setup")


class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(one)


def fail_badly():
    raise Unpicklable("one", "two")


def setup():
    open("setup", "w").close()


def teardown():
    open("teardown", "w").close()


def serves():
    process = AntiphonProcess(
        "localhost", get_application, kwargs={"root_path": "/root"}, setup=setup, teardown=teardown
    )
    assert process.port.value == 0
    process.start()
    assert process.ready.wait(30)
    assert process.is_alive()
    assert os.path.exists("setup") and not os.path.exists("teardown")
    address = f"localhost:{process.port.value}"
    with urllib.request.urlopen(f"http://{address}/", timeout=30) as response:
        assert response.read() == b"/root"
    with connect(f"ws://{address}/", proxy=None) as client:
        client.send(json.dumps("hello"))
        assert json.loads(client.recv(30)) == ["hello", process.pid]
        process.terminate()
        try:
            client.recv(30)
        except Exception as end:
            assert "1012" in str(end), end
    process.join(30)
    assert process.exitcode == 0, process.exitcode
    assert os.path.exists("teardown")
    assert process.errors.empty()
    again = AntiphonProcess("127.0.0.1", get_application, port=process.port.value)
    again.start()
    assert again.ready.wait(30)
    assert again.port.value == process.port.value
    again.terminate()
    again.join(30)


def fails(function, **options):
    process = AntiphonProcess("localhost", **{"get_application": get_application, **options})
    process.start()
    error, text = process.errors.get(timeout=30)
    process.join(30)
    assert process.exitcode == 1
    assert not process.ready.is_set()
    assert function in text, text
    return error


if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    serves()
    os.remove("teardown")
    error = fails("in fail", setup=fail, teardown=teardown)
    assert isinstance(error, LookupError) and str(error) == "in setup"
    error = fails("in fail_badly", get_application=fail_badly)
    assert isinstance(error, RuntimeError) and "Unpicklable('one')" in str(error), error
    print("done")
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_it_serves_and_stops_and_tells_its_errors(tmp_path: Path, method: str) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-W", "error", "script.py", method],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert "LookupError: in setup" in done.stderr
    assert "Warning" not in done.stderr


FORKED = """
import asyncio
import multiprocessing
from websockets.sync.client import connect
import antiphon
from antiphon.testing import AntiphonProcess, WebsocketCommunicator

class Echo(antiphon.AsyncJsonWebsocketConsumer):
    pass

def get_application():
    return Echo.as_asgi()

async def main():
    async with WebsocketCommunicator(Echo.as_asgi(), "/"):
        process = AntiphonProcess("127.0.0.1", get_application)
        process.start()
        assert process.ready.wait(30)
        with connect(f"ws://127.0.0.1:{process.port.value}/", proxy=None):
            pass
        process.terminate()
        process.join(30)
        assert process.exitcode == 0

multiprocessing.set_start_method("fork")
asyncio.run(main())
"""


def test_a_fork_of_a_process_with_connections_has_none_of_them() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
