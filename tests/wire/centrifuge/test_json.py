"""The protocol in JSON, compared with the standard library's."""

from __future__ import annotations

import itertools
import json as stdlib
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.types import Position
from antiphon.wire.centrifuge import commands, json, replies
from antiphon.wire.centrifuge.codes import ERRORS, Error
from antiphon.wire.centrifuge.exceptions import CommandTooBig, ProtocolError
from antiphon.wire.centrifuge.frame import MAX_FIELDS
from antiphon.wire.centrifuge.publication import ClientInfo, Publication
from antiphon.wire.centrifuge.pushes import Message
from tests.wire.centrifuge import reference, strategies
from tests.wire.centrifuge.reading import Pair, read


def document_of(id: int, command: commands.Command) -> dict[str, Any]:
    """Return what an SDK would send."""
    content = reference.as_dict(command)
    if "tf" in content:
        content["tf"] = {"op": "and", "nodes": [{"key": "a", "cmp": "eq", "val": "b"}]}
    body = {reference.COMMANDS[type(command)]: content} if type(command) in reference.COMMANDS else {}
    return {**body, "id": id} if id else body


def frame(*pairs: Pair) -> bytes:
    return "\n".join(stdlib.dumps(document_of(*pair)) for pair in pairs).encode()


def shuffled(document: Any, chance: random.Random) -> Any:
    """Return ``document`` with the names of each object in another order."""
    if isinstance(document, dict):
        return {name: shuffled(document[name], chance) for name in chance.sample(list(document), len(document))}
    return [shuffled(each, chance) for each in document] if isinstance(document, list) else document


def same(found: Any, expected: Any) -> bool:
    """Tell whether two commands say the same, data being compared as documents."""
    return type(found) is type(expected) and reference.as_dict(found) == reference.as_dict(expected)


def decode_one(line: bytes) -> Pair:
    [pair] = json.decode_frame(line)
    return pair


def commands_of(payload: bytes, **limits: int) -> list[Pair]:
    """Read a frame to its end."""
    return list(json.decode_frame(payload, **limits))


def problem_with(payload: bytes, **limits: int) -> ProtocolError:
    _, problem = read(json.decode_frame(payload, **limits))
    assert type(problem) is ProtocolError
    return problem


def one_line(encoded: bytes) -> Any:
    assert b"\n" not in encoded
    return stdlib.loads(encoded)


# What the standard library writes is read, and the other way round


