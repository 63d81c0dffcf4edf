"""Autobahn's cases: all of them by family, and which are chosen.

A case is named by its section, family and number (``9.3.1``). `wstest` takes names as well as patterns; it gets names,
so that a case which it did not run is missed afterwards.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

__all__ = ["CASES", "SECTIONS", "UnknownCases", "chosen", "full", "matching", "ranges", "section_of"]

#: The sections by number, with the suite's own titles.
SECTIONS = {
    "1": "Framing",
    "2": "Pings and pongs",
    "3": "Reserved bits",
    "4": "Opcodes",
    "5": "Fragmentation",
    "6": "UTF-8 handling",
    "7": "Close handling",
    "9": "Limits and performance",
    "10": "Auto-fragmentation",
    "12": "Compression, different payloads",
    "13": "Compression, different parameters",
}

#: How many cases each family has (suite 25.10.1, 517 in all); they are numbered from 1.
_FAMILIES = {
    "1.1": 8,
    "1.2": 8,
    "2": 11,
    "3": 7,
    "4.1": 5,
    "4.2": 5,
    "5": 20,
    "6.1": 3,
    "6.2": 4,
    "6.3": 2,
    "6.4": 4,
    "6.5": 5,
    "6.6": 11,
    "6.7": 4,
    "6.8": 2,
    "6.9": 4,
    "6.10": 3,
    "6.11": 5,
    "6.12": 8,
    "6.13": 5,
    "6.14": 10,
    "6.15": 1,
    "6.16": 3,
    "6.17": 5,
    "6.18": 5,
    "6.19": 5,
    "6.20": 7,
    "6.21": 8,
    "6.22": 34,
    "6.23": 7,
    "7.1": 6,
    "7.3": 6,
    "7.5": 1,
    "7.7": 13,
    "7.9": 9,
    "7.13": 2,
    "9.1": 6,
    "9.2": 6,
    "9.3": 9,
    "9.4": 9,
    "9.5": 6,
    "9.6": 6,
    "9.7": 6,
    "9.8": 6,
    "10.1": 1,
    **{f"12.{family}": 18 for family in range(1, 6)},
    **{f"13.{family}": 18 for family in range(1, 8)},
}

#: Every case, in the order in which the suite runs them.
CASES = tuple(f"{family}.{number}" for family, size in _FAMILIES.items() for number in range(1, size + 1))

_COMPRESSION = [family for family in _FAMILIES if family.startswith(("12.", "13."))]
#: The numbers within each family of compression, by what they send: 16 to 1024 bytes; 4 to 16 KiB; 32 to 128 KiB; up to
#: 128 KiB in fragments.
_SIZES = (range(1, 5), range(5, 8), range(8, 11), range(11, 19))


class UnknownCases(ValueError):
    """A pattern matches no case; says which."""


def full() -> list[str]:
    """Return every case."""
    return list(CASES)


def chosen() -> list[str]:
    """Return all cases without compression, and four of each family of it, which together have each size."""
    picked = {f"{family}.{sizes[index % len(sizes)]}" for index, family in enumerate(_COMPRESSION) for sizes in _SIZES}
    return [case for case in CASES if section_of(case) not in ("12", "13") or case in picked]


def matching(patterns: Iterable[str]) -> list[str]:
    """Return the cases that match one of the patterns (``*`` stands for anything); each pattern has to match some."""
    found: set[str] = set()
    for pattern in patterns:
        cases = fnmatch.filter(CASES, pattern)
        if not cases:
            raise UnknownCases(f"{pattern!r} matches no case; write names like 9.3.1, or patterns like 9.* or 12.1.*")
        found.update(cases)
    return [case for case in CASES if case in found]


def section_of(case: str) -> str:
    """Return the number of the case's section."""
    return case.split(".", 1)[0]


def ranges(cases: Sequence[str]) -> str:
    """Return cases, which are in order, in short: ``12.1.1 to 12.1.18, 13.1.4``."""
    runs: list[list[str]] = []
    for case in cases:
        if runs and _follows(runs[-1][-1], case):
            runs[-1].append(case)
        else:
            runs.append([case])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def _follows(one: str, other: str) -> bool:
    """Tell whether the second is the next of the first's family."""
    (family, number), (other_family, other_number) = one.rsplit(".", 1), other.rsplit(".", 1)
    return family == other_family and int(number) + 1 == int(other_number)
