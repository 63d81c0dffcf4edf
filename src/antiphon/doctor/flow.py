"""What runs behind ``close()``: the statements of a consumer's methods, followed along their paths.

The question is not what may run after a ``close()``, but what certainly does: what a condition stands before may be
kept from running by the same reason for which the connection was closed. Laws:

- what is found runs on every path that leads from the ``close()`` out of the method, if nothing raises by surprise;
- a call of another method of the consumer is followed into that method, and out of it again;
- what is behind ``return``, ``raise``, ``break`` and ``continue`` does not run; what is in ``finally`` does;
- an ``except`` runs after what raised: nothing is known there of what came before.

A set of closes is carried along: those that happened, and that no condition came after. ``None`` in its place means
that nothing gets here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from antiphon.doctor.finding import Place

__all__ = ["Call", "Function", "Method", "Methods", "after_close", "own_call"]

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Closes: TypeAlias = frozenset[Place]

NOTHING: Closes = frozenset()
#: How deep calls of methods are followed.
DEEPEST = 20
#: What opens a connection, sends to it or lets it join, and so is in vain behind ``close()``.
_IN_VAIN = {"accept", "send", "send_json", "group_add"}
#: What makes a function of one kind of the other; the call of the result is the call that matters.
_ADAPTERS = {"async_to_sync", "sync_to_async", "database_sync_to_async"}
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


class Method(NamedTuple):
    """A method of one of a consumer's own classes."""

    node: Function
    file: str
    depth: int
    """Which of the classes it belongs to, the consumer's own first."""


class Methods:
    """The methods of a consumer's own classes, found as Python finds them.

    ``classes`` has the methods of each, in the order of the ``__mro__``.
    """

    def __init__(self, classes: Sequence[tuple[str, Mapping[str, Function]]]) -> None:
        self._classes = classes

    def find(self, name: str, depth: int = 0) -> Method | None:
        """Return the method of this name, from the class number ``depth`` on."""
        for number, (file, methods) in enumerate(self._classes):
            if number >= depth and name in methods:
                return Method(methods[name], file, number)
        return None

    def in_force(self) -> list[Method]:
        """Return those that can run: all but what a subclass overrides without calling it."""
        found = []
        for name in {name for _, methods in self._classes for name in methods}:
            method = self.find(name)
            while method is not None:
                found.append(method)
                method = self.find(name, method.depth + 1) if _calls_super(method.node, name) else None
        return sorted(found, key=lambda method: (method.depth, method.node.lineno))


def _calls_super(node: ast.AST, name: str) -> bool:
    return any(
        isinstance(each, ast.Attribute) and each.attr == name and _is_super(each.value) for each in ast.walk(node)
    )


