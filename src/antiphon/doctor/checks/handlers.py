"""How consumers are written: whose class they are built on, and what is async in them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from antiphon.doctor.checks.processes import processes
from antiphon.doctor.checks.words import listed
from antiphon.doctor.consumer import Class, Consumer, Family
from antiphon.doctor.finding import Check, Level, Place, Spot
from antiphon.doctor.flow import Function, own_call
from antiphon.doctor.project import LayerKind, Project
from antiphon.doctor.source import Source

__all__ = ["CHECKS"]

_GENERIC = "channels.generic.websocket."
#: What a consumer of Channels' may do, and antiphon's has not: what to do instead.
_GONE = {
    "websocket_connect": "override connect",
    "websocket_receive": "override receive",
    "websocket_disconnect": "override disconnect",
    "dispatch": "override connect, receive and the handlers",
    "base_send": "call send",
    "channel_layer_alias": "antiphon has one layer",
}
#: What the framework calls.
_CALLED = (
    "connect",
    "receive",
    "receive_json",
    "disconnect",
    "websocket_connect",
    "websocket_receive",
    "websocket_disconnect",
)
#: Coroutines of an async consumer, and of its channel layer.
_OWN_COROUTINES = ("accept", "close", "send", "send_json")
_LAYER_COROUTINES = ("group_add", "group_discard", "group_send", "send", "publish")


def channels_consumer(project: Project) -> Iterator[Spot]:
    """Find classes that are built on Channels' own, file by file, where antiphon has the same."""
    if processes(project):
        return  # antiphon's groups live in one process today: this is no time to change
    found: dict[Source, tuple[list[Class], dict[str, None]]] = {}
    for each in project.classes:
        names = [base.removeprefix(_GENERIC) for base in each.bases if base.startswith(_GENERIC)]
        if names:
            classes, bases = found.setdefault(each.source, ([], {}))
            classes.append(each)
            bases.update(dict.fromkeys(names))
    for source, (classes, bases) in found.items():
        yield Spot(
            _import_of(source, bases) or classes[0].place,
            f"{listed([each.name for each in classes])} {'is' if len(classes) == 1 else 'are'} built on Channels' "
            f"{listed(list(bases))}. {_gain(bases)}{_changes(classes)}{_caveat(project)}",
            "Change the import:",
            f"from antiphon import {', '.join(sorted(bases))}",
        )


def _import_of(source: Source, names: dict[str, None]) -> Place | None:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name in names for alias in node.names):
            return source.place(node)
    return None


def _gain(bases: dict[str, None]) -> str:
    """Say what antiphon's class of the same name does better."""
    gains = [
        "messages to a group are not dropped at a capacity",
        "disconnect() runs after an exception too",
        "pages of other sites are refused",
    ]
    if any("Json" in name for name in bases):
        gains.insert(0, "JSON that can't be read costs an error frame, not the connection")
    return f"With antiphon's {'class' if len(bases) == 1 else 'classes'} of that name: {'; '.join(gains)}."


def _changes(classes: list[Class]) -> str:
    """Say what has to be written in another way first."""
    found: dict[str, Place] = {}
    for each in classes:
        for node in ast.walk(each.node):
            match node:
                case (
                    ast.FunctionDef(name=name)
                    | ast.AsyncFunctionDef(name=name)
                    | ast.Attribute(value=ast.Name(id="self"), attr=name)
                    | ast.Name(id="channel_layer_alias" as name)
                ) if name in _GONE:
                    found.setdefault(name, each.source.place(node))
    texts = [f"{name} ({place}; {_GONE[name]})" for name, place in found.items()]
    return f" It has no {listed(texts, 'or')}." if texts else ""


def _caveat(project: Project) -> str:
    is_shared = project.has_layer(LayerKind.REDIS) or project.has_layer(LayerKind.REDIS_PUBSUB)
    return " antiphon's groups live in one process today; with more than one, wait." if is_shared else ""


def async_in_sync_consumer(project: Project) -> Iterator[Spot]:
    """Find coroutines where a sync consumer calls a function."""
    for each, consumers in project.classes.items():
        if not all(consumer.is_sync for consumer in consumers):
            continue
        for method in each.methods.values():
            if isinstance(method, ast.AsyncFunctionDef) and _is_called(project, method, consumers):
                yield Spot(
                    each.source.place(method),
                    f"{each.name}.{method.name} is async, and {consumers[0].name} is a sync consumer: it does not "
                    "await the method, so that nothing in it runs.",
                    "Write it without async, or build the class on the async consumer of that kind:",
                    f"def {method.name}({ast.unparse(method.args)}):",
                )


