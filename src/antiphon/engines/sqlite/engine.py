"""The SQLite engine: one file, several processes of one host, and nothing is lost when they end.

This is the shell on the event loop. It hands work to the thread that writes and questions to the one that reads, tells
the other processes what was written, and looks once a second whether something is missing or has ended (``look``).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

from antiphon.counters import Counters
from antiphon.engines.base import Engine, EngineEvents
from antiphon.engines.jobs import Job, Room
from antiphon.engines.sqlite import registry, store
from antiphon.engines.sqlite.faults import Fault
from antiphon.engines.sqlite.frames import Controlled, Directed, Item, Sent, Told
from antiphon.engines.sqlite.hearing import Hearing
from antiphon.engines.sqlite.missing import Missing
from antiphon.engines.sqlite.options import Options
from antiphon.engines.sqlite.peers import Link, Peers
from antiphon.engines.sqlite.queues import Queues
from antiphon.engines.sqlite.reader import Reader
from antiphon.engines.sqlite.registry import Registry
from antiphon.engines.sqlite.store import Store, milliseconds
from antiphon.engines.sqlite.writer import Operation, Outcome, Verb, Writer
from antiphon.exceptions import ConfigurationError, EngineError, EngineUnavailable
from antiphon.names import process_of
from antiphon.roster import Entry, Roster
from antiphon.types import ClientInfo, Event, Page, Position, Publishing, Retention

__all__ = ["SqliteEngine"]

logger = logging.getLogger("antiphon.engines")

Result = TypeVar("Result")

#: Seconds between two looks, at most; what other processes did not tell is found within two of them.
LOOK = 1.0
#: Bytes that wait to be written, at most; over them publications are refused. What each counts besides its data.
QUEUE, APART = 64 * 1024 * 1024, 256


class SqliteEngine(Engine):
    """Streams in a database file. ``clock`` is that of lifetimes and leases, in seconds since 1970."""

    def __init__(
        self, options: Options, counters: Counters | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._options = options
        self._counters = counters if counters is not None else Counters()
        self._clock = clock
        self._roster = Roster()
        self._writer: Writer | None = None
        self._reader: Reader | None = None
        self._peers: Peers | None = None
        self._hearing: Hearing | None = None
        self._looking: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._reset()

    def _reset(self) -> None:
        self._name = self._address = ""
        self._here = secrets.token_hex(8)
        """What direct events that stay in this process are marked with."""
        self._process = 0
        self._file = ""
        self._under_way = self._bytes = 0
        self._is_behind = False
        """Whether something was declared that the database does not have."""
        self._renewed_at = 0.0
        self._missing = Missing(self._read, self._now)
        self._queues = Queues(self._write, self._read, lambda word: self._tell_item(word, 0), self._counters)

    # Beginning and end

    async def start(self, events: EngineEvents, process: str = "") -> None:
        """Open the file, and meet the other processes on it."""
        self._reset()
        self._name = process
        self._hearing = Hearing(events, {process, self._here} - {""}, self._counters, self._queues.ring)
        try:
            await self._start(process)
        except BaseException as error:
            await self._close()
            if isinstance(error, EngineError):
                raise ConfigurationError(f"the SQLite engine can't start: {error}") from error
            raise
        self._looking = asyncio.get_running_loop().create_task(self._look_again_and_again())

    async def _start(self, process: str) -> None:
        loop = asyncio.get_running_loop()
        assert self._hearing is not None
        self._peers, deaf = Peers(self._options.path, process, self), None
        try:
            await self._peers.listen()
        except OSError as error:
            deaf = error
        self._address = self._peers.address
        self._writer = Writer(self._options, process, self._address, loop=loop, clock=self._clock, done=self._done)
        await self._write(None)
        if deaf is not None:
            logger.warning(
                "the processes on %s can't wake this one, which hears of them by looking once a second: %s",
                self._options.path,
                deaf,
            )
        self._reader = Reader(self._options, loop=loop)
        self._renewed_at = self._clock()
        await self._peers.meet((await self._see()).peers)
        self._hearing.skip((await self._see()).commits)

    async def stop(self) -> None:
        """Take leave, and close everything."""
        await self._queues.stop()
        if self._hearing is not None:
            self._hearing.stop()
        if self._looking is not None:
            with contextlib.suppress(EngineError):  # then the lease tells that it has gone
                await self._write(lambda store, registry, now: registry.leave_all(now))
        self._roster.clear()
        await self._close()

    async def _close(self) -> None:
        """End what runs, and leave the database as it is."""
        looking, self._looking = self._looking, None
        tasks = [*self._tasks, *([looking] if looking is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer, reader, peers = self._writer, self._reader, self._peers
        self._writer = self._reader = None  # what would be put there now, would not be done
        if writer is not None:
            await writer.stop()
        if reader is not None:
            await reader.stop()
        if peers is not None:
            await peers.close()
        self._peers = self._hearing = None

    # Publications

    async def publish(self, group: str, data: bytes, key: str = "", publishing: Publishing | None = None) -> Position:
        """Let it be written with everything else that waits."""

        def verb(store: Store, registry: Registry, now: int) -> Position:
            return store.publish(group, data, key, publishing, now)

        position: Position = await self._write(verb, group=group, size=len(data) + APART)
        return position

    async def history(
        self,
        group: str,
        retention: Retention,
        *,
        since: Position | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Page:
        """Read it; what has to be written for that, so that the position lasts, is written before."""

        def verb(connection: sqlite3.Connection, *, touched: bool = False) -> Page | None:
            now = self._now()
            if not touched and store.needs_touch(connection, group, retention, now):
                return None
            return store.read_page(connection, group, since, limit, reverse, now)

        page = await self._read(verb)
        while page is None:
            await self._write(lambda store, registry, now: store.touch(group, retention, now), group=group)
            page = await self._read(functools.partial(verb, touched=True))
        return page

    async def remove_history(self, group: str) -> None:
        """Let it be written."""
        await self._write(lambda store, registry, now: store.remove_history(group), group=group)

    # Events and control

    async def send_event(self, group: str, event: Event) -> None:
        """Tell all."""
        self._tell_item(Sent(group, event.packed), len(event.packed))

    async def send_direct_event(self, channel: str, event: Event) -> None:
        """Tell the one that it is for."""
        process = process_of(channel)
        is_here = process in ("", self._name)
        self._tell_item(Directed(channel, event.packed, self._here if is_here else process), len(event.packed))

    async def send_control(self, control: bytes, process: str = "") -> None:
        """Tell all, or one."""
        self._tell_item(Controlled(control, process), len(control))

    def _tell_item(self, item: Item, size: int) -> None:
        """Tell what is not written, behind what was to be written before it."""
        if self._under_way and self._writer is not None:
            self._put(Operation(None, item=item, size=size + APART))
        elif isinstance(item, Directed) or (isinstance(item, Controlled) and item.process):
            self._tell_one(item)
        else:
            self._tell(Told(0, [item]))

    def _tell(self, told: Told) -> None:
        """Tell all processes, this one too."""
        if self._peers is not None:
            self._peers.tell(told)
        if self._hearing is not None:
            self._hearing.take(self, told)

    def _tell_one(self, item: Directed | Controlled) -> None:
        """Tell the process that it is for."""
        told = Told(0, [item])
        if item.process in (self._here, self._name):
            if self._hearing is not None:
                self._hearing.take(self, told)
        elif self._peers is None or not self._peers.tell_one(item.process, told):
            self._came_to_nobody(item)

    def _came_to_nobody(self, item: Directed | Controlled) -> None:
        self.on_dropped()
        what = f"an event for channel {item.channel}" if isinstance(item, Directed) else "an order"
        logger.warning("%s came to nobody: process %s is not there", what, item.process)

    # General channels

    shares_channels = True

    async def put(self, channel: str, event: Event, expiry: float, room: Room) -> None:
        """Let it be written."""
        await self._queues.put(channel, event, expiry, room)

    async def take(self, channel: str) -> Job:
        """Let it be taken by who writes."""
        return await self._queues.take(channel)

    def give_back(self, channel: str, job: Job) -> None:
        """Let it be written in front."""
        self._queues.give_back(channel, job)

    # Interest

    async def subscribe(self, group: str, retention: Retention | None = None) -> None:
        """Hold what comes until it is known what was there before."""
        hearing = self._hearing
        if hearing is None:
            raise self._stopped()
        interest = hearing.begin(group, retention)
        is_new = interest.told is None
        try:
            top = await self._write(lambda store, registry, now: store.subscribe(group, retention, now), group=group)
        except BaseException:
            if is_new and hearing.end(group, interest):
                self._declare(lambda store, registry, now: store.unsubscribe(group, now), group)
            raise
        hearing.ready(group, interest, top)

    def unsubscribe(self, group: str) -> None:
        """Hear no more of it, and let that be written."""
        if self._hearing is not None and self._hearing.end(group):
            self._declare(lambda store, registry, now: store.unsubscribe(group, now), group)

    # Presence

    def enter(self, group: str, info: ClientInfo, *, announced: bool = False) -> None:
        """Note it, and let it be written."""
        self._roster.enter(group, info, announced=announced)
        entry = Entry(info, announced)
        self._declare(lambda store, registry, now: registry.enter(group, entry))

    def leave(self, group: str, client: str) -> None:
        """Note it, and let it be written."""
        if self._roster.leave(group, client) is not None:
            self._declare(lambda store, registry, now: registry.leave(group, client))

    async def presence(self, group: str) -> dict[str, ClientInfo]:
        """Read it, behind what this process has declared."""
        if self._is_behind:
            await self._catch_up()
        elif self._under_way:
            await self._write(None)
        return await self._read(lambda connection: registry.read_presence(connection, group, self._now()))

    # Writing

    async def _write(self, verb: Verb | None, *, group: str | None = None, size: int = APART) -> Any:
        """Return what ``verb`` returned in a transaction that is committed; raise ``EngineError``."""
        if self._writer is None:
            raise self._stopped()
        future = asyncio.get_running_loop().create_future()
        self._put(Operation(verb or (lambda store, registry, now: None), future, group=group, size=size))
        return await future

    def _declare(self, verb: Verb, group: str | None = None) -> None:
        """Let something be written that is written later if it can't be now."""
        if self._writer is not None:
            self._put(Operation(verb, group=group, size=APART, is_declaration=True))

    def _put(self, operation: Operation) -> None:
        """Let the thread carry it out; raise ``EngineUnavailable`` where no more may wait."""
        assert self._writer is not None
        if self._bytes + operation.size > QUEUE and not operation.is_declaration:
            self._counters.engine_refusals += 1
            raise EngineUnavailable(f"{self._bytes} bytes wait to be written to {self._options.path}: no more fit")
        self._under_way += 1
        self._bytes += operation.size
        self._writer.put(operation)

    def _done(self, outcome: Outcome) -> None:
        """Tell what was written, then those who wait for it."""
        for each in outcome.operations:
            self._bytes -= each.size
            if isinstance(each.item, (Directed, Controlled)) and not self._is_there(each.item.process):
                self._came_to_nobody(each.item)
        self._under_way -= len(outcome.operations)
        if outcome.items:
            self._tell(Told(outcome.seq, outcome.items))
        if outcome.fault is not None:
            self._failed(outcome, outcome.fault)
        self._notice(outcome)
        for each in outcome.operations:
            if each.future is not None and not each.future.done():
                error = each.error if outcome.fault is None else outcome.fault.told
                if error is not None:
                    each.future.set_exception(error)
                else:
                    each.future.set_result(each.result)

    def _is_there(self, process: str) -> bool:
        return process in ("", self._here, self._name) or (
            self._peers is not None and self._peers.find(process) is not None
        )

    def _failed(self, outcome: Outcome, fault: Fault) -> None:
        for each in outcome.operations:
            self._is_behind = self._is_behind or each.is_declaration
            self._counters.engine_refusals += each.future is not None
        self._counters.engine_outages += outcome.begins_outage

    def _notice(self, outcome: Outcome) -> None:
        """See whether this process had to register anew: it was taken for dead, or it is another file."""
        before, now = (self._process, self._file), (outcome.process, outcome.file)
        if not outcome.process or before == now:
            return
        self._process, self._file = now
        if self._peers is not None:
            self._peers.greet_as(outcome.process)
        if before != (0, "") and self._looking is not None:
            self._is_behind = True
            self._start_task(self._come_back(before[1] != outcome.file))

    async def _come_back(self, is_another_file: bool) -> None:
        """Declare everything anew, and find out what was missed."""
        if is_another_file:
            logger.error(
                "the database %s was removed or replaced: the groups begin anew, and their members are told",
                self._options.path,
            )
            if self._hearing is not None:
                self._hearing.restart((await self._see()).commits + 1)
                self._hearing.lost()
        await self._catch_up()
        if self._hearing is not None:
            await self._missing.reread(self._hearing)

    async def _catch_up(self) -> None:
        """Let everything that this process declares be written, where some of it could not be."""
        if self._hearing is None:
            return
        entries, retentions = list(self._roster), self._hearing.retentions
        self._is_behind = False
        try:
            await self._write(lambda store, registry, now: registry.declare(entries, retentions, now))
        except BaseException:
            self._is_behind = True
            raise

    # Reading

    async def _read(self, verb: Callable[[sqlite3.Connection], Result]) -> Result:
        if self._reader is None:
            raise self._stopped()
        try:
            return await self._reader.ask(verb)
        except Fault as fault:
            self._counters.engine_refusals += 1
            raise EngineUnavailable(str(fault)) from None

    def _now(self) -> int:
        return milliseconds(self._clock())

    async def _see(self) -> registry.Sight:
        process, address = self._process, self._address
        return await self._read(lambda connection: registry.read_sight(connection, process, address, self._now()))

    # Looking

    async def _look_again_and_again(self) -> None:
        interval = min(LOOK, self._options.lease / 3)
        try:
            while True:
                await asyncio.sleep(interval)
                try:
                    await self.look()
                except EngineError:
                    pass  # it has been told, and it is tried again
                except Exception:
                    logger.exception("the SQLite engine's look at %s failed", self._options.path)
        finally:
            if self._looking is not None:
                self._let_go()

    def _let_go(self) -> None:
        """End what outlives the event loop, where that ends without ``stop``, as those of ``asyncio.run`` do."""
        self._looking = None
        if self._writer is not None and self._reader is not None and self._peers is not None:
            self._peers.abort()
            self._declare(lambda store, registry, now: registry.leave_all(now))
            self._writer.abandon()
            self._reader.abandon()

    async def look(self) -> None:
        """Renew the lease, remove what has ended, and see whether there is something that was not told."""
        now = self._clock()
        is_due = not 0 <= now - self._renewed_at < self._options.lease / 3
        sight = None
        with contextlib.suppress(EngineUnavailable):  # the thread that writes makes a removed file anew
            sight = await self._see()
        if is_due or sight is None or not sight.is_known:
            await self._write(lambda store, registry, now: registry.keep_alive(now))
            self._renewed_at = now
        if self._is_behind:
            await self._catch_up()
        if sight is not None:
            await self._see_to(sight)
        await self._queues.look(self._now())

    async def _see_to(self, sight: registry.Sight) -> None:
        while sight.next_end is not None and sight.next_end <= self._now():
            if not await self._write(lambda store, registry, now: registry.sweep(now) or store.sweep(now)):
                break
        if self._peers is not None:
            await self._peers.meet(sight.peers)
        if self._hearing is not None:
            await self._missing.look(self._hearing, sight.commits)

    # What the links tell (PeerEvents)

    def on_told(self, link: Link, told: Told) -> None:
        """Let it be told in its turn."""
        if self._hearing is not None:
            self._hearing.take(link, told)
            if self._missing.is_too_long(self._hearing):
                self._start_task(self._missing.wait_no_longer(self._hearing))

    def on_linked(self) -> None:
        """Read what may have been missed."""
        if self._looking is not None and self._hearing is not None:
            self._start_task(self._missing.reread(self._hearing))

    def on_lost(self) -> None:
        """Read what is in the database, and tell that something may not be."""
        if self._hearing is not None:
            self._hearing.lost()
        self.on_linked()

    def on_dropped(self) -> None:
        """Count it."""
        self._counters.engine_messages_dropped += 1

    def _start_task(self, work: Any) -> None:
        async def run() -> None:
            with contextlib.suppress(EngineError):  # the next look tries again
                await work

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _stopped(self) -> EngineUnavailable:
        return EngineUnavailable(f"the engine of {self._options.path} is stopped")
