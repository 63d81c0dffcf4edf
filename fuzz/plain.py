"""What a client says on the plain wire, and what an application sends on it, against the standard library's ``json``.

``check`` takes any bytes. The first says how deep the JSON may be nested, the rest is what came from a client:
``antiphon.wire.plain.decode`` gives what ``json.loads`` gives, or a ``ClientError`` for a reason. From the same bytes
a content is made up for ``encode``: what it returns is JSON that ``json.loads`` reads back, or it raises
``NotEncodable``.

Run it: ``python -m fuzz.plain --runs 1000000 --seed 7``.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import math
import random
import sys
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from antiphon.exceptions import ClientError, NotEncodable
from antiphon.wire import plain
from fuzz.driver import Target, main

__all__ = ["TARGET", "check", "check_decode", "check_encode", "generate"]

#: Up to which depth the oracle itself is sure to get.
DEEPEST = 80


def check(data: bytes) -> None:
    """Check both ways; raise ``AssertionError`` where something is wrong."""
    if data:
        check_decode(data[1:], 1 + data[0] % DEEPEST)
        check_encode(_content(random.Random(data)))  # noqa: S311


# What comes in


def check_decode(payload: bytes, max_depth: int) -> None:
    """Check what becomes of ``payload``."""
    try:
        content = plain.decode(payload, max_depth)
    except ClientError as error:
        fault = error
    else:
        expected = json.loads(payload.decode())
        assert repr(content) == repr(expected), f"antiphon {content!r}, json {expected!r}"
        assert _depth(content) <= max_depth
        check_encode(content)
        return
    assert fault.code
    assert _has_reason(payload, max_depth), f"refused ({fault.reason}), and nothing is wrong with it"


class _Object(list[tuple[str, Any]]):
    """An object with all its pairs: of two with the same name, the one that JSON forgets may be the fault."""


def _has_reason(payload: bytes, max_depth: int) -> bool:
    """Tell whether ``payload`` is no JSON, or JSON that can't be carried."""
    try:
        content = json.loads(payload.decode(), parse_constant=_refuse, object_pairs_hook=_Object)
    except (ValueError, RecursionError):
        return True
    return _depth(content) > max_depth or not all(map(_can_be_carried, _leaves(content)))


def _refuse(name: str) -> None:
    raise ValueError(name)


def _can_be_carried(leaf: Any) -> bool:
    if type(leaf) is int:
        return bool(-(2**63) <= leaf < 2**64)
    if type(leaf) is float:
        return math.isfinite(leaf)
    return not (isinstance(leaf, str) and any("\ud800" <= character <= "\udfff" for character in leaf))


def _leaves(content: Any) -> list[Any]:
    """Return every scalar and every name in ``content``."""
    found: list[Any] = []
    waiting = [content]
    while waiting:
        item = waiting.pop()
        if isinstance(item, _Object):
            found.extend(name for name, _ in item)
        if isinstance(item, list):
            waiting.extend(_children(item))
        else:
            found.append(item)
    return found


def _depth(content: Any) -> int:
    depth, level = 0, [content]
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        level = [child for item in level for child in _children(item)]
    return depth


def _children(item: Any) -> Any:
    if isinstance(item, dict):
        return item.values()
    return [value for _, value in item] if isinstance(item, _Object) else item


# What goes out


def check_encode(content: Any) -> None:
    """Check what ``content`` is sent as."""
    try:
        text = plain.encode(content).decode()
    except NotEncodable as error:
        fault = str(error)
    else:
        read = json.loads(text, parse_constant=_fail)
        assert not _is_json(content) or repr(read) == repr(content), f"sent {content!r}, read {read!r}"
        return
    assert fault
    assert not _is_json(content), f"{content!r} is JSON: {fault}"


def _fail(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def _is_json(content: Any) -> bool:
    """Tell whether ``content`` is just what ``json.loads`` gives for it."""
    try:
        return repr(json.loads(json.dumps(content, allow_nan=False))) == repr(content)
    except (TypeError, ValueError, RecursionError):
        return False


# Making things up


class _Point(NamedTuple):
    x: int


class _Colour(enum.IntEnum):
    RED = 1


class _Word(enum.StrEnum):
    A = "a"


@dataclasses.dataclass
class _Record:
    a: Any = 1


_SCALARS: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**53, 2**63, 2**64, -(2**63) - 1, 10**30, 10**5000),
    *(0.0, -0.0, 1.5, 1e22, 5e-324, 1.7976931348623157e308, math.nan, math.inf, -math.inf),
    *("", "a", "ä€🎵", "\x00\x1f\x7f\u2028", "\ud800", "a\udfff", '"\\/', "</script>"),
    *(b"bytes", bytearray(b"a"), 1j, object(), range(2), {1}, frozenset(), Ellipsis),
    *(
        datetime.date(2024, 2, 29),
        datetime.timedelta(1),
        decimal.Decimal("1.10"),
        decimal.Decimal("NaN"),
        uuid.UUID(int=1),
    ),
    *(_Point(1), _Colour.RED, _Word.A, _Record(), _Record(math.nan), _Record("\ud800"), len, int),
]
_KEYS: list[Any] = ["", "a", "ä", "\ud800", None, True, 1, 1.5, math.nan, _Colour.RED, _Word.A, (1, 2), b"a", 2**70]


