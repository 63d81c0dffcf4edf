"""Who speaks to groups: every call of ``group_add``, ``group_send`` and the like in a project's sources.

A receiver that is a name is looked up where it was assigned, if it was assigned once; likewise what is passed. What
can't be seen so is left open, never guessed.
"""

from __future__ import annotations

import ast
import enum
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from antiphon.doctor.finding import Place
from antiphon.doctor.source import Source

__all__ = ["LayerCall", "Text", "Via", "layer_calls", "text_of"]

VERBS = {"group_add", "group_discard", "group_send", "publish", "send"}
_ADAPTERS = {"async_to_sync", "sync_to_async", "database_sync_to_async"}
_API = ("antiphon", "antiphon.sync", "antiphon.api")
_GET_LAYER = "channels.layers.get_channel_layer"
_LAYERS = "channels.layers.channel_layers"
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Via(enum.Enum):
    """By which layer somebody speaks."""

    CONSUMER = "self.channel_layer"
    CHANNELS = "get_channel_layer()"
    ANTIPHON = "antiphon"
    UNKNOWN = "?"


@dataclass(frozen=True, eq=False)
class LayerCall:
    """One call of a verb of channel layers."""

    verb: str
    via: Via
    alias: str | None
    """Of ``get_channel_layer``: the layer's name in ``CHANNEL_LAYERS``; None if it can't be seen."""
    group: ast.expr | None
    """The first argument, with a name replaced by what it stands for."""
    message: ast.expr | None
    place: Place
    source: Source
    owner: str
    """The qualified name of the class that it stands in; "" outside of classes."""
    decorators: tuple[str, ...]
    """Those of the functions that it stands in, by their full names, as far as they are known."""

    @property
    def event_type(self) -> str | None:
        """The event's ``type``, where it is written out."""
        if not isinstance(self.message, ast.Dict):
            return None
        found = None
        for key, value in zip(self.message.keys, self.message.values, strict=True):
            if key is None:
                found = None  # **more, which may have another
            elif isinstance(key, ast.Constant) and key.value == "type":
                found = value
        return found.value if isinstance(found, ast.Constant) and isinstance(found.value, str) else None


class Text(NamedTuple):
    """What can be said of a text by how it is written."""

    known: str
    """The characters that it certainly has, in their order."""
    is_whole: bool
    """Whether these are all."""


def text_of(node: ast.AST | None) -> Text | None:
    """Return what ``node`` says if it is a literal, an f-string, or made of them by ``+``, ``%`` or ``format``."""
    match node:
        case ast.Constant(value=str(value)):
            return Text(value, True)
        case ast.JoinedStr(values=parts):
            return _joined([text_of(part) for part in parts])
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            texts = [text_of(left), text_of(right)]
            return _joined(texts) if any(texts) else None
        case ast.BinOp(left=ast.Constant(value=str(value)), op=ast.Mod()):
            return Text(_PERCENT.sub(lambda match: "%" if match[0] == "%%" else "", value), False)
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(value)), attr="format")):
            return Text(_BRACES.sub(lambda match: match[0][0] if match[0] in ("{{", "}}") else "", value), False)
    return None


_PERCENT = re.compile(r"%(?:\([^)]*\))?[#0\- +]*(?:\*|\d+)?(?:\.(?:\*|\d+))?[hlL]?[a-zA-Z%]")
_BRACES = re.compile(r"\{\{|\}\}|\{[^{}]*\}")


def _joined(texts: Sequence[Text | None]) -> Text:
    known = "".join(text.known for text in texts if text is not None)
    return Text(known, all(text is not None and text.is_whole for text in texts))


def layer_calls(source: Source) -> tuple[LayerCall, ...]:
    """Return the calls in a source, in the order of its lines."""
    reader = _Reader(source)
    reader.visit(source.tree)
    return tuple(reader.calls)


Names = dict[str, list[ast.expr | None]]


def _assigned(nodes: Iterator[ast.AST]) -> Names:
    """Return by name, as it is written, each value that it is given; None for one that can't be seen."""
    names: Names = {}
    for node in nodes:
        for target, value in _assignments(node):
            names.setdefault(target, []).append(value)
    return names


