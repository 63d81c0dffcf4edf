"""Who of this process is in which group, as Redis is told; and the end of those whose process is dead.

A process lives in Redis under a name that it uses until its lease has ended: it then takes another and enters its own
again, for others may be taking away what it had entered (``beat.lua``).

Laws:
- what is declared is noted here first, and stays to be told until Redis has answered;
- what is told is what holds now, so that telling it late or twice does no harm;
- a process is on the list of those that live before it enters anybody;
- the groups in which a process has entries are noted in Redis before the entries: what is dead is found without a
  search.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets

from antiphon.engines.redis import scripts
from antiphon.engines.redis.codec import decode_entered, encode_info
from antiphon.engines.redis.keys import Keys
from antiphon.engines.redis.pipeline import Commands, forget
from antiphon.roster import Entry, Roster
from antiphon.types import ClientInfo

__all__ = ["Presence"]

#: Groups of a dead process that are swept before others may have the loop.
AT_ONCE = 100


class Presence:
    """What this process has declared, and what it knows to have been told."""

    def __init__(self, pipeline: Commands, keys: Keys, process: str, lease: float) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._process = process
        self._lease = int(lease * 1000)
        self._roster = Roster()
        self._untold: dict[tuple[str, str], int] = {}
        """Group and client of what has to be told, and which declaration it was."""
        self._numbers = itertools.count()
        self._noted: dict[str, set[str]] = {}
        """The clients of this process by the groups that are on its list in Redis."""
        self._unnoted: set[str] = set()
        """Groups of which that has failed."""
        self._is_registered = False
        self._former: set[str] = set()
        """The names that it had, of which there may be entries."""
        self._run = b""
        """In which run of the server (``run.lua``) that was."""
        self._connected_at = 0
        """Since when this process has been connected, by the server's clock in ms; 0: the next beat tells."""
        self.name = self._new_name()
        """Under which the process lives in Redis."""

    def _new_name(self) -> str:
        return f"{self._process}.{secrets.token_hex(6)}"

    # Declarations

    def enter(self, group: str, info: ClientInfo, *, announced: bool) -> None:
        """Note it, and tell it when that can be done."""
        self._roster.enter(group, info, announced=announced)
        self._declare(group, info.client, Entry(info, announced))

    def leave(self, group: str, client: str) -> None:
        """Note it, and tell it when that can be done."""
        if self._roster.leave(group, client) is not None:
            self._declare(group, client, None)

    def connected(self) -> None:
        """Take it that there is a new connection."""
        self._connected_at = 0
        self.tell_again()

    def tell_again(self) -> None:
        """Tell what has not been told."""
        entries = {(group, entry.info.client): entry for group, entry in self._roster} if self._untold else {}
        for group in list(self._unnoted):
            self._note(group)
        for group, client in list(self._untold):
            self._declare(group, client, entries.get((group, client)))

    def _declare(self, group: str, client: str, entry: Entry | None) -> None:
        number = self._untold[group, client] = next(self._numbers)
        if not self._is_registered or not self._pipeline.is_connected:
            return  # there will be another beat, or another connection
        told = self._tell_entry(group, entry) if entry is not None else self._tell_end(group, client)

        def done(answer: asyncio.Future[object]) -> None:
            if not answer.cancelled() and answer.exception() is None and self._untold.get((group, client)) == number:
                del self._untold[group, client]

        told.add_done_callback(done)

    def _tell_entry(self, group: str, entry: Entry) -> asyncio.Future[object]:
        clients = self._noted.get(group)
        if clients is None:
            clients = self._noted[group] = set()
            self._note(group)
        clients.add(entry.info.client)
        return self._pipeline.run(
            scripts.ENTER,
            [self._keys.presence(group)],
            entry.info.client,
            self.name,
            int(entry.announced),
            encode_info(entry.info),
            self._keys.channel(group),
            is_repeatable=True,
        )

    def _tell_end(self, group: str, client: str) -> asyncio.Future[object]:
        keys = [self._keys.presence(group)]
        told = self._pipeline.run(scripts.LEAVE, keys, client, self._keys.channel(group), is_repeatable=True)
        clients = self._noted.get(group)
        if clients is not None:
            clients.discard(client)
            if not clients:
                del self._noted[group]
                self._unnoted.discard(group)
                noted = self._pipeline.call("leave", "SREM", self._keys.entries(self.name), group, is_repeatable=True)
                noted.add_done_callback(forget)  # a group too many on the list does no harm
        return told

    def _note(self, group: str) -> None:
        """Put the group on this process's list."""
        self._unnoted.discard(group)

        def done(answer: asyncio.Future[object]) -> None:
            if not answer.cancelled() and answer.exception() is not None and group in self._noted:
                self._unnoted.add(group)

        noted = self._pipeline.call("enter", "SADD", self._keys.entries(self.name), group, is_repeatable=True)
        noted.add_done_callback(done)

    # Reading

    async def read(self, group: str) -> dict[str, ClientInfo]:
        """Return who is in the group, in processes that live; of this one, whom it has entered."""
        pairs, alive = await asyncio.gather(
            self._pipeline.call("presence", "HGETALL", self._keys.presence(group), is_repeatable=True),
            self._pipeline.run(scripts.ALIVE, [self._keys.processes], is_repeatable=True),
        )
        living = {process.decode() for process in alive} - {self.name}
        found = {}
        for client, value in zip(pairs[::2], pairs[1::2], strict=True):
            entered = decode_entered(value)
            if entered.process in living:
                found[client.decode()] = entered.info
        return found | self._roster.infos(group)

    # The lease

    async def beat(self) -> None:
        """Renew the lease, tell what was not told, and take away what the dead have left; raise ``EngineError``."""
        is_alive, run, now, dead = await self._beat()
        if self._is_registered and not (is_alive and run == self._run):
            self._begin_anew()
            _, run, now, _ = await self._beat()
        self._is_registered, self._run = True, run
        self._connected_at = self._connected_at or now
        self._pipeline.note_run(self._keys.processes, run.decode())
        self.tell_again()
        for process in (*self._former, *(each.decode() for each in dead)):
            await self._sweep(process)
            self._former.discard(process)

    def _begin_anew(self) -> None:
        """Enter everybody under another name: others take this process for dead, or Redis may lack what it was told.

        That may be all of it, or the last of it: of a replica that has taken over nobody knows.
        """
        self._former.add(self.name)
        self.name = self._new_name()
        self._is_registered = False
        self._noted.clear()
        self._unnoted.clear()
        for group, entry in self._roster:
            self._untold[group, entry.info.client] = next(self._numbers)

    async def _beat(self) -> tuple[int, bytes, int, list[bytes]]:
        arguments = self.name, self._lease, self._connected_at
        answer: tuple[int, bytes, int, list[bytes]] = await self._pipeline.run(
            scripts.BEAT, [self._keys.processes], *arguments, is_repeatable=True
        )
        return answer

    async def _sweep(self, process: str) -> None:
        groups = await self._pipeline.call("sweep", "SMEMBERS", self._keys.entries(process), is_repeatable=True)
        for place in range(0, len(groups), AT_ONCE):
            await asyncio.gather(
                *(self._sweep_group(each.decode(), process) for each in groups[place : place + AT_ONCE])
            )
        await self._remove(process)

    def _sweep_group(self, group: str, process: str) -> asyncio.Future[object]:
        keys = [self._keys.presence(group)]
        return self._pipeline.run(scripts.SWEEP, keys, process, self._keys.channel(group), is_repeatable=True)

    async def _remove(self, process: str) -> None:
        await self._pipeline.call("sweep", "DEL", self._keys.entries(process), is_repeatable=True)
        await self._pipeline.call("sweep", "ZREM", self._keys.processes, process, is_repeatable=True)

    async def end(self) -> None:
        """Leave everything, and be no longer among those who live."""
        for group, entry in self._roster:
            self.leave(group, entry.info.client)
        await self._remove(self.name)
