"""The names of keys and channels in Redis: what is where.

What belongs to one group, or to one general channel, has its name between braces, so that a cluster keeps it in one
place. The ``:`` behind the brace is there because braces with nothing in between would not count, and a group's name
may begin with one. Nothing but the closing brace, or something of fixed length, comes behind the name: no two names can
be mistaken.

Channels know no databases; so their names have the number.
"""

from __future__ import annotations

import hashlib

__all__ = ["Keys", "is_of_group"]


def is_of_group(name: str) -> bool:
    """Tell whether a key or a channel belongs to one group, or to one general channel."""
    return "{:" in name


class Keys:
    """The names that begin with one prefix."""

    __slots__ = ("_channels", "_prefix", "control", "processes", "servers")

    def __init__(self, prefix: str, db: int = 0) -> None:
        self._prefix = prefix
        self._channels = f"{prefix}/{db}"
        self.processes = f"{prefix}:processes"
        """Sorted set: each process that is, or was, with the time at which its lease ends."""
        self.servers = f"{prefix}:servers"
        """Text: the lists of shards that the server has to heed (``moving``)."""
        self.control = f"{self._channels}:control"
        """Channel of what is for all processes."""

    def position(self, group: str) -> str:
        """Hash: the epoch and the newest offset of the group's stream, and the run of the server they were made in."""
        return f"{self._prefix}:position:{{:{group}}}"

    def group_of(self, position: str) -> str:
        """Return the group that a position is of."""
        return position[len(self.position("")) - 1 : -1]

    def stream(self, group: str) -> str:
        """Stream: the publications that are kept; the id of each is its offset."""
        return f"{self._prefix}:stream:{{:{group}}}"

    def idempotency(self, group: str, key: str) -> str:
        """Text: the position of what was published in the group with an idempotency key."""
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return f"{self._prefix}:key:{{:{group}}}:{digest}"

    def presence(self, group: str) -> str:
        """Hash: who is in the group, by the client's id, and in which process."""
        return f"{self._prefix}:presence:{{:{group}}}"

    def entries(self, process: str) -> str:
        """Set: the groups in which a process has entered somebody."""
        return f"{self._prefix}:entries:{process}"

    def queue(self, channel: str) -> list[str]:
        """List, text and hash: what waits in a general channel, its bytes, and what each process took last."""
        return [f"{self._prefix}:{kind}:{{:{channel}}}" for kind in ("queue", "queued", "taken")]

    def bell(self, channel: str) -> str:
        """Channel of the word that something waits in a general channel."""
        return f"{self._channels}:queue:{{:{channel}}}"

    def channel(self, group: str) -> str:
        """Channel of what is published and sent to the group."""
        return f"{self._channels}:group:{{:{group}}}"

    def direct(self, process: str) -> str:
        """Channel of what is for one process."""
        return f"{self._channels}:process:{process}"
