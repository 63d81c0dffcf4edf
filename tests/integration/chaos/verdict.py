"""The verdict on a run, in words that need no other."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NamedTuple

from .checker import check
from .finding import DISORDERS, DOUBLES, LOSSES, OVERTAKEN, REPEATED_AT_FIRST, Finding
from .ledger import Ledger
from .member import Member
from .plan import BY_NAME, Plan
from .trail import Gap, Missed, Subscribed, Trail

__all__ = ["Seen", "Verdict", "judge"]

#: Counters that stay at 0 whatever clients and networks do, where the application makes no mistake.
_NEVER = (
    "events_unhandled",
    "events_refused",
    "usage_errors",
    "client_errors",
    "messages_too_big",
    "rate_limited",
    "slow_consumers",
)
#: What exceptions in the log end with where the engine can't for a moment, which may be while a worker is frozen.
_EXCUSED = re.compile(
    r"Traceback(?:(?!Traceback|^INFO|^ERROR).)*?^antiphon\.exceptions\.(?:EngineUnavailable|OutcomeUnknown)",
    re.S | re.M,
)
#: How many findings of each kind are shown.
_SAMPLES = 5


class Seen(NamedTuple):
    """What a run leaves to be judged."""

    members: Sequence[Member]
    stats: Mapping[str, int]
    """Counters of the workers that live."""
    done: Mapping[str, int]
    """How often what went wrong."""
    findings: Sequence[Finding]
    """Of those who have asked the engine."""
    absences: Sequence[str]
    """How long the deaths of workers, and what happened to Redis, took their clients."""
    log: str


@dataclasses.dataclass
class Verdict:
    """What was seen, and what was wrong."""

    plan: Plan
    figures: dict[str, int] = dataclasses.field(default_factory=dict)
    absences: Sequence[str] = ()
    endings: Counter[int] = dataclasses.field(default_factory=Counter)
    """Close codes of the members' connections."""
    findings: list[tuple[str, Finding]] = dataclasses.field(default_factory=list)
    """Who found what: a member's name and wire, or the server."""
    trails: dict[tuple[str, str], Trail] = dataclasses.field(default_factory=dict)
    """By who and group, those in which something was found."""

    @property
    def losses(self) -> int:
        """How much was lost silently."""
        return self.count(LOSSES)

    def count(self, kinds: Set[str]) -> int:
        """Return how many findings are of these kinds."""
        return sum(finding.kind in kinds for _, finding in self.findings)

    @property
    def kinds(self) -> set[str]:
        """What kinds of findings there are."""
        return {finding.kind for _, finding in self.findings}

    def _samples(self) -> Iterable[tuple[str, Finding]]:
        """Return some of each kind."""
        seen: Counter[str] = Counter()
        for who, finding in self.findings:
            seen[finding.kind] += 1
            if seen[finding.kind] <= _SAMPLES:
                yield who, finding

    def text(self) -> str:
        """Say all of it."""
        lines = [f"Seed {self.plan.seed}."]
        lines += [f"{count:>9,}  {what}" for what, count in self.figures.items()]
        if self.figures["publications"] + self.figures["publications of which nobody knows"] < self.plan.publications:
            lines.append(f"The time was over before {self.plan.publications:,} were published.")
        lines += [f"{words[0].upper()}{words[1:]}." for words in self.absences]
        endings = ", ".join(f"{code or 'none'}: {count:,}" for code, count in sorted(self.endings.items()))
        lines.append(f"Close codes seen by clients: {endings}.")
        kinds = Counter((finding.kind, finding.group) for _, finding in self.findings)
        lines += [f"{count:>9,}  WRONG  {kind} in {group}" for (kind, group), count in kinds.most_common()]
        for who, finding in self._samples():
            lines.append(f"WRONG  {who}, {finding.group}: {finding.kind}: {finding.words}")
        shown = [(who, found) for who, found in self._samples() if (who, found.group) in self.trails]
        for who, finding in shown[:6]:
            entries = self.trails[who, finding.group].entries
            end = finding.place + 3 if finding.place >= 0 else len(entries)
            lines.append(f"What {who} knows of {finding.group}, until {finding.words}:")
            lines += [f"    {entry}" for entry in entries[max(end - 14, 0) : end]]
        if not self.findings:
            lines.append("PASSED: whatever a client did not get, it was told that it did not; nothing else was wrong.")
        else:
            lines.append(
                f"FAILED: {self.losses:,} silent losses, {len(self.findings) - self.losses:,} other faults; "
                f"the same again: --seed {self.plan.seed} --clients {self.plan.clients} "
                f"--publications {self.plan.publications} --seconds {self.plan.seconds:g} "
                f"--workers {self.plan.workers} --engine {self.plan.engine.partition(':')[0].partition('+')[0]}"
            )
        return "\n".join(lines)