def _content(chance: random.Random, depth: int = 0) -> Any:
    """Return what an application may send, of all that there is in Python."""
    kind = chance.random() + depth / 6
    if kind < 0.35:
        return {chance.choice(_KEYS): _content(chance, depth + 1) for _ in range(chance.randrange(4))}
    if kind < 0.6:
        items = [_content(chance, depth + 1) for _ in range(chance.randrange(4))]
        return tuple(items) if chance.random() < 0.3 else items
    if kind < 0.62:
        return _deep(chance)
    return chance.choice(_SCALARS)


def _deep(chance: random.Random) -> Any:
    """Return a list that is nested deep, or holds itself."""
    items: list[Any] = []
    if chance.random() < 0.5:
        items.append(items)
        return items
    for _ in range(chance.choice((10, 100, 900, 5000))):
        items = [items]
    return items


def generate(chance: random.Random) -> bytes:
    """Return an input of ``check``: JSON, mostly with a few faults."""
    payload = bytearray(_document(chance).encode("utf-8", "surrogatepass"))
    for _ in range(chance.choice((0, 0, 0, 1, 2, 5))):
        _mutate(payload, chance)
    return bytes((chance.randrange(256),)) + bytes(payload)


_ATOMS = (
    *("null", "true", "false", "0", "-0", "-1", "1.0", "1e5", "1E+2", "-0.0", "1e-400", "0.1", "123456789.123456789"),
    *("9223372036854775808", "18446744073709551615", "-9223372036854775808", "1.7976931348623157e308", "1e22", "1e23"),
    *("2.2250738585072011e-308", "4.9e-324", '""', '"a"', '"\\u00e4"', '"\\ud83c\\udfb5"', '"\\n\\/"', '"🎵"', '"[{"'),
)
_BAD_ATOMS = (
    *("1e400", "01", "1.", ".5", "+1", "18446744073709551616", "-9223372036854775809", "9" * 40, "9" * 5000, "NaN"),
    *(
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\\x"',
        '"\n"',
        "Infinity",
        "-Infinity",
        "nul",
        "'a'",
        '"a',
        "\ufeff1",
        "",
        "//",
    ),
    *("[" * 200 + "]" * 200, "[" * 3000, '{"a":' * 200 + "1" + "}" * 200, "\ud800", '"\udfff"'),
)


def _atom(chance: random.Random) -> str:
    return chance.choice(_BAD_ATOMS if chance.random() < 0.08 else _ATOMS)


def _document(chance: random.Random, depth: int = 0) -> str:
    kind = chance.random() + depth / 8
    space = chance.choice(("", "", "", " ", "\n\t"))
    if kind < 0.3:
        return "[" + f",{space}".join(_document(chance, depth + 1) for _ in range(chance.randrange(4))) + space + "]"
    if kind < 0.6:
        names = ('"a"', '""', '"\\u0061"', '"b"', "1", '"\\ud800"') if chance.random() < 0.2 else ('"a"', '"b"', '"ä"')
        pairs = (f"{chance.choice(names)}{space}:{_document(chance, depth + 1)}" for _ in range(chance.randrange(4)))
        return "{" + f"{space},".join(pairs) + "}"
    if kind < 0.65:
        return "[" * (nested := chance.randrange(1, 100)) + _atom(chance) + "]" * nested
    return space + _atom(chance)


def _mutate(payload: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(payload) + 1)
    ways: list[Callable[[], object]] = [
        lambda: payload.insert(place, chance.randrange(256)),
        lambda: payload.insert(place, chance.choice(b'[]{}",:0-.eE\\u \n')),
        lambda: payload.__delitem__(slice(place, place + chance.choice((1, 1, 3)))),
        lambda: payload.__delitem__(slice(place, None)),
        lambda: payload.__setitem__(slice(place, place + 1), chance.randbytes(1)),
        lambda: payload.__setitem__(slice(place, place), payload[place : place + 8]),
    ]
    chance.choice(ways)()


TARGET = Target("fuzz.plain", generate, check)

if __name__ == "__main__":
    sys.exit(main(TARGET))
