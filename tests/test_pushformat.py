"""Pushes: what a client of the Centrifuge wire is sent unasked, in each encoding and on each transport."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from antiphon.exceptions import NotEncodable
from antiphon.formats import FRAMES, MESSAGES, Chunk, Format
from antiphon.pushformat import PushFormat, client_info, on_wire
from antiphon.types import ClientInfo, Publication
from antiphon.wire.centrifuge import publication as wire
from antiphon.wire.centrifuge.encoding import JSON, PROTOBUF, Encoding

from .fakes import messages_in
from .wire.centrifuge import reference

INFO = ClientInfo("7", "client-1", b'{"name":"Ada"}', b'{"role":"host"}')

inners = pytest.mark.parametrize("inner", [FRAMES, MESSAGES], ids=["frames", "messages"])
encodings = pytest.mark.parametrize("encoding", [JSON, PROTOBUF], ids=lambda encoding: encoding.NAME)


def published(data: bytes = b'{"a":1}', offset: int = 2, **more: Any) -> Publication:
    return Publication(data, "epoch", offset, 1.0, **more)


def pushes_in(format: PushFormat, chunk: Chunk) -> list[dict[str, Any]]:
    """Return the pushes of a chunk, read by another implementation, with data as text."""
    found: list[dict[str, Any]] = []
    for message in messages_in([chunk]):
        if format.encoding is JSON:
            assert isinstance(message, str)
            found.extend(json.loads(line)["push"] for line in message.split("\n"))
        else:
            assert isinstance(message, bytes)
            found.extend(_as_json(reply.push) for reply in reference.split("Reply", message))
    return found


def _as_json(push: Any) -> dict[str, Any]:
    """Return a push of Protobuf as JSON has it."""
    found: dict[str, Any] = {"channel": push.channel} if push.channel else {}
    if push.HasField("message"):
        return {**found, "message": {"data": _loaded(push.message.data)}}
    for kind in ("join", "leave"):
        if push.HasField(kind):
            return {**found, kind: {"info": _info_as_json(getattr(push, kind).info)}}
    pub: dict[str, Any] = {"data": _loaded(push.pub.data)}
    if push.pub.HasField("info"):
        pub["info"] = _info_as_json(push.pub.info)
    pub |= {name: getattr(push.pub, name) for name in ("offset", "epoch") if getattr(push.pub, name)}
    if push.pub.tags:
        pub["tags"] = dict(push.pub.tags)
    return {**found, "pub": pub}


def _info_as_json(info: Any) -> dict[str, Any]:
    said = {name: _loaded(getattr(info, name)) for name in ("conn_info", "chan_info") if getattr(info, name)}
    return {"user": info.user, "client": info.client, **said}


def _loaded(data: bytes) -> Any:
    return json.loads(data)


@inners
@encodings
def test_a_message_to_one_connection_is_a_push_of_no_channel(encoding: Encoding, inner: Format) -> None:
    format = PushFormat(encoding, inner)
    assert pushes_in(format, format.text(b'{"a": "\xc3\xbc"}')) == [{"message": {"data": {"a": "ü"}}}]


@inners
@encodings
def test_a_publication_names_its_group_and_its_offset(encoding: Encoding, inner: Format) -> None:
    format = PushFormat(encoding, inner)
    chunk = format.publication("room", published(), kept=True)
    assert pushes_in(format, chunk) == [{"channel": "room", "pub": {"data": {"a": 1}, "offset": 2}}]


@inners
@encodings
def test_the_first_of_a_stream_names_its_epoch(encoding: Encoding, inner: Format) -> None:
    format = PushFormat(encoding, inner)
    (push,) = pushes_in(format, format.publication("room", published(offset=1), kept=True))
    assert (push["pub"]["offset"], push["pub"]["epoch"]) == (1, "epoch")


@inners
@encodings
def test_what_is_not_kept_has_no_place(encoding: Encoding, inner: Format) -> None:
    format = PushFormat(encoding, inner)
    (push,) = pushes_in(format, format.publication("room", published(offset=1), kept=False))
    assert push["pub"] == {"data": {"a": 1}}


@pytest.mark.parametrize("kept", [True, False])
@inners
@encodings
def test_who_published_and_the_tags_go_along(encoding: Encoding, inner: Format, kept: bool) -> None:
    format = PushFormat(encoding, inner)
    chunk = format.publication("room", published(info=INFO, tags={"kind": "note"}), kept=kept)
    assert pushes_in(format, chunk) == [
        {
            "channel": "room",
            "pub": {
                "data": {"a": 1},
                "info": {
                    "user": "7",
                    "client": "client-1",
                    "conn_info": {"name": "Ada"},
                    "chan_info": {"role": "host"},
                },
                "tags": {"kind": "note"},
                **({"offset": 2} if kept else {}),
            },
        }
    ]


@inners
@encodings
def test_the_key_of_a_publication_is_not_told(encoding: Encoding, inner: Format) -> None:
    format = PushFormat(encoding, inner)
    with_key = pushes_in(format, format.publication("room", published(key="ada"), kept=True))
    assert with_key == pushes_in(format, format.publication("room", published(), kept=True))


infos = st.none() | st.sampled_from([INFO, ClientInfo("", "")])
tags = st.none() | st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2)
publications = st.builds(
    Publication,
    *(st.binary(max_size=200), st.just("epoch"), st.integers(1, 3) | st.integers(1, 2**63), st.just(1.0)),
    info=infos,
    tags=tags,
)


@inners
@given(st.lists(st.tuples(st.sampled_from(["a", "b:c"]), publications, st.booleans()), max_size=6))
def test_every_publication_is_what_the_encoding_makes_of_it(inner: Format, plan: list[Any]) -> None:
    for encoding in (JSON, PROTOBUF):
        format = PushFormat(encoding, inner)
        for group, publication, kept in plan:
            if encoding is JSON:
                publication = replace(publication, data=json.dumps(list(publication.data)).encode())
            whole = encoding.encode_push(group, on_wire(publication, kept=kept))
            assert format.publication(group, publication, kept=kept) == format.reply(whole)


@inners
@encodings
def test_one_publication_is_encoded_once_for_all_who_get_it(encoding: Encoding, inner: Format) -> None:
    format = PushFormat(encoding, inner)
    publication = published()
    assert format.publication("room", publication, kept=True) is format.publication("room", publication, kept=True)


@inners
@encodings
def test_one_text_is_encoded_once_for_those_who_are_sent_it_one_after_another(
    encoding: Encoding, inner: Format
) -> None:
    format = PushFormat(encoding, inner)
    assert format.text(b"".join([b'"same ', b'text"'])) is format.text(b"".join([b'"same', b' text"']))


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([b"1", b"2", b"3"])), max_size=12), st.booleans())
def test_sharing_never_mixes_up_what_is_sent(plan: list[tuple[bool, bytes]], text: bool) -> None:
    format = PushFormat(JSON if text else PROTOBUF, FRAMES)
    for is_message, data in plan:
        chunk = format.text(data) if is_message else format.publication("room", published(data), kept=True)
        (push,) = pushes_in(format, chunk)
        found = push["message"]["data"] if is_message else push["pub"]["data"]
        assert found == int(data)


@inners
def test_bytes_are_for_clients_that_speak_protobuf(inner: Format) -> None:
    format = PushFormat(PROTOBUF, inner)
    (message,) = messages_in([format.binary(b"\x00\xff")])
    assert isinstance(message, bytes)
    (reply,) = reference.split("Reply", message)
    assert (reply.push.channel, reply.push.message.data) == ("", b"\x00\xff")
    with pytest.raises(NotEncodable, match="speaks JSON"):
        PushFormat(JSON, inner).binary(b"\x00\xff")


@pytest.mark.parametrize(
    "payload", [b"", b"hello", b"{", b"[1,]", b"1 2", b"\xff", b"[" * 5000], ids=lambda p: f"{p!r:.9}"
)
def test_text_that_is_not_json_would_break_the_frames_of_json(payload: bytes) -> None:
    with pytest.raises(NotEncodable, match="speaks JSON"):
        PushFormat(JSON, FRAMES).text(payload)


def test_a_document_of_several_lines_is_sent_on_one() -> None:
    format = PushFormat(JSON, FRAMES)
    assert pushes_in(format, format.text(b'{\n "a": 1\n}')) == [{"message": {"data": {"a": 1}}}]


@inners
@encodings
def test_joined_chunks_hold_the_pushes_in_order_and_the_size_is_the_sum(encoding: Encoding, inner: Format) -> None:
    format = PushFormat(encoding, inner)
    chunks = [format.text(b"1"), format.publication("room", published(b"2"), kept=True), format.text(b"3")]
    joined = format.join(chunks)
    assert [(push.get("pub") or push["message"])["data"] for push in pushes_in(format, joined)] == [1, 2, 3]
    assert format.size(joined) == sum(map(format.size, chunks))
    assert format.join(chunks[:1]) == chunks[0]


@encodings
def test_what_the_encoding_has_made_goes_into_frames_of_its_kind(encoding: Encoding) -> None:
    (message,) = messages_in([PushFormat(encoding, MESSAGES).reply(encoding.PING)])
    assert message == (encoding.PING.decode() if encoding is JSON else encoding.PING)


def test_a_client_is_told_of_under_the_names_of_the_wire() -> None:
    assert client_info(INFO) == wire.ClientInfo("7", "client-1", b'{"name":"Ada"}', b'{"role":"host"}')
    assert on_wire(published(), kept=True).info is None


@inners
@encodings
@pytest.mark.parametrize(("joins", "kind"), [(True, "join"), (False, "leave")])
def test_a_join_or_a_leave_names_its_group_and_says_who(
    joins: bool, kind: str, encoding: Encoding, inner: Format
) -> None:
    format = PushFormat(encoding, inner)
    who = {"user": "7", "client": "client-1", "conn_info": {"name": "Ada"}, "chan_info": {"role": "host"}}
    assert pushes_in(format, format.presence("room", INFO, joins=joins)) == [{"channel": "room", kind: {"info": who}}]
    nobody = {"user": "", "client": "c"}
    chunk = format.presence("room", ClientInfo("", "c"), joins=joins)
    assert pushes_in(format, chunk) == [{"channel": "room", kind: {"info": nobody}}]
