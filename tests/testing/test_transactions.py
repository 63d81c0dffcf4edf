"""Database connections with a transaction are left alone. (With a real database: ``test_django.py``.)"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator

import pytest

from antiphon.testing.transactions import undisturbed_connections


class Wrapper:
    """A database connection of Django's."""

    def __init__(self, *, in_atomic_block: bool) -> None:
        self.in_atomic_block = in_atomic_block
        self.is_closed = False

    def close_if_unusable_or_obsolete(self) -> None:
        """Close."""
        self.is_closed = True


ORIGINAL = Wrapper.close_if_unusable_or_obsolete


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A Django that is loaded."""
    module = types.ModuleType("django.db.backends.base.base")
    module.BaseDatabaseWrapper = Wrapper  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    assert Wrapper.close_if_unusable_or_obsolete is ORIGINAL


def closes(*, in_atomic_block: bool) -> bool:
    """Tell whether a connection would be closed now."""
    connection = Wrapper(in_atomic_block=in_atomic_block)
    connection.close_if_unusable_or_obsolete()
    return connection.is_closed


@pytest.mark.usefixtures("module")
def test_inside_a_connection_with_a_transaction_stays_and_others_do_not() -> None:
    with undisturbed_connections():
        assert not closes(in_atomic_block=True)
        assert closes(in_atomic_block=False)
    assert closes(in_atomic_block=True)


@pytest.mark.usefixtures("module")
def test_it_may_be_left_in_any_order() -> None:
    first, second = undisturbed_connections(), undisturbed_connections()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not closes(in_atomic_block=True)
    second.__exit__(None, None, None)
    assert closes(in_atomic_block=True)


@pytest.mark.usefixtures("module")
def test_it_is_left_by_an_exception() -> None:
    with pytest.raises(KeyError), undisturbed_connections():
        raise KeyError
    assert closes(in_atomic_block=True)


def test_without_django_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "django.db.backends.base.base", raising=False)
    with undisturbed_connections():
        assert closes(in_atomic_block=True)


def test_a_django_that_is_loaded_inside_is_found_by_the_next(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "django.db.backends.base.base", raising=False)
    with undisturbed_connections():
        request.getfixturevalue("module")
        with undisturbed_connections():
            assert not closes(in_atomic_block=True)


@pytest.mark.usefixtures("module")
def test_what_somebody_else_has_put_there_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def theirs(connection: Wrapper) -> None:
        """Do nothing."""

    with monkeypatch.context() as patch:
        with undisturbed_connections():
            patch.setattr(Wrapper, "close_if_unusable_or_obsolete", theirs)
        assert Wrapper.__dict__["close_if_unusable_or_obsolete"] is theirs
    Wrapper.close_if_unusable_or_obsolete = ORIGINAL  # type: ignore[method-assign]