@given(
    st.lists(st.tuples(strategies.ids, strategies.command), min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from([(",", ":"), (", ", ": ")]),
    st.integers(0, 1000),
    st.sampled_from(["", "\n"]),
)
def test_what_the_standard_library_writes_is_decoded(
    pairs: list[Pair], ascii_only: bool, separators: tuple[str, str], seed: int, ending: str
) -> None:
    chance = random.Random(seed)
    lines = [
        stdlib.dumps(shuffled(document_of(*pair), chance), ensure_ascii=ascii_only, separators=separators)
        for pair in pairs
    ]
    found = commands_of(("\n".join(lines) + ending).encode())
    assert [id for id, _ in found] == [id for id, _ in pairs]
    assert all(same(one, other) for (_, one), (_, other) in zip(found, pairs, strict=True))


@given(strategies.ids, strategies.result)
def test_the_standard_library_reads_a_result(id: int, result: replies.Result) -> None:
    expected = {"id": id, reference.RESULTS[type(result)]: reference.as_dict(result)}
    assert one_line(json.encode_reply(id, result)) == expected


@given(strategies.ids, strategies.errors)
def test_the_standard_library_reads_an_error(id: int, error: Error) -> None:
    assert one_line(json.encode_error(id, error)) == {"id": id, "error": reference.as_dict(error)}


@given(strategies.text, strategies.push)
def test_the_standard_library_reads_a_push(channel: str, push: Any) -> None:
    expected = {"channel": channel} if channel else {}
    expected[reference.PUSHES[type(push)]] = reference.as_dict(push)
    assert one_line(json.encode_push(channel, push)) == {"push": expected}


@given(st.lists(st.tuples(strategies.ids, strategies.result), min_size=1, max_size=4))
def test_joined_replies_have_a_line_each(pairs: list[tuple[int, Any]]) -> None:
    joined = json.join([json.PING, *itertools.starmap(json.encode_reply, pairs)])
    expected = [{}, *({"id": id, reference.RESULTS[type(each)]: reference.as_dict(each)} for id, each in pairs)]
    assert [stdlib.loads(line) for line in joined.decode().split("\n")] == expected


# Data


@pytest.mark.parametrize(
    "data",
    ["null", "true", "0", '""', "1.50", '{ "a" : [1,  2] }', '"\\u00e4\\n\\/"', "[1e400]", "9" * 30, "{}", '"ä€🎵"'],
)
def test_data_comes_and_goes_as_it_is_written(data: str) -> None:
    raw = data.encode()
    for name, expected in [
        ("publish", commands.Publish(data=raw)),
        ("rpc", commands.Rpc(data=raw)),
        ("send", commands.Send(raw)),
        ("connect", commands.Connect(data=raw)),
        ("subscribe", commands.Subscribe(data=raw)),
    ]:
        assert decode_one(b'{"%b": {"data": %b },"id":7}' % (name.encode(), raw)) == (7, expected)
    assert json.encode_push("", Message(raw)) == b'{"push":{"message":{"data":%b}}}' % raw
    assert json.encode_push("r", Publication(raw)) == b'{"push":{"channel":"r","pub":{"data":%b}}}' % raw
    assert json.encode_reply(7, replies.RpcResult(raw)) == b'{"id":7,"rpc":{"data":%b}}' % raw


def test_data_is_bytes_that_hold_nothing_of_the_frame() -> None:
    _, command = decode_one(b'{"publish":{"channel":"r","data":[1]},"id":7}')
    assert isinstance(command, commands.Publish)
    assert type(command.data) is bytes


def test_data_that_is_absent_is_empty_and_null_is_null() -> None:
    assert decode_one(b'{"rpc":{"method":"m"},"id":7}') == (7, commands.Rpc("m", b""))
    assert decode_one(b'{"rpc":{"method":"m","data":null},"id":7}') == (7, commands.Rpc("m", b"null"))


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"\xff",
            b'"\xff"',
            b'{"\xff":1}',
            b'"\xed\xa0\x80"',
            b"01",
            b"1.",
            b"NaN",
            b"nul",
            b"'a'",
            b'"\t"',
            b'"\\x"',
        ),
        *(b"[1,]", b'{"a":1,}', b"{1:2}", b'"\\ud800"', b"[" * 50_000, b"[" * 30_000 + b"]" * 30_000, b"", b"1 2"),
    ],
)
@pytest.mark.parametrize("name", [b"data", b"not_known"])
def test_data_that_is_no_json_does_not_come_in(name: bytes, data: bytes) -> None:
    problem_with(b'{"publish":{"channel":"r","%b":%b},"id":7}' % (name, data))
    problem_with(b'{"publish":{"channel":"r"},"id":7,"%b":%b}' % (name, data))


# Numbers


@pytest.mark.parametrize("number", [0, 1, 2**32, 2**53 + 1, 2**63, 2**64 - 1])
def test_an_offset_is_a_number_of_64_bits(number: int) -> None:
    line = b'{"subscribe":{"channel":"r","offset":%d},"id":1}' % number
    assert decode_one(line) == (1, commands.Subscribe("r", offset=number))
    assert decode_one(b'{"history":{"since":{"offset":%d}},"id":1}' % number) == (
        1,
        commands.History(since=Position("", number)),
    )
    found = json.encode_push("r", Publication(b"1", offset=number))
    assert found == b'{"push":{"channel":"r","pub":{"data":1%b}}}' % (b',"offset":%d' % number if number else b"")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"ping":{},"id":4294967296}', "<= 4294967295"),
        (b'{"ping":{},"id":-1}', ">= 0"),
        (b'{"ping":{},"id":1.5}', "float"),
        (b'{"ping":{},"id":"1"}', "str"),
        (b'{"ping":{},"id":true}', "bool"),
        (b'{"ping":{},"id":%b}' % (b"9" * 5000), "out of range"),
        (b'{"subscribe":{"offset":18446744073709551616},"id":1}', "more than 64 bits"),
        (b'{"connect":{"subs":{"a":{"offset":18446744073709551616}}},"id":1}', "more than 64 bits"),
        (b'{"history":{"since":{"offset":18446744073709551616}},"id":1}', "more than 64 bits"),
        (b'{"subscribe":{"offset":-1},"id":1}', ">= 0"),
        (b'{"subscribe":{"flag":9223372036854775808},"id":1}', "9223372036854775807"),
        (b'{"history":{"limit":2147483648},"id":1}', "<= 2147483647"),
        (b'{"history":{"limit":-2147483649},"id":1}', ">= -2147483648"),
    ],
)
def test_a_number_outside_its_bits_is_refused(line: bytes, words: str) -> None:
    assert words in problem_with(line).reason


