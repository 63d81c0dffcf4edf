"""The connection for commands: what is called in one round of the loop goes out in one write.

Laws:
- commands are carried out in the order of the calls, and each is answered once;
- a call waits for at most ``timeout`` seconds. One that was never sent raises ``EngineUnavailable``; one that was sent
  and not answered raises ``OutcomeUnknown``; where doing it twice is the same as doing it once, it is sent again first;
- what waits is bounded in bytes (``QUEUE``); over that calls are refused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import hiredis

from antiphon.counters import Counters
from antiphon.engines.redis.connection import Connection, pack
from antiphon.engines.redis.faults import PASSING, Fault, Outage, code_of, fault_of
from antiphon.engines.redis.link import Link
from antiphon.engines.redis.options import Address
from antiphon.engines.redis.scripts import SCRIPTS, Script
from antiphon.exceptions import EngineUnavailable, OutcomeUnknown

__all__ = ["Call", "Commands", "Pipeline", "forget"]

#: Bytes of calls that are not answered, at most, and what each counts besides its words.
QUEUE, APART = 64 * 1024 * 1024, 256
#: Bytes that are put together for one write.
CHUNK = 64 * 1024

#: Verbs whose caller has to know whether it was done, though doing it twice is the same as doing it once.
_LASTING = frozenset({"publish", "remove_history"})

#: A command or a script's keys and arguments.
Words = Sequence[str | bytes | int]


class Call:
    """One command under way."""

    __slots__ = (
        "deadline",
        "future",
        "is_doubted",
        "is_repeatable",
        "key_count",
        "script",
        "size",
        "verb",
        "was_sent",
        "words",
    )

    def __init__(self, verb: str, words: Words, future: asyncio.Future[Any], *, is_repeatable: bool) -> None:
        self.verb = verb
        self.words = words
        self.future = future
        self.is_repeatable = is_repeatable
        self.script: Script | None = None
        self.key_count = 0
        self.was_sent = False
        """Whether the server that has it now has been told."""
        self.is_doubted = False
        """Whether another connection was over before it was answered there."""
        self.deadline = 0.0
        """On the loop's clock; 0: not set yet."""
        self.size = APART + sum(len(word) for word in words if not isinstance(word, int))

    @property
    def key(self) -> str:
        """What says at which server of a cluster it is done."""
        return str(self.words[0 if self.script is not None else 1])

    def pack(self, run: str, *, whole: bool = False) -> bytes:
        """Return the command as it is sent in a run of the server; ``whole``: with the text of the script."""
        script, words = self.script, self.words
        if script is None:
            return pack(*words)
        keys, arguments = words[: self.key_count], words[self.key_count :]
        head = ("EVAL", script.text) if whole else ("EVALSHA", script.digest)
        runs = (run,) if script.takes_run else ()
        return pack(*head, self.key_count, *keys, *runs, *arguments)


class Commands(Protocol):
    """What takes commands: one server, or a cluster."""

    def call(self, verb: str, *words: str | bytes | int, is_repeatable: bool = False) -> asyncio.Future[Any]:
        """Send a command; the future has what was answered, or an ``EngineError``. ``verb`` names it in errors."""

    def run(
        self, script: Script, keys: Sequence[str], *arguments: str | bytes | int, is_repeatable: bool = False
    ) -> asyncio.Future[Any]:
        """Run a script; the rest is as with ``call``."""

    def note_run(self, key: str, run: str) -> None:
        """Take it that the server that has ``key`` is in this run (``run.lua``)."""

    @property
    def is_connected(self) -> bool:
        """Whether a call is sent at once."""


