"""A bounded slice of what ``fuzz/`` does, and whether it would find anything."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fuzz.frames
import fuzz.plain
from antiphon import framereader
from antiphon.wire import plain
from fuzz.driver import Target, main, run

both = pytest.mark.parametrize("target", [fuzz.frames.TARGET, fuzz.plain.TARGET], ids=["frames", "plain"])


@both
@pytest.mark.parametrize("seed", [7, 8])
def test_nothing_is_found(target: Target, seed: int) -> None:
    lines: list[str] = []
    assert run(target, 1000, seed, say=lines.append) is None, "\n".join(lines)
    assert lines[-1] == f"1,000 runs with seed {seed}: nothing found"


@both
@given(data=st.binary(max_size=60))
def test_any_bytes_are_an_input(target: Target, data: bytes) -> None:
    target.check(data)


@both
def test_a_seed_stands_for_its_inputs(target: Target) -> None:
    inputs = [target.generate(random.Random(f"7:{number}")) for number in range(50)]
    assert inputs == [target.generate(random.Random(f"7:{number}")) for number in range(50)]
    assert len(set(inputs)) > 45


# Would it find a bug?


def found(target: Target) -> list[str]:
    """What is said of the first failure, which there has to be."""
    lines: list[str] = []
    assert run(target, 2000, 7, say=lines.append) is not None
    return lines


def break_reader(monkeypatch: pytest.MonkeyPatch, name: str, make: Callable[[Any], Any]) -> None:
    monkeypatch.setattr(framereader.FrameReader, name, make(getattr(framereader.FrameReader, name)))


def test_a_reader_that_forgets_the_mask_between_reads_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(original: Any) -> Any:
        def take(self: Any, data: bytes, position: int, end: int) -> int:
            key = self._key
            stop: int = original(self, data, position, end)
            self._key = key
            return stop

        return take

    break_reader(monkeypatch, "_take_payload", make)
    found(fuzz.frames.TARGET)


def test_a_reader_that_does_not_check_text_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framereader, "_check_utf8", lambda payload: None)
    found(fuzz.frames.TARGET)


def test_a_reader_that_keeps_its_account_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(original: Any) -> Any:
        def forget(self: Any) -> None:
            self._message += b"x"
            original(self)

        return forget

    break_reader(monkeypatch, "_forget", make)
    found(fuzz.frames.TARGET)


def test_a_reader_that_raises_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(original: Any) -> Any:
        def deliver(self: Any, opcode: int, payload: bytes) -> None:
            payload.decode("ascii")
            original(self, opcode, payload)

        return deliver

    break_reader(monkeypatch, "_deliver", make)
    lines = found(fuzz.frames.TARGET)
    assert "UnicodeDecodeError" in lines[1]


def test_a_decoder_that_takes_what_is_no_json_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "_decode", json.loads)
    found(fuzz.plain.TARGET)


def test_an_encoder_that_writes_what_is_no_json_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "_encode", lambda content: json.dumps(content).encode())
    found(fuzz.plain.TARGET)


# The driver


def check_no_x(data: bytes) -> None:
    assert b"x" not in data


SIMPLE = Target("fuzz.simple", lambda chance: chance.randbytes(3) + b"some x and more " * 10, check_no_x)


def test_a_failure_is_made_as_small_as_it_can_be_and_told_with_the_command_that_repeats_it() -> None:
    lines: list[str] = []
    run(SIMPLE, 10, 7, say=lines.append)
    assert lines[0].startswith("FAILED (seed 7, run 0): ")
    assert "AssertionError" in lines[1]
    assert lines[2:] == ["of it, 1 bytes are enough: b'x'", "again: python -m fuzz.simple --replay 78"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--replay", "7879"], 1, "FAILED (replayed): 7879"),
        (["--replay", "79"], 0, ""),
        (["--runs", "3", "--seed", "7"], 1, "3 runs with seed 7"),
        (["--runs", "0"], 0, "nothing found"),
    ],
)
def test_the_command_line(arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SIMPLE, arguments) == code
    assert words in capsys.readouterr().out


def test_atheris_is_given_the_check_and_libfuzzers_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    atheris = SimpleNamespace(
        instrument_all=lambda: calls.append("instrument"),
        Setup=lambda arguments, check: calls.append((arguments, check)),
        Fuzz=lambda: calls.append("fuzz"),
    )
    monkeypatch.setattr("importlib.import_module", lambda name: atheris)
    assert main(SIMPLE, ["--atheris", "corpus/", "-runs=10"]) == 0
    assert calls == ["instrument", (["fuzz.simple", "corpus/", "-runs=10"], check_no_x), "fuzz"]


def test_without_atheris_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    assert main(SIMPLE, ["--atheris"]) == 2
    assert "pip install atheris" in capsys.readouterr().err
