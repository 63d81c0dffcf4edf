"""The servers under test, and how each is started; its name is the agent's in the suite's reports."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["SUBJECTS", "Subject", "source"]

MiB = 1024 * 1024
#: The suite sends messages of up to 16 MiB.
_MESSAGE = 64 * MiB
#: What waits for a client that reads slowly.
_WAITING = 256 * MiB
_UVICORN = ("uvicorn", "--port", "0", "--ws-max-size", str(_MESSAGE), "--no-access-log")
_BARE = "tests.autobahn.apps.asgi:app"


class Subject(NamedTuple):
    """One server."""

    name: str
    label: str
    command: tuple[str, ...]
    """The module that is run, and its arguments; it says where it listens."""
    packages: tuple[str, ...]
    """Whose versions say what was tested."""
    ours: bool = False
    environment: Mapping[str, str] = {}

    def argv(self) -> list[str]:
        """Return the whole command."""
        return [sys.executable, "-m", *self.command]

    def versions(self) -> str:
        """Return the versions of what is tested."""
        packages = [f"{name} {importlib.metadata.version(name)}" for name in self.packages]
        return ", ".join([*packages, f"{platform.python_implementation()} {platform.python_version()}"])


#: Large messages are let through, and the suite sends as fast as it can.
_SETTINGS = {
    "ANTIPHON_MAX_MESSAGE_SIZE": str(_MESSAGE),
    "ANTIPHON_OUTBOX_LIMIT": str(_WAITING),
    "ANTIPHON_MAILBOX_LIMIT": str(_WAITING),
    "ANTIPHON_MESSAGE_RATE": "0",
    "ANTIPHON_BYTE_RATE": "0",
    "ANTIPHON_CONTROL_RATE": "0",
}

SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject(
            "antiphon",
            "a consumer under `antiphon serve`",
            ("antiphon", "serve", "--port", "0", "--no-access-log", "tests.autobahn.apps.consumer:app"),
            ("antiphon", "uvicorn"),
            ours=True,
            environment=_SETTINGS,
        ),
        Subject(
            "asgi",
            "an ASGI application under uvicorn with antiphon's protocol class",
            (*_UVICORN, "--ws", "antiphon.server:WebSocketProtocol", _BARE),
            ("antiphon", "uvicorn"),
            ours=True,
            environment=_SETTINGS,
        ),
        Subject(
            "wsproto",
            "the same application under uvicorn with wsproto",
            (*_UVICORN, "--ws", "wsproto", _BARE),
            ("wsproto", "uvicorn"),
        ),
        Subject(
            "websockets",
            "the same application under uvicorn with websockets, which uvicorn takes where nothing is chosen",
            (*_UVICORN, "--ws", "websockets-sansio", _BARE),
            ("websockets", "uvicorn"),
        ),
    )
}


def source(package: Path) -> str:
    """Return a fingerprint of a package's source; it changes with each edit, the version does not."""
    digest = hashlib.sha256()
    for path in sorted((*package.rglob("*.py"), *package.rglob("*.c"))):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
