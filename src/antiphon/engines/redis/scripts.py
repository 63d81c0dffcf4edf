"""The scripts that Redis runs in one step, from the files in ``lua``; each file's head says what goes in and out.

A script is called by its digest. A server that does not know it (NOSCRIPT: it was started anew, or forgot) is sent all
of it.
"""

from __future__ import annotations

import hashlib
import re
from importlib import resources
from typing import NamedTuple

__all__ = [
    "ALIVE",
    "BEAT",
    "ENTER",
    "EXPIRE",
    "GIVE_BACK",
    "HISTORY",
    "LEAVE",
    "PUBLISH",
    "PUT",
    "RUN",
    "SCRIPTS",
    "SETTINGS",
    "SHARDED",
    "SWEEP",
    "TAKE",
    "TOUCH",
    "Script",
    "command_blamed",
    "sharded",
]


class Script(NamedTuple):
    """A script: what it is called in words of errors, its text and digest."""

    name: str
    text: str
    digest: str
    takes_run: bool
    """Whether the first argument is the run of the server (``run.lua``), which the connection knows."""


def _load(*names: str) -> str:
    folder = resources.files("antiphon.engines.redis") / "lua"
    return "\n".join((folder / f"{name}.lua").read_text("utf-8") for name in names)


def _script(*names: str, takes_run: bool = False, end: str = "") -> Script:
    return _made(names[-1], _load(*names) + end, takes_run)


def _made(name: str, text: str, takes_run: bool) -> Script:
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), takes_run)


def sharded(script: Script) -> Script:
    """Return the script for a cluster: messages stay at the server that has the channel."""
    return _SHARDED[script.name]


#: Tells about the server.
RUN = _script("run", "mode")
PUBLISH = _script("run", "stream", "publish", takes_run=True)
HISTORY = _script("run", "stream", "history", takes_run=True)
TOUCH = _script("run", "stream", "touch", takes_run=True)
BEAT = _script("run", "beat")
ALIVE = _script("alive")
ENTER = _script("enter")
LEAVE = _script("leave")
SETTINGS = _script("settings")
SWEEP = _script("sweep")
PUT = _script("queue", "put")
TAKE = _script("queue", "take")
GIVE_BACK = _script("queue", "give_back")
EXPIRE = _script("queue", "expire")

#: Those that are called by digest.
SCRIPTS = (PUBLISH, HISTORY, TOUCH, BEAT, ALIVE, ENTER, LEAVE, SETTINGS, SWEEP, PUT, TAKE, GIVE_BACK, EXPIRE)
_SHARDED = {
    script.name: _made(script.name, script.text.replace("'PUBLISH'", "'SPUBLISH'"), script.takes_run)
    for script in SCRIPTS
}
SHARDED = tuple(_SHARDED.values())


def command_blamed(error: str) -> str:
    """Return the command at which one of these scripts failed, by the line that an error tells; empty: none is told."""
    place = re.search(r"([0-9a-f]{40}).*?@user_script:\s*(\d+)", error)
    script = next((each for each in (*SCRIPTS, *SHARDED) if place is not None and each.digest == place[1]), None)
    if script is None or place is None:
        return ""
    command = re.search(r"redis\.p?call\(\s*'(\w+)'", "\n".join(script.text.splitlines()[int(place[2]) - 1 :]))
    return command[1] if command is not None else ""
