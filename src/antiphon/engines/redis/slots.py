"""Slots: each key has one, and so has each group; of several servers one has the slot, and everything in it."""

from __future__ import annotations

import binascii
import functools
import hashlib
import struct
from collections.abc import Sequence

from antiphon.engines.redis.options import Address

__all__ = ["SLOTS", "name_of", "owners_of", "slot_of"]

SLOTS = 16384


def slot_of(key: str) -> int:
    """Return the slot of a key: that of what is between its braces, if anything is (Redis cluster specification)."""
    _, brace, behind = key.partition("{")
    tag, closed, _ = behind.partition("}")
    return binascii.crc_hqx((tag if brace and closed and tag else key).encode(), 0) % SLOTS


# Shards. A cluster says by itself which server has a slot; for shards the slot goes to the server that has drawn the
# highest number for it (rendezvous hashing). The numbers of a server come from its name alone: one more wins some slots
# of each, and nothing else moves.


def name_of(address: Address) -> str:
    """Return what a server is called in every process: its address, as the URL has it."""
    host, port = address
    return f"{host.lower()}:{port}"


@functools.lru_cache(8)
def owners_of(names: tuple[str, ...]) -> Sequence[str]:
    """Return for each slot which of the servers has it."""
    drawn = {name: _draw(name) for name in sorted(names)}
    return [max(drawn, key=lambda name, slot=slot: drawn[name][slot]) for slot in range(SLOTS)]  # type: ignore[misc]


def _draw(name: str) -> tuple[int, ...]:
    """Return the numbers of a server, one for each slot."""
    return struct.unpack(f">{SLOTS}Q", hashlib.shake_128(name.encode()).digest(8 * SLOTS))
