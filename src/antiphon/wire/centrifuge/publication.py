"""A publication as a subscriber gets it, and what it is told about who published it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from antiphon import types

__all__ = ["ClientInfo", "Publication"]


class ClientInfo(msgspec.Struct, frozen=True):
    """A client: its ``user``, its id for the length of a connection, and what the application tells of both.

    ``conn_info`` and ``chan_info`` are data: of the connection, and of its subscription to the channel.
    """

    user: str = ""
    client: str = ""
    conn_info: bytes = b""
    chan_info: bytes = b""


class Publication(msgspec.Struct, frozen=True):
    """One message of a channel. ``offset`` 0: it has no place in a stream. ``time`` is in milliseconds since 1970.

    ``epoch`` belongs to the first of a stream, so that who subscribed before there was one learns which it is.
    """

    data: bytes = b""
    info: ClientInfo | None = None
    offset: int = 0
    tags: Mapping[str, str] | None = None
    time: int = 0
    epoch: str = ""

    @classmethod
    def of(
        cls,
        publication: types.Publication,
        *,
        info: ClientInfo | None = None,
        tags: Mapping[str, str] | None = None,
        timed: bool = False,
    ) -> Publication:
        """Return what subscribers get of a group's ``publication``, with its time if it is to be ``timed``."""
        offset = publication.offset
        return cls(
            publication.data,
            info,
            offset,
            tags,
            round(publication.time * 1000) if timed else 0,
            publication.epoch if offset == 1 else "",
        )
