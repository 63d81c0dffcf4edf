"""What there is to say of the memory engine."""

from __future__ import annotations

from antiphon.doctor.engine.examination import Examination, Fact, Say
from antiphon.doctor.finding import Level

__all__ = ["examine"]


async def examine(url: str, say: Say) -> Examination:
    """Say what it is: there is nothing to reach, and nothing to be set."""
    found = Examination("memory")
    found.facts.append(Fact("kind", "groups live in the memory of one process, and end with it; nothing to set up"))
    found.find(
        "one-process",
        Level.ADVICE,
        url,
        "Other processes, of this host or another, do not share these groups, and a restart begins every group anew.",
        "For several processes of one host, and to survive restarts, write sqlite:///file.db; for several hosts, redis://.",
    )
    return found
