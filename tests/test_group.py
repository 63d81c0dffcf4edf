"""Groups and cohorts: one list of pending chunks for all members that get the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from antiphon.droppable import Source, parts
from antiphon.formats import FRAMES, MESSAGES, Chunk, FrameFormat
from antiphon.group import Cohort, Group
from antiphon.rules import Rule
from antiphon.types import ClientInfo, Publication

from .fakes import FakeConsumer, FakeTransport, make_connection, make_hub, messages_in, on_jumping_loop


class OtherConsumer(FakeConsumer):
    pass


class CountingFormat(FrameFormat):
    """Frames, with a count of the joins."""

    def __init__(self) -> None:
        super().__init__()
        self.joins = 0

    def join(self, chunks: Sequence[bytes]) -> bytes:
        self.joins += 1
        return super().join(chunks)


def cohort_of(members: int, format: Any = FRAMES) -> tuple[Cohort, list[Any], list[FakeTransport]]:
    """Return a cohort, its connections and their transports."""
    hub = make_hub()
    transports = [FakeTransport(format) for _ in range(members)]
    connections = [make_connection(hub, transport=transport) for transport in transports]
    cohort = Cohort(FakeConsumer, format)
    for connection in connections:
        cohort.members[connection] = None
    return cohort, connections, transports


def texts(chunks: list[Chunk]) -> list[str | bytes]:
    return messages_in(chunks)


@on_jumping_loop
async def test_members_of_one_class_and_format_share_a_cohort() -> None:
    hub = make_hub()
    group = Group("room")
    kinds: list[tuple[type[FakeConsumer], Any]] = [
        (FakeConsumer, FRAMES),
        (FakeConsumer, FRAMES),
        (OtherConsumer, FRAMES),
        (FakeConsumer, MESSAGES),
    ]
    connections = [make_connection(hub, kind(), FakeTransport(format)) for kind, format in kinds]
    cohorts = [group.add(connection) for connection in connections]
    assert cohorts[0] is cohorts[1]
    assert len({id(cohort) for cohort in cohorts}) == 3
    assert len(group) == 4


@on_jumping_loop
async def test_adding_twice_is_adding_once() -> None:
    group, connection = Group("room"), make_connection(make_hub())
    assert group.add(connection) is group.add(connection)
    assert len(group) == 1


@on_jumping_loop
async def test_the_last_member_takes_its_cohort_along() -> None:
    group, connection = Group("room"), make_connection(make_hub())
    group.add(connection)
    group.remove(connection)
    group.remove(connection)
    assert not group.cohorts
    assert len(group) == 0


@on_jumping_loop
async def test_flush_writes_what_is_pending_once_to_each() -> None:
    cohort, _, transports = cohort_of(3)
    cohort.pending = [FRAMES.text(b"1"), FRAMES.text(b"2")]
    assert cohort.flush(others_are_dirty=False) == 0
    assert [transport.messages for transport in transports] == [["1", "2"]] * 3
    assert [len(transport.chunks) for transport in transports] == [1, 1, 1]
    assert not cohort.pending
    cohort.flush(others_are_dirty=False)
    assert [len(transport.chunks) for transport in transports] == [1, 1, 1]


@on_jumping_loop
async def test_flush_joins_once_however_many_members_there_are() -> None:
    format = CountingFormat()
    cohort, _, transports = cohort_of(50, format)
    cohort.pending = [format.text(b"1"), format.text(b"2")]
    cohort.flush(others_are_dirty=False)
    assert format.joins == 1
    assert len({id(transport.chunks[0]) for transport in transports}) == 1


@on_jumping_loop
async def test_flush_goes_behind_what_a_member_has_pending() -> None:
    cohort, connections, transports = cohort_of(2)
    connections[0].pending = [FRAMES.text(b"own")]
    cohort.pending = [FRAMES.text(b"all")]
    cohort.flush(others_are_dirty=True)
    assert texts(connections[0].pending) == ["own", "all"]
    assert transports[0].chunks == []
    assert transports[1].messages == ["all"]


@pytest.mark.parametrize("verb", ["settle", "flush"])
def test_a_member_that_caught_up_gets_the_rest(verb: str) -> None:
    @on_jumping_loop
    async def main() -> None:
        cohort, connections, _ = cohort_of(2)
        cohort.pending = [FRAMES.text(b"1")]
        cohort.catch_up(connections[0])
        cohort.catch_up(connections[0])
        connections[0].pending.append(FRAMES.text(b"own"))
        cohort.pending.append(FRAMES.text(b"2"))
        cohort.settle() if verb == "settle" else cohort.flush(others_are_dirty=True)
        assert texts(connections[0].pending) == ["1", "own", "2"]
        assert texts(connections[1].pending) == ["1", "2"]
        assert not cohort.pending

    main()


@on_jumping_loop
async def test_catching_up_is_forgotten_when_nothing_is_pending_any_more() -> None:
    cohort, connections, transports = cohort_of(1)
    cohort.pending = [FRAMES.text(b"1")]
    cohort.catch_up(connections[0])
    cohort.settle()
    connections[0].pending = []
    cohort.pending = [FRAMES.text(b"2")]
    cohort.flush(others_are_dirty=False)
    assert transports[0].messages == ["2"]


@pytest.mark.parametrize("others_are_dirty", [False, True])
def test_a_member_whose_write_raises_is_counted_and_harms_no_other(others_are_dirty: bool) -> None:
    @on_jumping_loop
    async def main() -> None:
        cohort, _, transports = cohort_of(3)
        transports[1].write_error = RuntimeError("the handler is closed")
        cohort.pending = [FRAMES.text(b"1")]
        assert cohort.flush(others_are_dirty) == 1
        assert [transport.messages for transport in transports] == [["1"], [], ["1"]]

    main()


@on_jumping_loop
async def test_who_comes_and_goes_between_two_flushes_is_noticed() -> None:
    hub, group = make_hub(), Group("room")
    transports = [FakeTransport() for _ in range(3)]
    connections = [make_connection(hub, transport=transport) for transport in transports]
    cohort = group.add(connections[0])
    changes: list[Callable[[], object]] = [
        lambda: None,
        lambda: group.add(connections[1]),
        lambda: group.remove(connections[0]),
        lambda: group.add(connections[2]),
    ]
    for number, change in enumerate(changes):
        change()
        cohort.pending = [FRAMES.text(b"%d" % number)]
        cohort.flush(others_are_dirty=False)
    assert [transport.messages for transport in transports] == [["0", "1"], ["1", "2", "3"], ["3"]]


def keyed(group: Group, format: Any, data: bytes, key: str) -> Chunk:
    return group.publication_chunk(format, Publication(data, "e", 1, 0.0, key))


@pytest.mark.parametrize("format", [FRAMES, MESSAGES])
@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (Rule(), None),
        (Rule(slow="drop_oldest"), Source("room", None)),
        (Rule(slow="latest_by_key"), Source("room", "a")),
    ],
    ids=lambda value: value.slow if isinstance(value, Rule) else "",
)
def test_a_chunk_may_be_left_out_where_the_rule_says_so(rule: Rule, source: Source | None, format: Any) -> None:
    ((chunk, found),) = parts(keyed(Group("room", rule), format, b"1", "a"))
    assert (texts([chunk]), found) == (["1"], source)


def test_without_a_key_the_group_has_one_place() -> None:
    group = Group("room", Rule(slow="latest_by_key"))
    assert parts(group.chunk(FRAMES, b"1"))[0].source == Source("room", "")


def test_a_group_without_a_rule_has_plain_chunks() -> None:
    group = Group("room")
    assert group.keeps_all
    assert keyed(group, FRAMES, b"1", "a") is FRAMES.text(b"1")


@pytest.mark.parametrize("format", [FRAMES, MESSAGES])
@pytest.mark.parametrize("verb", ["flush", "settle"])
def test_what_is_joined_remembers_what_may_be_left_out(verb: str, format: Any) -> None:
    @on_jumping_loop
    async def main() -> None:
        group = Group("room", Rule(slow="latest_by_key"))
        transport = FakeTransport(format)
        connection = make_connection(make_hub(), transport=transport)
        cohort = group.add(connection)
        cohort.pending = [keyed(group, format, b"1", "a"), keyed(group, format, b"2", "b")]
        cohort.settle() if verb == "settle" else cohort.flush(others_are_dirty=False)
        (whole,) = connection.pending if verb == "settle" else transport.chunks
        assert texts([whole]) == ["1", "2"]
        assert [source for _, source in parts(whole)] == [Source("room", "a"), Source("room", "b")]

    main()


# Presence


class TellingFormat(FrameFormat):
    """A wire that tells who joins and leaves."""

    def presence(self, group: str, info: ClientInfo, *, joins: bool) -> bytes:  # type: ignore[override]
        return self.text(f"{group} {info.user} {joins}".encode())


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (Rule(), None),
        (Rule(slow="drop_oldest"), Source("room", None)),
        (Rule(slow="latest_by_key"), None),
    ],
    ids=lambda value: value.slow if isinstance(value, Rule) else "",
)
@pytest.mark.parametrize("joins", [True, False])
def test_who_joins_or_leaves_may_be_left_out_where_the_oldest_go(
    rule: Rule, source: Source | None, joins: bool
) -> None:
    chunk = Group("room", rule).presence_chunk(TellingFormat(), ClientInfo("7", "c"), joins=joins)
    ((part, found),) = parts(chunk)
    assert (texts([part]), found) == ([f"room 7 {joins}"], source)


@pytest.mark.parametrize("format", [FRAMES, MESSAGES])
@pytest.mark.parametrize("rule", [Rule(), Rule(slow="drop_oldest")])
def test_a_wire_that_does_not_tell_has_no_chunk_for_it(rule: Rule, format: Any) -> None:
    assert Group("room", rule).presence_chunk(format, ClientInfo("7", "c"), joins=True) is None


def test_a_group_knows_what_its_rule_says_of_presence_and_recovery() -> None:
    plain, noted = Group("room"), Group("room", Rule(presence="kept"))
    cache = Group("room", Rule(recovery="cache", history_size=1))
    assert [(group.is_noted, group.newest_only) for group in (plain, noted, cache)] == [
        (False, False),
        (True, False),
        (False, True),
    ]