def _assignments(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    targets: list[ast.expr] = []
    value: ast.expr | None = None
    match node:
        case ast.Assign():
            targets, value = list(node.targets), node.value
        case ast.AnnAssign(value=ast.expr()) | ast.NamedExpr():
            targets, value = [node.target], node.value
        case ast.AugAssign() | ast.For() | ast.AsyncFor() | ast.comprehension():
            targets = [node.target]
        case ast.withitem(optional_vars=ast.expr() as target):
            targets = [target]
        case ast.arg():
            yield node.arg, None
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name, None
    for target in targets:
        if isinstance(target, (ast.Name, ast.Attribute)):
            yield ast.unparse(target), value
        elif isinstance(target, ast.Subscript):
            yield ast.unparse(target.value), None  # what it holds is no longer what it was given
        elif isinstance(target, (ast.Tuple, ast.List)):
            yield from ((ast.unparse(each), None) for each in target.elts)


def _within(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what belongs to a function or a module itself, not to functions and classes in it."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, (*_FUNCTIONS, ast.ClassDef)):
            yield from _within(child)


class _Reader(ast.NodeVisitor):
    """Walks through a file and knows where it is."""

    def __init__(self, source: Source) -> None:
        self.calls: list[LayerCall] = []
        self._source = source
        self._scopes: list[Names] = [_assigned(_within(source.tree))]
        self._selves: list[Names] = []
        self._path: list[str] = []
        self._owners: list[str] = [""]
        self._decorators: list[tuple[str, ...]] = [()]

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Enter a class: what its methods assign to ``self`` is known in all of them."""
        self._path.append(node.name)
        self._owners.append(".".join(self._path))
        self._selves.append(_assigned(each for method in node.body for each in ast.walk(method)))
        self.generic_visit(node)
        self._selves.pop()
        self._owners.pop()
        self._path.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Enter a function."""
        self._path += [node.name, "<locals>"]
        decorators = [each.func if isinstance(each, ast.Call) else each for each in node.decorator_list]
        names = (self._source.dotted(each) or _last_name(each) for each in decorators)
        self._decorators.append((*self._decorators[-1], *names))
        self._scopes.append(_assigned(_within(node)))
        self.generic_visit(node)
        self._scopes.pop()
        self._decorators.pop()
        del self._path[-2:]

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Enter a lambda: its parameters hide other names."""
        self._scopes.append(_assigned(_within(node)))
        self.generic_visit(node)
        self._scopes.pop()

    def visit_Call(self, node: ast.Call) -> None:
        """Note the call if it is one of a layer's verbs."""
        self.generic_visit(node)
        target, arguments = self._target(node)
        verb = _last_name(target)
        if verb not in VERBS:
            return
        via, alias = self._via_function(target)
        if via is Via.UNKNOWN and not verb.startswith("group_"):
            return
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        group = arguments[0] if arguments else given.get("group", given.get("channel"))
        message = arguments[1] if len(arguments) > 1 else given.get("message")
        self.calls.append(
            LayerCall(
                verb,
                via,
                alias,
                self._resolved(group),
                self._resolved(message),
                self._source.place(node),
                self._source,
                self._owners[-1],
                self._decorators[-1],
            )
        )

    def _target(self, node: ast.Call) -> tuple[ast.expr, list[ast.expr]]:
        """Return what is called in the end, and with what: adapters and ``partial`` are looked through."""
        func, arguments = node.func, list(node.args)
        if _last_name(func) == "partial" and arguments:
            func, *arguments = arguments
        if isinstance(func, ast.Call) and _last_name(func.func) in _ADAPTERS and func.args:
            func = func.args[0]
        return func, arguments

    def _via_function(self, target: ast.expr) -> tuple[Via, str | None]:
        if isinstance(target, ast.Attribute):
            return self._via(target.value)
        is_api = self._source.dotted(target).rpartition(".")[0] in _API
        return (Via.ANTIPHON if is_api else Via.UNKNOWN), None

    def _via(self, receiver: ast.expr, depth: int = 0) -> tuple[Via, str | None]:
        """Return which layer ``receiver`` is."""
        match receiver:
            case ast.Attribute(value=ast.Name(id="self"), attr="channel_layer"):
                return Via.CONSUMER, None
            case ast.Call() if self._source.dotted(receiver.func) == _GET_LAYER:
                return Via.CHANNELS, _alias([*receiver.args, *(each.value for each in receiver.keywords)])
            case ast.Subscript() if self._source.dotted(receiver.value) == _LAYERS:
                return Via.CHANNELS, _alias([receiver.slice])
        if self._source.dotted(receiver) in _API:
            return Via.ANTIPHON, None
        bound = self._bound(receiver)
        return (Via.UNKNOWN, None) if bound is None or depth > 3 else self._via(bound, depth + 1)

    def _resolved(self, node: ast.expr | None) -> ast.expr | None:
        """Return what a name stands for; anything else as it is."""
        for _ in range(3):
            bound = self._bound(node)
            if bound is None:
                break
            node = bound
        return node

    def _bound(self, node: ast.expr | None) -> ast.expr | None:
        """Return the one value that a name or ``self.name`` is ever given."""
        scopes: Sequence[Names] = ()
        if isinstance(node, ast.Name):
            scopes = self._scopes[::-1]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self":
            scopes = self._selves[-1:]
        for names in scopes:
            values = names.get(ast.unparse(node)) if node is not None else None
            if values is not None:
                return values[0] if len(values) == 1 else None
        return None


def _alias(arguments: Sequence[ast.expr]) -> str | None:
    if not arguments:
        return "default"
    first = arguments[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def _last_name(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""
