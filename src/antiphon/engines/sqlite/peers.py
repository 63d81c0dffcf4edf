"""How the processes on one database tell each other what they have written: streams over Unix sockets.

Each process listens in a folder beside the database, and is linked with every other; of two, the one that came later
makes the link. What is told goes to all. Nobody waits for a process that does not read: what is for it is dropped while
its buffer is full, and when it reads again it is told that something was lost. Everything that matters is in the
database, so whoever lost something, or a link, reads there.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import logging
import os
import secrets
import socket
import stat
import tempfile
from collections.abc import Iterable
from typing import Protocol, cast

import msgspec

from antiphon.engines.sqlite.frames import Frame, Hello, Lost, Told, decode, encode
from antiphon.engines.sqlite.registry import Peer

__all__ = ["Link", "PeerEvents", "Peers", "folder_for"]

logger = logging.getLogger("antiphon.engines")

#: Bytes that wait for a process that does not read; over them what is for it is dropped.
BUFFER = 16 * 1024 * 1024
#: Bytes of one frame, at most: some times what may wait to be written.
LONGEST = 256 * 1024 * 1024
#: Seconds that another process may take to answer when it is greeted.
GREETING = 1.0
#: Bytes that the address of a Unix socket may have everywhere.
_ADDRESS = 100


class PeerEvents(Protocol):
    """What the links tell of."""

    def on_told(self, link: Link, told: Told) -> None:
        """Take what another process told."""

    def on_linked(self) -> None:
        """Take it that there is a new link, or one less."""

    def on_lost(self) -> None:
        """Take it that something was not told to this process, because it did not read."""

    def on_dropped(self) -> None:
        """Take it that something was not told to a process that does not read."""


class Link(asyncio.Protocol):
    """A stream to another process: frames, each behind its length."""

    def __init__(self, peers: Peers, address: str = "") -> None:
        self.address = address
        """Where the other listens; empty: it has not said yet."""
        self._peers = peers
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._is_full = False
        self._has_lost = False
        self.hello: Hello | None = None
        """Who is there; None: it has not said yet."""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # The socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no such class
        self._transport.set_write_buffer_limits(high=BUFFER, low=BUFFER // 16)
        self._peers.opened(self)

    def data_received(self, data: bytes) -> None:
        """Take the frames that are complete."""
        received = self._received
        received += data
        start = 0
        while len(received) - start >= 4:
            end = start + 4 + int.from_bytes(received[start : start + 4], "big")
            if end - start > LONGEST:
                return self.abort()
            if len(received) < end:
                break
            try:
                frame = decode(memoryview(received)[start + 4 : end])
            except msgspec.DecodeError:
                logger.error("a process on the same database speaks another language: is it another antiphon?")
                return self.abort()
            start = end
            self._peers.received(self, frame)
        if start:
            del received[:start]

    def connection_lost(self, error: Exception | None) -> None:
        """Take leave."""
        self._transport = None
        for future in (self.closed, self.greeted):
            if not future.done():
                future.set_result(None)
        self._peers.lost(self)

    def pause_writing(self) -> None:
        """The other side does not read."""
        self._is_full = True

    def resume_writing(self) -> None:
        """It reads again."""
        self._is_full = False
        if self._has_lost:
            self._has_lost = False
            self.send(frame(Lost()))

    # Speaking

    def send(self, data: bytes) -> bool:
        """Send what ``frame`` made; tell whether there was room."""
        if self._transport is None:
            return False
        if self._is_full:
            self._has_lost = True
            return False
        self._transport.write(data)
        return True

    def close(self) -> None:
        """Send what waits, and end."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End at once."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def unread(self) -> tuple[int, socket.socket | None]:
        """Bytes that wait to be sent, and the socket."""
        if self._transport is None:
            return 0, None
        return self._transport.get_write_buffer_size(), self._transport.get_extra_info("socket")


def frame(content: Frame) -> bytes:
    """Return ``content`` as it is sent."""
    encoded = encode(content)
    return len(encoded).to_bytes(4, "big") + encoded