def judge(plan: Plan, ledger: Ledger, seen: Seen) -> Verdict:
    """Check every trail, and what the server says of itself."""
    verdict = Verdict(plan, absences=seen.absences)
    trails: list[Trail] = []
    excused: Counter[str] = Counter()
    for member in seen.members:
        verdict.endings += member.codes
        for trail in member.trails.values():
            trails.append(trail)
            who = f"{member.name} ({member.wire})"
            found = []
            for finding in check(ledger, trail):
                excuse = _excuse(plan, finding)
                if excuse:
                    excused[excuse] += 1
                else:
                    found.append(finding)
            verdict.findings += [(who, finding) for finding in found]
            if found:
                verdict.trails[who, trail.group] = trail
    verdict.findings += [("the engine", finding) for finding in seen.findings]
    verdict.figures = {
        "publications": len(ledger),
        "publications of which nobody knows": ledger.asked - len(ledger),
        "deliveries": sum(trail.received for trail in trails),
        "connections": seen.stats["connections_accepted"],
        **seen.done,
        **_told(trails),
        "slow readers closed": seen.stats["slow_clients"],
        "pings unanswered": seen.stats["pings_unanswered"],
        "gaps of the process": seen.stats["gaps"],
        "filled in from history": seen.stats["publications_recovered"],
        "repetitions left out": seen.stats["publications_repeated"],
        **excused,
        "silent losses": verdict.losses,
        "doubles": verdict.count(DOUBLES),
        "out of order": verdict.count(DISORDERS),
    }
    verdict.findings += [("the server", finding) for finding in _of_server(plan, verdict.figures, seen)]
    return verdict


def _excuse(plan: Plan, finding: Finding) -> str:
    """Return how that is counted which nobody has promised not to happen; empty: it must not."""
    if plan.heals and finding.kind == OVERTAKEN:
        return "events ahead of what was filled in"
    if plan.is_shared and finding.kind == REPEATED_AT_FIRST and (plan.forgets or not BY_NAME[finding.group].history):
        return "repetitions to who has no position, and has come from another worker"
    return ""


def _told(trails: Iterable[Trail]) -> dict[str, int]:
    """Count what members were told."""
    entries = [entry for trail in trails for entry in trail.entries]
    subscribed = [entry for entry in entries if isinstance(entry, Subscribed) and entry.since is not None]
    return {
        "recoveries": sum(entry.recovered for entry in subscribed),
        "gaps told (recovered: false)": sum(not entry.recovered for entry in subscribed),
        "gap frames on the plain wire": sum(isinstance(entry, Gap) for entry in entries),
        "messages told to be missed": sum(entry.messages for entry in entries if isinstance(entry, Missed)),
    }


def _of_server(plan: Plan, figures: Mapping[str, int], seen: Seen) -> Iterable[Finding]:
    """Judge the counters, of which those of workers that are dead are not known any more, and the log."""
    stats = seen.stats
    never = {*_NEVER, *(() if plan.is_shared else ("handler_errors",))}
    if plan.forgets:  # ``connect()`` may wait for an engine that is away, be closed for that, and go on
        never -= {"slow_consumers", "usage_errors"}
    for name in sorted(never):
        if stats[name]:
            yield Finding("counter", name, f"is {stats[name]}")
    if not plan.is_shared:
        if stats["publications"] != figures["publications"]:
            words = f"is {stats['publications']}, and {figures['publications']} were made"
            yield Finding("counter", "publications", words)
        if stats["messages_missed"] < figures["messages told to be missed"]:
            yield Finding("counter", "messages_missed", f"is {stats['messages_missed']}, and members were told of more")
    if not plan.heals:
        for name in ("gaps", "publications_recovered", "publications_repeated"):
            if stats[name]:
                yield Finding("counter", name, f"is {stats[name]}, and this engine loses and repeats nothing")
    log = _EXCUSED.sub("", seen.log) if plan.is_shared else seen.log
    if "Traceback" in log:
        place = log.index("Traceback")
        yield Finding("log", "Traceback", log[max(place - 300, 0) : place + 1500])
