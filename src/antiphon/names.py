"""Which names a group and a channel may have."""

from __future__ import annotations

import re

from antiphon.exceptions import InvalidName

__all__ = ["GROUP_NAME_BYTES", "check_channel_name", "check_group_name", "process_of"]

GROUP_NAME_BYTES = 255

# \Z, not $: "a\n" is no name. Controls and surrogates can't be stored or shown by every engine.
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+\Z")
_ASCII = re.compile(r"[ -~]{1,255}\Z")
_CHANNEL = re.compile(r"[a-zA-Z0-9\-_.]+(![a-zA-Z0-9\-_.]*)?\Z")


def check_group_name(name: object) -> str:
    """Return ``name`` if a group may have it: printable text of 1 to 255 bytes in UTF-8; else raise ``InvalidName``."""
    if isinstance(name, str) and (
        _ASCII.match(name) or (_PRINTABLE.match(name) and len(name.encode()) <= GROUP_NAME_BYTES)
    ):
        return name
    raise InvalidName(f"{name!r:.120} can't name a group: it takes printable text of 1 to {GROUP_NAME_BYTES} bytes")


def check_channel_name(name: object) -> str:
    """Return ``name`` if a channel may have it; else raise ``InvalidName``.

    A specific name is like ``specific.<process>!<connection>``, a general one like ``thumbnails``; each has fewer than
    100 ASCII letters, digits, hyphens, underscores and dots (Channels' rule).
    """
    if isinstance(name, str) and len(name) < 100 and _CHANNEL.match(name):
        return name
    raise InvalidName(
        f"{name!r:.120} is no channel name: it takes up to 99 letters, digits, '-', '_' and '.'; that of one "
        "connection is its consumer's self.channel_name"
    )


def process_of(channel: str) -> str:
    """Return the process that a specific channel name tells of, between the last dot and ``!``; empty: a general one.

    Names that Channels' code makes up by itself, without a dot, tell of none.
    """
    prefix, mark, _ = channel.partition("!")
    return prefix.rpartition(".")[2] if mark and "." in prefix else ""
