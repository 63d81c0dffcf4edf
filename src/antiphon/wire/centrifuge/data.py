"""The application's data on its way from one connection to others of another encoding."""

from __future__ import annotations

__all__ = ["one_line"]


def one_line(data: bytes) -> bytes:
    """Return ``data``, which is one valid JSON document, on one line, so that it can be spliced into others.

    In valid JSON a raw newline stands between two tokens only. To be asked once, where data comes in that was not made
    here: from a Protobuf connection, or as ready bytes from an application.
    """
    return data.replace(b"\n", b"")
