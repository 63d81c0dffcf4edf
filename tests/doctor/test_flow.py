"""What runs behind ``close()``."""

from __future__ import annotations

import ast
import contextlib
import random
import sys
import textwrap
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.doctor.flow import Methods, after_close, own_call


def methods(*classes: str) -> Methods:
    """The methods of these classes, each file named by its number."""
    nodes = [ast.parse(textwrap.dedent(text)).body[0] for text in classes]
    found = []
    for number, node in enumerate(nodes):
        assert isinstance(node, ast.ClassDef)
        functions = [each for each in node.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))]
        found.append((f"{number}.py", {each.name: each for each in functions}))
    return Methods(found)


def followed(body: str, rest: str = "") -> list[tuple[int, str, int]]:
    """Line of the close, and name and line of what follows, where ``body`` is that of ``connect``."""
    lines = textwrap.indent(textwrap.dedent(body).strip("\n"), " " * 8)
    text = f"class C:\n    async def connect(self):\n{lines}\n" + textwrap.indent(textwrap.dedent(rest), "    ")
    found = after_close(methods(text))
    return [(close.line, name, place.line) for close, following in found.items() for name, place in following]


#: What is reported, with the lines counted from 3: the body's first.
REPORTED = {
    "straight": ("await self.close()\nawait self.accept()", [(3, "accept", 4)]),
    "a return that was forgotten": (
        """
        if bad:
            await self.close(code=4401)
        await self.channel_layer.group_add("room", self.channel_name)
        await self.accept()
        """,
        [(4, "group_add", 5), (4, "accept", 6)],
    ),
    "not awaited, as in a sync consumer": ("self.close()\nself.send('x')", [(3, "send", 4)]),
    "by an adapter": (
        "self.close()\nasync_to_sync(self.channel_layer.group_add)('x', self.channel_name)",
        [(3, "group_add", 4)],
    ),
    "the layer by another name": (
        "await self.close()\nawait layer.group_add('x', self.channel_name)",
        [(3, "group_add", 4)],
    ),
    "both branches": (
        """
        if a:
            await self.close()
        else:
            await self.close(code=4000)
        await self.accept()
        """,
        [(4, "accept", 7), (6, "accept", 7)],
    ),
    "one branch, nested": (
        """
        if a:
            if b:
                log()
            else:
                await self.close()
        await self.send_json({})
        """,
        [(7, "send_json", 8)],
    ),
    "a condition that diverts nothing": (
        """
        await self.close()
        if a:
            log()
        await self.accept()
        """,
        [(3, "accept", 6)],
    ),
    "finally, on the way out": (
        """
        try:
            if bad:
                await self.close()
                return
        finally:
            await self.channel_layer.group_add("x", self.channel_name)
        """,
        [(5, "group_add", 8)],
    ),
    "an exception that is caught": (
        """
        try:
            self.room = find()
        except LookupError:
            await self.close()
        await self.accept()
        """,
        [(6, "accept", 7)],
    ),
    "the else of a try": (
        """
        try:
            await self.close()
        except OSError:
            log()
        else:
            await self.accept()
        """,
        [(4, "accept", 8)],
    ),
    "break out of a loop": (
        """
        for room in rooms:
            if room.full:
                await self.close()
                break
        await self.accept()
        """,
        [(5, "accept", 7)],
    ),
    "behind a loop": ("for a in b:\n    await self.close()\nawait self.accept()", [(4, "accept", 5)]),
    "a loop over what is written out": (
        "await self.close()\nfor name in ('a', 'b'):\n    await self.channel_layer.group_add(name, self.channel_name)",
        [(3, "group_add", 5)],
    ),
    "around in a loop without end": (
        """
        while True:
            await self.send(await self.queue.get())
            if self.done:
                await self.close()
        """,
        [(6, "send", 4)],
    ),
    "a case": (
        """
        match kind:
            case "a":
                await self.close()
            case _:
                log()
        await self.accept()
        """,
        [(5, "accept", 8)],
    ),
    "with": ("async with lock:\n    await self.close()\nawait self.accept()", [(4, "accept", 5)]),
    "in an expression": ("await self.close() if bad else None\nawait self.accept()", [(3, "accept", 4)]),
    "or": ("good or await self.close()\nawait self.accept()", [(3, "accept", 4)]),
    "super's": ("await super().close()\nawait super().accept()", [(3, "accept", 4)]),
    "the framework's connect": ("await self.close()\nawait super().connect()", [(3, "accept", 4)]),
    "a send that closes": (
        "await self.send_json({}, close=True)\nawait self.send_json({})",
        [(3, "send_json", 4)],
    ),
}


