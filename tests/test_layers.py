"""Imports point downward only: each module has a layer, and imports nothing of a higher one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import antiphon

SOURCE = Path(antiphon.__file__).parent

GROUND, CORE, ENGINES, RUNTIME, APPLICATION, EDGES = range(6)

#: Every module of the package; a trailing ``.*`` stands for a folder. A new file has to be put here.
LAYERS = {
    "antiphon.exceptions": GROUND,
    "antiphon.codes": GROUND,
    "antiphon.config": GROUND,
    "antiphon.types": GROUND,
    "antiphon.counters": GROUND,
    "antiphon.names": CORE,
    "antiphon.lifecycle": CORE,
    "antiphon.outbox": CORE,
    "antiphon.droppable": CORE,
    "antiphon.rules": CORE,
    "antiphon.roster": CORE,
    "antiphon.stream": CORE,
    "antiphon.pushformat": CORE,
    "antiphon.limits": CORE,
    "antiphon.origins": CORE,
    "antiphon.jws": CORE,
    "antiphon.apikeys": CORE,
    "antiphon.keys": CORE,
    "antiphon.verifier": CORE,
    "antiphon.scalars": CORE,
    "antiphon.frames": CORE,
    "antiphon.framereader": CORE,
    "antiphon.deflate": CORE,
    "antiphon.formats": CORE,
    "antiphon.events": CORE,
    "antiphon.wire.*": CORE,
    "antiphon.engines.*": ENGINES,
    "antiphon.logs": RUNTIME,
    "antiphon.deadline": RUNTIME,
    "antiphon.keyring": RUNTIME,
    "antiphon.mailbox": RUNTIME,
    "antiphon.resumption": RUNTIME,
    "antiphon.fanout": RUNTIME,
    "antiphon.group": RUNTIME,
    "antiphon.inbox": RUNTIME,
    "antiphon.jobs": RUNTIME,
    "antiphon.threads": RUNTIME,
    "antiphon.following": RUNTIME,
    "antiphon.attendance": RUNTIME,
    "antiphon.delivery": RUNTIME,
    "antiphon.control": RUNTIME,
    "antiphon.hub": RUNTIME,
    "antiphon.connection": RUNTIME,
    "antiphon.centrifuge": RUNTIME,
    "antiphon.commands": RUNTIME,
    "antiphon.credentials": RUNTIME,
    "antiphon.admission": RUNTIME,
    "antiphon.transport": RUNTIME,
    "antiphon": APPLICATION,
    "antiphon.app": APPLICATION,
    "antiphon.layer": APPLICATION,
    "antiphon.consumer": APPLICATION,
    "antiphon.sync_consumer": APPLICATION,
    "antiphon.api": APPLICATION,
    "antiphon.tokens": APPLICATION,
    "antiphon.home": APPLICATION,
    "antiphon.sync": APPLICATION,
    "antiphon.server.*": EDGES,
    "antiphon.channels": EDGES,
    "antiphon.http_api.*": EDGES,
    "antiphon.django.*": EDGES,
    "antiphon.testing.*": EDGES,
    "antiphon.doctor.*": EDGES,
    "antiphon.cli": EDGES,
    "antiphon.__main__": EDGES,
}

#: What decides has no loop, no clock, no socket, and no chance.
IMPURE = {"asyncio", "random", "secrets", "select", "selectors", "socket", "ssl", "threading", "time", "uuid"}


def name_of(path: Path) -> str:
    parts = ("antiphon", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def layer_of(module: str) -> int | None:
    if module in LAYERS:
        return LAYERS[module]
    folders = [name.removesuffix(".*") for name in LAYERS if name.endswith(".*")]
    matching = [folder for folder in folders if module == folder or module.startswith(folder + ".")]
    return LAYERS[matching[0] + ".*"] if matching else None


def is_type_checking(node: ast.If) -> bool:
    return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def import_nodes(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import in ``node``, also inside functions, but for those that only a type checker sees."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield node
    elif isinstance(node, ast.If) and is_type_checking(node):
        for other in node.orelse:
            yield from import_nodes(other)
    else:
        for child in ast.iter_child_nodes(node):
            yield from import_nodes(child)


def imports(source: str) -> set[str]:
    """The modules that ``source`` imports, by their full names."""
    found: set[str] = set()
    for node in import_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        else:
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            for alias in node.names:
                submodule = f"{module}.{alias.name}"
                found.add(submodule if submodule in MODULES else module)
    return found


def faults(module: str, imported: set[str]) -> list[str]:
    """What is wrong with ``module`` importing these."""
    own = layer_of(module)
    assert own is not None
    upward = [name for name in imported if name in MODULES and (layer_of(name) or 0) > own]
    impure = [name for name in imported if own == CORE and name.split(".")[0] in IMPURE]
    return [f"{module} must not import {name}" for name in sorted(upward + impure)]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_its_layer(module: str) -> None:
    assert layer_of(module) is not None, f"{module} is new: put it into LAYERS"


def test_every_layer_has_its_modules() -> None:
    gone = [name for name in LAYERS if name not in MODULES and not name.endswith(".*")]
    assert not gone, f"LAYERS names what is gone: {gone}"


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downward(module: str) -> None:
    assert not faults(module, imports(MODULES[module].read_text()))


def test_the_reader_sees_each_way_to_import() -> None:
    source = """
import asyncio.events
from antiphon import codes, configure
from antiphon.hub import Hub
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from antiphon.app import App
else:
    import antiphon.layer
def late():
    try:
        import antiphon.consumer
    except ImportError:
        pass
"""
    assert imports(source) == {
        "asyncio.events",
        "antiphon.codes",
        "antiphon",
        "antiphon.hub",
        "antiphon.layer",
        "antiphon.consumer",
        "typing",
    }


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("antiphon.events", "antiphon.mailbox"),
        ("antiphon.codes", "antiphon.outbox"),
        ("antiphon.engines.memory", "antiphon.hub"),
        ("antiphon.hub", "antiphon"),
        ("antiphon.consumer", "antiphon.server.link"),
        ("antiphon.wire.plain", "asyncio"),
        ("antiphon.lifecycle", "time"),
    ],
)
def test_an_upward_import_is_a_fault(module: str, imported: str) -> None:
    assert faults(module, {imported}) == [f"{module} must not import {imported}"]
