"""The schema is the protocol's: compared with its description for Protobuf's own runtime."""

from __future__ import annotations

import inspect
from typing import Any, get_args

import pytest

from antiphon.types import Position
from antiphon.wire.centrifuge import commands, publication, pushes, replies, schema
from antiphon.wire.centrifuge.codes import Error
from tests.wire.centrifuge import reference

TABLES = {**schema.RECEIVED, **schema.SENT}

#: The names of those whose name in the schema is another one.
NAMES: dict[type, str] = {
    commands.Recovery: "SubscribeRequest",
    commands.Rpc: "RPCRequest",
    replies.RpcResult: "RPCResult",
    Position: "StreamPosition",
}


def described(kind: type) -> Any:
    suffix = "Request" if kind in get_args(commands.Command) else ""
    return reference.message(NAMES.get(kind, kind.__name__ + suffix)).DESCRIPTOR


def kind_of(field: Any) -> schema.Kind:
    """What Protobuf's description calls the field's kind."""
    names = {number: name for name, number in vars(type(field)).items() if name.startswith("TYPE_")}
    name = names[field.type].removeprefix("TYPE_")
    if name != "MESSAGE":
        return schema.Kind[{"STRING": "TEXT", "BYTES": "DATA"}.get(name, name)]
    if not field.is_repeated:
        return schema.Kind.THERE if field.name == "tf" else schema.Kind.MESSAGE
    if not field.message_type.GetOptions().map_entry:
        return schema.Kind.MESSAGES
    is_message = field.message_type.fields_by_name["value"].message_type is not None
    return schema.Kind.MAP if is_message else schema.Kind.TEXTS


@pytest.mark.parametrize("kind", TABLES, ids=lambda kind: f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}")
def test_the_fields_of_a_message_are_the_protocols(kind: type) -> None:
    fields = described(kind).fields_by_name
    for number, name, of_kind, of, always in TABLES[kind]:
        assert (fields[name].number, kind_of(fields[name])) == (number, of_kind)
        assert always == (name in reference.ALWAYS.get(kind, ()))
        assert (of is None) == (of_kind not in (schema.Kind.MESSAGE, schema.Kind.MESSAGES, schema.Kind.MAP))
        if of is not None:
            message = fields[name].message_type
            inner = message.fields_by_name["value"].message_type if of_kind is schema.Kind.MAP else message
            assert inner is described(of)


@pytest.mark.parametrize("kind", TABLES, ids=lambda kind: f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}")
def test_the_fields_stand_in_the_order_in_which_the_type_takes_them(kind: type) -> None:
    assert [field.name for field in TABLES[kind]] == list(inspect.signature(kind).parameters)


@pytest.mark.parametrize(
    ("fields", "envelope", "names"),
    [
        ({field.of: field for field in schema.COMMANDS}, "Command", reference.COMMANDS),
        (schema.RESULTS, "Reply", reference.RESULTS),
        (schema.PUSHES, "Push", reference.PUSHES),
    ],
)
def test_each_content_has_its_name_and_number(fields: Any, envelope: str, names: dict[type, str]) -> None:
    known = reference.message(envelope).DESCRIPTOR.fields_by_name
    assert {kind: field.name for kind, field in fields.items()} == names
    assert all(known[field.name].number == field.number for field in fields.values())
    assert all(kind is field.of for kind, field in fields.items())


def test_commands_stand_in_the_order_of_their_numbers() -> None:
    numbers = [field.number for field in schema.COMMANDS]
    assert numbers == sorted(numbers)


def test_the_envelopes_are_the_protocols() -> None:
    reply = reference.message("Reply").DESCRIPTOR.fields_by_name
    assert schema.ID.number == reply["id"].number == reference.message("Command").DESCRIPTOR.fields_by_name["id"].number
    assert schema.ERROR.number == reply["error"].number
    assert reply["push"].number == schema.PUSH_NUMBER
    assert schema.PUSH_CHANNEL.number == reference.message("Push").DESCRIPTOR.fields_by_name["channel"].number


def test_every_type_that_travels_has_its_fields() -> None:
    assert set(schema.RECEIVED) == {*get_args(commands.Command), commands.Recovery, Position} - {commands.Pong}
    sent = {*get_args(replies.Result), *get_args(pushes.Push), Error, publication.ClientInfo}
    assert set(schema.SENT) == sent