def _is_super(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


class Call(NamedTuple):
    """A call of one of the consumer's own methods, or of ``group_add`` for its own channel."""

    name: str
    is_super: bool
    arguments: Sequence[ast.expr]
    keywords: Sequence[ast.keyword]


def own_call(node: ast.Call) -> Call | None:
    """Return what ``node`` calls if that is ``self.something()``, ``super().something()``, or joins a group."""
    func = node.func
    if isinstance(func, ast.Call) and len(func.args) == 1 and _last_name(func.func) in _ADAPTERS:
        func = func.args[0]  # async_to_sync(self.close)()
    if not isinstance(func, ast.Attribute):
        return None
    if _is_super(func.value) or (isinstance(func.value, ast.Name) and func.value.id == "self"):
        return Call(func.attr, _is_super(func.value), node.args, node.keywords)
    if func.attr == "group_add" and any(ast.unparse(each) == "self.channel_name" for each in node.args):
        return Call("group_add", False, node.args, node.keywords)
    return None


def _last_name(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def after_close(methods: Methods) -> dict[Place, list[tuple[str, Place]]]:
    """Return, for each ``close()`` that is followed by what is in vain, the names and places of that."""
    walk = _Walk(methods)
    for method in methods.in_force():
        walk.method(method, NOTHING)
    return {close: sorted(found, key=lambda each: each[1]) for close, found in sorted(walk.found.items())}


def _join(*states: Closes | None) -> Closes | None:
    reached = [state for state in states if state is not None]
    return frozenset().union(*reached) if reached else None


@dataclass
class _Flow:
    """How a piece of code ends: ``after`` it, or by one of the other ways."""

    after: Closes | None
    ways: dict[str, Closes] = field(default_factory=dict)
    """``return``, ``raise``, ``break``, ``continue``."""

    @property
    def diverts(self) -> bool:
        """Whether there is an end other than behind it."""
        return self.after is None or bool(self.ways)

    @property
    def leaves(self) -> bool:
        """Whether it may leave the method."""
        return "return" in self.ways or "raise" in self.ways

    def absorb(self, other: _Flow, *but: str) -> None:
        """Take over the other's ways, except some."""
        for way, state in other.ways.items():
            if way not in but:
                self.ways[way] = self.ways.get(way, NOTHING) | state


class _Walk:
    """One consumer's methods, and what was found in them."""

    def __init__(self, methods: Methods) -> None:
        self.found: dict[Place, set[tuple[str, Place]]] = {}
        self._methods = methods
        self._stack: list[Method] = []
        self._ended: dict[tuple[int, Closes], tuple[Closes | None, bool]] = {}
        """What each method comes to, by what it began with, and whether it may raise."""
        self._raises = False
        """Whether a method that this statement calls may raise."""

    def method(self, method: Method, closes: Closes) -> Closes | None:
        """Run a method; return what holds where it was called."""
        key = id(method.node), closes
        if key not in self._ended:
            self._ended[key] = closes, False  # for itself, where it calls itself
            self._ended[key] = self._run(method, closes)
        end, raises = self._ended[key]
        self._raises = self._raises or raises
        return end

    def _run(self, method: Method, closes: Closes) -> tuple[Closes | None, bool]:
        if len(self._stack) == DEEPEST:
            return closes, False
        self._stack.append(method)
        flow = self._block(method.node.body, closes)
        self._stack.pop()
        end = _join(flow.after, flow.ways.get("return"))
        raises = "raise" in flow.ways
        return (end if end is None or raises else end | closes), raises

    # Statements

    def _block(self, body: Iterable[ast.stmt], closes: Closes | None) -> _Flow:
        whole = _Flow(closes)
        for statement in body:
            if whole.after is None:
                break
            around, self._raises = self._raises, False
            flow = self._statement(statement, whole.after)
            if self._raises:
                flow.ways.setdefault("raise", NOTHING)
            self._raises = around
            whole.after = flow.after
            whole.absorb(flow)
        return whole

    def _statement(self, node: ast.stmt, closes: Closes) -> _Flow:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                return _Flow(closes)
            case ast.If():
                return self._branches(self._expression(node.test, closes), [node.body, node.orelse])
            case ast.Match():
                return self._branches(self._expression(node.subject, closes), _cases(node))
            case ast.For() | ast.AsyncFor():
                return self._for(node, self._expression(node.iter, closes))
            case ast.While():
                return self._while(node, self._expression(node.test, closes))
            case ast.Try() | ast.TryStar():
                return self._try(node, closes)
            case ast.With() | ast.AsyncWith():
                return self._with(node, closes)
            case ast.Assert():
                return _Flow(NOTHING)
        after = self._expression(node, closes)
        for kind, way in _WAYS.items():
            if isinstance(node, kind):
                return _Flow(None, {way: after} if after is not None else {})
        return _Flow(after)

    def _branches(self, closes: Closes | None, bodies: list[list[ast.stmt]]) -> _Flow:
        """One of these runs, nobody knows which."""
        if closes is None:
            return _Flow(None)
        flows = [self._block(body, NOTHING) for body in bodies]
        whole = _Flow(_join(*(flow.after for flow in flows)))
        for flow in flows:
            whole.absorb(flow)
        if whole.after is not None and not any(flow.diverts for flow in flows):
            whole.after |= closes
        return whole

    def _for(self, node: ast.For | ast.AsyncFor, closes: Closes | None) -> _Flow:
        if closes is None:
            return _Flow(None)
        body = self._block(node.body, closes if _is_not_empty(node.iter) else NOTHING)
        return self._behind_loop(node, closes, body)

    def _while(self, node: ast.While, closes: Closes | None) -> _Flow:
        if closes is None:
            return _Flow(None)
        if not (isinstance(node.test, ast.Constant) and node.test.value):
            return self._behind_loop(node, closes, self._block(node.body, NOTHING))
        body = self._block(node.body, closes)
        again = _join(body.after, body.ways.get("continue"))
        if again is not None:
            body = self._block(node.body, closes | again)
        whole = _Flow(None)
        whole.absorb(body, "break", "continue")
        if "break" in body.ways:
            whole.after = body.ways["break"] | (NOTHING if body.leaves else closes)
        return whole

    def _behind_loop(self, node: ast.For | ast.AsyncFor | ast.While, closes: Closes, body: _Flow) -> _Flow:
        """Behind a loop that may run any number of times."""
        ended = closes | (_join(body.after, body.ways.get("continue")) or NOTHING)
        whole = self._block(node.orelse, NOTHING if body.leaves else ended)
        whole.absorb(body, "break", "continue")
        whole.after = _join(whole.after, body.ways.get("break"))
        return whole

    def _with(self, node: ast.With | ast.AsyncWith, closes: Closes) -> _Flow:
        state: Closes | None = closes
        for item in node.items:
            state = self._expression(item.context_expr, state)
        return self._block(node.body, state)

    def _try(self, node: ast.Try | ast.TryStar, closes: Closes) -> _Flow:
        body = self._block(node.body, closes)
        whole = self._block(node.orelse, body.after)
        whole.absorb(body, *(["raise"] if node.handlers else []))
        handlers = [self._block(handler.body, NOTHING) for handler in node.handlers]
        if whole.after is not None and any(flow.diverts for flow in handlers):
            whole.after -= closes
        whole.after = _join(whole.after, *(flow.after for flow in handlers))
        for flow in handlers:
            whole.absorb(flow)
        return self._finally(node.finalbody, whole) if node.finalbody else whole

    def _finally(self, body: list[ast.stmt], whole: _Flow) -> _Flow:
        """Whatever way was taken, ``body`` runs before it goes on."""
        last = _Flow(None)
        for way, state in {"after": whole.after, **whole.ways}.items():
            flow = self._block(body, state)
            last.absorb(flow)
            if flow.after is None:
                continue
            if way == "after":
                last.after = flow.after
            else:
                last.ways[way] = last.ways.get(way, NOTHING) | flow.after
        return last

    # Expressions

    def _expression(self, node: ast.AST | None, closes: Closes | None) -> Closes | None:
        if node is None or closes is None or isinstance(node, _SCOPES):
            return closes
        match node:
            case ast.IfExp():
                closes = self._expression(node.test, closes)
                return self._perhaps(closes, node.body, node.orelse)
            case ast.BoolOp():
                first, *others = node.values
                return self._perhaps(self._expression(first, closes), *others)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                return self._perhaps(closes, *ast.iter_child_nodes(node))
            case ast.Call():
                return self._call(node, closes)
        for child in ast.iter_child_nodes(node):
            closes = self._expression(child, closes)
        return closes

    def _perhaps(self, closes: Closes | None, *nodes: ast.AST) -> Closes | None:
        """Each of these may run or not."""
        if closes is None:
            return None
        around, self._raises = self._raises, False
        made = [self._expression(node, NOTHING) for node in nodes]
        kept = NOTHING if self._raises or None in made else closes
        self._raises = self._raises or around
        return _join(kept, *made)

    def _call(self, node: ast.Call, closes: Closes) -> Closes | None:
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            # What it closes is left out: passed on to something else, such as create_task, it may run at any time.
            if self._expression(argument, closes) is None:
                return None
        call = own_call(node)
        if call is None:
            return self._expression(node.func, closes)
        here = self._stack[-1]
        method = self._methods.find(call.name, here.depth + 1 if call.is_super else 0)
        if method is not None:
            return self.method(method, closes)
        return self._framework_call(call, Place(here.file, node.lineno), closes)

    def _framework_call(self, call: Call, place: Place, closes: Closes) -> Closes:
        """A call of what is the framework's own."""
        name = "accept" if call.name == "connect" else call.name
        if name in _IN_VAIN:
            for close in closes:
                self.found.setdefault(close, set()).add((name, place))
        if name == "close" or (name in ("send", "send_json") and _closes_too(call)):
            return closes | {place}
        return closes


_WAYS: dict[type[ast.stmt], str] = {
    ast.Return: "return",
    ast.Raise: "raise",
    ast.Break: "break",
    ast.Continue: "continue",
}


def _cases(node: ast.Match) -> list[list[ast.stmt]]:
    """Return the bodies of which one runs; an empty one where no case need match."""
    bodies = [case.body for case in node.cases]
    last = node.cases[-1]
    takes_all = isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None and last.guard is None
    return bodies if takes_all else [*bodies, []]


def _is_not_empty(node: ast.AST) -> bool:
    """Tell whether a loop over ``node`` certainly runs: over something that is written out."""
    return isinstance(node, (ast.List, ast.Tuple, ast.Set)) and bool(node.elts)


def _closes_too(call: Call) -> bool:
    """Tell whether a ``send`` has ``close=True``, or a code."""
    values = [keyword.value for keyword in call.keywords if keyword.arg == "close"]
    return any(isinstance(value, ast.Constant) and bool(value.value) for value in values)
