"""A script that publishes with ``antiphon.sync``, as a cron job does: orders on standard input, answers on output."""

from __future__ import annotations

import json
import sys
from typing import Any

from antiphon import sync
from antiphon.exceptions import EngineError
from antiphon.types import Position

from . import faults
from .plan import content, key_of

__all__: list[str] = []

faults.install()


def publish(group: str, first: int, count: int, **how: Any) -> list[Position]:
    """Publish one after the other, with keys: events and turns are for those who have a loop."""
    numbers = range(first, first + count)
    return [sync.publish(group, content(group, number), idempotency_key=key_of(number)) for number in numbers]


def main() -> None:
    """Do what is asked until there is nothing more."""
    for line in sys.stdin:
        order = json.loads(line)
        assert order["do"] == "publish", f"the script can't do {order}"
        try:
            answer: Any = {"positions": publish(**order["with"])}
        except EngineError as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
