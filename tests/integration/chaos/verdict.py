"""The verdict on a run, in words that need no other."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping

from .checker import LOSSES, OVERTAKEN, Finding, check
from .ledger import Ledger
from .member import Member
from .plan import Plan
from .trail import Gap, Missed, Subscribed, Trail

__all__ = ["Verdict", "judge"]

#: Counters that stay at 0 whatever clients and networks do, where the application makes no mistake.
_NEVER = (
    "events_unhandled",
    "events_refused",
    "handler_errors",
    "usage_errors",
    "client_errors",
    "messages_too_big",
    "rate_limited",
    "slow_consumers",
)


@dataclasses.dataclass
class Verdict:
    """What was seen, and what was wrong."""

    plan: Plan
    figures: dict[str, int] = dataclasses.field(default_factory=dict)
    endings: Counter[int] = dataclasses.field(default_factory=Counter)
    """Close codes of the members' connections."""
    findings: list[tuple[str, Finding]] = dataclasses.field(default_factory=list)
    """Who found what: a member's name and wire, or the server."""
    trails: dict[tuple[str, str], Trail] = dataclasses.field(default_factory=dict)
    """By who and group, those in which something was found."""

    @property
    def losses(self) -> int:
        """How much was lost silently."""
        return sum(finding.kind in LOSSES for _, finding in self.findings)

    @property
    def kinds(self) -> set[str]:
        """What kinds of findings there are."""
        return {finding.kind for _, finding in self.findings}

    def text(self) -> str:
        """Say all of it."""
        lines = [f"Seed {self.plan.seed}."]
        lines += [f"{count:>9,}  {what}" for what, count in self.figures.items()]
        endings = ", ".join(f"{code or 'none'}: {count:,}" for code, count in sorted(self.endings.items()))
        lines.append(f"Close codes seen by clients: {endings}.")
        for who, finding in self.findings[:20]:
            lines.append(f"WRONG  {who}, {finding.group}: {finding.kind}: {finding.words}")
        if len(self.findings) > 20:
            lines.append(f"… and {len(self.findings) - 20:,} more of this sort")
        for (who, group), trail in list(self.trails.items())[:3]:
            lines.append(f"The last that {who} knows of {group}:")
            lines += [f"    {entry}" for entry in trail.entries[-12:]]
        if not self.findings:
            lines.append("PASSED: whatever a client did not get, it was told that it did not; nothing else was wrong.")
        else:
            lines.append(
                f"FAILED: {self.losses:,} silent losses, {len(self.findings) - self.losses:,} other faults; "
                f"the same again: --seed {self.plan.seed} --clients {self.plan.clients} "
                f"--publications {self.plan.publications} --seconds {self.plan.seconds:g}"
            )
        return "\n".join(lines)


def judge(
    plan: Plan, ledger: Ledger, members: Iterable[Member], stats: Mapping[str, int], done: Mapping[str, int], log: str
) -> Verdict:
    """Check every trail, and what the server says of itself."""
    verdict = Verdict(plan)
    trails: list[Trail] = []
    for member in members:
        verdict.endings += member.codes
        for trail in member.trails.values():
            trails.append(trail)
            who = f"{member.name} ({member.wire})"
            # An event does not wait for publications that have yet to be filled in.
            ignored = OVERTAKEN if plan.heals else ""
            found = [(who, finding) for finding in check(ledger, trail) if finding.kind != ignored]
            verdict.findings += found
            if found:
                verdict.trails[who, trail.group] = trail
    verdict.figures = {
        "publications": len(ledger),
        "deliveries": sum(trail.received for trail in trails),
        "connections": stats["connections_accepted"],
        **done,
        **_told(trails),
        "slow readers closed": stats["slow_clients"],
        "pings unanswered": stats["pings_unanswered"],
        "gaps of the process": stats["gaps"],
        "filled in from history": stats["publications_recovered"],
        "repetitions left out": stats["publications_repeated"],
        "silent losses": verdict.losses,
    }
    verdict.findings += [("the server", finding) for finding in _of_server(plan, verdict.figures, stats, log)]
    return verdict


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


def _of_server(plan: Plan, figures: Mapping[str, int], stats: Mapping[str, int], log: str) -> Iterable[Finding]:
    for name in _NEVER:
        if stats.get(name):
            yield Finding("counter", name, f"is {stats[name]}")
    if stats["publications"] != figures["publications"]:
        yield Finding("counter", "publications", f"is {stats['publications']}, and {figures['publications']} were made")
    if stats["messages_missed"] < figures["messages told to be missed"]:
        yield Finding("counter", "messages_missed", f"is {stats['messages_missed']}, and members were told of more")
    if not plan.heals:
        for name in ("gaps", "publications_recovered", "publications_repeated"):
            if stats[name]:
                yield Finding("counter", name, f"is {stats[name]}, and this engine loses and repeats nothing")
    if "Traceback" in log:
        place = log.index("Traceback")
        yield Finding("log", "Traceback", log[max(place - 300, 0) : place + 1500])
