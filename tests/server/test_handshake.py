"""The opening handshake: from the bytes of a request to those of the answer."""

from __future__ import annotations

import base64
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.headers import parse_connection, parse_upgrade
from websockets.utils import accept_key

from antiphon.counters import Counters
from antiphon.server.handshake import (
    HandshakeError,
    UpgradeRequest,
    check,
    headers_too_long,
    parse,
    response,
    switching_protocols,
    too_large,
)

from ..fakes import cpu_seconds

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


#: Limits that are not what is tested.
ROOMY = 1 << 20


def parsed(data: bytes) -> UpgradeRequest:
    return parse(data, max_size=ROOMY, max_headers=ROOMY)


def fault(data: bytes, *, max_size: int = ROOMY, max_headers: int = ROOMY) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        parse(data, max_size=max_size, max_headers=max_headers)
    error = caught.value
    assert error.reason
    assert hasattr(Counters(), error.counter)
    response(error.status, list(error.headers), error.reason.encode())
    return error


# The request


def test_target_headers_and_key_are_read() -> None:
    found = parsed(request(b"X-Mixed-Case:  some value \t", b"x-empty:", target=b"/chat/?a=1"))
    assert (found.target, found.key) == (b"/chat/?a=1", KEY)
    assert found.headers[0] == (b"host", b"example.org")
    assert (b"x-mixed-case", b"some value") in found.headers
    assert (b"x-empty", b"") in found.headers


def test_headers_keep_order_and_repetition() -> None:
    found = parsed(request(b"A: 1", b"B: 2", b"A: 3", b"C: a:b"))
    assert found.headers[-4:] == [(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"c", b"a:b")]


def test_what_stands_behind_the_request_is_no_part_of_it() -> None:
    assert parsed(request() + b"\x81\x80maskX: 1\r\n\r\n") == parsed(request())


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/", b"/"),
        (b"/a/b?c=/d?e", b"/a/b?c=/d?e"),
        (b"//a/b", b"//a/b"),
        (b"/%2e%2e/\xff", b"/%2e%2e/\xff"),
        (b"/?", b"/?"),
        (b"/a#b", b"/a"),
        (b"/a?b#c?d", b"/a?b"),
        (b"http://example.org/a?b", b"/a?b"),
        (b"http://example.org", b"/"),
        (b"http://example.org?a", b"/?a"),
        (b"HTTPS://user@example.org:8000/a", b"/a"),
        (b"ws://[::1]:8000/a", b"/a"),
        (b"/http://example.org/", b"/http://example.org/"),
    ],
)
def test_the_target_is_path_and_query(target: bytes, expected: bytes) -> None:
    assert parsed(request(target=target)).target == expected


@pytest.mark.parametrize("target", [b"*", b"a/b", b"example.org:443", b"?a", b"#a", b"", b"://a/b", b"1http://a/b"])
def test_a_target_that_is_no_path_is_400(target: bytes) -> None:
    assert fault(request(target=target)).status == 400


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], []),
        ([b"Sec-WebSocket-Protocol: chat"], ["chat"]),
        ([b"Sec-WebSocket-Protocol: a, b ,c"], ["a", "b", "c"]),
        ([b"Sec-WebSocket-Protocol: a", b"sec-websocket-protocol: b, c"], ["a", "b", "c"]),
        ([b"Sec-WebSocket-Protocol: ,, a,"], ["a"]),
        ([b"Sec-WebSocket-Protocol: "], []),
        ([b"Sec-WebSocket-Protocol: v1.chat+json!#$%&'*-^_`|~"], ["v1.chat+json!#$%&'*-^_`|~"]),
    ],
)
def test_subprotocols_are_read_from_every_line(lines: list[bytes], expected: list[str]) -> None:
    assert parsed(request(*lines)).subprotocols == expected


@pytest.mark.parametrize("value", [b"a b", b"a;b", b'"a"', b"a=b", b"\xe4", b"a, b/c", b"a\x00", b"(a)", b"a, \x0b"])
def test_what_is_no_subprotocol_is_400(value: bytes) -> None:
    assert fault(request(b"Sec-WebSocket-Protocol: " + value)).status == 400


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], b""),
        ([b"Sec-WebSocket-Extensions: a; b=1, c"], b"a; b=1, c"),
        ([b"Sec-WebSocket-Extensions: a", b"sec-websocket-extensions: b"], b"a,b"),
    ],
)
def test_the_offers_of_extensions_are_read_from_every_line(lines: list[bytes], expected: bytes) -> None:
    assert parsed(request(*lines)).extensions == expected


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
        KEY + b", " + KEY,
        KEY[:10] + b" " + KEY[10:],
    ],
)
def test_a_bad_key_is_400(key: bytes) -> None:
    assert fault(request(key=key)).status == 400


def test_no_key_or_two_are_400() -> None:
    assert fault(request().replace(b"Sec-WebSocket-Key", b"X-Other")).status == 400
    assert fault(request(b"Sec-WebSocket-Key: " + KEY)).status == 400


