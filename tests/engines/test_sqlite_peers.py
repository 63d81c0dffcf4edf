"""Links between processes: greetings, frames, those that do not read, and sockets that are left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from antiphon.engines.sqlite import peers as module
from antiphon.engines.sqlite.frames import Controlled, Hello, Item, Joined, Left, Published, Sent, Told, decode, encode
from antiphon.engines.sqlite.peers import Link, Peers, folder_for, frame
from antiphon.engines.sqlite.registry import Peer
from antiphon.types import ClientInfo, Publication

from .sqlite import until


class Process:
    """One process's links, and what they told."""

    def __init__(self, path: Path, id: int) -> None:
        self.id = id
        self.peers = Peers(str(path), f"process{id}", self)
        self.told: list[Told] = []
        self.linked = self.dropped = self.lost = 0

    async def start(self) -> None:
        await self.peers.listen()
        self.peers.greet_as(self.id)

    @property
    def peer(self) -> Peer:
        return Peer(self.id, f"process{self.id}", self.peers.address)

    def on_told(self, link: Link, told: Told) -> None:
        self.told.append(told)

    def on_linked(self) -> None:
        self.linked += 1

    def on_lost(self) -> None:
        self.lost += 1

    def on_dropped(self) -> None:
        self.dropped += 1


@pytest_asyncio.fixture
async def processes(tmp_path: Path) -> AsyncIterator[list[Process]]:
    processes = [Process(tmp_path / "streams.db", number) for number in (1, 2, 3)]
    for process in processes:
        await process.start()
    yield processes
    for process in processes:
        await process.peers.close()


def everybody(processes: list[Process]) -> list[Peer]:
    return [process.peer for process in processes]


async def meet_all(processes: list[Process]) -> None:
    for process in processes:
        await process.peers.meet(everybody(processes))
    await until(lambda: all(is_linked_with_two(process) for process in processes))


def is_linked_with_two(process: Process) -> bool:
    return len([link for link in process.peers.links if link.hello is not None]) == 2


async def test_each_is_linked_with_each_once(processes: list[Process]) -> None:
    for _ in range(3):
        await meet_all(processes)
    for process in processes:
        assert sorted(link.hello.id for link in process.peers.links if link.hello) == sorted({1, 2, 3} - {process.id})


async def test_what_one_tells_all_others_hear_in_order(processes: list[Process]) -> None:
    await meet_all(processes)
    told = [Told(seq, [Controlled(b"%d" % seq)]) for seq in range(200)]
    for each in told:
        processes[0].peers.tell(each)
    for process in processes[1:]:
        await until(lambda process=process: len(process.told) == 200)  # type: ignore[misc]
        assert process.told == told
    assert processes[0].told == []


async def test_one_is_told_by_its_name(processes: list[Process]) -> None:
    await meet_all(processes)
    assert processes[0].peers.tell_one("process3", Told(0, [Controlled(b"1")]))
    assert not processes[0].peers.tell_one("process9", Told(0, [Controlled(b"1")]))
    await until(lambda: processes[2].told)
    assert processes[1].told == []


async def test_a_large_frame_arrives_whole(processes: list[Process]) -> None:
    await meet_all(processes)
    large = Told(1, [Controlled(os.urandom(5 << 20)), Controlled(b"")])
    processes[0].peers.tell(large)
    processes[0].peers.tell(Told(2, []))
    await until(lambda: len(processes[1].told) == 2)
    assert processes[1].told == [large, Told(2, [])]


async def test_who_does_not_read_loses_and_is_told_so(processes: list[Process]) -> None:
    await meet_all(processes)
    first, second, _ = processes
    (link,) = [link for link in second.peers.links if link.hello and link.hello.id == 1]
    assert link._transport is not None
    link._transport.pause_reading()
    frames = 0
    while not first.dropped:
        first.peers.tell(Told(frames, [Controlled(b"x" * (1 << 20))]))
        frames += 1
        assert frames < 100, "the buffer has a bound"
        await asyncio.sleep(0)
    assert second.lost == 0
    link._transport.resume_reading()
    await until(lambda: second.lost)
    assert len(second.told) < frames
    first.peers.tell(Told(7, []))
    await until(lambda: second.told[-1] == Told(7, []))


