"""Any ASGI application on antiphon's protocol class: the ASGI WebSocket specification (2.4) is kept."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from .clients import Client, Wire, connect, eventually, exchange, upgrade_request
from .servers import Kind, Server, Servers


async def recorded(server: Server, client: str, what: str) -> dict[str, Any]:
    """Wait until the application has recorded ``what``; return the first such record."""
    records = await eventually(lambda: [line for line in server.records(client) if line["what"] == what], what)
    found: dict[str, Any] = records[0]
    return found


async def disconnect_event(server: Server, client: str) -> dict[str, Any]:
    """Wait until the application was told of the end; return the event."""
    events = await eventually(
        lambda: [
            line["event"]
            for line in server.records(client)
            if line["what"] == "event" and line["event"]["type"] == "websocket.disconnect"
        ],
        "websocket.disconnect",
    )
    assert len(events) == 1
    event: dict[str, Any] = events[0]
    return event


# Scope


async def scope_of(server: Server, target: str, **options: Any) -> Any:
    """Connect and return the scope that the application saw."""
    async with await connect(server, target, **options) as client:
        return await client.receive_json()


async def test_scope_holds_what_the_specification_names(spec: Server) -> None:
    scope = await scope_of(spec, "/scope_contents?a=1&b=%C3%BC")
    assert scope["type"] == "websocket"
    assert scope["asgi"]["spec_version"] == "2.4"
    assert scope["asgi"]["version"] == "3.0"
    assert (scope["http_version"], scope["scheme"], scope["root_path"]) == ("1.1", "ws", "")
    assert scope["path"] == scope["raw_path"] == "/scope_contents"
    assert scope["query_string"] == "a=1&b=%C3%BC"
    assert scope["server"] == [spec.host, spec.port]
    assert scope["client"][0] == "127.0.0.1"
    assert isinstance(scope["client"][1], int)
    assert scope["subprotocols"] == []
    assert "websocket.http.response" in scope["extensions"]
    assert all([*scope["text"].values(), *scope["raw"].values()])


async def test_path_is_decoded_and_raw_path_is_not(spec: Server) -> None:
    scope = await scope_of(spec, "/caf%C3%A9%2Fone%20two/scope_contents")
    assert scope["path"] == "/café/one two/scope_contents"
    assert scope["raw_path"] == "/caf%C3%A9%2Fone%20two/scope_contents"


async def test_headers_keep_their_order_and_doubles(spec: Server) -> None:
    lines = ("X-Double: first", "Accept-Language: de", "x-double: second")
    async with await Wire.open(spec, "/scope_contents", *lines) as wire:
        scope = json.loads((await wire.receive_frame())[1])
    assert [value for name, value in scope["headers"] if name == "x-double"] == ["first", "second"]
    assert ["accept-language", "de"] in scope["headers"]
    assert all(name == name.lower() for name, _ in scope["headers"])


async def test_subprotocols_that_the_client_offers(spec: Server) -> None:
    lines = ("Sec-WebSocket-Protocol: chat.v2,chat.v1", "Sec-WebSocket-Protocol: soap")
    async with await Wire.open(spec, "/scope_contents", *lines) as wire:
        scope = json.loads((await wire.receive_frame())[1])
    assert scope["subprotocols"] == ["chat.v2", "chat.v1", "soap"]


async def test_state_of_the_lifespan_is_a_copy(spec: Server) -> None:
    async with await connect(spec, "/write_state"):
        pass
    state = (await scope_of(spec, "/scope_contents"))["state"]
    assert state["started"] == "by the lifespan"
    assert "changed by a connection" in state["shared"]


# Accepting


async def test_accept_with_headers_and_subprotocol(spec: Server) -> None:
    async with await Wire.open(spec, "/accept_with_headers", "Sec-WebSocket-Protocol: chat.v2, chat.v1") as wire:
        headers = wire.headers
    assert (b"x-one", b"1") in headers
    assert [value for name, value in headers if name == b"set-cookie"] == [b"a=1", b"b=2"]
    assert (b"x-mixed-case", b"Gr\xfc\xdfe") in headers
    assert (b"sec-websocket-protocol", b"chat.v1") in headers
    assert (b"sec-websocket-accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") in headers  # RFC 6455 §1.3
    assert (b"upgrade", b"websocket") in headers
    assert [value.lower() for name, value in headers if name == b"connection"] == [b"upgrade"]


@pytest.mark.parametrize("offered", [None, ["chat.v1"], ["soap", "chat.v1"]], ids=repr)
async def test_subprotocol_that_the_application_chooses(spec: Server, offered: list[str] | None) -> None:
    path = "/accept_subprotocol_of_query" + ("?choose=chat.v1" if offered else "")
    async with await connect(spec, path, subprotocols=offered) as client:
        assert client.websocket.subprotocol == ("chat.v1" if offered else None)


CASES = ["value", "line-feed", "null", "name", "empty-name", "space-in-name", "subprotocol"]


@pytest.mark.parametrize("case", CASES)
async def test_header_injection_is_refused(spec: Server, name: str, case: str) -> None:
    async with await exchange(spec, upgrade_request(f"/inject?case={case}&client={name}")) as wire:
        assert wire.status == 500
        assert b"injected" not in wire.head
    assert (await recorded(spec, name, "raised"))["error"] == "ValueError"


async def test_header_injection_into_a_denial_is_refused(spec: Server, name: str) -> None:
    async with await exchange(spec, upgrade_request(f"/inject_into_denial?client={name}")) as wire:
        assert wire.status == 500
        assert b"injected" not in wire.head
    assert (await recorded(spec, name, "raised"))["error"] == "ValueError"


async def test_frame_that_arrives_before_the_answer_is_not_lost(spec: Server, name: str) -> None:
    async with await Wire.dial(spec) as wire:
        await wire.write(upgrade_request(f"/accept_late?client={name}"))
        await recorded(spec, name, "waiting")
        await wire.send_frame(0x1, b"impatient")
        spec.get(f"/open?client={name}")
        await wire.read_head()
        assert wire.status == 101
        assert (await recorded(spec, name, "event"))["event"]["text"] == "impatient"


# Refusing


async def body_of(wire: Wire) -> bytes:
    """Return the rest of the answer; the server ends the connection behind it."""
    return await wire.read_to_end()


async def test_close_before_accept_is_403(spec: Server, name: str) -> None:
    async with await exchange(spec, upgrade_request(f"/refuse?client={name}")) as wire:
        assert wire.status == 403
        assert await body_of(wire) == b""
    assert (await recorded(spec, name, "after"))["event"] == "websocket.disconnect"
    assert (await recorded(spec, name, "raised"))["error"] == "RuntimeError"


async def test_denial_in_several_parts(spec: Server, name: str) -> None:
    async with await exchange(spec, upgrade_request(f"/deny?client={name}")) as wire:
        assert wire.status == 401
        assert (b"www-authenticate", b"Bearer") in wire.headers
        assert (b"content-type", b"text/html") in wire.headers
        assert [value for key, value in wire.headers if key == b"content-length"] == [b"15"]
        assert await body_of(wire) == b"x" * 10 + b"y" * 5
    assert (await recorded(spec, name, "raised"))["error"] == "RuntimeError"


async def test_denial_without_a_length_gets_one(spec: Server) -> None:
    async with await exchange(spec, upgrade_request("/deny_without_length")) as wire:
        assert wire.status == 404
        assert (b"content-length", b"8") in wire.headers
        assert await body_of(wire) == b"hardbody"


@pytest.mark.parametrize("behaviour", ["deny_without_body", "deny_twice", "deny_and_accept"])
async def test_denial_that_is_not_completed_ends_with_an_error(spec: Server, name: str, behaviour: str) -> None:
    async with await exchange(spec, upgrade_request(f"/{behaviour}?client={name}")) as wire:
        assert wire.status in (404, 500)
        await body_of(wire)
    if behaviour != "deny_without_body":
        assert (await recorded(spec, name, "raised"))["error"] == "RuntimeError"


FAILING = [
    "silent",
    "raise_before_accept",
    "send_before_accept",
    "deny_with_invalid_status",
    "body_without_start",
]


@pytest.mark.parametrize("behaviour", FAILING)
async def test_failure_before_accept_is_500(spec: Server, behaviour: str) -> None:
    printed = len(spec.log())
    async with await exchange(spec, upgrade_request(f"/{behaviour}")) as wire:
        assert wire.status == 500
        assert (b"connection", b"close") in wire.headers
        assert await body_of(wire) == b"Internal Server Error"
    await eventually(lambda: "ERROR" in spec.log(printed), "a line in the log")


async def test_client_that_leaves_before_it_is_accepted(spec: Server, name: str) -> None:
    wire = await Wire.dial(spec)
    await wire.write(upgrade_request(f"/wait_before_accept?client={name}"))
    await recorded(spec, name, "waiting")
    wire.reset()
    assert (await disconnect_event(spec, name))["code"] == 1006
    assert (await recorded(spec, name, "raised"))["is_os_error"]


# Messages


async def test_text_and_bytes_both_ways(spec: Server, name: str) -> None:
    async with await connect(spec, f"/echo?client={name}") as client:
        messages: list[str | bytes] = ["text", "", "ü" * 70_000, b"bytes", b"", bytes(range(256)) * 300]
        for message in messages:
            await client.send(message)
            assert await client.receive() == message
    kinds = [line["keys"] for line in spec.records(name)]
    assert kinds == [["text", "type"]] * 3 + [["bytes", "type"]] * 3


async def test_fragments_are_put_together(spec: Server) -> None:
    async with await connect(spec, "/echo") as client:
        await client.send(["Grü", "ße", "", "!" * 70_000])
        assert await client.receive() == "Grüße" + "!" * 70_000
        await client.send([b"\xff", b"\x00"])
        assert await client.receive() == b"\xff\x00"


async def test_control_frames_between_fragments(spec: Server) -> None:
    async with await Wire.open(spec, "/echo") as wire:
        await wire.send_frame(0x1, b"Hel", final=False)
        await wire.send_frame(0x9, b"ping within")
        await wire.send_frame(0x0, b"lo")
        assert await wire.receive_frame() == (0xA, b"ping within")
        assert await wire.receive_frame() == (0x1, b"Hello")


async def test_pipelined_messages_keep_their_order(spec: Server) -> None:
    async with await connect(spec, "/echo") as client:
        for number in range(1000):
            await client.send(str(number))
        assert [await client.receive() for _ in range(1000)] == [str(number) for number in range(1000)]


async def test_messages_before_the_close_frame_are_still_read(spec: Server, name: str) -> None:
    async with await connect(spec, f"/listen_late?client={name}") as client:
        for text in ["a", "b", "c"]:
            await client.send(text)
        closing = asyncio.create_task(client.close(4002, "done"))
        spec.get(f"/open?client={name}")
        await closing
    assert await disconnect_event(spec, name) == {"type": "websocket.disconnect", "code": 4002, "reason": "done"}
    texts = [line["event"].get("text") for line in spec.records(name) if line["what"] == "event"]
    assert texts == ["a", "b", "c", None]


async def test_send_waits_for_a_client_that_does_not_read(servers: Servers, direct_kind: Kind, name: str) -> None:
    server = servers.start(direct_kind, "tests.integration.apps.spec:app")
    memory = server.memory()
    wire = await Wire.open(server, f"/pour?client={name}", receive_buffer=8192)
    await recorded(server, name, "poured")
    count = await settled(lambda: len(server.records(name)))
    assert count < 500
    assert server.memory() - memory < 32 * 1024 * 1024
    wire.reset()
    assert (await recorded(server, name, "raised"))["error"] == "OSError"


async def settled(measure: Any) -> int:
    """Wait until ``measure()`` has returned the same ten times in a row; return that."""
    same, last = 0, -1
    async with asyncio.timeout(20):
        while same < 10:
            now = measure()
            same, last = (same + 1, last) if now == last else (0, now)
            await asyncio.sleep(0.02)
    return last


# The end


@pytest.mark.parametrize("code", [None, 1000, 1001, 3000, 4999])
@pytest.mark.parametrize("reason", [{}, {"reason": None}, {"reason": ""}, {"reason": "Schluß"}], ids=repr)
async def test_application_closes(spec: Server, name: str, code: int | None, reason: dict[str, Any]) -> None:
    message = {**({} if code is None else {"code": code}), **reason}
    async with await connect(spec, f"/close_as_told?client={name}") as client:
        await client.send_json(message)
        assert await client.closed() == (code or 1000, reason.get("reason") or "")
    assert (await disconnect_event(spec, name))["code"] == (code or 1000)


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "leaving"), (3999, "ü" * 60), (4000, "x")])
async def test_client_closes(spec: Server, name: str, code: int, reason: str) -> None:
    async with await connect(spec, f"/listen?client={name}") as client:
        await client.close(code, reason)
        assert await client.closed() == (code, reason)
    assert await disconnect_event(spec, name) == {"type": "websocket.disconnect", "code": code, "reason": reason}


async def test_close_frame_without_a_code_is_1005(spec: Server, name: str) -> None:
    async with await Wire.open(spec, f"/listen?client={name}") as wire:
        await wire.send_frame(0x8)
        assert await wire.receive_frame() == (0x8, b"")
        assert await wire.read_to_end() == b""
    assert (await disconnect_event(spec, name))["code"] == 1005


@pytest.mark.parametrize("end", ["vanish", "reset"])
async def test_end_without_a_close_frame_is_1006(spec: Server, name: str, end: str) -> None:
    client = await connect(spec, f"/listen?client={name}")
    getattr(client, end)()
    assert await disconnect_event(spec, name) == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    await client.close()


async def test_send_after_close_raises(spec: Server, name: str) -> None:
    async with await connect(spec, f"/send_after_close?client={name}") as client:
        assert await client.receive() == "before"
        assert (await client.closed()).code == 1000
    assert (await recorded(spec, name, "raised"))["error"] == "RuntimeError"


@pytest.mark.parametrize("behaviour", ["send_after_the_client_left", "close_after_the_client_left"])
async def test_send_after_the_client_left_raises_oserror(spec: Server, name: str, behaviour: str) -> None:
    printed = len(spec.log())
    async with await connect(spec, f"/{behaviour}?client={name}") as client:
        await client.close()
    assert (await recorded(spec, name, "raised"))["is_os_error"]
    async with await connect(spec, "/echo") as other:  # the task above has ended by now
        await other.send("x")
        assert await other.receive() == "x"
    assert "Traceback" not in spec.log(printed)


@pytest.mark.parametrize("behaviour", ["accept_twice", "unknown_message"])
async def test_message_out_of_place_raises_and_closes(spec: Server, name: str, behaviour: str) -> None:
    async with await connect(spec, f"/{behaviour}?client={name}") as client:
        assert (await client.closed()).code == 1011
    assert (await recorded(spec, name, "raised"))["error"] == "RuntimeError"


async def test_raising_after_accept_closes_with_1011(spec: Server) -> None:
    printed = len(spec.log())
    async with await connect(spec, "/raise_after_accept") as client:
        assert (await client.closed()).code == 1011
    assert "RuntimeError: after accept" in spec.log(printed)


async def test_raising_after_close_keeps_the_code_and_is_logged(spec: Server) -> None:
    printed = len(spec.log())
    async with await connect(spec, "/raise_after_close") as client:
        assert (await client.closed()).code == 4001
    await eventually(lambda: "RuntimeError: after close" in spec.log(printed), "the log")


async def test_returning_closes(spec: Server) -> None:
    async with await connect(spec, "/return_at_once") as client:
        assert (await client.closed()).code == 1000


async def test_returning_a_value_is_logged(spec: Server) -> None:
    printed = len(spec.log())
    async with await connect(spec, "/return_a_value") as client:
        assert (await client.closed()).code in (1000, 1011)
    assert "ASGI callable should return None, but returned '123'" in spec.log(printed)


async def test_shutdown_tells_client_and_application(servers: Servers, direct_kind: Kind, name: str) -> None:
    server = servers.start(direct_kind, "tests.integration.apps.spec:app")
    client: Client = await connect(server, f"/listen?client={name}")
    server.process.terminate()
    end = await client.closed()
    assert end.code == 1012
    assert end.reason
    server.exit_code()
    assert (await disconnect_event(server, name))["code"] == 1012
    assert await recorded(server, name, "completed")
    assert "Traceback" not in server.log()


async def test_shutdown_before_accept_is_500(servers: Servers, direct_kind: Kind, name: str) -> None:
    server = servers.start(direct_kind, "tests.integration.apps.spec:app")
    async with await Wire.dial(server) as wire:
        await wire.write(upgrade_request(f"/wait_before_accept?client={name}"))
        await recorded(server, name, "waiting")
        server.process.terminate()
        await wire.read_head()
        assert wire.status in (500, 503)
    server.exit_code()