# Which command it is


def test_an_empty_command_is_a_pong_and_an_empty_reply_a_ping() -> None:
    assert json.PING == b"{}"
    assert commands_of(b"{}") == [(0, commands.Pong())]
    assert commands_of(b' { } \n{"id":0}\n') == [(0, commands.Pong()), (0, commands.Pong())]


@given(strategies.command)
def test_only_a_message_needs_no_id(command: commands.Command) -> None:
    payload = frame((0, command))
    if isinstance(command, commands.Send):
        [(id, found)] = json.decode_frame(payload)
        assert id == 0
        assert same(found, command)
    else:
        assert "command 1 of the frame: it has no id" in problem_with(payload).reason


@pytest.mark.parametrize("line", [b'{"id":7}', b'{"id":7,"invented":{}}', b'{"id":7,"publish":null}'])
def test_an_id_alone_is_no_command(line: bytes) -> None:
    assert "no command that is known" in problem_with(line).reason


@given(strategies.command, strategies.command)
def test_of_several_the_first_of_the_schema_counts(one: Any, other: Any) -> None:
    order = list(reference.COMMANDS)
    first, second = sorted((one, other), key=lambda command: order.index(type(command)))
    if type(first) is not type(second):
        line = stdlib.dumps({**document_of(7, second), **document_of(7, first)}).encode()
        id, found = decode_one(line)
        assert id == 7
        assert same(found, first)


def test_what_the_sdk_for_javascript_sends_first() -> None:
    payload = (
        b'{"connect":{"data":{"a":1},"name":"js"},"id":3}\n'
        b'{"subscribe":{"channel":"room","flag":1,"recover":true,"offset":3,"epoch":"f92d"},"id":4}'
    )
    assert commands_of(payload) == [
        (3, commands.Connect(data=b'{"a":1}', name="js")),
        (4, commands.Subscribe("room", recover=True, epoch="f92d", offset=3, flag=1)),
    ]


def test_what_is_null_was_not_sent_but_for_data() -> None:
    line = b'{"id":7,"publish":null,"connect":{"token":null,"data":null,"subs":null,"headers":null,"name":null}}'
    assert decode_one(line) == (7, commands.Connect(data=b"null"))
    line = b'{"subscribe":{"channel":"r","recover":null,"offset":null,"tf":null,"flag":null,"type":null},"id":7}'
    assert decode_one(line) == (7, commands.Subscribe("r"))
    assert decode_one(b'{"history":{"since":null,"limit":null},"id":7}') == (7, commands.History())
    assert decode_one(b'{"history":{"since":{"offset":null,"epoch":null}},"id":7}') == (
        7,
        commands.History(since=Position("", 0)),
    )
    assert decode_one(b'{"connect":{"subs":{"a":{"recover":true,"offset":null}}},"id":7}') == (
        7,
        commands.Connect(subs={"a": commands.Recovery(True)}),
    )
    assert decode_one(b'{"send":{"data":1},"id":null}') == (0, commands.Send(b"1"))


def test_of_two_with_one_name_the_last_counts() -> None:
    assert decode_one(b'{"id":1,"refresh":{"token":"a","token":"b"},"id":2}') == (2, commands.Refresh("b"))


def test_what_comes_in_is_not_shared() -> None:
    for line in (b'{"connect":{},"id":1}', b'{"connect":{"headers":null,"subs":null},"id":1}'):
        for _ in range(2):
            _, command = decode_one(line)
            assert isinstance(command, commands.Connect)
            assert (command.headers, command.subs) == ({}, {})
            command.headers["a"] = "b"
            command.subs["a"] = commands.Recovery()


# What is not known


@given(strategies.command, strategies.documents)
def test_what_is_not_known_is_skipped(command: commands.Command, document: Any) -> None:
    known = document_of(7, command)
    for content in (known, known[reference.COMMANDS[type(command)]]):
        content["not_known"] = document
        content["😀"] = document
    id, found = decode_one(stdlib.dumps(known).encode())
    assert id == 7
    assert same(found, command)


