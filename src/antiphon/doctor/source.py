"""The Python files of a project, read and parsed once each."""

from __future__ import annotations

import ast
import functools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from antiphon.doctor.finding import Place

__all__ = ["DEEPEST", "LARGEST", "MOST", "Library", "Source", "is_installed", "shown", "words_of"]

#: How many files are read at the most.
MOST = 5000
#: Bytes of the largest file that is read.
LARGEST = 512 * 1024
#: How deep the syntax tree of a file may be.
DEEPEST = 100

_SKIPPED_FOLDERS = {"__pycache__", "migrations", "node_modules", "site-packages", "dist-packages", "test", "tests"}
_TESTS = re.compile(r"test_.*\.py|.*_tests?\.py|tests?\.py|conftest\.py")
#: What a file has to mention to be of interest.
_WORDS = ("channel_layer", "antiphon", "group_send", "group_add")


@dataclass(frozen=True, eq=False)
class Source:
    """One Python file."""

    path: Path
    shown: str
    """Its path as people see it, relative to the current folder."""
    text: str
    tree: ast.Module

    def place(self, node: ast.AST) -> Place:
        """Return where ``node`` stands."""
        return Place(self.shown, getattr(node, "lineno", 1))

    @functools.cached_property
    def imports(self) -> dict[str, str]:
        """What each imported name stands for: ``{"layers": "channels.layers"}``, imports in functions included."""
        names: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    names[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
        return names

    def dotted(self, node: ast.AST) -> str:
        """Return the full name of what ``node`` names, like ``antiphon.sync.publish``; "" if it can't be seen."""
        if isinstance(node, ast.Name):
            return self.imports.get(node.id, "")
        if isinstance(node, ast.Attribute):
            owner = self.dotted(node.value)
            return f"{owner}.{node.attr}" if owner else ""
        return ""


def words_of(tree: ast.AST) -> frozenset[str]:
    """Return every name and every text that code is written of, in lower case; comments are not among them."""
    return frozenset(word.lower() for word in _words(tree))


def _words(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=str(text)) | ast.Attribute(attr=str(text)) | ast.Constant(value=str(text)):
                yield text
            case ast.FunctionDef(name=text) | ast.AsyncFunctionDef(name=text) | ast.ClassDef(name=text):
                yield text
            case ast.arg(arg=text) | ast.keyword(arg=str(text)) | ast.alias(name=text):
                yield text
            case ast.Constant(value=bytes(data)):
                yield data.decode("latin-1")


class Library:
    """The sources below ``folder``: not what is installed, nor migrations, tests and other projects.

    ``current`` is the folder that paths are shown relative to.
    """

    def __init__(self, folder: Path, current: Path) -> None:
        self._folder = folder
        self._current = current
        self._read: dict[Path, Source | None] = {}
        self.is_cut = False
        """Whether there were more files than are read."""

    def read(self, path: Path) -> Source | None:
        """Return the file as a source; None if it can't be read or parsed, or is too large."""
        if path not in self._read:
            self._read[path] = _parse(path, shown(path, self._current))
        return self._read[path]

    def all(self) -> tuple[Source, ...]:
        """Return every source that speaks of groups or consumers, and those that were read before."""
        for number, path in enumerate(_files(self._folder)):
            if number == MOST:
                self.is_cut = True
                break
            if path not in self._read and _is_of_interest(path):
                self.read(path)
        return tuple(source for source in self._read.values() if source is not None)


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        here = Path(parent)
        folders[:] = sorted(name for name in folders if not _is_skipped(here / name))
        for name in sorted(names):
            if name.endswith(".py") and not _TESTS.fullmatch(name):
                yield here / name


def _is_skipped(folder: Path) -> bool:
    return (
        folder.name in _SKIPPED_FOLDERS
        or folder.name.startswith(".")
        or (folder / "pyvenv.cfg").exists()
        or (folder / "manage.py").exists()  # another project
    )


def _is_of_interest(path: Path) -> bool:
    try:
        if path.stat().st_size > LARGEST:
            return False
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(word in text for word in _WORDS)


def _parse(path: Path, name: str) -> Source | None:
    try:
        if path.stat().st_size > LARGEST:
            return None
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return Source(path, name, text, tree) if _is_shallow(tree) else None


def _is_shallow(tree: ast.AST) -> bool:
    """Tell whether the tree can be walked by recursion: a sum of a thousand terms, say, can't."""
    level = [tree]
    for _ in range(DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return True
    return False


def shown(path: Path, current: Path) -> str:
    """Return ``path`` as people see it: relative to the current folder where it is not far away."""
    try:
        relative = os.path.relpath(path, current)
    except ValueError:  # another drive
        return str(path)
    return str(path) if relative.startswith(os.path.join("..", "..", "..")) else relative


def is_installed(path: Path) -> bool:
    """Tell whether a file belongs to an installed package or to Python itself, not to the project."""
    parts = path.parts
    return "site-packages" in parts or "dist-packages" in parts or Path(os.__file__).parent in path.parents
