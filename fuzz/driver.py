"""Runs a fuzz target: with plain Python, which makes inputs up from a seed, or with atheris where it is installed."""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

__all__ = ["Target", "main", "run"]

#: Seconds between two lines of progress.
PROGRESS = 5.0


class Target(NamedTuple):
    """What is fuzzed."""

    module: str
    """Its name behind ``python -m``."""
    generate: Callable[[random.Random], bytes]
    """Makes an input up."""
    check: Callable[[bytes], None]
    """Raises ``AssertionError``, or whatever the code under test raises, where something is wrong. Takes any bytes."""


def run(target: Target, runs: int, seed: int, *, say: Callable[[str], None] = print) -> bytes | None:
    """Check ``runs`` inputs that ``seed`` stands for; return the first that fails, which has been told, or None."""
    began = told = time.monotonic()
    for number in range(runs):
        data = target.generate(random.Random(f"{seed}:{number}"))  # noqa: S311
        if not _passes(target, data, f"seed {seed}, run {number}", say):
            return data
        now = time.monotonic()
        if now - told > PROGRESS:
            told = now
            say(f"{number + 1:,} of {runs:,} runs, {(number + 1) / (now - began):,.0f} per second")
    say(f"{runs:,} runs with seed {seed}: nothing found")
    return None


def _passes(target: Target, data: bytes, which: str, say: Callable[[str], None]) -> bool:
    if not _fails(target, data):
        return True
    say(f"FAILED ({which}): {data.hex()}")
    data = _smallest(target, data)
    try:
        target.check(data)
    except Exception:
        say(traceback.format_exc())
    say(f"of it, {len(data)} bytes are enough: {data!r}")
    say(f"again: python -m {target.module} --replay {data.hex()}")
    return False


def _fails(target: Target, data: bytes) -> bool:
    try:
        target.check(data)
    except Exception:
        return True
    return False


def _smallest(target: Target, data: bytes) -> bytes:
    """Leave out of ``data`` what is not needed to fail, by halves, quarters and so on down to single bytes."""
    width = len(data) // 2
    while width:
        place = 0
        while place < len(data):
            smaller = data[:place] + data[place + width :]
            if _fails(target, smaller):
                data = smaller
            else:
                place += width
        width //= 2
    return data


def main(target: Target, arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {target.module}")
    parser.add_argument("--runs", type=int, default=100_000, help="how many inputs to make up (100,000)")
    parser.add_argument(
        "--seed", type=int, help="what they are made up from (by chance); the same seed, the same inputs"
    )
    parser.add_argument("--replay", metavar="HEX", type=bytes.fromhex, help="check this one input")
    parser.add_argument(
        "--atheris", nargs=argparse.REMAINDER, help="let atheris make them up; what follows is libFuzzer's"
    )
    options = parser.parse_args(arguments)
    if options.replay is not None:
        return 0 if _passes(target, options.replay, "replayed", _say) else 1
    if options.atheris is not None:
        return _run_atheris(target, options.atheris)
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    _say(f"{options.runs:,} runs with seed {seed}")
    return 0 if run(target, options.runs, seed, say=_say) is None else 1


def _say(line: str) -> None:
    print(line, flush=True)


def _run_atheris(target: Target, arguments: list[str]) -> int:
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        print("atheris is not installed: pip install atheris (Linux; elsewhere it needs clang)", file=sys.stderr)
        return 2
    atheris.instrument_all()
    atheris.Setup([target.module, *arguments], target.check)
    atheris.Fuzz()
    return 0
