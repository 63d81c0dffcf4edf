"""Where the server is, and the two connections to it: one for commands, one for what is published."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

import hiredis

from antiphon.counters import Counters
from antiphon.engines.redis.advice import is_too_old
from antiphon.engines.redis.connection import Connection, dial
from antiphon.engines.redis.faults import Fault, Outage, all_of, fault_of, fault_of_connection
from antiphon.engines.redis.keys import Keys
from antiphon.engines.redis.options import Address, Options
from antiphon.engines.redis.pipeline import Pipeline
from antiphon.engines.redis.presence import Presence
from antiphon.engines.redis.scripts import RUN
from antiphon.engines.redis.subscription import Subscription

__all__ = ["Client"]

#: Seconds that one sentinel may take: the next one is asked then.
SENTINEL_TIMEOUT = 1.0
#: Seconds between two questions whether the server is still the master: one that has lost that may not know for long.
SENTINEL_INTERVAL = 2.0


class Client:
    """What an engine needs of Redis: ``deliver`` takes channel and message; ``on_restored``: some may be missing."""

    def __init__(
        self,
        options: Options,
        counters: Counters,
        deliver: Callable[[bytes, bytes], None],
        on_restored: Callable[[], None],
    ) -> None:
        self._options = options
        self.where = options.where
        self._outage = Outage(self.where, counters)
        self.pipeline = Pipeline(self.where, self.open, self._outage, counters, options.timeout)
        self.address: Address | None = None
        """Where the newest connection leads."""
        self._watching: asyncio.Task[None] | None = None
        self.subscription = Subscription(self.where, self._dial, self._outage, options.timeout, deliver, on_restored)

    async def start(self, channels: Iterable[str]) -> None:
        """Connect, and subscribe to ``channels``; raise ``Fault`` where that can't be done."""
        await asyncio.gather(self.pipeline.start(), self.subscription.start(channels))
        if self._options.master:
            self._watching = asyncio.get_running_loop().create_task(self._watch_master())

    @property
    def servers(self) -> list[Client]:
        """The one server; a cluster has more."""
        return [self]

    @property
    def is_whole(self) -> bool:
        """Whether nothing of it is away, as a server of several may be."""
        return True

    @property
    def independent(self) -> list[Client]:
        """Those that know nothing of each other, each with its own settings and list of processes."""
        return [self]

    def presence(self, keys: Keys, process: str, lease: float) -> Presence:
        """Return who of this process is in which group."""
        return Presence(self.pipeline, keys, process, lease)

    def begin(self) -> None:
        """Begin to connect, without channels, and wait for nothing."""
        self.pipeline.begin()
        self.subscription.begin()

    async def settled(self) -> None:
        """Wait until there are connections; raise ``Fault`` where that can't be."""
        await asyncio.gather(self.pipeline.settled(), self.subscription.settled())

    async def stop(self) -> None:
        """Close both connections."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        await self.subscription.stop()
        await self.pipeline.stop()

    async def _dial(self) -> Connection:
        options = self._options
        self.address = await self._locate()
        connection = await dial(options, self.address, user=options.user, password=options.password)
        try:
            if options.master and (await connection.ask("ROLE"))[0] != b"master":
                raise Fault(self.where, "the sentinels still name the former one, which is a replica now", "READONLY")
        except BaseException:
            connection.abort()
            raise
        return connection

    async def open(self) -> Connection:
        """Open one more connection for commands; raise as ``dial`` does, and ``Fault`` for a server of no use."""
        connection = await self._dial()
        try:
            if self._options.db:
                await connection.ask("SELECT", str(self._options.db))
            run, mode, version = await connection.ask("EVAL", RUN.text, "0")
            self._check(mode.decode(), version.decode())
            connection.run = run.decode()
        except BaseException:
            connection.abort()
            raise
        return connection

    def _check(self, mode: str, version: str) -> None:
        """Raise ``Fault`` for a server that can't be used."""
        is_cluster = self._options.is_cluster
        if mode == "cluster" and not is_cluster:
            raise fault_of(hiredis.ReplyError("MOVED"), self.where)
        if is_too_old(version, in_cluster=is_cluster):
            words = f"its version is {version}; this engine needs 6.2, in a cluster 7.0, or a newer one"
            raise Fault(self.where, words, is_settled=True)

    # Sentinels

    async def _watch_master(self) -> None:
        """Leave a server that the sentinels have replaced: what it still takes would be lost."""
        while True:
            await asyncio.sleep(SENTINEL_INTERVAL)
            with contextlib.suppress(Fault):  # no sentinel answers: then the server is as good as before
                found = await self._locate()
                for each in (self.pipeline, self.subscription):  # they may lead to different servers
                    if each.address not in (None, found):
                        host, port = each.address or ("", 0)
                        each.leave(Fault(self.where, f"another server has taken over from {host}:{port}"))

    async def _locate(self) -> Address:
        """Return where the server is: what the first sentinel says that knows."""
        options = self._options
        if not options.master:
            return options.addresses[0]
        faults = []
        for host, port in options.addresses:
            try:
                found = await self._ask_sentinel((host, port))
            except (OSError, TimeoutError, hiredis.ReplyError) as error:
                faults.append(fault_of_connection(error, f"the sentinel {host}:{port}", SENTINEL_TIMEOUT))
                continue
            if found is not None:
                return found
            faults.append(Fault(f"the sentinel {host}:{port}", f"it knows no master {options.master!r}"))
        raise all_of(faults, self.where)

    async def _ask_sentinel(self, address: Address) -> Address | None:
        options = self._options
        async with asyncio.timeout(min(SENTINEL_TIMEOUT, options.timeout)):
            connection = await dial(options, address, user=options.sentinel_user, password=options.sentinel_password)
            try:
                found = await connection.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", options.master)
            finally:
                connection.abort()
        return None if found is None else (found[0].decode(), int(found[1]))