@pytest.mark.parametrize("case", REPORTED)
def test_what_follows_is_reported(case: str) -> None:
    body, expected = REPORTED[case]
    assert followed(body) == expected


#: What is right, or could be.
RIGHT = {
    "return": "if bad:\n    await self.close()\n    return\nawait self.accept()",
    "return it": "if bad:\n    return await self.close()\nawait self.accept()",
    "raise": "if bad:\n    await self.close()\n    raise StopConsumer()\nawait self.accept()",
    "else": "if bad:\n    await self.close()\nelse:\n    await self.accept()",
    "elif": "if bad:\n    await self.close()\nelif worse:\n    pass\nelse:\n    await self.accept()",
    "the same condition again": "if bad:\n    await self.close()\nif not bad:\n    await self.accept()",
    "a condition that leaves": "if bad:\n    await self.close()\nif bad:\n    return\nawait self.accept()",
    "a condition in a condition that leaves": (
        "if bad:\n    await self.close()\nif a:\n    if b:\n        return\nawait self.accept()"
    ),
    "an assertion": "if bad:\n    await self.close()\nassert not bad\nawait self.accept()",
    "continue": "for a in b:\n    if a:\n        await self.close()\n        continue\n    await self.accept()\n    "
    "return",
    "the next time around": "for line in lines:\n    await self.send(line)\n    if line == 'end':\n        await "
    "self.close()",
    "while somebody wants it": "while self.on:\n    await self.send('x')\n    if bad:\n        await "
    "self.close()\n        self.on = 0",
    "a loop that may be empty": "await self.close()\nfor a in self.rooms:\n    await self.send(a)",
    "a loop that leaves": "if bad:\n    await self.close()\nfor a in b:\n    if a:\n        return\nawait "
    "self.accept()",
    "an except that leaves": (
        "if bad:\n    await self.close()\ntry:\n    self.room = find()\nexcept LookupError:\n    return\nawait "
        "self.accept()"
    ),
    "an except behind it": "try:\n    await self.accept()\n    await self.close()\nexcept OSError:\n    await "
    "self.send('x')",
    "before it": "await self.accept()\nawait self.send('no')\nawait self.close()",
    "to others": "await self.close()\nawait self.channel_layer.group_send('x', {})\nawait publish('x', {})",
    "another's channel": "await self.close()\nawait self.channel_layer.group_add('x', other)",
    "somebody else's": "await connection.close()\nawait self.accept()",
    "for later": "asyncio.create_task(self.close())\nawait self.accept()",
    "a function in it": "async def later():\n    await self.close()\nawait self.accept()",
    "a lambda": "self.end = lambda: self.close()\nawait self.accept()",
    "case by case": "match a:\n    case 1:\n        await self.close()\n    case _:\n        await self.accept()",
    "a case that leaves": (
        "if bad:\n    await self.close()\nmatch a:\n    case 1:\n        return\n    case 2:\n        pass\nawait "
        "self.accept()"
    ),
    "both ways out": "if a:\n    await self.close()\n    return\nelse:\n    await self.accept()\n    return\nawait "
    "self.send('x')",
    "finally that leaves": "try:\n    await self.close()\nfinally:\n    return\nawait self.accept()",
    "a loop without end": "while True:\n    await self.close()\nawait self.accept()",
    "a send that does not close": "await self.send('x', close=False)\nawait self.send('y')",
    "if it then": "await self.close()\nawait self.accept() if good else None",
    "and it then": "await self.close()\ngood and await self.accept()",
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_right_is_not_reported(case: str) -> None:
    assert followed(RIGHT[case]) == []


HELPER = """async def refuse(self):
    await self.close()
"""
CHECKING = """async def check(self):
    if bad:
        await self.close()
        return False
    return True
"""


def test_a_close_in_another_method_counts_where_it_is_called() -> None:
    assert followed("if bad:\n    await self.refuse()\nawait self.accept()", HELPER) == [(7, "accept", 5)]


def test_a_return_in_another_method_is_none_here() -> None:
    assert followed("await self.check()\nawait self.accept()", CHECKING) == [(7, "accept", 4)]


@pytest.mark.parametrize(
    "body",
    [
        "if not await self.check():\n    return\nawait self.accept()",
        "if await self.check():\n    await self.accept()",
        "good = await self.check()\nif good:\n    await self.accept()",
        "if bad:\n    await self.refuse()\n    return\nawait self.accept()",
    ],
)
def test_what_another_method_answers_is_a_condition(body: str) -> None:
    assert followed(body, CHECKING + HELPER) == []


def test_another_method_that_always_raises_ends_it() -> None:
    stop = "async def stop(self):\n    await self.close()\n    raise StopConsumer()\n"
    assert followed("if bad:\n    await self.stop()\nawait self.accept()", stop) == []


def test_another_method_that_may_raise_keeps_nothing() -> None:
    stop = "async def check(self):\n    if bad:\n        raise StopConsumer()\n"
    assert followed("if bad:\n    await self.close()\nawait self.check()\nawait self.accept()", stop) == []


def test_what_follows_may_be_in_another_method() -> None:
    join = "async def join(self):\n    await self.channel_layer.group_add('x', self.channel_name)\n"
    assert followed("await self.close()\nawait self.join()", join) == [(3, "group_add", 6)]


def test_an_override_is_looked_into() -> None:
    guarded = "async def send(self, text):\n    if not self.closed:\n        await super().send(text)\n"
    assert followed("await self.close()\nawait self.send('x')", guarded) == []


def test_methods_that_call_each_other_come_to_an_end() -> None:
    ring = "async def a(self):\n    await self.b()\nasync def b(self):\n    await self.a()\n"
    assert followed("await self.a()\nawait self.close()\nawait self.b()\nawait self.accept()", ring) == [
        (4, "accept", 6)
    ]


def test_a_chain_of_many_methods_is_followed_so_far() -> None:
    chain = "".join(f"async def m{n}(self):\n    await self.m{n + 1}()\n" for n in range(100))
    assert followed("await self.close()\nawait self.m0()\nawait self.accept()", chain) == [(3, "accept", 5)]


BASE = """
class Base:
    async def connect(self):
        if bad:
            await self.close()
        await self.open()

    async def open(self):
        await self.accept()
"""


def test_a_subclass_has_its_own_way() -> None:
    own = "class Own(Base):\n    async def open(self):\n        return\n"
    assert after_close(methods(own, BASE)) == {}
    other = "class Own(Base):\n    async def open(self):\n        await super().open()\n"
    ((close, following),) = after_close(methods(other, BASE)).items()
    assert (str(close), [(name, str(place)) for name, place in following]) == ("1.py:5", [("accept", "1.py:9")])


def test_what_is_overridden_and_not_called_does_not_run() -> None:
    assert after_close(methods("class Own(Base):\n    async def connect(self):\n        pass\n", BASE)) == {}
    calls = "class Own(Base):\n    async def connect(self):\n        await super().connect()\n"
    assert len(after_close(methods(calls, BASE))) == 1


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("self.close()", "close"),
        ("super().close()", "close"),
        ("async_to_sync(self.close)()", "close"),
        ("self.channel_layer.group_add('x', self.channel_name)", "group_add"),
        ("self.channel_layer.group_add('x', name)", None),
        ("other.close()", None),
        ("close()", None),
        ("self.handlers[0]()", None),
        ("make()()", None),
    ],
)
def test_own_call(text: str, name: str | None) -> None:
    node = ast.parse(text, mode="eval").body
    assert isinstance(node, ast.Call)
    call = own_call(node)
    assert (call.name if call else None) == name