def test_no_host_an_empty_one_or_two_are_400() -> None:
    assert fault(request().replace(b"Host: example.org\r\n", b"")).status == 400
    assert fault(request().replace(b"example.org", b"")).status == 400
    assert fault(request(b"Host: example.org")).status == 400
    assert fault(request(b"host: other.example.org")).status == 400


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length: 1",
        b"Content-Length: 1000000",
        b"content-length: +0",
        b"Content-Length:",
        b"Transfer-Encoding: chunked",
        b"transfer-encoding: identity",
    ],
)
def test_a_request_with_a_body_is_413(line: bytes) -> None:
    assert fault(request(line)).status == 413
    assert fault(request(b"Content-Length: 0", line)).status == 413


def test_a_body_of_no_bytes_is_none() -> None:
    assert parsed(request(b"Content-Length: 0")).key == KEY


@given(st.binary(min_size=16, max_size=16))
def test_any_16_bytes_are_a_key(nonce: bytes) -> None:
    key = base64.b64encode(nonce)
    assert parsed(request(key=key)).key == key


tokens = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=12).map(str.encode)
values = st.text(string.ascii_letters + string.digits + " :;,=/", max_size=20).map(lambda value: value.strip().encode())


@given(st.lists(st.tuples(tokens, values), max_size=8))
def test_any_well_formed_headers_are_read(headers: list[tuple[bytes, bytes]]) -> None:
    ours = [(b"x-" + name, value) for name, value in headers]
    found = parsed(request(*(b"%s: %s" % header for header in ours)))
    assert found.headers[5:] == [(name.lower(), value) for name, value in ours]


names = st.sampled_from(
    [b"host", b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-protocol", b"content-length", b"x"]
)


@given(
    st.sampled_from([b"GET", b"POST", b"\xff"]),
    st.binary(max_size=20),
    st.lists(st.tuples(names, st.binary(max_size=20) | st.sampled_from([KEY, b"13", b"a"])), max_size=8),
)
def test_any_request_is_one_or_refused(method: bytes, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    try:
        found = check(method, target, headers, max_size=200, max_headers=7)
    except HandshakeError as error:
        status = error.status
    else:
        assert found.target.startswith(b"/")
        return
    assert status in (400, 405, 413, 426, 431)


# How large it may be


def test_so_many_headers_may_be_there() -> None:
    lines = [b"X-%d: 1" % number for number in range(95)]
    assert len(parse(request(*lines), max_size=ROOMY, max_headers=100).headers) == 100
    error = fault(request(*lines, b"X: 1"), max_headers=100)
    assert (error.status, error.counter, "100" in error.reason) == (431, "headers_too_large", True)
    assert fault(request(*[b"X: 1"] * 1000), max_headers=100).status == 431


@pytest.mark.parametrize("where", ["target", "name", "value", "many"])
def test_headers_may_be_so_long(where: str) -> None:
    def sized(extra: int) -> bytes:
        if where == "target":
            return request(target=b"/" + b"x" * extra)
        if where == "name":
            return request(b"x" * (1 + extra) + b": 1")
        if where == "value":
            return request(b"X: " + b"1" * extra)
        return request(*[b"X: " + b"1" * 6] * (extra // 11), b"Y: " + b"1" * (extra % 11))

    whole = parsed(sized(500))
    size = len(whole.target) + sum(len(name) + len(value) + 4 for name, value in whole.headers)
    assert parse(sized(500), max_size=size, max_headers=ROOMY) == whole
    error = fault(sized(501), max_size=size)
    assert (error.status, error.counter, str(size) in error.reason) == (431, "headers_too_large", True)


def test_the_size_is_judged_before_all_else() -> None:
    assert fault(request(b"X: " + b"1" * 500, method=b"POST", key=b"x"), max_size=300).status == 431
    assert too_large(b"/", [(b"a", b"1")], max_size=7, max_headers=1) is None
    assert headers_too_long(7).status == 431


# Time


@pytest.mark.parametrize(
    "name", [b"Key", b"Version", b"Protocol", b"Extensions", b"Accept"], ids=lambda name: name.decode()
)
@pytest.mark.parametrize("part", [b"a", b"a,", b",", b"a; b=1,", b"=", b"A=", b'"\\', b"\xff", b"a \t"], ids=repr)
def test_time_grows_with_the_length_of_a_header(name: bytes, part: bytes) -> None:
    def parsing(length: int) -> Callable[[], object]:
        value = part * (length // len(part))
        data_of = {b"Key": lambda: request(key=value), b"Version": lambda: request(version=value)}
        data = data_of.get(name, lambda: request(b"Sec-WebSocket-%s: %s" % (name, value)))()

        def work() -> None:
            try:
                parsed(data)
            except HandshakeError:
                pass

        return work

    little, much = cpu_seconds(parsing(8 * 1024)), cpu_seconds(parsing(64 * 1024))
    assert much < 24 * little + 0.001, "eight times as much takes about eight times as long; a square would be 64"


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


@given(st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=8)), max_size=3))
def test_whatever_headers_are_added_the_acceptance_has_one_head(headers: list[tuple[bytes, bytes]]) -> None:
    try:
        answer = switching_protocols(KEY, headers)
    except ValueError:
        return
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b""
    assert len(head.split(b"\r\n")) == 4 + len(headers)


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