async def test_who_was_greeted_too_late_is_linked_all_the_same(
    processes: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GREETING", 0.01)
    folder = Path(processes[0].peers.address).parent
    with socket.socket(socket.AF_UNIX) as frozen:
        address = str(folder / "frozen")
        frozen.bind(address)
        frozen.listen()
        peer = Peer(0, "frozen", address)
        for _ in range(3):
            await processes[0].peers.meet([peer])
        assert len(processes[0].peers.links) == 1, "one link is enough, however long it takes"
        accepted, _ = frozen.accept()
        with accepted:
            accepted.sendall(frame(Hello(0, "frozen", address)))
            await until(lambda: processes[0].linked)
            assert processes[0].peers.tell_one("frozen", Told(0, []))
    os.unlink(address)


async def test_who_is_not_there_is_left_out(processes: list[Process]) -> None:
    last = processes[2]
    await last.peers.meet([Peer(1, "gone", str(Path(last.peers.address).parent / "gone")), Peer(2, "deaf", "")])
    assert last.peers.links == []


@pytest.mark.parametrize("nonsense", [b"\0\0\0\x03abc", b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"], ids=repr)
async def test_who_speaks_another_language_is_cut_off(processes: list[Process], nonsense: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(processes[0].peers.address)
    writer.write(nonsense)
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), 30)
    await until(lambda: processes[0].peers.links == [])
    writer.close()


async def test_of_two_links_with_the_same_process_one_is_closed(processes: list[Process]) -> None:
    await meet_all(processes)
    first, second = processes[0], processes[1]
    await second.peers._meet(first.peer)
    await until(lambda: all(len(process.peers.links) == 2 for process in (first, second)))
    first.peers.tell(Told(1, []))
    await until(lambda: second.told)
    assert second.told == [Told(1, [])]


async def test_the_end_of_a_process_is_noticed(processes: list[Process]) -> None:
    await meet_all(processes)
    linked = [process.linked for process in processes]
    address = processes[0].peers.address
    await processes[0].peers.close()
    await until(lambda: all(len(process.peers.links) == 1 for process in processes[1:]))
    assert [process.linked for process in processes[1:]] == [count + 1 for count in linked[1:]]
    assert not os.path.exists(address)


async def test_what_was_told_before_the_end_arrives(processes: list[Process]) -> None:
    await meet_all(processes)
    for seq in range(20):
        processes[0].peers.tell(Told(seq, [Controlled(b"x" * 100_000)]))
    await processes[0].peers.close()
    await until(lambda: len(processes[1].told) == 20)


def test_nobody_else_may_look_into_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ADDRESS", 1000)
    folder = folder_for(str(tmp_path / "streams.db"))
    assert folder == str(tmp_path / "streams.db-peers")
    os.chmod(folder, 0o777)
    folder_for(str(tmp_path / "streams.db"))
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700


async def test_where_the_path_is_too_long_for_a_socket_there_is_a_shorter_one(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    first, second = [Process(folder / "streams.db", number) for number in (1, 2)]
    for process in (first, second):
        await process.start()
        assert len(process.peers.address) < 108
        assert not process.peers.address.startswith(str(tmp_path))
    await second.peers.meet([first.peer])
    first.peers.tell(Told(1, []))
    await until(lambda: second.told)
    for process in (first, second):
        await process.peers.close()
    assert not os.path.exists(os.path.dirname(first.peers.address)), "who goes last leaves nothing behind"


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ADDRESS", 1000)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "streams.db-peers").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="remove it"):
        folder_for(str(tmp_path / "streams.db"))


async def test_sockets_of_dead_processes_are_removed_and_no_others(tmp_path: Path) -> None:
    folder = Path(folder_for(str(tmp_path / "streams.db")))
    dead = folder / "4194305-dead"  # more than Linux gives out
    living = folder / f"{os.getpid()}-living"
    elsewhere = folder / "4194305-elsewhere"
    sockets = []
    for path in (dead, living, elsewhere):
        each = socket.socket(socket.AF_UNIX)
        each.bind(str(path))
        sockets.append(each)
    sockets[2].listen()
    sockets[0].close()
    (folder / "notes").touch()
    process = Process(tmp_path / "streams.db", 1)
    await process.start()
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [living.name, elsewhere.name, "notes", Path(process.peers.address).name]
    )
    await process.peers.close()
    for each in sockets:
        each.close()
    shutil.rmtree(folder)


def test_frames_are_what_they_were() -> None:
    info = ClientInfo("ü", "1", b"{}", b"\xff")
    items: list[Item] = [
        Published("a", Publication(b"\x00\xff", "e", 1, 0.1, "key", info, {"a": "b"})),
        Published("a", Publication(b"", "e", 2**62, 1.0)),
        Joined("a", info),
        Left("a", info),
        Sent("a", b"event"),
        Controlled(b"\xff"),
    ]
    for content in (Told(3, items), Hello(1, "name", "address")):
        assert decode(encode(content)) == content
