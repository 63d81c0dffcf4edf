"""``antiphon engine check`` as a person runs it, on engines that servers use."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from .redis_server import RedisServer
from .servers import DIRECT, ROOT, Servers, clean_environment

COMMAND = [sys.executable, "-m", "antiphon", "engine", "check"]
SECONDS = 60


def check(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env={**clean_environment(), **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_the_engine_of_a_server_that_runs(servers: Servers, tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        environment = {"ANTIPHON_ENGINE": redis.url}
        server = servers.start(DIRECT[0], "tests.integration.apps.greeting:app", env=environment)
        done = check(**environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert "1 process lives here" in done.stdout
        assert "forgets" in done.stdout
        assert server.stop() == 0


def test_the_same_file_as_a_server(servers: Servers, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/live.db"
    server = servers.start(DIRECT[0], "tests.integration.apps.greeting:app", env={"ANTIPHON_ENGINE": url})
    found = json.loads(check(url, "--json").stdout)
    assert {"title": "antiphon", "text": "1 process lives"} in found["facts"]
    assert found["times"]["publish"]["count"] > 0
    assert server.stop() == 0


def test_an_engine_that_is_away_is_told_in_the_words_of_serve(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        url = redis.url + "?timeout=0.2"
    done = check(url)
    assert (done.returncode, done.stdout) == (2, "")
    served = subprocess.run(
        [*COMMAND[:3], "serve", "tests.integration.apps.greeting:app", "--port", "0", "--engine", url],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    words, _, _ = done.stderr.removeprefix("antiphon engine check: ").partition(" (")  # each loop has its own words
    assert words.startswith("the Redis engine can't start")
    assert words in served.stderr


def test_ctrl_c_ends_it_while_it_waits(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        redis.freeze()
        process = subprocess.Popen(
            [*COMMAND, redis.url + "?timeout=60"], cwd=ROOT, env=clean_environment(), stderr=subprocess.PIPE, text=True
        )
        with contextlib.ExitStack() as stack:
            stack.callback(process.kill)
            stack.callback(redis.thaw)
            assert process.stderr is not None
            assert process.stderr.readline().startswith("connecting to Redis at")
            os.kill(process.pid, signal.SIGINT)
            _, error = process.communicate(timeout=SECONDS)
        assert (process.returncode, error) == (130, "")
