"""A script that publishes with ``antiphon.sync``, as a cron job does: orders on standard input, answers on output."""

from __future__ import annotations

import json
import sys
from typing import Any

from antiphon import sync
from antiphon.exceptions import EngineError

from . import faults
from .outcome import Outcome, outcome
from .plan import content, key_of

__all__: list[str] = []

faults.install()


def publish(group: str, first: int, count: int, keyed: bool, **how: Any) -> dict[str, Any]:
    """Publish one after the other, up to the first that fails: events and turns are for those who have a loop."""
    outcomes: list[Outcome] = []
    for number in range(first, first + count):
        try:
            key = key_of(number) if keyed else None
            position = sync.publish(group, content(group, number), idempotency_key=key)
        except EngineError as error:
            return {"outcomes": [*outcomes, outcome(error)], "error": f"{type(error).__name__}: {error}"}
        outcomes.append(outcome(position))
    return {"outcomes": outcomes}


def main() -> None:
    """Do what is asked until there is nothing more."""
    for line in sys.stdin:
        order = json.loads(line)
        assert order["do"] == "publish", f"the script can't do {order}"
        print(json.dumps(publish(**order["with"])), flush=True)


if __name__ == "__main__":
    main()