def sync_in_async_consumer(project: Project) -> Iterator[Spot]:
    """Find functions that return nothing where an async consumer awaits what they return."""
    for each, consumers in project.classes.items():
        if any(consumer.is_sync or consumer.family is Family.OTHER for consumer in consumers):
            continue
        for method in each.methods.values():
            if (
                isinstance(method, ast.FunctionDef)
                and _is_called(project, method, consumers)
                and _returns_nothing(method)
            ):
                yield Spot(
                    each.source.place(method),
                    f"{each.name}.{method.name} is not async, and {consumers[0].name} is an async consumer: it awaits "
                    "what the method returns, which is None, and fails.",
                    "Make it a coroutine:",
                    f"async def {method.name}({ast.unparse(method.args)}):",
                )


def _is_called(project: Project, method: Function, consumers: tuple[Consumer, ...]) -> bool:
    """Tell whether the framework calls this method: by its name, or as the handler of an event that is sent."""
    if method.decorator_list:
        return False  # a decorator may have made anything of it
    if method.name in _CALLED:
        return any(method.name in consumer.framework for consumer in consumers)
    sent = {call.event_type.replace(".", "_") for call in project.calls if call.event_type is not None}
    takes_event = len(method.args.args) == 2 and not method.args.kwonlyargs
    return method.name in sent and takes_event and not any(_calls(consumer, method.name) for consumer in consumers)


def _calls(consumer: Consumer, name: str) -> bool:
    """Tell whether a consumer calls a method of this name by itself."""
    return any(isinstance(node, ast.Attribute) and node.attr == name for node in consumer.nodes)


def _returns_nothing(method: ast.FunctionDef) -> bool:
    """Tell whether it certainly returns None: it is no generator, and no ``return`` has a value."""
    for node in _body(method):
        if isinstance(node, (ast.Yield, ast.YieldFrom)):
            return False
        if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
            return False
    return not _only_raises(method)


def _only_raises(method: ast.FunctionDef) -> bool:
    """Tell whether it is there to be overridden."""
    return isinstance(method.body[-1], ast.Raise) or ast.unparse(method.body[-1]) == "..."


def _body(function: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function, not those of functions in it."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            yield child
            yield from _body(child)


def not_awaited(project: Project) -> Iterator[Spot]:
    """Find calls of coroutines that stand alone, so that nothing comes of them."""
    for each, consumers in project.classes.items():
        if any(consumer.family is Family.OTHER for consumer in consumers):
            continue
        overridden = {name for consumer in consumers for name in consumer.handlers}
        for method in each.methods.values():
            for node in _body(method):
                if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                    yield from _lost(each, node.value, consumers, overridden)


def _lost(each: Class, call: ast.Call, consumers: tuple[Consumer, ...], overridden: set[str]) -> Iterator[Spot]:
    own = own_call(call)
    is_own = own is not None and own.name in _OWN_COROUTINES and own.name not in overridden
    is_async = not any(consumer.is_sync for consumer in consumers)
    name, code = ast.unparse(call.func), ast.unparse(call)
    if is_async and ((is_own and isinstance(call.func, ast.Attribute)) or _is_layer_call(call)):
        remedy = f"await {code}"
    elif _is_layer_call(call) and all(consumer.is_sync for consumer in consumers):
        remedy = f"async_to_sync({name}){code.removeprefix(name)}"
    else:
        return
    yield Spot(
        each.source.place(call), f"{name}() is a coroutine that nothing awaits: it does not run.", "Write:", remedy
    )


def _is_layer_call(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id="self"), attr="channel_layer"), attr=name):
            return name in _LAYER_COROUTINES
    return False


CHECKS = [
    Check(
        "async-in-sync-consumer",
        Level.ERROR,
        "A method that a sync consumer calls (`connect`, `receive`, `disconnect`, a handler) is `async def`: it never "
        "runs.",
        async_in_sync_consumer,
    ),
    Check(
        "sync-in-async-consumer",
        Level.ERROR,
        "A method that an async consumer awaits is a plain `def` that returns nothing: the call fails.",
        sync_in_async_consumer,
    ),
    Check(
        "not-awaited",
        Level.ERROR,
        "A coroutine is called and not awaited: `self.accept()` in an async consumer, "
        "`self.channel_layer.group_add(…)` in any without `await` or `async_to_sync`.",
        not_awaited,
    ),
    Check(
        "channels-consumer",
        Level.ADVICE,
        "A consumer is built on a class of Channels' that antiphon has, too. Not said where several processes serve "
        "the project.",
        channels_consumer,
    ),
]
