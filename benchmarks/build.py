"""Makes what the servers and the load client need: C programs, npm packages, the Django site's database."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.paths import BUILD, C_SERVER, HERE, LOAD, NODE_MODULES, PYTHON, ROOT

CFLAGS = ["-std=gnu11", "-O2", "-march=native", "-Wall", "-Wextra", "-Wshadow"]
LOAD_SOURCES = [
    *("load.c", "fanout.c", "slow.c", "echo.c", "connect.c", "idle.c"),
    *("selftest.c", "selftest_centrifuge.c", "selftest_socketio.c"),
    *("client.c", "checker.c", "message.c", "inflate.c", "wire.c", "json.c", "protobuf.c"),
]
NPM_PACKAGES = ["ws", "@oven/bun-linux-x64", "socket.io", "@socket.io/redis-adapter", "redis"]


def say(text: str) -> None:
    """Progress goes to stderr, so that stdout stays for results."""
    print(text, file=sys.stderr, flush=True)


def build(*, npm: bool) -> None:
    """Build everything that is missing or old, and let the load client test its own checker."""
    BUILD.mkdir(exist_ok=True)
    compile_c()
    subprocess.run([LOAD, "selftest"], check=True, stdout=subprocess.DEVNULL)
    if npm:
        install_npm()


def compile_c(folder: Path = BUILD) -> None:
    """Compile the load client and the C servers into ``folder``."""
    say("compiling the load client and the C servers")
    if not has_header("zlib.h"):
        sys.exit("bench: zlib.h is missing, with which the load client inflates: install zlib1g-dev (zlib-devel)")
    for target, files in ((LOAD, [*LOAD_SOURCES, "-lz"]), (C_SERVER, ["server.c"])):
        subprocess.run(["gcc", *CFLAGS, "-o", str(folder / target.name), *files], cwd=HERE / "c", check=True)


def has_header(name: str) -> bool:
    """Whether the C compiler finds a header."""
    command = ["gcc", "-E", "-include", name, "-x", "c", os.devnull]
    return subprocess.run(command, capture_output=True).returncode == 0


def install_npm() -> None:
    """Install `ws`, Bun and Socket.IO from the npm registry into the build folder; without npm they are left out."""
    if all((NODE_MODULES / package).exists() for package in NPM_PACKAGES):
        return
    if shutil.which("npm") is None:
        say("npm is not installed: Node, Bun and Socket.IO are left out")
        return
    say(f"installing {', '.join(NPM_PACKAGES)} from npm")
    (BUILD / "package.json").write_text('{"private": true}\n')
    command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *NPM_PACKAGES]
    subprocess.run(command, cwd=BUILD, check=True, stdout=subprocess.DEVNULL)


def session_cookie() -> str:
    """Make the Django site's database and a user who is logged in; returns `name=value` of the session's cookie."""
    command = [PYTHON, "-m", "benchmarks.apps.django_site.setup"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