class Pipeline:
    """Calls that wait, calls that were sent, and the link that they go over. Implements ``LinkUser``."""

    def __init__(
        self,
        where: str,
        dial: Callable[[], Awaitable[Connection]],
        outage: Outage,
        counters: Counters,
        timeout: float,
    ) -> None:
        self._where = where
        self._outage = outage
        self._counters = counters
        self._timeout = timeout
        self._link = Link("commands", where, dial, self, outage, timeout)
        self._connection: Connection | None = None
        self._waiting: deque[Call] = deque()
        self._sent: deque[Call] = deque()
        self._again: list[Call] = []
        """What this server could not do, and the next may."""
        self._leaving: Fault | None = None
        """Why this server is to be left as soon as it has answered the rest."""
        self._deadlines: deque[tuple[float, Call]] = deque()
        self._size = 0
        self._scheduled = False
        self._is_stopped = True
        self.is_ending = False
        """Whether nothing is to wait for another connection."""
        self.scripts: Sequence[Script] = SCRIPTS
        """Those that a server is to know."""
        self.on_redirect: Callable[[Call, str], None] | None = None
        """Given what another server has, and what this one said of it."""
        self.on_connected: Callable[[], None] | None = None
        """Called when there is a new connection, before what waits is sent."""
        self.on_lost: Callable[[], None] | None = None
        """Called when a connection is over."""

    async def start(self) -> None:
        """Connect; raise ``Fault`` where that is no use, or has taken ``timeout`` seconds."""
        self.begin()
        await self.settled()

    def begin(self) -> None:
        """Begin to connect."""
        self._is_stopped = self.is_ending = False
        self._link.start()

    async def settled(self) -> None:
        """Wait until there is a connection; raise as ``start`` does."""
        assert self._link.settled is not None
        try:
            async with asyncio.timeout(self._timeout):
                await asyncio.shield(self._link.settled)
        except TimeoutError:
            raise self._outage.fault or Fault(self._where, f"no connection within {self._timeout:g} s") from None

    async def stop(self) -> None:
        """Refuse what waits, and close the connection."""
        self._is_stopped = True
        await self._link.stop()
        self._connection = None
        self.is_ending = True
        self.on_down(Fault(self._where, "the engine is stopped"))
        self._deadlines.clear()

    @property
    def address(self) -> Address | None:
        """Where the connection leads; None: there is none."""
        return None if self._connection is None else self._connection.address

    def leave(self, fault: Fault) -> None:
        """Leave this server, for it is no longer the right one."""
        self._link.leave(fault)

    # Calls

    def call(self, verb: str, *words: str | bytes | int, is_repeatable: bool = False) -> asyncio.Future[Any]:
        """Send a command; the future has what was answered, or an ``EngineError``. ``verb`` names it in errors."""
        return self._put(Call(verb, words, self._future(), is_repeatable=is_repeatable))

    def run(
        self, script: Script, keys: Sequence[str], *arguments: str | bytes | int, is_repeatable: bool = False
    ) -> asyncio.Future[Any]:
        """Run a script; the rest is as with ``call``."""
        call = Call(script.name, (*keys, *arguments), self._future(), is_repeatable=is_repeatable)
        call.script, call.key_count = script, len(keys)
        return self._put(call)

    def take_over(self, call: Call, *, is_asking: bool = False) -> None:
        """Send a call that another server did not do; ``is_asking``: this one has it for the time being."""
        if call.future.done():
            return
        call.was_sent = False
        if is_asking:
            asking = Call("asking", ("ASKING",), self._future(), is_repeatable=False)
            asking.future.add_done_callback(forget)
            self._put(asking)
        self._put(call)

    def hand_over(self) -> list[Call]:
        """Return what waits, for another server to do."""
        calls = [call for call in self._waiting if not call.future.done()]
        self._size -= sum(call.size for call in calls)
        self._waiting.clear()
        return calls

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._waiting and not self._sent

    @property
    def is_connected(self) -> bool:
        """Whether a call is sent at once."""
        return self._connection is not None

    def note_run(self, key: str, run: str) -> None:
        """Take it that the server that has ``key`` is in this run (``run.lua``)."""
        if self._connection is not None:
            self._connection.run = run

    def _future(self) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    def _put(self, call: Call) -> asyncio.Future[Any]:
        future = call.future
        if self._is_stopped or self._size + call.size > QUEUE:
            words = "the engine is stopped" if self._is_stopped else f"{self._size} bytes wait for it: no more fit"
            self._counters.engine_refusals += not self._is_stopped
            future.set_exception(EngineUnavailable(f"{self._where}: {words}"))
            return future
        self._size += call.size
        self._waiting.append(call)
        call.deadline = call.deadline or asyncio.get_running_loop().time() + self._timeout
        self._deadlines.append((call.deadline, call))
        self._schedule()
        return future

    def _schedule(self) -> None:
        if not self._scheduled and self._connection is not None:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Send what waits, as long as the socket has room."""
        self._scheduled = False
        connection, waiting = self._connection, self._waiting
        if connection is None or connection.over.done() or self._leaving is not None:
            return
        while waiting and not connection.is_full:
            chunks, size = [], 0
            while waiting and size < CHUNK:
                call = waiting.popleft()
                if call.future.done():  # it was cancelled, or has waited too long
                    self._drop(call)
                    continue
                chunk = self._pack(connection, call)
                size += len(chunk)
                chunks.append(chunk)
            connection.write(b"".join(chunks))

    def _pack(self, connection: Connection, call: Call, *, whole: bool = False) -> bytes:
        call.was_sent = True
        self._sent.append(call)
        return call.pack(connection.run, whole=whole)

    def _send(self, connection: Connection, call: Call, *, whole: bool = False) -> None:
        connection.write(self._pack(connection, call, whole=whole))

    # Answers

    def _take(self, reply: Any) -> None:
        call = self._sent.popleft()
        if not isinstance(reply, hiredis.ReplyError):
            self._outage.end(call.verb)
            self._drop(call)
            if not call.future.done():
                call.future.set_result(reply)
        else:
            self._take_error(call, reply)
        if self._leaving is not None and not self._sent:
            self._link.leave(self._leaving)

    def _take_error(self, call: Call, error: hiredis.ReplyError) -> None:
        if call.future.done():  # nobody waits for it
            self._drop(call)
            return
        code = code_of(error)
        if code == "NOSCRIPT" and self._connection is not None:
            self._send(self._connection, call, whole=True)
            return
        fault = fault_of(error, self._where)
        if code in ("MOVED", "ASK") and self.on_redirect is not None:
            self._size -= call.size
            self.on_redirect(call, str(error))
            return
        if code in PASSING:  # nothing was done: the next server may, when the others have got their answers
            self._leaving = fault
            self._outage.begin(call.verb, fault)
            call.was_sent = False
            self._again.append(call)
            return
        self._outage.begin(call.verb, fault)
        self._drop(call)
        kind = OutcomeUnknown if call.is_doubted and call.verb in _LASTING else EngineUnavailable
        self._refuse(call, kind(f"{call.verb} was refused by {fault}"))

    def _drop(self, call: Call) -> None:
        """Note that a call is on no queue any more."""
        self._size -= call.size
        call.words = ()

    def _give_up(self, call: Call, fault: Fault) -> None:
        was_sent = call.was_sent or call.is_doubted
        if was_sent and (not call.is_repeatable or call.verb in _LASTING):
            self._refuse(call, OutcomeUnknown(f"{call.verb} was sent, and not answered. {fault}"))
        else:
            self._refuse(call, EngineUnavailable(f"{call.verb} was not done. {fault}"))

    def _refuse(self, call: Call, error: Exception) -> None:
        if not call.future.done():
            self._counters.engine_refusals += 1
            call.future.set_exception(error)

    # What the link tells (LinkUser)

    def on_up(self, connection: Connection) -> None:
        """Send what has waited, behind the scripts: those that the server does not know would be overtaken."""
        self._connection, self._leaving = connection, None
        connection.begin(self._take)
        connection.on_room = self._schedule
        for script in self.scripts:
            load = Call("load", ("SCRIPT", "LOAD", script.text), self._future(), is_repeatable=False)
            load.future.cancel()  # nobody waits for it
            self._size += load.size
            self._send(connection, load)
        if self.on_connected is not None:
            self.on_connected()
        self._flush()

    def on_down(self, fault: Fault) -> None:
        """Give up what was sent, but for what may be sent again: that goes in front of what waits."""
        self._connection = None
        again, self._again = self._again, []
        for call in self._sent:
            if call.is_repeatable and not call.future.done():
                call.is_doubted, call.was_sent = True, False
                again.append(call)
            else:
                self._drop(call)
                self._give_up(call, fault)
        self._sent.clear()
        self._waiting.extendleft(reversed(again))
        if self.on_lost is not None:
            self.on_lost()
        while self.is_ending and self._waiting:
            call = self._waiting.popleft()
            self._drop(call)
            self._give_up(call, fault)

    def probe(self, connection: Connection) -> None:
        """Ask."""
        self.call("ping", "PING", is_repeatable=True).add_done_callback(forget)

    def on_check(self, now: float) -> None:
        """Give up what has waited for too long."""
        deadlines, waiting = self._deadlines, self._waiting
        while deadlines and (deadlines[0][0] <= now or deadlines[0][1].future.done()):
            call = deadlines.popleft()[1]
            silent = Fault(self._where, f"there was no answer within {self._timeout:g} s")
            self._give_up(call, self._outage.fault or silent)
        while waiting and waiting[0].future.done():
            self._drop(waiting.popleft())


def forget(future: asyncio.Future[Any]) -> None:
    """Look at what became of something, where nobody else does; it was counted and logged."""
    if not future.cancelled():
        future.exception()
