"""Chaos, the short form (``scripts/chaos`` is the long one), and whether its checker notices what is broken."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from antiphon.types import Position

from .chaos import checker, finding
from .chaos.ledger import Ledger
from .chaos.outcome import DOUBTED, REFUSED, Outcome
from .chaos.plan import BY_NAME, Plan, sqlite_url
from .chaos.redisset import RedisSet
from .chaos.run import run, spawn
from .chaos.survey import compare
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
    "drop:100": finding.HOLE,
    "repeat:100": finding.REPEATED,
    "swap:100": finding.HOLE,
    "spoil:100": finding.SPOILED,
    "thin:2": finding.HOLE,
    "claim:1": finding.HOLE,
    "deny:2": finding.NEEDLESS,
}
#: The same of several processes and the engine that they share.
SHARED_FAULTS = {
    "drop:20": finding.HOLE,
    "double:10": finding.GIVEN_TWICE,
    "unkeyed:1": finding.PUBLISHED_TWICE,
    "hollow:1": finding.NOT_KEPT,
    "linger:1": finding.GHOST,
}


#: Groups of these trails, of which the first keeps its last 100; published there are offsets 1 to 9.
KEPT, LIVE, TICKER = "short:a", "live:a", "ticker:a"


def at(offset: int) -> Position:
    """Return a position."""
    return Position("epoch", offset)


def made(offsets: Iterable[int], epoch: str = "epoch") -> list[Outcome]:
    """Return what ``publish`` says of publications with these offsets."""
    return [(epoch, offset, False) for offset in offsets]


def subscribed(told: int, since: int | None = None, *, recovered: bool = False, heard: bool = True) -> Subscribed:
    """Return what a member with a position begins with."""
    return Subscribed(at(since) if since is not None else None, at(told), recovered, heard and since is not None)


@pytest.mark.parametrize(
    ("group", "entries", "kinds"),
    [
        (KEPT, [subscribed(2), Run(3, 3, 7)], []),
        (KEPT, [subscribed(0), Run(1, 1, 2), Ended(0), subscribed(2, 2, recovered=True), Run(3, 3, 7)], []),
        (KEPT, [subscribed(0), Run(1, 1, 2), Run(4, 4, 6)], [finding.HOLE]),
        (KEPT, [subscribed(0), Run(1, 1, 2), Ended(0), subscribed(2, 2, recovered=True), Run(4, 4, 6)], [finding.HOLE]),
        (KEPT, [subscribed(0), Run(1, 1, 2), Run(2, 2, 8)], [finding.REPEATED]),
        (KEPT, [subscribed(0), Run(1, 2, 1), Run(2, 2, 8)], [finding.MISPLACED]),
        (KEPT, [subscribed(0), Run(1, 1, 8)], [finding.STRANDED]),
        (KEPT, [subscribed(0), Run(1, 1, 2), Ended(0), subscribed(9, 2)], [finding.NEEDLESS]),
        (KEPT, [subscribed(0), Run(1, 1, 2), Ended(0), subscribed(9, 2, heard=False)], [finding.UNRECOVERED]),
        (KEPT, [subscribed(0), Overheard(1), Run(1, 1, 9)], [finding.OVERTAKEN]),
        (KEPT, [subscribed(0), Spoiled("?"), Run(1, 1, 9)], [finding.SPOILED]),
        (LIVE, [Began(), Run(0, 2, 3), Ended(1006), Began(), Run(0, 9)], []),
        (LIVE, [Began(), Run(0, 2, 3), Run(0, 6, 4)], [finding.HOLE]),
        (LIVE, [Began(), Floor(at(2)), Run(0, 4, 6)], [finding.HOLE]),
        (LIVE, [Began(), Run(0, 4, 6), Floor(at(2))], [finding.HOLE]),
        (LIVE, [Began(), Run(0, 2, 3), Ended(1006), Began(), Run(0, 4, 6)], [finding.REPEATED_AT_FIRST]),
        (LIVE, [Began(), Run(0, 2, 3), Run(0, 4, 6)], [finding.REPEATED]),
        (LIVE, [Began(), Run(0, 2, 3), Gap(at(8)), Run(0, 9)], []),
        (LIVE, [Began(), Run(0, 2, 3), Overheard(5), Run(0, 5, 5)], [finding.OVERTAKEN]),
        (LIVE, [Began(), Run(0, 2, 3)], [finding.STRANDED]),
        (LIVE, [Began(), Refused("no"), Run(0, 2, 8)], [finding.REFUSED]),
        (TICKER, [Began(), Run(0, 2, 3), Missed(4), Run(0, 9)], []),
        (TICKER, [Began(), Run(0, 2, 3), Missed(3), Run(0, 9)], [finding.MISCOUNTED]),
        (TICKER, [Began(), Run(0, 2, 3), Missed(4), Run(0, 5, 5)], [finding.MISCOUNTED]),
    ],
)
def test_trail_is_judged(group: str, entries: list[Entry], kinds: list[str]) -> None:
    ledger = Ledger()
    ledger.answered(group, 1, made(range(1, 10)))
    trail = Trail(group)
    trail.entries = entries
    assert [found.kind for found in checker.check(ledger, trail)] == kinds


#: The epoch behind the one of ``at``: the engine has forgotten that, and numbers 10 to 13 stand here.
NEXT = "another epoch"


def stands(offset: int) -> Position:
    """Return a position in it."""
    return Position(NEXT, offset)


@pytest.mark.parametrize(
    ("group", "entries", "kinds"),
    [
        (KEPT, [subscribed(0), Run(1, 1, 9), Ended(0), Subscribed(at(9), stands(0), False, True), Run(1, 10, 4)], []),
        (KEPT, [subscribed(0), Run(1, 1, 9), Run(10, 10, 4)], [finding.MISPLACED, finding.STRANDED]),
        (KEPT, [subscribed(0), Run(1, 1, 9), Run(10, 14)], [finding.STRANDED]),
        (
            KEPT,
            [subscribed(0), Run(1, 1, 9), Ended(0), Subscribed(at(9), stands(0), True, True), Run(1, 10, 4)],
            [finding.MISPLACED, finding.REPEATED, finding.MISPLACED, finding.STRANDED],
        ),
        (KEPT, [Began(), Run(0, 1, 9), Gap(stands(0)), Run(0, 10, 4)], []),
        (KEPT, [Began(), Run(0, 1, 9), Gap(stands(0)), Run(0, 11, 3)], [finding.HOLE]),
        (KEPT, [Began(), Run(0, 1, 9), Run(0, 10, 4)], [finding.HOLE]),
        (KEPT, [Began(), Run(0, 1, 9), Ended(1006), Began(), Floor(stands(1)), Run(0, 11, 3)], []),
        (LIVE, [Began(), Run(0, 1, 9), Gap(stands(2)), Run(0, 10, 4)], []),
        (LIVE, [Began(), Run(0, 1, 9), Run(0, 10, 4)], [finding.HOLE]),
        (LIVE, [Began(), Run(0, 1, 9), Ended(2500), Began(), Run(0, 9), Run(0, 10, 4)], []),
        (
            LIVE,
            [Began(), Run(0, 1, 9), Ended(2500), Began(), Run(0, 8), Gap(stands(0)), Run(0, 10, 4)],
            [finding.REPEATED_AT_FIRST],
        ),
        (LIVE, [Began(), Run(0, 1, 5), Run(0, 14), Run(0, 6, 4), Gap(stands(0)), Run(0, 10, 4)], [finding.MISPLACED]),
        (LIVE, [Began(), Run(0, 1, 9), Run(0, 14), Gap(stands(0)), Run(0, 10, 4)], []),
        (LIVE, [Began(), Run(0, 1, 9), Run(0, 14), Run(0, 14), Gap(stands(0)), Run(0, 10, 4)], [finding.REPEATED]),
    ],
)
def test_trail_across_epochs_is_judged(group: str, entries: list[Entry], kinds: list[str]) -> None:
    ledger = Ledger(forgets=True)
    ledger.ask(group, 9)
    ledger.ask(group, 5, bare=True)
    ledger.answered(group, 1, made(range(1, 10)))
    ledger.answered(group, 14, [DOUBTED])
    ledger.answered(group, 10, made(range(1, 5), NEXT))
    ledger.answered(group, 9, made([0], NEXT))  # it was made again there, ahead of them
    trail = Trail(group)
    trail.entries = entries
    assert [found.kind for found in checker.check(ledger, trail)] == kinds


def test_what_only_members_know_they_have_to_agree_on() -> None:
    ledger = Ledger(forgets=True)
    ledger.ask(KEPT, 3)
    bare = ledger.ask(KEPT, 1, bare=True)
    ledger.answered(KEPT, 1, made([1]))
    assert ledger.witness(KEPT, at(1), 2) == 1
    assert ledger.witness(KEPT, at(2), 2) == 2
    assert ledger.witness(KEPT, at(2), 3) == 2
    assert ledger.witness(KEPT, at(3), bare) is None, "it was refused"
    ledger.answered(KEPT, bare, [REFUSED, DOUBTED])
    assert ledger.witness(KEPT, at(3), bare) is None
    ledger.answered(KEPT, bare, [DOUBTED])
    assert ledger.witness(KEPT, at(3), bare) == bare


def test_a_publication_is_made_again_only_where_the_engine_has_forgotten_it() -> None:
    ledger = Ledger(forgets=True)
    assert ledger.ask(KEPT, 2) == 1
    ledger.answered(KEPT, 1, made([1, 2]))
    ledger.answered(KEPT, 1, made([1, 2], NEXT))
    assert list(ledger.check()) == []
    assert ledger.newest(KEPT) == stands(2)
    ledger.answered(KEPT, 1, [("epoch", 1, True)])
    assert ledger.newest(KEPT) == stands(2), "the epoch of a repetition may be over"
    ledger.answered(KEPT, 1, made([3], NEXT))
    assert [found.kind for found in ledger.check()] == [finding.PUBLISHED_TWICE]


def kept(answer: list[tuple[str, int, int | None]], top: int, removed: int = 0) -> list[str]:
    """Return what is found where numbers 1 to 5 were published in a group that keeps 100, and ``answer`` is kept."""
    ledger = Ledger()
    ledger.answered(KEPT, 1, made(range(1, 6)))
    if removed:
        ledger.removing(KEPT).until = at(removed)
    found = compare(ledger, BY_NAME[KEPT], ledger.known(KEPT), {"top": at(top), "kept": answer})
    return [each.kind for each in found]


@pytest.mark.parametrize(
    ("offsets", "top", "removed", "kinds"),
    [
        ([1, 2, 3, 4, 5], 5, 0, []),
        ([1, 2, 3, 4, 5, 6, 7], 7, 0, []),
        ([4, 5], 5, 3, []),
        ([2, 3, 4, 5], 101, 0, []),
        ([1, 2, 3, 4], 5, 0, [finding.NOT_KEPT]),
        ([1, 2, 3, 4], 4, 0, [finding.NOT_KEPT]),
        ([4, 5], 5, 2, [finding.NOT_KEPT]),
        ([1, 2, 4, 5], 5, 0, [finding.HOLE, finding.NOT_KEPT]),
    ],
)
def test_history_is_compared(offsets: list[int], top: int, removed: int, kinds: list[str]) -> None:
    assert kept([("epoch", offset, offset) for offset in offsets], top, removed) == kinds


def test_history_with_another_content_or_number_is_noticed() -> None:
    assert kept([("epoch", 1, 1), ("epoch", 2, None), *(("epoch", each, each) for each in (3, 4, 5))], 5) == [
        finding.SPOILED
    ]
    assert kept([("epoch", 1, 2), *(("epoch", each, each) for each in (2, 3, 4, 5))], 5) == [finding.MISPLACED]


@pytest.mark.parametrize(
    ("answers", "kinds"),
    [
        ([(1, [1, 2]), (1, [1, 2]), (3, [4]), (4, [3])], []),
        ([(1, [1, 2]), (3, [2]), (4, [4])], [finding.GIVEN_TWICE]),
        ([(1, [1, 2]), (1, [3, 4]), (3, [5, 6])], [finding.PUBLISHED_TWICE, finding.PUBLISHED_TWICE]),
        ([(1, [1, 2]), (3, [3, 5])], [finding.PUBLISHED_TWICE]),
        ([(1, [1, 2]), (3, [3])], [finding.MISPLACED]),
    ],
)
def test_ledger_is_judged(answers: list[tuple[int, list[int]]], kinds: list[str]) -> None:
    ledger = Ledger()
    ledger.ask(KEPT, 4)
    for first, offsets in answers:
        ledger.answered(KEPT, first, made(offsets))
    assert [found.kind for found in ledger.check()] == kinds


async def outcome(servers: Servers, plan: Plan, redis: RedisSet | None = None) -> Verdict:
    """Run the plan on a server of its own."""
    server = spawn(servers, plan)
    try:
        verdict = await run(server, plan, print, redis)
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


async def test_no_worker_takes_anything_along_when_it_dies(
    servers: Servers, tmp_path: Path, node_packages: None
) -> None:
    plan = Plan(
        seed=SEED,
        clients=40,
        publications=3000,
        seconds=9,
        sdks=3,
        pages=8,
        mischief=10,
        engine=sqlite_url(tmp_path),
        workers=2,
        calm=2,
        environment={"CHAOS_REFUSAL": "50"},
    )
    verdict = await outcome(servers, plan)
    assert not verdict.findings, verdict.text()
    assert verdict.figures["workers killed"] > 0
    assert verdict.figures["clients of workers that were killed"] > 5
    assert verdict.figures["recoveries"] > 50
    assert verdict.figures["histories compared"] > 4
    assert verdict.figures["publications asked for through a script"] > 100
    assert verdict.figures["orders repeated: EngineUnavailable"] > 0
    assert verdict.figures["orders repeated: OutcomeUnknown"] > 0


async def test_checker_finds_each_fault_of_several_processes(servers: Servers, tmp_path: Path) -> None:
    plans = []
    for fault in SHARED_FAULTS:
        folder = tmp_path / fault.partition(":")[0]
        folder.mkdir()
        plans.append(
            Plan(
                seed=SEED,
                clients=10,
                publications=500,
                seconds=2,
                sdks=1,
                mischief=4,
                patience=1.5,
                engine=sqlite_url(folder),
                workers=2,
                calm=1,
                environment={"CHAOS_FAULT": fault},
            )
        )
    verdicts = await asyncio.gather(*(outcome(servers, plan) for plan in plans))
    for (fault, kind), verdict in zip(SHARED_FAULTS.items(), verdicts, strict=True):
        assert kind in verdict.kinds, f"{fault} was not found as a {kind}:\n{verdict.text()}"


async def test_nothing_is_lost_silently_when_redis_dies_loses_its_data_and_is_replaced(
    servers: Servers, tmp_path: Path, node_packages: None
) -> None:
    with RedisSet(tmp_path) as redis:
        plan = Plan(
            seed=SEED,
            clients=32,
            publications=1500,
            seconds=6,
            sdks=3,
            pages=6,
            mischief=10,
            engine=redis.engine,
            workers=2,
            calm=0,
            redis_calm=0.2,
        )
        verdict = await outcome(servers, plan, redis)
    assert not verdict.findings, verdict.text()
    harm = {what for what in verdict.figures if what.startswith("Redis ")}
    assert harm >= {"Redis killed", "Redis emptied", "Redis failed over"}
    assert verdict.figures["gaps told (recovered: false)"] > 10
    assert verdict.figures["recoveries"] > 20


async def test_checker_finds_that_nobody_was_told_what_redis_has_swallowed(servers: Servers, tmp_path: Path) -> None:
    with RedisSet(tmp_path) as redis:
        plan = Plan(
            seed=SEED,
            clients=12,
            publications=800,
            seconds=3,
            sdks=2,
            mischief=4,
            patience=1.5,
            engine=redis.engine,
            workers=2,
            calm=0,
            redis_calm=0.1,
            harm=("cut",),
            environment={"CHAOS_FAULT": "deaf:1"},
        )
        verdict = await outcome(servers, plan, redis)
    assert finding.HOLE in verdict.kinds, verdict.text()
