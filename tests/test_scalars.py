"""Scalars: subclasses of text and numbers become what they stand for, and nothing else does."""

from __future__ import annotations

import enum
from typing import Any

import pytest

from antiphon.scalars import as_scalar


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


class Level(enum.IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("value", "plain"), [(Text("a"), "a"), (Whole(7), 7), (Real(1.5), 1.5), (Level.HIGH, 3)], ids=repr
)
def test_a_subclass_becomes_its_base(value: Any, plain: Any) -> None:
    scalar = as_scalar(value)
    assert type(scalar) is type(plain)
    assert scalar == plain


@pytest.mark.parametrize("value", [object(), [], {}, b"a", None])
def test_what_is_no_scalar_is_refused_by_name(value: Any) -> None:
    with pytest.raises(NotImplementedError, match=type(value).__qualname__):
        as_scalar(value)
