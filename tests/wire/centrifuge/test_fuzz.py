"""A bounded slice of what ``fuzz.centrifuge`` does, and whether it would find anything."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fuzz.centrifuge
from antiphon.wire.centrifuge import frame, json, protobuf, wireformat
from antiphon.wire.centrifuge.exceptions import Malformed
from fuzz.driver import run

TARGET = fuzz.centrifuge.TARGET


@pytest.mark.parametrize("seed", [7, 8])
def test_nothing_is_found(seed: int) -> None:
    lines: list[str] = []
    assert run(TARGET, 1000, seed, say=lines.append) is None, "\n".join(lines)
    assert lines[-1] == f"1,000 runs with seed {seed}: nothing found"


@given(data=st.binary(max_size=60))
def test_any_bytes_are_an_input(data: bytes) -> None:
    TARGET.check(data)


def test_a_seed_stands_for_its_inputs() -> None:
    inputs = [TARGET.generate(random.Random(f"7:{number}")) for number in range(50)]
    assert inputs == [TARGET.generate(random.Random(f"7:{number}")) for number in range(50)]
    assert len(set(inputs)) > 45


def found() -> list[str]:
    """What is said of the first failure, which there has to be."""
    lines: list[str] = []
    assert run(TARGET, 2000, 7, say=lines.append) is not None
    return lines


def test_a_reader_that_raises_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame, "Malformed", KeyError)
    assert "Malformed" in "".join(found())


def test_a_reader_that_takes_too_long_a_length_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf, "length", _length)
    found()


def _length(payload: bytes, position: int, end: int) -> tuple[int, int]:
    size, position = wireformat.varint(payload, position, end)
    return position, position + size


def test_a_reader_of_json_that_does_not_look_at_what_it_skips_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "_read", _read_without_looking)
    found()


def _read_without_looking(decode: Callable[[bytes], Any], line: bytes) -> Any:
    try:
        return decode(line)
    except (RecursionError, ValueError):
        raise Malformed("it can't be read") from None


def test_a_reader_of_json_that_loses_large_numbers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "_LARGEST", 2**63)
    found()
