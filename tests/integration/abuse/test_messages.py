"""Messages that are well-formed frames and nothing else: what an application is made of has to stand them."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from tests.integration.clients import Wire, connect, eventually, frame
from tests.integration.servers import Server

from .attack import MiB, descriptors, opened, press
from .conftest import Record, Start
from .witness import STALL, Witness, worst_of

BAD = {
    "400 digits": (b'{"do": "say", "value": %s}' % (b"7" * 400), "number_too_large"),
    "-1e999": (b'{"do": "say", "value": -1e999}', "number_too_large"),
    "20 digits that fit no 64 bits": (b'{"do": "say", "value": 18446744073709551616}', "number_too_large"),
    "one below 64 bits": (b'{"do": "say", "value": -9223372036854775809}', "number_too_large"),
    "100k nested objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too_deep"),
    "100,001 arrays": (b"[" + b"[]," * 100_000 + b"1]", "too_many_containers"),
    "64 and one levels under text": (b'{"x": "[[[", "y": ' + b"[" * 64 + b"]" * 64 + b"}", "too_deep"),
    "lone low surrogate": (rb'{"do": "say", "value": "\udc00"}', "invalid_json"),
    "surrogates the wrong way round": (rb'{"do": "say", "value": "\udc00\ud800"}', "invalid_json"),
    "surrogate as a key": (rb'{"\ud800": 1}', "invalid_json"),
    "control character": (b'{"do": "say", "value": "\x01"}', "invalid_json"),
    "NUL behind it": (b'{"do": "echo", "value": 1}\0', "invalid_json"),
    "two documents": (b'{"do": "echo", "value": 1} {"do": "echo", "value": 2}', "invalid_json"),
    "comment": (b'{"do": "echo", /* hm */ "value": 1}', "invalid_json"),
    "trailing comma": (b'{"do": "echo", "value": 1,}', "invalid_json"),
    "single quotes": (b"{'do': 'echo'}", "invalid_json"),
    "leading zero": (b'{"do": "echo", "value": 01}', "invalid_json"),
    "hexadecimal": (b'{"do": "echo", "value": 0x1}', "invalid_json"),
    "plus sign": (b'{"do": "echo", "value": +1}', "invalid_json"),
    "bare word": (b"undefined", "invalid_json"),
    "UTF-16": ('{"do": "echo", "value": 1}'.encode("utf-16-le"), "invalid_json"),
    "only a byte order mark": (b"\xef\xbb\xbf", "invalid_json"),
    "pickle": (b"cos\nsystem\n(S'true'\ntR.", "invalid_json"),
}


@pytest.mark.parametrize("case", BAD)
async def test_bad_text_is_answered_and_the_connection_lives(target: Server, name: str, case: str) -> None:
    text, code = BAD[case]
    async with await Wire.open(target, f"/room/{name}/") as bad, await connect(target, f"/room/{name}/") as member:
        await bad.send_frame(0x1, text)
        opcode, answer = await bad.receive_frame()
        assert opcode == 0x1
        assert json.loads(answer)["code"] == code
        await bad.send_frame(0x1, b'{"do": "say", "value": "still here"}')
        assert await member.receive_json() == {"said": "still here"}


CARRIED: dict[str, Any] = {
    "largest": 2**64 - 1,
    "smallest": -(2**63),
    "largest float": 1.7976931348623157e308,
    "smallest float": 5e-324,
    "minus zero": -0.0,
    "line separators": "\u2028\u2029",
    "escapes": '\x00\x1b\x7f\x9b"\\/</script>',
    "beyond the first plane": "\U0001f3b5\U0010ffff",
    "noncharacters": "\ufffe\uffff\ufeff",
    "empty name": {"": {"": ""}},
    "names of Python": {"__class__": {"__init__": 1}, "__proto__": {"x": 1}, "constructor": None},
    "reserved words": {"type": "websocket.disconnect", "code": 1000, "reason": "no"},
    "many names": {f"name {number}": number for number in range(5000)},
    "hexadecimal names": [f"{number:x}e308{number:x}" for number in range(5000)],
    "numbers in texts": "1e308, 7" * 5000 + "9" * 500 + "[" * 500,
    "huge floats": [1e308, 4.9e-324] * 2000,
    "deep enough": json.loads("[" * 60 + "]" * 60),
    "long": "x" * 500_000,
}


@pytest.mark.parametrize("case", CARRIED)
async def test_what_one_member_may_say_every_member_can_read(target: Server, name: str, case: str) -> None:
    value = CARRIED[case]
    async with await connect(target, f"/room/{name}/") as speaker, await connect(target, f"/room/{name}/") as member:
        for kind, told in (("say", "said"), ("publish", "published")):
            await speaker.send_json({"do": kind, "value": value})
            assert await speaker.receive_json() == {told: value}
            assert await member.receive_json() == {told: value}


def document(rnd: random.Random, depth: int = 0) -> Any:
    """Return any JSON document."""
    match rnd.randrange(7 if depth < 5 else 5):
        case 0:
            return rnd.choice([None, True, False])
        case 1:
            return rnd.randrange(-(2**63), 2**64)
        case 2:
            return rnd.uniform(-1, 1) * 10.0 ** rnd.randrange(-300, 300)
        case 3 | 4:
            points = (rnd.choice([rnd.randrange(0xD800), rnd.randrange(0xE000, 0x110000)]) for _ in range(9))
            return "".join(map(chr, points))
        case 5:
            return [document(rnd, depth + 1) for _ in range(rnd.randrange(4))]
    return {str(document(rnd, 9)): document(rnd, depth + 1) for _ in range(rnd.randrange(4))}


async def test_any_document_arrives_as_it_was(target: Server, name: str) -> None:
    rnd = random.Random(8259)
    documents = [document(rnd) for _ in range(500)]
    async with await connect(target, f"/room/{name}/") as speaker, await connect(target, f"/room/{name}/") as member:
        for value in documents:
            await speaker.send_json({"do": "say", "value": value})
            for client in (speaker, member):
                assert await client.receive_json() == {"said": value}


async def test_bad_messages_leave_nothing_behind(start: Start, record_property: Record) -> None:
    server, large = start(error_type="", byte_rate=0), b"x" * 100_000
    shapes = {"binary": (0x2, large), "text": (0x1, large), "cut off": (0x1, b'{"a": "' + large)}
    for kind, (opcode, payload) in shapes.items():
        data = frame(opcode, payload)
        await bad_messages(server, data, 100)
        memory = server.memory()
        await bad_messages(server, data, 300)
        record_property(kind, server.memory() - memory)
        assert server.memory() - memory < 8 * MiB, f"{kind}: what was refused is still held"


async def bad_messages(server: Server, data: bytes, count: int) -> None:
    """Send so many of them and wait until they have been read."""
    async with await Wire.open(server, "/room/bad/") as wire:
        await press(wire, data, count)
        await wire.send_frame(0x1, b'{"do": "echo", "value": 1}')
        assert await wire.receive_frame() == (0x1, b'{"echo":1}')


# Handlers


async def test_thousand_events_of_one_handler_arrive_all_in_order(target: Server, name: str) -> None:
    count = 1000
    members = [await connect(target, f"/target/{name}/") for _ in range(11)]
    await members[0].send_json({"do": "burst", "count": count})
    for member in members:
        for number in range(count):
            assert await member.receive_json() == {"said": number}
    for member in members:
        await member.close()


async def test_failing_handlers_leave_no_member_behind(start: Start, name: str, record_property: Record) -> None:
    server = start()
    async with await connect(server, f"/target/{name}/") as survivor:
        await fail_all(server, name, 500)
        before, memory, files = server.stats(), server.memory(), descriptors(server)
        await fail_all(server, name, 500)
        stats = server.stats()
        record_property("growth", server.memory() - memory)
        assert stats["handler_errors"] == 1000
        assert stats["connections"] == before["connections"] == 1
        await eventually(lambda: descriptors(server) <= files, "the connection that asked for the counters to be gone")
        assert server.memory() - memory < 2 * MiB
        assert await survivor.ask({"do": "say", "value": "alone"}) == {"said": "alone"}
        assert server.stats()["sends_after_close"] == before["sends_after_close"]


async def fail_all(server: Server, name: str, count: int) -> None:
    """Let so many handlers raise."""
    for _ in range(count // 50):
        async with opened(server, 50, f"/target/{name}/") as wires:
            for wire in wires:
                await wire.send_frame(0x1, b'{"do": "fail"}')
            for wire in wires:
                assert (await wire.closed()).code == 1011
    await eventually(lambda: server.stats()["connections"] == 1, "the others to be gone")


async def test_publication_reaches_a_member_whose_handler_sleeps(target: Server, name: str) -> None:
    async with (
        await connect(target, f"/target/{name}/?client={name}") as sleeper,
        await connect(target, f"/target/{name}/") as speaker,
    ):
        await sleeper.send_json({"do": "wait", "for": name})
        await eventually(lambda: target.records(name)[1:], "the handler to wait")
        async with Witness(target) as witness:
            for number in range(200):
                assert await speaker.ask({"do": "publish", "value": number}) == {"published": number}
                assert await sleeper.receive_json() == {"published": number}
        assert witness.latencies.worst < STALL
        assert await speaker.ask({"do": "open", "gate": name}) == {"opened": name}
        assert await sleeper.receive_json() == {"waited": name}


async def test_waiting_handlers_cost_others_nothing(start: Start, name: str, record_property: Record) -> None:
    server = start()

    async def attack() -> None:
        clients = [await connect(server, f"/target/{name}/?client={name}") for _ in range(100)]
        for client in clients:
            await client.send_json({"do": "wait", "for": name})
        async with await connect(server, f"/target/{name}-else/") as other:
            for number in range(100):
                assert await other.ask({"do": "echo", "value": number}) == {"echo": number}
            for client in clients:
                client.reset()
            await other.ask({"do": "open", "gate": name})
        await eventually(lambda: server.stats()["connections"] == 1, "the clients to be gone")  # one is the witness

    worst = await worst_of(server, attack)
    record_property("worst", worst)
    assert worst[1] < STALL
    assert sum(line["what"] == "disconnect" for line in server.records(name)) == 300


# State of one connection is not another's


async def test_thousand_interleaved_clients_never_see_each_others_headers(start: Start) -> None:
    server, count = start(), 1000
    gate = asyncio.Semaphore(100)

    async def one(number: int) -> None:
        cookie, token = f"session={number:06d}", f"token-{number:06d}"
        async with gate:
            wire = await Wire.open(server, f"/target/{number % 7}/", f"Cookie: {cookie}", f"X-Token: {token}")
        async with wire:
            for _ in range(3):
                await wire.send_frame(0x1, b'{"do": "headers"}')
                headers = dict(json.loads((await wire.receive_frame())[1])["headers"])
                assert (headers["cookie"], headers["x-token"]) == (cookie, token)
                await asyncio.sleep(0)

    await asyncio.gather(*(one(number) for number in range(count)))


async def test_pongs_and_close_frames_carry_only_what_was_given(target: Server) -> None:
    rnd = random.Random(6455)
    secret = b"this is in the memory of the server; " * 3
    async with await Wire.open(target, "/spec/echo") as other:
        for length in range(126):
            payload = rnd.randbytes(length)
            await other.send_frame(0x1, secret)
            async with await Wire.open(target, "/spec/close_as_told") as wire:
                await wire.send_frame(0x9, payload)
                assert await wire.receive_frame() == (0xA, payload)
                reason = "é" * (length // 2)
                await wire.send_frame(0x1, json.dumps({"code": 4000, "reason": reason}).encode())
                opcode, end = await wire.receive_frame()
                assert opcode == 0x8
                assert end == b"\x0f\xa0" + reason.encode()[:122]
            assert await other.receive_frame() == (0x1, secret)


CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536, -1, "1000", 1e3, [1000]]


@pytest.mark.parametrize("code", CODES, ids=repr)
async def test_close_code_that_cannot_be_sent_is_the_applications_exception(target: Server, code: object) -> None:
    async with await Wire.open(target, "/target/codes/") as wire:
        await wire.send_frame(0x1, json.dumps({"do": "close", "code": code}).encode())
        assert (await wire.closed()).code == 1011


REASONS = ["x" * 5000, "é" * 62, "a\r\nb: c", "\x1b[31m", "\ud800", "\x00"]


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: repr(reason[:8]))
async def test_any_close_reason_makes_a_valid_frame(target: Server, reason: str) -> None:
    async with await Wire.open(target, "/spec/close_as_told") as wire:
        await wire.send_frame(0x1, json.dumps({"code": 4000, "reason": reason}).encode())
        opcode, payload = await wire.receive_frame()
        assert opcode == 0x8
        assert payload[:2] == b"\x0f\xa0"
        assert len(payload) <= 125
        assert payload[2:].decode().replace("?", "") in reason
