"""How a message looks to a client of the Centrifuge wire: what the server sends unasked is a *push*.

A ``PushFormat`` stands before the format of the connection's transport. Whatever goes through ``text``, what a
consumer sends by itself, is a push of a ``message``; a publication is a push that names its group and its offset. All
connections of one encoding and one transport format share a ``PushFormat``, and with it each push: it holds nothing of
a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from antiphon.exceptions import NotEncodable
from antiphon.formats import Chunk, Format
from antiphon.types import ClientInfo, Publication
from antiphon.wire.centrifuge import publication as wire
from antiphon.wire.centrifuge import pushes
from antiphon.wire.centrifuge.data import one_line
from antiphon.wire.centrifuge.encoding import Encoding

__all__ = ["PushFormat", "on_wire"]


class PushFormat:
    """Pushes in ``encoding``, in chunks of ``inner``."""

    __slots__ = ("_chunk", "_inner", "_payload", "_publication", "_pushed", "encoding", "reply")

    def __init__(self, encoding: Encoding, inner: Format) -> None:
        self.encoding = encoding
        self._inner = inner
        self._payload: bytes | None = None
        self._chunk: Chunk = None
        self._publication: Publication | None = None
        self._pushed: Chunk = None
        self.reply: Callable[[bytes], Chunk] = inner.text if encoding.IS_TEXT else inner.binary
        """Returns the chunk of what the encoding has made: replies and pushes in a frame."""

    def text(self, payload: bytes) -> Chunk:
        """Return the chunk of a message to one connection; those that are sent the same one after another share it.

        Raises ``NotEncodable`` for text that is not JSON where the client speaks JSON.
        """
        if payload != self._payload:
            data = _checked(payload) if self.encoding.IS_TEXT else payload
            self._chunk = self.reply(self.encoding.encode_push("", pushes.Message(data)))
            self._payload = payload
        return self._chunk

    def binary(self, payload: bytes) -> Chunk:
        """Return the chunk of a binary message; raise ``NotEncodable`` where the client speaks JSON."""
        if self.encoding.IS_TEXT:
            raise NotEncodable("this client speaks JSON, which has no place for bytes: send text, or publish JSON")
        return self.reply(self.encoding.encode_push("", pushes.Message(payload)))

    def publication(self, group: str, publication: Publication, *, kept: bool) -> Chunk:
        """Return the chunk of a publication; who asks for the same one after another shares it."""
        if publication is not self._publication:
            data, offset = publication.data, publication.offset if kept else 0
            # The first of a stream names its epoch; the others have no more than this, where nothing was given along.
            if offset != 1 and publication.info is None and publication.tags is None and data:
                encoded = self.encoding.encode_publication(group, data, offset)
            else:
                encoded = self.encoding.encode_push(group, on_wire(publication, kept=kept))
            self._pushed = self.reply(encoded)
            self._publication = publication
        return self._pushed

    def presence(self, group: str, info: ClientInfo, *, joins: bool) -> Chunk:
        """Return the chunk that tells that somebody joined or left."""
        kind = pushes.Join if joins else pushes.Leave
        return self.reply(self.encoding.encode_push(group, kind(client_info(info))))

    def join(self, chunks: Sequence[Chunk]) -> Chunk:
        """Return the chunks behind one another, each a frame of its own."""
        return self._inner.join(chunks)

    def size(self, chunk: Chunk) -> int:
        """Return how many bytes ``chunk`` stands for."""
        return self._inner.size(chunk)


def _checked(payload: bytes) -> bytes:
    """Return a document as it may stand among others: it has to be one, and on one line."""
    try:
        _validate(payload)
    except (msgspec.DecodeError, RecursionError) as error:
        raise NotEncodable(f"this client speaks JSON, and a text that is none can't be sent to it: {error}") from None
    return one_line(payload)


_validate = msgspec.json.Decoder(msgspec.Raw).decode


def on_wire(publication: Publication, *, kept: bool) -> wire.Publication:
    """Return a publication as the wire has it; one that is not ``kept`` has no offset there."""
    info = client_info(publication.info) if publication.info is not None else None
    if kept:
        return wire.Publication.of(publication, info=info, tags=publication.tags)
    return wire.Publication(publication.data, info, tags=publication.tags)


def client_info(info: ClientInfo) -> wire.ClientInfo:
    """Return what others see of a client as the wire has it."""
    return wire.ClientInfo(info.user, info.client, info.connection_info, info.subscription_info)