def test_features_that_are_not_offered_are_skipped_or_told() -> None:
    line = (
        b'{"subscribe":{"channel":"r","delta":"fossil","phase":2,"cursor":"x","type":1,'
        b'"tf":{"op":"not","nodes":[{"key":"a","cmp":"ex"}]}},"id":7}'
    )
    assert decode_one(line) == (7, commands.Subscribe("r", tf=True, type=1))


# What is wrong


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "the frame is empty"),
        (b"\n", "command 1 of the frame: it is empty"),
        (b" ", "command 1 of the frame: it is empty"),
        (b"{}\n\n{}", "command 2 of the frame: it is empty"),
        (b"{}\n\n", "command 2 of the frame: it is empty"),
        (b"{}\n \r\n{}", "command 2 of the frame: it is empty"),
        (b"\n{}", "command 1 of the frame: it is empty"),
        (b'{"publish":\n{"channel":"r"},"id":1}', "command 1 of the frame: Input data was truncated"),
        (b"{}{}", "trailing characters"),
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b'"{}"', "Expected `object`, got `str`"),
        (b"{}\n\xff", "command 2 of the frame: it is not UTF-8"),
        (b"\xef\xbb\xbf{}", "malformed"),
        (b'{"publish":[],"id":1}', "$.publish"),
        (b'{"publish":{"channel":5},"id":1}', "$.publish.channel"),
        (b'{"connect":{"headers":{"a":1}},"id":1}', "$.connect.headers"),
        (b'{"connect":{"subs":{"a":null}},"id":1}', "$.connect.subs"),
        (b'{"subscribe":{"recover":1},"id":1}', "$.subscribe.recover"),
        (b'{"x":' + b"[" * 60_000 + b"}", "it is nested too deep"),
    ],
)
def test_what_is_wrong_is_told(payload: bytes, words: str) -> None:
    assert words in problem_with(payload).reason


def test_what_was_in_front_of_a_fault_is_kept() -> None:
    pairs: list[Pair] = [(7, commands.Presence("a")), (8, commands.Presence("b"))]
    found, problem = read(json.decode_frame(frame(*pairs) + b"\n{"))
    assert found == pairs
    assert problem is not None
    assert problem.code == "bad_frame"


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,0129.eE-\\u\n diconetpublsh', max_size=60).map(str.encode))
def test_anything_that_comes_in_is_commands_or_a_protocol_error(payload: bytes) -> None:
    try:
        found = commands_of(payload, max_command_size=40, max_commands=5)
    except ProtocolError:
        return
    assert 1 <= len(found) <= 5


# Limits


def test_a_command_may_have_so_many_bytes() -> None:
    line = b'{"publish":{"channel":"room","data":"%b"},"id":7}' % (b"x" * 100)
    assert commands_of(line + b"\n" + line, max_command_size=len(line)) == 2 * [
        (7, commands.Publish("room", b'"%b"' % (b"x" * 100)))
    ]
    words = f"command 1 of the frame has {len(line)} bytes; at most {len(line) - 1} are read"
    with pytest.raises(CommandTooBig, match=words):
        commands_of(line, max_command_size=len(line) - 1)


@pytest.mark.parametrize("big", [b'{"publish":{"data":"%b"},"id":7}', b'{"id":7,"publish":{"data":"%b"}}'])
def test_a_command_that_is_too_big_says_its_id_and_what_stands_around_it(big: bytes) -> None:
    before, behind = (6, commands.Presence("a")), (8, commands.Presence("b"))
    payload = b"\n".join([frame(before), big % (b"x" * 100), frame(behind), b""])
    reading = json.decode_frame(payload, max_command_size=60)
    found, problem = read(reading)
    assert found == [before]
    assert isinstance(problem, CommandTooBig)
    assert (problem.id, problem.code) == (7, "command_too_big")
    assert list(reading) == [behind]


@pytest.mark.parametrize(
    "body", [b"x" * 60, b'{"send":{"data":"' + b"x" * 60 + b'"}}', b'{"id":-5,"x":"%b"}' % (b"x" * 60)]
)
def test_where_the_id_of_a_command_that_is_too_big_can_not_be_read_it_is_0(body: bytes) -> None:
    reading = json.decode_frame(body + b"\n", max_command_size=50)
    with pytest.raises(CommandTooBig) as caught:
        next(reading)
    assert caught.value.id == 0
    assert reading.is_over


