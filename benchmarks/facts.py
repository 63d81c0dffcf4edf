"""What the figures depend on: the machine and the versions."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import zlib
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.paths import BUILD, BUN

PACKAGES = (
    *("antiphon", "uvicorn", "uvloop", "httptools", "picows", "msgspec", "websockets"),
    *("django", "channels", "channels_redis", "redis", "hiredis", "daphne", "twisted", "starlette", "aiohttp"),
)


def facts() -> dict[str, str]:
    """Name → value, in the order in which a reader wants them."""
    found = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "CPU": f"{cpu_model()}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "Python": platform.python_version(),
    }
    for package in PACKAGES:
        found[package] = package_version(package)
    found["zlib of Python"] = zlib.ZLIB_RUNTIME_VERSION
    found["uvicorn's --ws auto"] = auto_protocol()
    found["Node"] = output("node", "--version")
    found["ws"] = npm_version("ws")
    found["socket.io"] = npm_version("socket.io")
    found["@socket.io/redis-adapter"] = npm_version("@socket.io/redis-adapter")
    found["redis of npm"] = npm_version("redis")
    found["Redis"] = redis_version()
    found["Bun"] = output(str(BUN), "--version")
    found["C compiler"] = output("gcc", "--version")
    return {name: value for name, value in found.items() if value}


def cpu_model() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def package_version(name: str) -> str:
    """The version of a Python package, or nothing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def auto_protocol() -> str:
    """Which class uvicorn takes for the peers."""
    try:
        from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol
    except ImportError:
        return ""
    return f"{AutoWebSocketsProtocol.__module__}" if AutoWebSocketsProtocol else ""


def npm_version(name: str) -> str:
    """The version of an installed npm package, or nothing."""
    manifest = BUILD / "node_modules" / name / "package.json"
    return str(json.loads(manifest.read_text())["version"]) if manifest.exists() else ""


def redis_version() -> str:
    """The version of the Redis server, or nothing."""
    found = re.search(r"v=(\S+)", output("redis-server", "--version"))
    return found[1] if found else ""


def output(*command: str) -> str:
    """The first line that a command prints, or nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.splitlines()[0] if done.stdout else ""
