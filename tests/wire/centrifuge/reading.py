"""Reads frames to their end, or to the fault."""

from __future__ import annotations

from antiphon.wire.centrifuge.commands import Command
from antiphon.wire.centrifuge.exceptions import ProtocolError
from antiphon.wire.centrifuge.frame import Frame

__all__ = ["Pair", "read"]

Pair = tuple[int, Command]


def read(frame: Frame) -> tuple[list[Pair], ProtocolError | None]:
    """Return the commands of a frame, and what is wrong behind them, where nothing more is asked for."""
    found: list[Pair] = []
    try:
        for pair in frame:
            found.append(pair)
    except ProtocolError as problem:
        return found, problem
    return found, None
