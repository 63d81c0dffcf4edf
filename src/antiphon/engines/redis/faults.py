"""What goes wrong with Redis, in words: what it is, and what to do; and since when.

Redis begins its errors with a word. Those in ``PASSING`` mean that nothing was done and that another try, maybe at
another server, can do it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Sequence

import hiredis

from antiphon.counters import Counters
from antiphon.engines.redis.scripts import command_blamed

__all__ = ["PASSING", "Fault", "Outage", "all_of", "code_of", "fault_of", "fault_of_connection"]

logger = logging.getLogger("antiphon.engines")

_WORDS = {
    "OOM": (
        "its memory is full, and it takes nothing new; give it a higher maxmemory, or keep less history. What it takes "
        "is bounded by history_size and history_lifetime of the rules"
    ),
    "NOAUTH": "it wants a password; write one into the engine's URL: redis://user:password@host",
    "WRONGPASS": "it does not accept the user and password of the engine's URL",
    "NOPERM": (
        "the user of the engine's URL may not do that; it needs the right to the keys and channels that begin with the "
        "prefix, and to the commands that docs/deploy/redis.md lists"
    ),
    "READONLY": "it is a replica, and takes no writes; name the master, or let sentinels find it (redis+sentinel://)",
    "LOADING": "it is loading its data after a start, and answers when it has",
    "BUSY": "somebody's script runs in it, and it answers nobody else; SCRIPT KILL ends one that has not written",
    "MASTERDOWN": "it is a replica that has lost its master",
    "MISCONF": "it can't save its data, and takes no writes until it can; see its log and the room on its disk",
    "NOREPLICAS": "it has fewer replicas than min-replicas-to-write, and takes no writes until they are back",
    "CLUSTERDOWN": "the cluster is down: not all of its slots are served",
    "CROSSSLOT": "it is a cluster: write redis+cluster:// instead of redis://",
    "MOVED": "it is a cluster: write redis+cluster:// instead of redis://",
    "DENIED": "it runs in protected mode and takes connections of its own host only; give it a password",
}
PASSING = frozenset({"READONLY", "LOADING", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN"})
#: With these another try is as good as this one until somebody changes something.
_SETTLED = frozenset({"NOAUTH", "WRONGPASS", "NOPERM", "CROSSSLOT", "MOVED", "DENIED"})


class Fault(Exception):
    """Redis can't be used now, or does not do something; the message has where and what to do.

    ``code`` is the word that Redis' error begins with, empty where it said nothing.
    """

    def __init__(self, where: str, words: str, code: str = "", *, is_settled: bool = False) -> None:
        super().__init__(f"{where}: {words}")
        self.code = code
        self.is_settled = is_settled or code in _SETTLED
        """Whether trying again is no use: the configuration is wrong."""


def code_of(error: Exception) -> str:
    """Return the word that says what kind of error it is; of a script's error, that of what failed in it."""
    text = str(error)
    first = text.split(" ", 1)[0]
    if first == "ERR" and "script" in text:  # Redis 6 puts its own words around it
        if "The user executing the script can't" in text or "ACL failure in script" in text:
            return "NOPERM"
        for code in _WORDS:
            if f" {code} " in text:
                return code
    if first == "ERR" and ("invalid password" in text or "no password is set" in text):
        return "WRONGPASS"
    return first


def fault_of(error: hiredis.ReplyError, where: str) -> Fault:
    """Return what an error that Redis answered with means."""
    code = code_of(error)
    words = _WORDS.get(code, "it answered with an error")
    command = command_blamed(str(error))
    told = f"{error} The command is {command}" if command else str(error)
    return Fault(where, f"{words} ({told})", code, is_settled="DB index is out of range" in str(error))


def fault_of_connection(error: Exception, where: str, timeout: float) -> Fault:
    """Return what an error while connecting means."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, hiredis.ReplyError):
        return fault_of(error, where)
    if isinstance(error, ssl.SSLCertVerificationError):
        words = f"its certificate is not accepted: {error.verify_message}; name who signed it with ?ca=/path/ca.pem"
        return Fault(where, words, is_settled=True)
    if isinstance(error, TimeoutError):
        return Fault(where, f"it did not answer within {timeout:g} s")
    if isinstance(error, asyncio.IncompleteReadError | ConnectionResetError):
        return Fault(where, "it closed the connection before it had answered")
    return Fault(where, f"it can't be reached ({str(error) or type(error).__name__})")


def all_of(faults: Sequence[Fault], where: str) -> Fault:
    """Return what it means that none of several servers does it; settled where that of one is."""
    return Fault(where, "; ".join(map(str, faults)), is_settled=any(fault.is_settled for fault in faults))


class Outage:
    """What Redis does not do at present: an outage is counted and logged once, whatever it makes fail."""

    def __init__(self, where: str, counters: Counters) -> None:
        self._where = where
        self._counters = counters
        self._causes: set[str] = set()
        self._since = 0.0
        self.fault: Fault | None = None
        """What it is due to; None: there is none."""

    def begin(self, cause: str, fault: Fault) -> None:
        """Note that something does not work: a connection, or one of the engine's verbs."""
        self.fault = fault
        if not self._causes:
            self._since = time.monotonic()
            self._counters.engine_outages += 1
            logger.error("%s. Until it works again, what can't wait is refused", fault)
        self._causes.add(cause)

    def end(self, cause: str) -> None:
        """Note that it works."""
        if cause not in self._causes:
            return
        self._causes.discard(cause)
        if not self._causes:
            self.fault = None
            logger.warning("%s works again, after %.1f s", self._where, time.monotonic() - self._since)
