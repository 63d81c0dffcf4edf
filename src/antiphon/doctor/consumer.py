"""A consumer class as checks see it: whose it is, what it defines, and the source of that."""

from __future__ import annotations

import ast
import enum
import functools
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.doctor.finding import Place
from antiphon.doctor.flow import Function, Methods
from antiphon.doctor.source import Library, Source, is_installed

__all__ = ["Class", "Consumer", "Family", "describe", "is_framework"]

_FRAMEWORKS = ("antiphon", "channels", "django", "asgiref", "builtins", "abc", "typing")
_SYNC = {"SyncConsumer", "WebsocketConsumer", "JsonWebsocketConsumer"}
#: What a class defines that looks for handlers in a way of its own.
_DISPATCHERS = ("dispatch", "__call__", "__getattr__", "__getattribute__")
_WEBSOCKET = {"AsyncWebsocketConsumer", "WebsocketConsumer"}


class Family(enum.Enum):
    """Whose consumer it is."""

    ANTIPHON = "antiphon"
    CHANNELS = "Channels"
    OTHER = "other"


@dataclass(frozen=True, eq=False)
class Class:
    """A class of the project's own, as it is written."""

    name: str
    source: Source
    node: ast.ClassDef
    bases: tuple[str, ...]
    """The full names of what it is derived from."""

    @property
    def place(self) -> Place:
        """Where it stands."""
        return self.source.place(self.node)

    @property
    def nodes(self) -> Iterator[ast.AST]:
        """Everything that it is written of."""
        return ast.walk(self.node)

    @functools.cached_property
    def methods(self) -> Mapping[str, Function]:
        """Its methods by name, each as it is defined last."""
        return {node.name: node for node in self.node.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


@dataclass(frozen=True, eq=False)
class Consumer:
    """A consumer class that a route leads to."""

    name: str
    place: Place
    """Where the class stands; its full name, if that can't be seen."""
    family: Family
    is_sync: bool
    is_websocket: bool
    classes: tuple[Class, ...]
    """It and those of its bases that are the project's own, as in the ``__mro__``."""
    lineage: tuple[str, ...]
    """The full name of each class of the ``__mro__``."""
    handlers: frozenset[str]
    """What an event may reach: what is defined outside the framework's classes."""
    framework: frozenset[str]
    """What the framework's classes define, without names that begin with an underscore."""
    groups: tuple[str, ...] = ()
    """The groups that each connection joins by itself."""
    alias: str = "default"
    """The channel layer that it uses, by its name in ``CHANNEL_LAYERS``."""
    takes_all: bool = False
    """It finds its handlers in a way of its own, so that nobody can say which it has."""

    @property
    def methods(self) -> Methods:
        """The methods of its own classes."""
        return Methods([(each.source.shown, each.methods) for each in self.classes])

    @property
    def nodes(self) -> Iterator[ast.AST]:
        """Everything that its own classes are written of."""
        return (node for each in self.classes for node in each.nodes)

    @property
    def uses_layer(self) -> Place | None:
        """Where ``self.channel_layer`` is first called upon; None if never, or if the class asks if there is one."""
        nodes = [
            (number, each.source.place(node), node) for number, each in enumerate(self.classes) for node in each.nodes
        ]
        if any(isinstance(node, (ast.If, ast.IfExp)) and _mentions_bare_layer(node.test) for _, _, node in nodes):
            return None
        used = [(number, place) for number, place, node in nodes if _is_layer_use(node)]
        return min(used)[1] if used else None

    @property
    def speaks_to_groups(self) -> bool:
        """Whether it certainly does."""
        verbs = {"group_add", "group_send", "publish"}
        return bool(self.groups) or any(isinstance(node, ast.Attribute) and node.attr in verbs for node in self.nodes)


def _is_layer_use(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id="self"), attr="channel_layer")):
            return True
    return False


def _mentions_bare_layer(test: ast.expr) -> bool:
    """Tell whether a condition is about ``self.channel_layer`` itself."""
    parts = [test, *ast.walk(test)]
    called = {id(node.value) for node in parts if isinstance(node, ast.Attribute)}
    return any(
        isinstance(node, ast.Attribute) and node.attr == "channel_layer" and id(node) not in called for node in parts
    )


def describe(cls: type, library: Library) -> Consumer:
    """Return what checks need to know of a consumer class."""
    classes = tuple(_own_classes(cls.__mro__, library))
    frameworks = [each for each in cls.__mro__ if is_framework(each)]
    own = [each for each in cls.__mro__ if each not in frameworks]
    theirs = {each.__name__ for each in frameworks}
    return Consumer(
        name=cls.__qualname__,
        place=classes[0].place if classes and classes[0].name == cls.__qualname__ else Place(_full_name(cls)),
        family=_family(frameworks),
        is_sync=bool(theirs & _SYNC),
        is_websocket=bool(theirs & _WEBSOCKET),
        classes=classes,
        lineage=tuple(_full_name(each) for each in cls.__mro__),
        handlers=frozenset(_names(own)),
        framework=frozenset(_names(each for each in frameworks if each is not object)),
        groups=_texts(getattr(cls, "groups", None)),
        alias=str(getattr(cls, "channel_layer_alias", "default")),
        takes_all=any(name in vars(each) for each in own for name in _DISPATCHERS),
    )


def is_framework(cls: type) -> bool:
    """Tell whether a class is Channels', antiphon's, Django's or Python's."""
    return cls.__module__.partition(".")[0] in _FRAMEWORKS


def _family(frameworks: Iterable[type]) -> Family:
    roots = {each.__module__.partition(".")[0] for each in frameworks}
    if "antiphon" in roots:
        return Family.ANTIPHON
    return Family.CHANNELS if "channels" in roots else Family.OTHER


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _names(classes: Iterable[type]) -> Iterator[str]:
    for cls in classes:
        yield from (name for name in vars(cls) if not name.startswith("_"))


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, (list, tuple, set)) else ()


def _own_classes(classes: Iterable[type], library: Library) -> Iterator[Class]:
    for cls in classes:
        if is_framework(cls):
            continue
        try:
            path = Path(inspect.getsourcefile(cls) or "").resolve()
        except (TypeError, OSError):
            continue
        source = None if is_installed(path) else library.read(path)
        node = _definition(source.tree, cls.__qualname__) if source is not None else None
        if source is not None and node is not None:
            yield Class(cls.__qualname__, source, node, tuple(_full_name(base) for base in cls.__bases__))


def _definition(tree: ast.Module, qualname: str) -> ast.ClassDef | None:
    """Return the class of this qualified name; where there are several, the last."""
    places: list[ast.AST] = [tree]
    for name in qualname.split("."):
        if name != "<locals>":
            kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            places = [
                node for place in places for node in ast.walk(place) if isinstance(node, kinds) and node.name == name
            ]
    found = [node for node in places if isinstance(node, ast.ClassDef)]
    return found[-1] if found else None
