"""Imports a project, as its server would, and makes a ``Project`` of what is there.

Code of the project runs here: its settings, its applications, its routing. What that code raises becomes a
``ConfigurationError`` that says where it was raised, and what to do where that is known.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from importlib import metadata
from pathlib import Path
from typing import Any

import antiphon
from antiphon.doctor.consumer import describe
from antiphon.doctor.deployment import read_deployment
from antiphon.doctor.locate import VARIABLE, settings_module
from antiphon.doctor.project import Layer, LayerKind, Project, layer_kind
from antiphon.doctor.route import Walk
from antiphon.doctor.source import Library, is_installed, shown
from antiphon.exceptions import ConfigurationError

__all__ = ["layers_of", "load", "probable_application"]


def load(
    *, settings: str | None, folder: Path, workers: int | None, environment: MutableMapping[str, str], current: Path
) -> Project:
    """Return the project in ``folder``; raise ``ConfigurationError`` if it can't be read.

    ``settings`` is the dotted name of its settings if somebody gave it, ``current`` the folder that paths are shown
    relative to. ``environment`` is the process's own, and ``folder`` is put on Python's path.
    """
    module = settings_module(settings, environment, folder)
    environment[VARIABLE] = module
    sys.path.insert(0, str(folder))
    values = _settings(module, current)
    layers = layers_of(values.get("CHANNEL_LAYERS"))
    library = Library(folder, current)
    walk = Walk(lambda cls: describe(cls, library))
    path = values.get("ASGI_APPLICATION") or probable_application(module)
    if path:
        application = _application(str(path), current)
        with _explained(f"application {path}", "", current):
            walk.through(application)
        library.read(Path(sys.modules[str(path).rpartition(".")[0]].__file__ or ""))
    sources = library.all()
    return Project(
        folder=folder,
        shown_folder=shown(folder, current),
        settings_module=module,
        settings=values,
        environment=dict(environment),
        application=str(path or ""),
        routes=tuple(walk.routes),
        dark=tuple(walk.dark),
        layers=layers,
        sources=sources,
        is_cut=library.is_cut,
        deployment=read_deployment(folder, current),
        workers=workers,
        versions=_versions(),
    )


def _settings(module: str, current: Path) -> dict[str, Any]:
    try:
        import django
        from django.conf import settings
    except ImportError:
        raise ConfigurationError(
            f"there is no Django in this environment ({sys.executable}): run antiphon of the environment that the "
            "project runs in; pip install 'antiphon[django]' puts it there"
        ) from None
    with _explained(f"settings {module}", module, current):
        django.setup()
        return {name: getattr(settings, name) for name in dir(settings) if name.isupper()}


def _application(path: str, current: Path) -> Any:
    module, _, name = path.rpartition(".")
    if not module:
        raise ConfigurationError(f"ASGI_APPLICATION is {path!r}; it takes a name like 'project.asgi.application'")
    with _explained(f"application {path}", module, current):
        found = importlib.import_module(module)
    try:
        return getattr(found, name)
    except AttributeError:
        raise ConfigurationError(f"ASGI_APPLICATION is {path!r}, and the module {module} has no {name!r}") from None


def probable_application(module: str) -> str:
    """Return the application in the ``asgi.py`` beside the settings, where there is one."""
    package = module.rpartition(".")[0]
    while package:
        with contextlib.suppress(ImportError, ValueError):
            if importlib.util.find_spec(f"{package}.asgi") is not None:
                return f"{package}.asgi.application"
        package = package.rpartition(".")[0]
    return ""


def layers_of(configured: Any) -> dict[str, Layer]:
    """Return the entries of ``CHANNEL_LAYERS`` by alias; what is none is left out."""
    layers = {}
    for alias, entry in configured.items() if isinstance(configured, Mapping) else ():
        if isinstance(entry, Mapping) and entry.get("BACKEND"):
            config = entry.get("CONFIG")
            backend = str(entry["BACKEND"])
            kind = layer_kind(backend)
            if kind is LayerKind.OTHER:
                kind = layer_kind(*_bases(backend))
            layers[str(alias)] = Layer(str(alias), backend, kind, config if isinstance(config, Mapping) else {})
    return layers


def _bases(backend: str) -> list[str]:
    """Return the full names of what a backend is derived from; none if it can't be imported."""
    module, _, name = backend.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except Exception:  # whatever it is, Channels will say so better
        return []
    return [f"{each.__module__}.{each.__qualname__}" for each in cls.__mro__] if isinstance(cls, type) else []


def _versions() -> dict[str, str]:
    versions = {}
    for name in ("Django", "Channels"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {**versions, "antiphon": antiphon.__version__}


@contextlib.contextmanager
def _explained(what: str, module: str, current: Path) -> Iterator[None]:
    """Turn whatever the project's code raises into a ``ConfigurationError`` that tells where, and what to do."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what it prints is not the report
            yield
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"{what} can't be loaded: {_explanation(error, module, current)}") from error


def _explanation(error: BaseException, module: str, current: Path) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
        return (
            f"there is no module {error.name!r}. Run this in the folder that has manage.py, give that folder with "
            "--app-dir, or correct the name"
        )
    place = _place(error, current)
    name = type(error).__name__
    text = str(error)
    said = f"{place}{name}: {text}" if text else f"{place}{name}"
    if isinstance(error, ModuleNotFoundError):
        return f"{said}. Is this the environment that the project runs in? It is {sys.executable}"
    if isinstance(error, KeyError) and _is_of_environment(error):
        return f"{place}the environment has no {error.args[0]}. Set it: {error.args[0]}=… antiphon doctor"
    return said


def _place(error: BaseException, current: Path) -> str:
    """Return the line of the project's own from which the error came, ``project/settings.py:12: ``."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{shown(Path(error.filename), current)}:{error.lineno}: "
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        is_own = path.is_file() and not is_installed(path) and Path(antiphon.__file__).parent not in path.parents
        if is_own:
            return f"{shown(path, current)}:{frame.lineno}: "
    return ""


def _is_of_environment(error: KeyError) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename in ("<frozen os>", os.__file__)