# The law: what is reported runs, whatever the conditions say.


@st.composite
def block(draw: st.DrawFn, depth: int = 3, in_loop: bool = False) -> list[str]:
    """The lines of a block."""
    simple = ["self.close()", "self.accept()", "self.log()", "self.help()"]
    ends = ["return", "raise Stop"] + (["break", "continue"] if in_loop else [])
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(
            st.sampled_from(["simple", "simple", "if", "else", "for", "while", "try", "finally", "match", "or", "end"])
        )
        if kind == "simple" or depth == 0:
            lines.append(draw(st.sampled_from(simple)))
        elif kind == "or":
            lines.append(f"self.chance() or {draw(st.sampled_from(simple))}")
        elif kind == "end":
            return [*lines, draw(st.sampled_from(ends))]
        else:
            inner = [draw(block(depth - 1, in_loop or kind in ("for", "while"))) for _ in range(2)]
            lines += _compound(kind, *(textwrap.indent("\n".join(each), "    ") for each in inner))
    return lines


def _compound(kind: str, first: str, second: str) -> list[str]:
    match kind:
        case "if":
            text = f"if self.chance():\n{first}"
        case "else":
            text = f"if self.chance():\n{first}\nelse:\n{second}"
        case "for":
            text = f"for _ in self.some():\n{first}"
        case "while":
            text = f"while self.chance():\n{first}"
        case "try":
            text = f"try:\n{first}\nexcept Stop:\n{second}"
        case "finally":
            # What is closed in a finally is closed on several ways, of which one may have something behind it.
            text = f"try:\n{first}\nfinally:\n{second.replace('close', 'log')}"
        case _:
            cases = textwrap.indent(f"case True:\n{first}\ncase _:\n{second}", "    ")
            text = f"match self.chance():\n{cases}"
    return text.split("\n")


