"""Which settings a project has: as somebody says, as the environment says, or as its ``manage.py`` does."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

from antiphon.exceptions import ConfigurationError

__all__ = ["VARIABLE", "settings_in_manage", "settings_module"]

VARIABLE = "DJANGO_SETTINGS_MODULE"


def settings_module(given: str | None, environment: Mapping[str, str], folder: Path) -> str:
    """Return the dotted name of the settings; raise ``ConfigurationError`` where nobody says it."""
    if given or environment.get(VARIABLE):
        return given or environment[VARIABLE]
    if not folder.is_dir():
        raise ConfigurationError(f"there is no folder {folder}")
    manage = folder / "manage.py"
    how = f"say which they are with --settings project.settings, or set {VARIABLE}"
    if not manage.is_file():
        raise ConfigurationError(
            f"no settings were named, and there is no manage.py in {folder}: go to the folder that has it, give that "
            f"folder with --app-dir, or {how}"
        )
    found = settings_in_manage(manage.read_text(encoding="utf-8", errors="replace"))
    if found is None:
        raise ConfigurationError(f"{manage} does not name the settings: {how}")
    return found


def settings_in_manage(text: str) -> str | None:
    """Return what ``manage.py`` sets ``DJANGO_SETTINGS_MODULE`` to, where it is written out."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="setdefault"), args=[ast.Constant(value=name), ast.Constant(value=str(value))]
            ):
                pass
            case ast.Assign(
                targets=[ast.Subscript(slice=ast.Constant(value=name))], value=ast.Constant(value=str(value))
            ):
                pass
            case _:
                continue
        if name == VARIABLE:
            return value
    return None