def test_a_frame_may_have_so_many_commands() -> None:
    pairs: list[Pair] = [(id, commands.Presence("a")) for id in range(1, 6)]
    assert commands_of(frame(*pairs) + b"\n", max_commands=5) == pairs
    found, problem = read(json.decode_frame(frame(*pairs), max_commands=4))
    assert found == pairs[:4]
    assert problem is not None
    assert problem.reason == "the frame has more than 4 commands"


def test_a_command_may_have_so_many_fields() -> None:
    def connect(subs: int) -> bytes:
        entries = ",".join(f'"{number}":{{}}' for number in range(subs))
        return f'{{"connect":{{"subs":{{{entries}}}}},"id":1}}'.encode()

    [(_, command)] = commands_of(connect(MAX_FIELDS // 4), max_command_size=10**6)
    assert isinstance(command, commands.Connect)
    assert len(command.subs) == MAX_FIELDS // 4
    reason = f"command 1 of the frame: it has more than {MAX_FIELDS} fields"
    assert problem_with(connect(MAX_FIELDS // 4 + 1), max_command_size=10**6).reason == reason


# What goes out


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (replies.PublishResult(), b'{"id":3,"publish":{}}'),
        (replies.UnsubscribeResult(), b'{"id":3,"unsubscribe":{}}'),
        (replies.SubscribeResult(), b'{"id":3,"subscribe":{}}'),
        (replies.ConnectResult(), b'{"id":3,"connect":{}}'),
        (replies.RpcResult(), b'{"id":3,"rpc":{}}'),
        (replies.RefreshResult(), b'{"id":3,"refresh":{}}'),
        (replies.SubRefreshResult(), b'{"id":3,"sub_refresh":{}}'),
        (replies.PresenceResult(), b'{"id":3,"presence":{"presence":{}}}'),
        (
            replies.PresenceResult({"c": ClientInfo()}),
            b'{"id":3,"presence":{"presence":{"c":{"user":"","client":""}}}}',
        ),
        (replies.PresenceStatsResult(), b'{"id":3,"presence_stats":{"num_clients":0,"num_users":0}}'),
        (replies.HistoryResult(), b'{"id":3,"history":{"publications":[],"epoch":"","offset":0}}'),
    ],
)
def test_a_result_is_there_even_where_it_says_nothing(result: Any, expected: bytes) -> None:
    assert json.encode_reply(3, result) == expected


def test_the_answers_a_session_gives_first() -> None:
    """As bytes, so that a change of them is seen."""
    connected = replies.ConnectResult("c1", ping=25, pong=True)
    assert json.encode_reply(1, connected) == b'{"id":1,"connect":{"client":"c1","ping":25,"pong":true}}'
    assert json.encode_error(2, ERRORS[103]) == b'{"id":2,"error":{"code":103,"message":"permission denied"}}'
    assert json.encode_error(2, ERRORS[100]) == (
        b'{"id":2,"error":{"code":100,"message":"internal server error","temporary":true}}'
    )
    full = Publication(b"[1]", ClientInfo("u", "c", b'{"n":1}', b"2"), 1, {"t": "v"}, 1_700_000_000_123, "e")
    assert json.encode_push("r", full) == (
        b'{"push":{"channel":"r","pub":{"data":[1],"info":{"user":"u","client":"c","conn_info":{"n":1},"chan_info":2},'
        b'"offset":1,"tags":{"t":"v"},"time":1700000000123,"epoch":"e"}}}'
    )


def test_text_that_is_no_plain_str_is_sent() -> None:
    class SafeString(str):
        """As Django's."""

    found = one_line(json.encode_push(SafeString("room"), Publication(b"1", ClientInfo(SafeString("Ann")))))
    assert (found["push"]["channel"], found["push"]["pub"]["info"]["user"]) == ("room", "Ann")


def test_half_of_a_surrogate_pair_is_sent_as_a_question_mark() -> None:
    found = one_line(json.encode_push("a\ud800\n", Publication(b"1", tags={"\udfff": "\ud83d"})))
    assert found == {"push": {"channel": "a?\n", "pub": {"data": 1, "tags": {"?": "?"}}}}
