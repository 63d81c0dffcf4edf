"""The opening handshake: from the bytes of a request to those of the answer."""

from __future__ import annotations

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.headers import parse_connection, parse_upgrade
from websockets.utils import accept_key

from antiphon.server.handshake import HandshakeError, parse, response, switching_protocols

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def request(
    *more: bytes, method: bytes = b"GET", target: bytes = b"/", key: bytes = KEY, version: bytes = b"13"
) -> bytes:
    lines = [
        b"%s %s HTTP/1.1" % (method, target),
        b"Host: example.org",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Key: " + key,
        b"Sec-WebSocket-Version: " + version,
        *more,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def fault(data: bytes) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        parse(data)
    assert caught.value.reason
    return caught.value


# The request


def test_target_headers_and_key_are_read() -> None:
    parsed = parse(request(b"X-Mixed-Case:  some value \t", b"x-empty:", target=b"/chat/?a=1"))
    assert (parsed.target, parsed.key) == (b"/chat/?a=1", KEY)
    assert parsed.headers[0] == (b"host", b"example.org")
    assert (b"x-mixed-case", b"some value") in parsed.headers
    assert (b"x-empty", b"") in parsed.headers


def test_headers_keep_order_and_repetition() -> None:
    parsed = parse(request(b"A: 1", b"B: 2", b"A: 3", b"C: a:b"))
    assert parsed.headers[-4:] == [(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"c", b"a:b")]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], []),
        ([b"Sec-WebSocket-Protocol: chat"], ["chat"]),
        ([b"Sec-WebSocket-Protocol: a, b ,c"], ["a", "b", "c"]),
        ([b"Sec-WebSocket-Protocol: a", b"sec-websocket-protocol: b, c"], ["a", "b", "c"]),
        ([b"Sec-WebSocket-Protocol: ,, a,"], ["a"]),
        ([b"Sec-WebSocket-Protocol: "], []),
    ],
)
def test_subprotocols_are_read_from_every_line(lines: list[bytes], expected: list[str]) -> None:
    assert parse(request(*lines)).subprotocols == expected


@pytest.mark.parametrize("method", [b"POST", b"HEAD", b"get", b"OPTIONS"])
def test_another_method_is_405(method: bytes) -> None:
    error = fault(request(method=method))
    assert (error.status, error.headers) == (405, ((b"allow", b"GET"),))


@pytest.mark.parametrize("version", [b"", b"8", b"12", b"14", b"013", b"13, 8"])
def test_another_version_is_426_with_the_one_spoken_here(version: bytes) -> None:
    error = fault(request(version=version))
    assert (error.status, error.headers) == (426, ((b"sec-websocket-version", b"13"),))


def test_no_version_or_two_are_426() -> None:
    assert fault(request().replace(b"Sec-WebSocket-Version: 13\r\n", b"")).status == 426
    assert fault(request(b"Sec-WebSocket-Version: 13")).status == 426


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"short",
        b"!" * 24,
        base64.b64encode(b"x" * 15),
        base64.b64encode(b"x" * 17),
        KEY[:-1],
        KEY + b"=",
        b"\xff" * 24,
    ],
)
def test_a_bad_key_is_400(key: bytes) -> None:
    assert fault(request(key=key)).status == 400


def test_no_key_or_two_are_400() -> None:
    assert fault(request().replace(b"Sec-WebSocket-Key", b"X-Other")).status == 400
    assert fault(request(b"Sec-WebSocket-Key: " + KEY)).status == 400


@given(st.binary(min_size=16, max_size=16))
def test_any_16_bytes_are_a_key(nonce: bytes) -> None:
    key = base64.b64encode(nonce)
    assert parse(request(key=key)).key == key


tokens = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=12).map(str.encode)
values = st.text(string.ascii_letters + string.digits + " :;,=/", max_size=20).map(lambda value: value.strip().encode())


@given(st.lists(st.tuples(tokens, values), max_size=8))
def test_any_well_formed_headers_are_read(headers: list[tuple[bytes, bytes]]) -> None:
    ours = [(b"x-" + name, value) for name, value in headers]
    parsed = parse(request(*(b"%s: %s" % header for header in ours)))
    assert parsed.headers[5:] == [(name.lower(), value) for name, value in ours]


# The answers


def parse_answer(answer: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    pairs = [line.split(b": ", 1) for line in lines]
    return status, {name.lower(): value for name, value in pairs}, body


def test_switching_protocols_answers_the_key() -> None:
    status, headers, body = parse_answer(switching_protocols(KEY, [(b"x-a", b"1")]))
    assert status == b"HTTP/1.1 101 Switching Protocols"
    assert headers[b"sec-websocket-accept"].decode() == accept_key(KEY.decode()) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert parse_connection(headers[b"connection"].decode()) == ["Upgrade"]
    assert parse_upgrade(headers[b"upgrade"].decode()) == ["websocket"]
    assert headers[b"x-a"] == b"1"
    assert body == b""


def test_the_same_header_may_stand_there_twice() -> None:
    answer = switching_protocols(KEY, [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")])
    assert answer.count(b"set-cookie: ") == 2


@pytest.mark.parametrize(
    "header",
    [
        (b"x-a", b"1\r\nx-injected: 1"),
        (b"x-a", b"1\n"),
        (b"x-a", b"\x00"),
        (b"x-a\r\nx-injected: 1", b"1"),
        (b"x a", b"1"),
        (b"x:a", b"1"),
        (b"", b"1"),
    ],
)
def test_nothing_is_injected_by_a_header(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="can't have"):
        switching_protocols(KEY, [header])
    with pytest.raises(ValueError, match="can't have"):
        response(403, [header], b"")


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_whatever_a_header_holds_the_answer_has_one_head(name: bytes, value: bytes) -> None:
    try:
        answer = response(200, [(name, value)], b"body")
    except ValueError:
        return
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b"body"
    assert len(head.split(b"\r\n")) in (4, 5)


@pytest.mark.parametrize(
    ("status", "line"),
    [(403, b"HTTP/1.1 403 Forbidden"), (500, b"HTTP/1.1 500 Internal Server Error"), (599, b"HTTP/1.1 599 ")],
)
def test_a_response_ends_the_connection(status: int, line: bytes) -> None:
    first, headers, body = parse_answer(response(status, [], b"words"))
    assert first == line
    assert (headers[b"content-length"], headers[b"connection"], body) == (b"5", b"close", b"words")
    assert headers[b"content-type"].startswith(b"text/plain")


def test_the_applications_headers_stand_in_place_of_ours() -> None:
    given_headers = [(b"Content-Type", b"application/json"), (b"Content-Length", b"2"), (b"Connection", b"close")]
    answer = response(401, given_headers, b"{}")
    assert answer.lower().count(b"content-type") == answer.lower().count(b"content-length") == 1
    assert answer.lower().count(b"connection") == 1
