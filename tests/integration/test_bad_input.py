"""What a client may send by mistake or on purpose: it is told so, its connection lives, nobody else feels it."""

from __future__ import annotations

import pytest

from .clients import Wire, closed_with, connect, eventually
from .servers import Server

BAD = {
    "not JSON": ("hello", "invalid_json"),
    "empty": ("", "invalid_json"),
    "blank": (" \n", "invalid_json"),
    "cut off": ('{"do": "echo", "value": ', "invalid_json"),
    "NaN": ('{"do": "say", "value": NaN}', "invalid_json"),
    "Infinity": ('{"do": "say", "value": -Infinity}', "invalid_json"),
    "1e999": ('{"do": "say", "value": 1e999}', "number_too_large"),
    "5000 digits": ('{"do": "say", "value": %s}' % ("7" * 5000), "number_too_large"),
    "65 bits": ('{"do": "say", "value": 36893488147419103232}', "number_too_large"),
    "100k brackets": ("[" * 100_000, "too_deep"),
    "100k nested": ("[" * 100_000 + "]" * 100_000, "too_deep"),
    "65 levels": ("[" * 65 + "]" * 65, "too_deep"),
    "lone surrogate": (r'{"do": "say", "value": "\ud800"}', "invalid_json"),
    "byte order mark": ('\ufeff{"do": "echo", "value": 1}', "invalid_json"),
}


@pytest.mark.parametrize("case", BAD)
async def test_bad_text_is_answered_and_costs_nothing_else(rooms: Server, name: str, case: str) -> None:
    text, code = BAD[case]
    async with await connect(rooms, f"/room/{name}/") as bad, await connect(rooms, f"/room/{name}/") as good:
        await bad.send(text)
        answer = await bad.receive_json()
        assert answer == {"type": "error", "code": code, "reason": answer["reason"]}
        assert answer["reason"]
        await bad.send_json({"do": "say", "value": "still here"})
        assert await bad.receive_json() == {"said": "still here"}
        assert await good.receive_json() == {"said": "still here"}


async def test_binary_frame_where_json_is_spoken(rooms: Server, name: str) -> None:
    async with await connect(rooms, f"/room/{name}/") as client:
        await client.send(b'{"do": "echo", "value": 1}')
        assert (await client.receive_json())["code"] == "unexpected_binary"
        assert await client.ask({"do": "echo", "value": 2}) == {"echo": 2}


async def test_error_frames_keep_the_order_of_what_was_sent(rooms: Server, name: str) -> None:
    async with await connect(rooms, f"/room/{name}/") as client:
        for number in range(20):
            await client.send_json({"do": "echo", "value": number})
            await client.send("}")
        for number in range(20):
            assert await client.receive_json() == {"echo": number}
            assert (await client.receive_json())["code"] == "invalid_json"


@pytest.mark.parametrize("text", ["5", "[1]", "null", "{}", '{"do": "echo"}'])
async def test_wrong_shape_for_the_handler_closes_that_connection_only(rooms: Server, name: str, text: str) -> None:
    printed = len(rooms.log())
    async with await connect(rooms, f"/room/{name}/") as bad, await connect(rooms, f"/room/{name}/") as good:
        await bad.send(text)
        assert closed_with(rooms, await bad.closed(), 1011, "the application failed")
        assert await good.ask({"do": "say", "value": 1}) == {"said": 1}
    log = await eventually(lambda: "Traceback" in rooms.log(printed) and rooms.log(printed), "the log")
    assert f"Room at '/room/{name}/' (no user): exception in receive_json()" in log


async def test_fault_within_utf_8_on_the_wire(direct_rooms: Server, name: str) -> None:
    async with await Wire.open(direct_rooms, f"/room/{name}/") as wire:
        await wire.send_frame(0x1, b'{"do": "\xff"}')
        assert (await wire.closed()).code == 1007


NASTY_TYPES = [
    "websocket.connect",
    "websocket.receive",
    "websocket.disconnect",
    "websocket_receive",
    "dispatch",
    "send",
    "send.json",
    "send_json",
    "close",
    "accept",
    "connect",
    "receive",
    "receive_json",
    "disconnect",
    "channel_layer",
    "channel_name",
    "scope",
    "as_asgi",
    "__init__",
    "_connection",
    "no_such_handler",
    "",
    5,
    None,
]


@pytest.mark.parametrize("event_type", NASTY_TYPES, ids=repr)
async def test_nasty_event_type_is_the_senders_exception(rooms: Server, name: str, event_type: object) -> None:
    event = {"type": event_type, "value": "x", "text": '{"do": "fail"}', "code": 1000}
    async with await connect(rooms, f"/room/{name}/") as sender, await connect(rooms, f"/room/{name}/") as member:
        assert (await sender.ask({"do": "event", "event": event}))["refused"] == "InvalidEvent"
        await sender.send_json({"do": "say", "value": "unharmed"})
        assert await sender.receive_json() == {"said": "unharmed"}
        assert await member.receive_json() == {"said": "unharmed"}


@pytest.mark.parametrize("event", [{}, {"value": 1}, [], "said", None], ids=repr)
async def test_event_without_a_type(rooms: Server, name: str, event: object) -> None:
    async with await connect(rooms, f"/room/{name}/") as sender:
        assert (await sender.ask({"do": "event", "event": event}))["refused"] == "InvalidEvent"
        assert await sender.ask({"do": "echo", "value": 1}) == {"echo": 1}
