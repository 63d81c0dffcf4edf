"""Makes what the servers and the load client need: C programs, npm packages, the Django site's database."""

from __future__ import annotations

import shutil
import subprocess
import sys

from benchmarks.paths import BUILD, BUN, C_SERVER, HERE, LOAD, PYTHON, ROOT

CFLAGS = ["-std=gnu11", "-O2", "-march=native", "-Wall", "-Wextra", "-Wshadow"]
LOAD_SOURCES = ["load.c", "fanout.c", "echo.c", "connect.c", "idle.c", "selftest.c", "client.c", "checker.c"]
NPM_PACKAGES = ["ws", "@oven/bun-linux-x64"]


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


def compile_c() -> None:
    """Compile the load client and the C servers."""
    say("compiling the load client and the C servers")
    sources = HERE / "c"
    for target, files in ((LOAD, LOAD_SOURCES), (C_SERVER, ["server.c"])):
        subprocess.run(["gcc", *CFLAGS, "-o", str(target), *files], cwd=sources, check=True)


def install_npm() -> None:
    """Install `ws` and Bun from the npm registry into the build folder; without npm the two are left out."""
    if (BUILD / "node_modules" / "ws").exists() and BUN.exists():
        return
    if shutil.which("npm") is None:
        say("npm is not installed: Node and Bun are left out")
        return
    say(f"installing {' and '.join(NPM_PACKAGES)} from npm")
    (BUILD / "package.json").write_text('{"private": true}\n')
    command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *NPM_PACKAGES]
    subprocess.run(command, cwd=BUILD, check=True, stdout=subprocess.DEVNULL)


def session_cookie() -> str:
    """Make the Django site's database and a user who is logged in; returns `name=value` of the session's cookie."""
    command = [PYTHON, "-m", "benchmarks.apps.django_site.setup"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