class Peers:
    """The links of this process."""

    def __init__(self, path: str, name: str, events: PeerEvents) -> None:
        self._path = path
        self._events = events
        self._hello = Hello(0, name, "")
        self._server: asyncio.Server | None = None
        self._links: set[Link] = set()
        self.address = ""
        """Of the socket that others find this process at; empty: there is none."""

    @property
    def links(self) -> list[Link]:
        """Every link, also those that have not been greeted yet."""
        return list(self._links)

    async def listen(self) -> None:
        """Be there for others; raise ``OSError`` where no socket can be made."""
        if not hasattr(socket, "AF_UNIX"):
            return
        try:
            await self._listen()
        except FileNotFoundError:  # somebody has just left, and taken the folder away
            await self._listen()

    async def _listen(self) -> None:
        folder = folder_for(self._path)
        address = os.path.join(folder, f"{os.getpid()}-{secrets.token_hex(4)}")
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: Link(self), address)
        self.address = address
        _remove_dead(folder)

    def greet_as(self, id: int) -> None:
        """Say who this process is, from now on and to those that it is linked with."""
        self._hello = Hello(id, self._hello.name, self.address)
        for link in self._links:
            link.send(frame(self._hello))

    async def meet(self, others: Iterable[Peer]) -> None:
        """Make links with those that came before this process and are not linked with it yet."""
        known = {link.address for link in self._links}
        missing = [each for each in others if each.id < self._hello.id and each.address not in known and each.address]
        if missing:
            await asyncio.gather(*(self._meet(each) for each in missing))

    async def _meet(self, other: Peer) -> None:
        loop = asyncio.get_running_loop()
        # Refused, or gone: nobody is there any more, and its lease will be over. Too slow: it greets later.
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(GREETING):
                _, link = await loop.create_unix_connection(lambda: Link(self, other.address), other.address)
                await asyncio.shield(link.greeted)

    # What links tell

    def opened(self, link: Link) -> None:
        """Greet who is at the other end."""
        self._links.add(link)
        link.send(frame(self._hello))

    def received(self, link: Link, content: Frame) -> None:
        """Take a frame."""
        if isinstance(content, Told):
            self._events.on_told(link, content)
        elif isinstance(content, Hello):
            self._greeted(link, content)
        else:
            self._events.on_lost()

    def _greeted(self, link: Link, hello: Hello) -> None:
        if any(each.address == hello.address for each in self._links if each is not link and each.hello is not None):
            return link.close()  # both have made a link at the same time: nothing is to be told twice
        link.hello, link.address = hello, hello.address
        if not link.greeted.done():
            link.greeted.set_result(None)
        self._events.on_linked()

    def lost(self, link: Link) -> None:
        """Take it that a link has ended."""
        self._links.discard(link)
        self._events.on_linked()

    # Telling

    def tell(self, told: Told) -> None:
        """Tell all."""
        if not self._links:
            return
        data = frame(told)
        for link in self._links:
            if not link.send(data):
                self._events.on_dropped()

    def tell_one(self, name: str, told: Told) -> bool:
        """Tell the process with this name; return whether there is one."""
        link = self.find(name)
        if link is not None and not link.send(frame(told)):
            self._events.on_dropped()
        return link is not None

    def find(self, name: str) -> Link | None:
        """Return the link to the process with this name."""
        return next((link for link in self._links if link.hello is not None and link.hello.name == name), None)

    # The end

    async def close(self) -> None:
        """Send what waits, for a moment; end all links."""
        self._stop_listening()
        links = self.links
        for link in links:
            link.close()
        if links:
            await asyncio.wait([link.closed for link in links], timeout=GREETING)
        self.abort()

    def abort(self) -> None:
        """End all links at once."""
        self._stop_listening()
        for link in self.links:
            link.abort()

    def _stop_listening(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
            with contextlib.suppress(OSError):
                os.unlink(self.address)
            with contextlib.suppress(OSError):  # others are there
                os.rmdir(os.path.dirname(self.address))


def folder_for(path: str) -> str:
    """Return the folder of the sockets of a database, which nobody else may look into; it is made.

    It is beside the database; where that is too long for the address of a socket, among the temporary files.
    """
    folder = f"{os.path.realpath(path)}-peers"
    if len(os.fsencode(folder)) > _ADDRESS - 24:
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        folder = os.path.join(tempfile.gettempdir(), f"antiphon-{os.getuid()}-{digest}")
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, mode=0o700)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else; remove it")
    os.chmod(folder, 0o700)
    return folder


def _remove_dead(folder: str) -> None:
    """Remove the sockets of processes that have ended without taking leave."""
    for name in os.listdir(folder):
        address = os.path.join(folder, name)
        with contextlib.suppress(OSError, ValueError):
            if _is_dead(int(name.partition("-")[0])) and _refuses(address):
                os.unlink(address)


def _is_dead(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _refuses(address: str) -> bool:
    """Tell whether nobody listens; what is in another container has another number there, and may well listen."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        return probe.connect_ex(address) == errno.ECONNREFUSED
