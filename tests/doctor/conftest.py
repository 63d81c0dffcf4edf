"""Projects that are values: made of the text of their files, without a process and without Django's settings."""

from __future__ import annotations

import importlib.util
import itertools
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from antiphon.doctor.checks import CHECKS
from antiphon.doctor.consumer import describe
from antiphon.doctor.deployment import Deployment, read_text
from antiphon.doctor.finding import Spot
from antiphon.doctor.project import Layer, Project, layer_kind
from antiphon.doctor.route import Middleware, Route
from antiphon.doctor.source import Library

__all__ = ["Find", "Make"]

Make = Callable[..., Project]
Find = Callable[..., list[Spot]]

_numbers = itertools.count()


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return what makes a project.

    ``consumers`` is the text of ``consumers.py``; a route leads to each class in it that has ``as_asgi``, by way of
    ``middlewares``. ``files`` are further ones by name. ``layer`` is the backend of the default layer.
    """

    def make(
        consumers: str = "",
        *,
        files: Mapping[str, str] | None = None,
        layer: str = "",
        config: Mapping[str, Any] | None = None,
        middlewares: tuple[Middleware, ...] = (),
        commands: Mapping[str, str] | None = None,
        protocol: str = "websocket",
        **more: Any,
    ) -> Project:
        for name, text in {**(files or {}), "consumers.py": consumers}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip("\n"))
        library = Library(tmp_path, tmp_path)
        routes = [
            Route(describe(cls, library), f"ws/{cls.__name__.lower()}/", protocol, middlewares)
            for cls in _classes(tmp_path / "consumers.py", monkeypatch)
        ]
        deployment = Deployment()
        for name, text in (commands or {}).items():
            deployment += read_text(textwrap.dedent(text).lstrip("\n"), name)
        given = {"application": "project.asgi.application", "deployment": deployment, "routes": tuple(routes), **more}
        layers = {"default": Layer("default", layer, layer_kind(layer), config or {})} if layer else {}
        return Project(folder=tmp_path, layers=layers, sources=library.all(), **given)

    return make


def _classes(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[type]:
    """Import a file and return the consumers that it defines."""
    name = f"doctor_consumers_{next(_numbers)}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    found = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == name]
    return [value for value in found if hasattr(value, "as_asgi")]


@pytest.fixture
def find(make: Make) -> Find:
    """Return what makes a project and runs the check of this name over it."""

    def find(name: str, *arguments: Any, **more: Any) -> list[Spot]:
        (check,) = (check for check in CHECKS if check.name == name)
        return list(check.find(make(*arguments, **more)))

    return find
