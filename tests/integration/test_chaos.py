"""Chaos, the short form (``scripts/chaos`` is the long one), and whether its checker notices what is broken."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.types import Position

from .chaos import checker
from .chaos.ledger import Ledger
from .chaos.plan import Plan
from .chaos.run import run, spawn
from .chaos.trail import (
    Began,
    Ended,
    Entry,
    Floor,
    Gap,
    Missed,
    Overheard,
    Refused,
    Run,
    Spoiled,
    Subscribed,
    Trail,
)
from .chaos.verdict import Verdict
from .servers import Servers

#: What goes wrong is drawn with it. When it happens is for the machine to say, so no two runs are the same.
SEED = 20_261_122

#: What is broken in antiphon, once in so many, and what the checker has to find then.
FAULTS = {
    "drop:100": checker.HOLE,
    "repeat:100": checker.REPEATED,
    "swap:100": checker.HOLE,
    "spoil:100": checker.SPOILED,
    "thin:2": checker.HOLE,
    "claim:1": checker.HOLE,
    "deny:2": checker.NEEDLESS,
}


#: Groups of these trails, of which the first keeps its last 100; published there are offsets 1 to 9.
KEPT, LIVE, TICKER = "short:a", "live:a", "ticker:a"


def at(offset: int) -> Position:
    """Return a position."""
    return Position("epoch", offset)


def subscribed(told: int, since: int | None = None, *, recovered: bool = False, heard: bool = True) -> Subscribed:
    """Return what a member with a position begins with."""
    return Subscribed(at(since) if since is not None else None, at(told), recovered, heard and since is not None)


@pytest.mark.parametrize(
    ("group", "entries", "kinds"),
    [
        (KEPT, [subscribed(2), Run(3, 3, 7)], []),
        (KEPT, [subscribed(0), Run(1, 1, 2), Ended(0), subscribed(2, 2, recovered=True), Run(3, 3, 7)], []),
        (KEPT, [subscribed(0), Run(1, 1, 2), Run(4, 4, 6)], [checker.HOLE]),
        (KEPT, [subscribed(0), Run(1, 1, 2), Ended(0), subscribed(2, 2, recovered=True), Run(4, 4, 6)], [checker.HOLE]),
        (KEPT, [subscribed(0), Run(1, 1, 2), Run(2, 2, 8)], [checker.REPEATED]),
        (KEPT, [subscribed(0), Run(1, 2, 1), Run(2, 2, 8)], [checker.MISPLACED]),
        (KEPT, [subscribed(0), Run(1, 1, 8)], [checker.STRANDED]),
        (KEPT, [subscribed(0), Run(1, 1, 2), Ended(0), subscribed(9, 2)], [checker.NEEDLESS]),
        (KEPT, [subscribed(0), Run(1, 1, 2), Ended(0), subscribed(9, 2, heard=False)], [checker.UNRECOVERED]),
        (KEPT, [subscribed(0), Overheard(1), Run(1, 1, 9)], [checker.OVERTAKEN]),
        (KEPT, [subscribed(0), Spoiled("?"), Run(1, 1, 9)], [checker.SPOILED]),
        (LIVE, [Began(), Run(0, 2, 3), Ended(1006), Began(), Run(0, 9)], []),
        (LIVE, [Began(), Run(0, 2, 3), Run(0, 6, 4)], [checker.HOLE]),
        (LIVE, [Began(), Floor(2), Run(0, 4, 6)], [checker.HOLE]),
        (LIVE, [Began(), Run(0, 4, 6), Floor(2)], [checker.HOLE]),
        (LIVE, [Began(), Run(0, 2, 3), Ended(1006), Began(), Run(0, 4, 6)], [checker.REPEATED]),
        (LIVE, [Began(), Run(0, 2, 3), Gap(at(8)), Run(0, 9)], []),
        (LIVE, [Began(), Run(0, 2, 3), Overheard(5), Run(0, 5, 5)], [checker.OVERTAKEN]),
        (LIVE, [Began(), Run(0, 2, 3)], [checker.STRANDED]),
        (LIVE, [Began(), Refused("no"), Run(0, 2, 8)], [checker.REFUSED]),
        (TICKER, [Began(), Run(0, 2, 3), Missed(4), Run(0, 9)], []),
        (TICKER, [Began(), Run(0, 2, 3), Missed(3), Run(0, 9)], [checker.MISCOUNTED]),
        (TICKER, [Began(), Run(0, 2, 3), Missed(4), Run(0, 5, 5)], [checker.MISCOUNTED]),
    ],
)
def test_trail_is_judged(group: str, entries: list[Entry], kinds: list[str]) -> None:
    ledger = Ledger()
    ledger.published(group, 1, [at(offset) for offset in range(1, 10)])
    trail = Trail(group)
    trail.entries = entries
    assert [finding.kind for finding in checker.check(ledger, trail)] == kinds


async def outcome(servers: Servers, plan: Plan) -> Verdict:
    """Run the plan on a server of its own."""
    server = spawn(servers, plan)
    try:
        verdict = await run(server, plan, print)
    finally:
        await asyncio.to_thread(server.stop)
    print(verdict.text())
    return verdict


async def test_nothing_is_lost_that_nobody_was_told_of(servers: Servers) -> None:
    verdict = await outcome(servers, Plan(seed=SEED, clients=40, publications=3000, seconds=9, mischief=20))
    assert not verdict.findings, verdict.text()
    assert verdict.figures["cuts"] > 50
    assert verdict.figures["recoveries"] > 50


async def test_what_the_engine_loses_on_the_way_is_filled_in_or_told(servers: Servers) -> None:
    plan = Plan(seed=SEED, clients=12, publications=1000, seconds=2, sdks=2, environment={"CHAOS_CARRIER": "40"})
    verdict = await outcome(servers, plan)
    assert not verdict.findings, verdict.text()
    assert verdict.figures["filled in from history"] > 0
    assert verdict.figures["repetitions left out"] > 0


async def test_checker_finds_each_fault(servers: Servers) -> None:
    """A bug in antiphon of each kind that would lose, repeat, swap or change something."""
    plans = [
        Plan(
            seed=SEED,
            clients=12,
            publications=800,
            seconds=2,
            sdks=2,
            mischief=10,
            patience=1.5,
            environment={"CHAOS_FAULT": fault},
        )
        for fault in FAULTS
    ]
    verdicts = await asyncio.gather(*(outcome(servers, plan) for plan in plans))
    for (fault, kind), verdict in zip(FAULTS.items(), verdicts, strict=True):
        assert kind in verdict.kinds, f"{fault} was not found as a {kind}:\n{verdict.text()}"
