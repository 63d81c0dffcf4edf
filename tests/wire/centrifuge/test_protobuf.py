"""The protocol in Protobuf, compared with Protobuf's own runtime."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.types import Position
from antiphon.wire.centrifuge import commands, protobuf, replies
from antiphon.wire.centrifuge.codes import ERRORS
from antiphon.wire.centrifuge.exceptions import CommandTooBig, ProtocolError
from antiphon.wire.centrifuge.frame import MAX_FIELDS
from antiphon.wire.centrifuge.publication import ClientInfo, Publication
from antiphon.wire.centrifuge.pushes import Message
from tests.wire.centrifuge import reference, strategies
from tests.wire.centrifuge.reading import Pair, read


def frame(*pairs: Pair) -> bytes:
    return reference.delimited(reference.command_of(*pair) for pair in pairs)


def field(number: int, wire_type: int, content: bytes) -> bytes:
    return varint(number << 3 | wire_type) + content


def varint(number: int) -> bytes:
    octets = []
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*octets, number))


def prefixed(content: bytes) -> bytes:
    return varint(len(content)) + content


def of_text(number: int, text: bytes) -> bytes:
    return field(number, 2, prefixed(text))


def decode_one(body: bytes) -> Pair:
    """Decode a frame of one command, whose message is given."""
    [pair] = protobuf.decode_frame(prefixed(body))
    return pair


def commands_of(payload: bytes, **limits: int) -> list[Pair]:
    """Read a frame to its end."""
    return list(protobuf.decode_frame(payload, **limits))


def problem_with(payload: bytes, **limits: int) -> ProtocolError:
    _, problem = read(protobuf.decode_frame(payload, **limits))
    assert type(problem) is ProtocolError
    return problem


def only(encoded: bytes) -> Any:
    [reply] = reference.split("Reply", encoded)
    return reply


#: A command with id 7, by its field number and content.
def numbered(number: int, content: bytes = b"") -> bytes:
    return field(1, 0, b"\x07") + of_text(number, content)


# What the runtime writes is read, and the other way round


@given(st.lists(st.tuples(strategies.ids, strategies.command), min_size=1, max_size=4))
def test_what_the_runtime_writes_is_decoded(pairs: list[Pair]) -> None:
    assert commands_of(frame(*pairs)) == pairs


@given(strategies.ids, strategies.result)
def test_the_runtime_reads_a_result(id: int, result: replies.Result) -> None:
    encoded = protobuf.encode_reply(id, result)
    assert only(encoded) == reference.result_reply(id, result)
    assert len(encoded) == len(reference.delimited([reference.result_reply(id, result)]))


@given(strategies.ids, strategies.errors)
def test_the_runtime_reads_an_error(id: int, error: Any) -> None:
    assert only(protobuf.encode_error(id, error)) == reference.error_reply(id, error)


@given(strategies.text, strategies.push)
def test_the_runtime_reads_a_push(channel: str, push: Any) -> None:
    encoded = protobuf.encode_push(channel, push)
    assert only(encoded) == reference.push_reply(channel, push)
    assert len(encoded) == len(reference.delimited([reference.push_reply(channel, push)]))


@given(st.lists(st.tuples(strategies.ids, strategies.result), min_size=1, max_size=4))
def test_the_runtime_reads_a_joined_frame(pairs: list[tuple[int, Any]]) -> None:
    joined = protobuf.join([protobuf.PING, *itertools.starmap(protobuf.encode_reply, pairs)])
    expected = [reference.message("Reply"), *itertools.starmap(reference.result_reply, pairs)]
    assert reference.split("Reply", joined) == expected


# Numbers at their ends


@pytest.mark.parametrize("number", [0, 1, 127, 128, 2**32, 2**53 + 1, 2**63, 2**64 - 1])
def test_an_offset_has_64_bits(number: int) -> None:
    expected = commands.Subscribe("room", offset=number)
    assert commands_of(frame((1, expected))) == [(1, expected)]
    assert only(protobuf.encode_push("room", Publication(b"1", offset=number))).push.pub.offset == number


@pytest.mark.parametrize(("body", "limit"), [(b"\xff" * 9 + b"\x01", -1), (b"\xff\xff\xff\xff\x0f", -1), (b"\x05", 5)])
def test_a_limit_may_be_negative_in_five_bytes_or_ten(body: bytes, limit: int) -> None:
    assert decode_one(numbered(10, field(7, 0, body))) == (7, commands.History(limit=limit))


def test_of_a_number_too_long_for_its_field_the_last_bits_count() -> None:
    body = field(1, 0, varint(2**32 + 7)) + of_text(12, b"")
    assert decode_one(body) == (7, commands.Send())
    assert reference.split("Command", prefixed(body))[0].id == 7


def test_any_number_but_zero_is_true() -> None:
    assert decode_one(numbered(10, field(9, 0, b"\x80\x01"))) == (7, commands.History(reverse=True))
    assert decode_one(numbered(10, field(9, 0, b"\x80\x00"))) == (7, commands.History(reverse=False))


# Which command it is


def test_an_empty_command_is_a_pong_and_an_empty_reply_a_ping() -> None:
    assert protobuf.PING == b"\x00"
    assert commands_of(b"\x00") == [(0, commands.Pong())]
    assert reference.split("Reply", protobuf.PING) == [reference.message("Reply")]


@given(strategies.command)
def test_only_a_message_needs_no_id(command: commands.Command) -> None:
    payload = frame((0, command))
    if isinstance(command, commands.Send):
        assert commands_of(payload) == [(0, command)]
    else:
        assert "command 1 of the frame: it has no id" in problem_with(payload).reason


def test_an_id_alone_is_no_command() -> None:
    assert "no command that is known" in problem_with(prefixed(field(1, 0, b"\x07"))).reason


def test_a_command_that_is_not_known_is_none() -> None:
    assert "no command that is known" in problem_with(prefixed(numbered(99))).reason


@given(strategies.command, strategies.command)
def test_of_several_the_first_of_the_schema_counts(one: Any, other: Any) -> None:
    both = reference.command_of(7, one)
    both.MergeFrom(reference.command_of(7, other))
    order = list(reference.COMMANDS)
    first, second = sorted((one, other), key=lambda command: order.index(type(command)))
    if type(first) is not type(second):
        assert commands_of(reference.delimited([both])) == [(7, first)]


@given(st.permutations(range(4)))
def test_fields_come_in_any_order(order: list[int]) -> None:
    inner = [of_text(2, b'{"a":1}'), of_text(1, b"room")]
    fields = [field(1, 0, b"\x07"), of_text(7, b"".join(inner)), field(77, 0, b"\x01"), of_text(78, b"x")]
    expected = (7, commands.Publish("room", b'{"a":1}'))
    assert decode_one(b"".join(fields[place] for place in order)) == expected
    assert decode_one(b"".join([fields[0], of_text(7, b"".join(reversed(inner)))])) == expected


# What is not known


unknown = st.one_of(
    st.builds(lambda number, value: field(number, 0, varint(value)), st.integers(30, 2**29 - 1), strategies.uint64),
    st.builds(
        lambda number, value: field(number, 1, value), st.integers(30, 2**29 - 1), st.binary(min_size=8, max_size=8)
    ),
    st.builds(lambda number, value: of_text(number, value), st.integers(30, 2**29 - 1), st.binary(max_size=9)),
    st.builds(
        lambda number, value: field(number, 5, value), st.integers(30, 2**29 - 1), st.binary(min_size=4, max_size=4)
    ),
)


@given(strategies.command, unknown, unknown)
def test_fields_that_are_not_known_are_skipped(command: commands.Command, outside: bytes, inside: bytes) -> None:
    envelope = reference.command_of(7, command)
    [(described, content)] = [(each, value) for each, value in envelope.ListFields() if each.name != "id"]
    body = numbered(described.number, content.SerializeToString() + inside)
    assert decode_one(outside + body + outside) == (7, command)


def test_features_that_are_not_offered_are_skipped_or_told() -> None:
    asked = reference.command_of(7, commands.Subscribe("room"))
    asked.subscribe.delta, asked.subscribe.phase, asked.subscribe.cursor, asked.subscribe.asc = "fossil", 2, "x", True
    asked.subscribe.tf.nodes.add(op="and").nodes.add(key="a", cmp="in", vals=["b"])
    asked.subscribe.type = 1
    assert commands_of(reference.delimited([asked])) == [
        (7, commands.Subscribe("room", tf=True, type=1)),
    ]


def test_a_filter_is_not_looked_into() -> None:
    assert decode_one(numbered(5, of_text(13, b"\xff" * 50))) == (7, commands.Subscribe(tf=True))


# Fields that come twice


@given(strategies.twins)
def test_messages_that_come_twice_are_one(twins: tuple[Any, Any]) -> None:
    payload = prefixed(b"".join(reference.command_of(7, each).SerializeToString() for each in twins))
    [merged] = reference.split("Command", payload)
    assert commands_of(payload) == [(7, _read_back(merged, type(twins[0])))]


def _read_back(merged: Any, kind: type) -> Any:
    """Decode what the runtime made of both."""
    [(_, command)] = protobuf.decode_frame(reference.delimited([merged]))
    assert reference.command_of(7, command) == merged
    assert type(command) is kind
    return command


def test_an_entry_of_a_map_may_lack_its_key_or_value_and_the_last_of_one_key_counts() -> None:
    entry = of_text(3, of_text(1, b"a") + of_text(2, field(7, 0, b"\x05")))
    later = of_text(3, of_text(2, field(7, 0, b"\x06")) + of_text(1, b"a") + of_text(2, field(3, 0, b"\x01")))
    body = numbered(4, entry + later + of_text(3, b"") + of_text(3, of_text(1, b"b")) + of_text(6, of_text(1, b"h")))
    expected = commands.Connect(
        subs={"a": commands.Recovery(True, "", 6), "": commands.Recovery(), "b": commands.Recovery()}, headers={"h": ""}
    )
    assert decode_one(body) == (7, expected)
    assert reference.split("Command", prefixed(body)) == [reference.command_of(7, expected)]


def test_since_is_there_even_where_it_says_nothing() -> None:
    assert decode_one(numbered(10, of_text(8, b""))) == (7, commands.History(since=Position("", 0)))
    assert decode_one(numbered(10)) == (7, commands.History(since=None))


# Data


@given(st.binary(max_size=200))
def test_data_is_bytes_that_come_and_go_as_they_are(data: bytes) -> None:
    assert commands_of(frame((7, commands.Publish("room", data)))) == [(7, commands.Publish("room", data))]
    assert only(protobuf.encode_push("", Message(data))).push.message.data == data
    assert only(protobuf.encode_push("room", Publication(data))).push.pub.data == data
    assert only(protobuf.encode_reply(7, replies.RpcResult(data))).rpc.data == data
    assert only(protobuf.encode_reply(7, replies.PresenceResult({"c": ClientInfo(conn_info=data)}))).presence.presence[
        "c"
    ].conn_info == (data)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 16_383, 16_384, 70_000])
def test_lengths_are_right_at_their_ends(size: int) -> None:
    data = b"x" * size
    pairs: list[Pair] = [(7, commands.Publish("room", data)), (8, commands.Send(data))]
    assert commands_of(frame(*pairs), max_command_size=10**6) == pairs
    assert only(protobuf.encode_push("room", Publication(data))).push.pub.data == data


def test_a_result_without_content_is_there() -> None:
    assert only(protobuf.encode_reply(3, replies.PublishResult())).HasField("publish")
    assert only(protobuf.encode_reply(3, replies.UnsubscribeResult())).HasField("unsubscribe")


def test_half_of_a_surrogate_pair_is_sent_as_a_question_mark() -> None:
    assert only(protobuf.encode_push("a\ud800", Publication(tags={"\udfff": "\ud83d"}))).push.channel == "a?"


# What is wrong


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "the frame is empty"),
        (b"\x05\x08\x01", "command 1 of the frame: 5 bytes are announced, and 2 are there"),
        (b"\x00\x00\x80", "command 3 of the frame: a number is cut off"),
        (b"\xff" * 20, "command 1 of the frame: a number has more than 64 bits"),
        (b"\xff" * 9 + b"\x02", "a number has more than 64 bits"),
        (b"\x80" * 10 + b"\x01", "a number has more than 64 bits"),
        (b"\xff" * 9 + b"\x01", "18446744073709551615 bytes are announced, and 0 are there"),
        (prefixed(b"\x08"), "a number is cut off"),
        (prefixed(b"\x08\x80"), "a number is cut off"),
        (prefixed(b"\x00\x00"), "a field has the number 0"),
        (prefixed(varint(2**32)), "a field has the number 536870912"),
        (prefixed(field(1, 2, b"\x01x")), "the field id has the wire type 2"),
        (prefixed(field(1, 5, b"xxxx")), "the field id has the wire type 5"),
        (prefixed(field(7, 0, b"\x01")), "the field publish has the wire type 0"),
        (prefixed(numbered(7, field(1, 0, b"\x01"))), "the field channel has the wire type 0"),
        (prefixed(numbered(7, of_text(1, b"\xff"))), "a text is not UTF-8"),
        (prefixed(numbered(7, of_text(1, b"\xed\xa0\x80"))), "a text is not UTF-8"),
        (prefixed(numbered(7, b"\x0a\x09room")), "9 bytes are announced, and 4 are there"),
        (prefixed(numbered(7, b"\x0a\x05room") + b"padding"), "5 bytes are announced, and 4 are there"),
        (prefixed(numbered(4, of_text(3, of_text(1, b"a") + b"\x12\x05"))), "5 bytes are announced, and 0 are there"),
        (prefixed(field(99, 3, b"")), "wire type 3 is not in use"),
        (prefixed(field(99, 4, b"")), "wire type 4 is not in use"),
        (prefixed(field(99, 6, b"")), "wire type 6 is not in use"),
        (prefixed(field(99, 7, b"")), "wire type 7 is not in use"),
        (prefixed(field(99, 1, b"1234567")), "a number is cut off"),
        (prefixed(field(99, 5, b"123")), "a number is cut off"),
        (prefixed(field(99, 0, b"\x80")), "a number is cut off"),
        (prefixed(field(99, 2, b"\x05x")), "5 bytes are announced, and 1 are there"),
    ],
)
def test_what_is_wrong_is_told(payload: bytes, words: str) -> None:
    assert words in problem_with(payload).reason


@given(st.lists(st.tuples(strategies.ids, strategies.command), min_size=1, max_size=3), st.data())
def test_a_frame_that_is_cut_off_is_told_or_holds_the_commands_in_front(pairs: list[Pair], chance: Any) -> None:
    payload = frame(*pairs)
    cut = payload[: chance.draw(st.integers(0, len(payload) - 1))]
    found, _ = read(protobuf.decode_frame(cut))
    assert found == pairs[: len(found)]
    assert len(found) < len(pairs)


def test_what_was_in_front_of_a_fault_is_kept() -> None:
    pairs: list[Pair] = [(7, commands.Presence("a")), (8, commands.Presence("b"))]
    found, problem = read(protobuf.decode_frame(frame(*pairs) + b"\x05"))
    assert found == pairs
    assert problem is not None
    assert problem.code == "bad_frame"


@given(st.binary(max_size=60))
def test_anything_that_comes_in_is_commands_or_a_protocol_error(payload: bytes) -> None:
    try:
        found = commands_of(payload, max_command_size=40, max_commands=5)
    except ProtocolError:
        return
    assert 1 <= len(found) <= 5


# Limits


def test_a_command_may_have_so_many_bytes() -> None:
    pair = (7, commands.Publish("room", b"x" * 100))
    size = len(frame(pair)) - 1
    assert commands_of(frame(pair), max_command_size=size) == [pair]
    with pytest.raises(CommandTooBig, match=f"command 1 of the frame has {size} bytes; at most {size - 1} are read"):
        commands_of(frame(pair), max_command_size=size - 1)


@pytest.mark.parametrize("id_first", [True, False])
def test_a_command_that_is_too_big_says_its_id_and_what_stands_around_it(id_first: bool) -> None:
    before, behind = (6, commands.Presence("a")), (8, commands.Presence("b"))
    parts = [field(1, 0, b"\x07"), of_text(7, b"x" * 100)]
    big = prefixed(b"".join(parts if id_first else reversed(parts)))
    reading = protobuf.decode_frame(frame(before) + big + frame(behind), max_command_size=50)
    found, problem = read(reading)
    assert found == [before]
    assert isinstance(problem, CommandTooBig)
    assert problem.id == 7
    assert list(reading) == [behind]


@pytest.mark.parametrize("body", [b"\xff" * 60, of_text(7, b"x" * 60), b"\x0f" + b"x" * 60])
def test_where_the_id_of_a_command_that_is_too_big_can_not_be_read_it_is_0(body: bytes) -> None:
    reading = protobuf.decode_frame(prefixed(body), max_command_size=50)
    with pytest.raises(CommandTooBig) as caught:
        next(reading)
    assert caught.value.id == 0
    assert reading.is_over


def test_a_frame_may_have_so_many_commands() -> None:
    pairs: list[Pair] = [(id, commands.Presence("a")) for id in range(1, 6)]
    assert commands_of(frame(*pairs), max_commands=5) == pairs
    found, problem = read(protobuf.decode_frame(frame(*pairs), max_commands=4))
    assert found == pairs[:4]
    assert problem is not None
    assert problem.reason == "the frame has more than 4 commands"


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("one", [field(1, 0, b"\x07"), field(99, 0, b"\x07")], ids=["known", "unknown"])
def test_a_command_may_have_so_many_fields(nested: bool, one: bytes) -> None:
    def command(fields: int) -> bytes:
        if not nested:
            return prefixed(one * (fields - 2) + numbered(4))
        entry = of_text(3, of_text(2, one * 8))  # ten fields: the entry, its value, and what is in that
        return prefixed(numbered(4, entry * ((fields - 2) // 10)))

    assert len(commands_of(command(MAX_FIELDS), max_command_size=10**6)) == 1
    reason = f"command 1 of the frame: it has more than {MAX_FIELDS} fields"
    assert problem_with(command(MAX_FIELDS + 10), max_command_size=10**6).reason == reason


def test_the_answers_a_session_gives_first() -> None:
    """As bytes, so that a change of them is seen."""
    connected = replies.ConnectResult("c1", ping=25, pong=True)
    assert protobuf.encode_reply(1, connected) == b"\x0c\x08\x01\x2a\x08\x0a\x02c1\x38\x19\x40\x01"
    assert protobuf.encode_error(2, ERRORS[103]) == b"\x19\x08\x02\x12\x15\x08\x67\x12\x11permission denied"
    assert protobuf.encode_push("r", Publication(b"1", offset=1, epoch="e")) == (
        b"\x0f\x22\x0d\x12\x01r\x22\x08\x22\x011\x30\x01\x72\x01e"
    )
