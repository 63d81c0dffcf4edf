"""The documents as tests see them: pages, their fenced blocks, and the files that an example is made of.

What a block of Python is, is said in its first line or in its fence:

- ``# file: chat.py``: a file of the page's project; ``# append: settings.py``: more at the end of one
- the fence ``python run``: a script of its own; ``python fragment``: a piece that is only compiled

Files in other languages say it in a comment of theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["PAGES", "ROOT", "Block", "blocks", "build", "page"]

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name != "benchmarks.md"),
]

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"(?:#|//|<!--) (?P<kind>file|append): (?P<path>\S+)(?: -->)?\n")


class Block(NamedTuple):
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    role: str
    """``file``, ``append``, ``run``, ``fragment``, or nothing."""
    path: str
    """The file's, of a ``file`` or ``append``."""
    text: str

    def __str__(self) -> str:
        """Say where it stands."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def page(name: str) -> Path:
    """Return the page ``name``, a path from the root."""
    return ROOT / name


def blocks(path: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    source = path.read_text()
    for match in _FENCE.finditer(source):
        language, _, role = match["info"].strip().partition(" ")
        text, name = match["text"], ""
        if mark := _MARK.match(text):
            role, name = mark["kind"], mark["path"]
            if language == "html":  # nothing may stand before the doctype
                text = text[mark.end() :]
        yield Block(path, source.count("\n", 0, match.start()) + 1, language, role, name, text)


def build(path: Path, folder: Path, *, before: str = "") -> None:
    """Write the files of a page into ``folder``: all of them, or those that stand before the line ``before``."""
    end = path.read_text().split("\n").index(before) if before else None
    for block in blocks(path):
        if not block.path or (end is not None and block.line > end):
            continue
        target = folder / block.path
        assert target.resolve().is_relative_to(folder.resolve())
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("a" if block.role == "append" else "w") as file:
            file.write(block.text)
