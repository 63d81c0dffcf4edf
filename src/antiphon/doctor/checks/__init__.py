"""The checks, family by family, and the one function that runs them all."""

from __future__ import annotations

from antiphon.doctor.checks import closing, events, handlers, layers, origins, processes, scope, servers
from antiphon.doctor.finding import Check, Finding, Level
from antiphon.doctor.project import Project

__all__ = ["CHECKS", "examine"]

#: Every check, in the order in which its findings are shown.
CHECKS: tuple[Check, ...] = (
    *scope.CHECKS,
    *origins.CHECKS,
    *layers.CHECKS,
    *processes.CHECKS,
    *handlers.CHECKS,
    *closing.CHECKS,
    *events.CHECKS,
    *servers.CHECKS,
)


def examine(project: Project) -> list[Finding]:
    """Return what is found in ``project``, the most severe first."""
    found = [Finding(check.name, check.level, spot) for check in CHECKS for spot in dict.fromkeys(check.find(project))]
    levels = list(Level)
    return sorted(found, key=lambda finding: levels.index(finding.level))