class Stop(Exception):
    """What the programs raise."""


class Run:
    """Runs a program with conditions that chance decides, and notes in which lines it closed and accepted."""

    def __init__(self, seed: int) -> None:
        self.chances = random.Random(seed)
        self.closed: dict[int, int] = {}
        self.accepted: dict[int, int] = {}
        self.time = 0

    def _note(self, times: dict[int, int]) -> None:
        self.time += 1
        times[sys._getframe(2).f_lineno] = self.time

    def close(self) -> None:
        self._note(self.closed)

    def accept(self) -> None:
        self._note(self.accepted)

    def log(self) -> None:
        pass

    def chance(self) -> bool:
        return self.chances.random() < 0.5

    def some(self) -> range:
        return range(self.chances.randint(0, 2))


@given(block(), block())
def test_what_is_reported_runs_on_every_path(body: list[str], helper: list[str]) -> None:
    calls = [line.replace("self.help()", "self.log()") for line in helper]
    parts = ["class C:", "    def connect(self):", *(f"        {line}" for line in body)]
    end = len(parts)
    text = "\n".join([*parts, "    def help(self):", *(f"        {line}" for line in calls)])
    reported = after_close(methods(text))
    space: dict[str, Any] = {"Run": Run, "Stop": Stop}
    exec(text.replace("class C:", "class C(Run):"), space)
    for seed in range(40):
        run = space["C"](seed)
        with contextlib.suppress(Stop):
            run.connect()
        for close, following in reported.items():
            # What is closed in help() may have been called from several places; in connect() there is but one.
            if close.line <= end and close.line in run.closed:
                assert any(run.accepted.get(place.line, 0) > run.closed[close.line] for _, place in following), text
