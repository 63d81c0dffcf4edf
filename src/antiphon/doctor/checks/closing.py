"""Consumers that close their connection and go on as if it were open."""

from __future__ import annotations

from collections.abc import Iterator

from antiphon.doctor.checks.words import listed
from antiphon.doctor.consumer import Family
from antiphon.doctor.finding import Check, Level, Place, Spot
from antiphon.doctor.flow import after_close
from antiphon.doctor.project import Project

__all__ = ["CHECKS"]


def goes_on_after_close(project: Project) -> Iterator[Spot]:
    """Find ``close()`` that is certainly followed by what is in vain."""
    seen: set[Place] = set()
    for consumer in project.of(Family.CHANNELS, Family.ANTIPHON):
        if not consumer.is_websocket:
            continue
        for close, following in after_close(consumer.methods).items():
            if close in seen:
                continue
            seen.add(close)
            names = [f"{name}() {_where(place, close)}" for name, place in following]
            yield Spot(
                close,
                f"close() is followed by {listed(names)} on the same path. {_consequence(consumer.family, following)}",
                f"Write return behind line {close.line}.",
                "return",
            )


def _where(place: Place, close: Place) -> str:
    return f"in line {place.line}" if place.name == close.name else f"at {place}"


def _consequence(family: Family, following: list[tuple[str, Place]]) -> str:
    names = {name for name, _ in following}
    if family is Family.ANTIPHON:
        return "That has no effect: a connection that is closed joins nothing, and is sent nothing."
    if "group_add" in names:
        return "With Channels the connection that was turned away joins the group all the same."
    return "With Channels the server raises an error there."


CHECKS = [
    Check(
        "goes-on-after-close",
        Level.ERROR,
        "`close()` is followed by `group_add`, `accept`, `send` or `send_json` on the same path: a `return` is "
        "missing. With Channels, a connection that was turned away joins a group so, or the server raises an error; "
        "with antiphon it has no effect.",
        goes_on_after_close,
    ),
]
