"""The tree of exceptions is the one that its module draws."""

from __future__ import annotations

import re

import pytest

from antiphon import exceptions


def drawn() -> dict[str, str]:
    """Return each exception of the drawing with its parent."""
    parents, stack = {}, ["AntiphonError"]
    for line in (exceptions.__doc__ or "").splitlines():
        match = re.match(r"    ([│ ]*)[├└]── (\w+)", line)
        if match:
            depth = len(match[1]) // 4 + 1
            del stack[depth:]
            parents[match[2]] = stack[-1]
            stack.append(match[2])
    return parents


def test_the_drawing_has_every_exception() -> None:
    assert {"AntiphonError", *drawn()} == set(exceptions.__all__)
    defined = {name for name, value in vars(exceptions).items() if isinstance(value, type)}
    assert defined == set(exceptions.__all__)


@pytest.mark.parametrize(("name", "parent"), list(drawn().items()))
def test_every_exception_stands_where_it_is_drawn(name: str, parent: str) -> None:
    assert getattr(exceptions, name).__bases__[0] is getattr(exceptions, parent)


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("InvalidName", TypeError),
        ("InvalidEvent", ValueError),
        ("NotEncodable", TypeError),
        ("InvalidCloseCode", ValueError),
        ("NotAccepted", RuntimeError),
        ("ConfigurationError", ValueError),
        ("EngineUnavailable", ConnectionError),
        ("OutcomeUnknown", ConnectionError),
    ],
)
def test_an_exception_is_the_builtin_one_that_its_place_suggests(name: str, builtin: type) -> None:
    assert issubclass(getattr(exceptions, name), builtin)


def test_the_application_and_the_client_are_blamed_apart() -> None:
    assert not issubclass(exceptions.ClientError, exceptions.UsageError)


def test_an_engine_that_fails_is_nobodys_fault_and_what_is_known_of_it_is_told_apart() -> None:
    assert not issubclass(exceptions.EngineError, (exceptions.UsageError, exceptions.ClientError))
    assert not issubclass(exceptions.OutcomeUnknown, exceptions.EngineUnavailable)
    assert not issubclass(exceptions.EngineUnavailable, exceptions.OutcomeUnknown)


def test_a_client_error_says_code_and_reason() -> None:
    error = exceptions.ClientError("invalid_json", "it is cut off")
    assert (error.code, error.reason, str(error)) == ("invalid_json", "it is cut off", "invalid_json: it is cut off")


@pytest.mark.parametrize("name", exceptions.__all__)
def test_every_exception_says_what_it_means(name: str) -> None:
    assert getattr(exceptions, name).__doc__
