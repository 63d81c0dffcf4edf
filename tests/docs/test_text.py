"""What every page holds to: code that compiles, commands that exist, links that lead somewhere."""

from __future__ import annotations

import ast
import functools
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from django.core.management import find_commands
from uvicorn import main as uvicorn_command

import antiphon.cli

from .documents import PAGES, ROOT, Block, blocks

BLOCKS = [block for path in PAGES for block in blocks(path)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
ROLES = {"file", "append", "run", "fragment"}

_LINK = re.compile(r"(?<!!)\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
_INLINE_COMMAND = re.compile(r"`((?:make |scripts/|antiphon serve|uvicorn|python -m|python manage\.py)[^`]*)`")
#: Written by a measurement, which takes half an hour.
_WRITTEN_LATER = {ROOT / "docs/benchmarks.md"}


def test_there_are_pages_and_blocks() -> None:
    assert len(PAGES) >= 20
    assert {block.role for block in PYTHON} == ROLES


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_is_marked_and_compiles(block: Block) -> None:
    assert block.role in ROLES, f"{block}: a block of Python begins with '# file: …', or its fence says what it is"
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST
    compile(block.text, str(block), "exec", flags)


@functools.cache
def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links() -> Iterator[tuple[Path, str]]:
    """Every link of every page that stays within the repository."""
    for path in PAGES:
        prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        for target in _LINK.findall(prose):
            if "://" not in target:
                yield path, target


@pytest.mark.parametrize(("path", "target"), list(links()))
def test_link_leads_somewhere(path: Path, target: str) -> None:
    name, _, anchor = target.partition("#")
    found = (path.parent / name).resolve() if name else path
    assert found.exists() or found in _WRITTEN_LATER, f"{path.relative_to(ROOT)} links to {target}"
    assert not anchor or anchor in anchors(found), f"{path.relative_to(ROOT)} links to {target}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting += [
                (path.parent / target.partition("#")[0]).resolve() for source, target in links() if source == path
            ]
    assert set(PAGES) <= reached


def commands() -> Iterator[tuple[str, str]]:
    """Every command that a page shows, with its place."""
    for block in BLOCKS:
        if block.language == "sh":
            for line in block.text.splitlines():
                if command := line.split("#")[0].strip():
                    yield str(block), command
        elif block.language == "ini":
            yield from ((str(block), command) for command in re.findall(r"^ExecStart=\S+/bin/(.+)$", block.text, re.M))
    for path in PAGES:
        for command in _INLINE_COMMAND.findall(path.read_text()):
            if "…" not in command:
                yield str(path.relative_to(ROOT)), command


def parses(command: click.Command, arguments: list[str]) -> None:
    """Fail if ``command`` would not take ``arguments``."""
    with command.make_context("command", list(arguments)):
        pass


def check(words: list[str]) -> None:
    """Fail if there is no such command, or it does not take these arguments."""
    match words:
        case ["make", target]:
            assert f"\n{target}:" in (ROOT / "Makefile").read_text()
        case ["antiphon", "serve", *arguments]:
            parses(antiphon.cli.serve, arguments or ["module:application"])
        case ["antiphon", "engine", name, *arguments]:
            parses(antiphon.cli.engine.commands[name], arguments)
        case ["antiphon", name, *arguments]:
            parses(antiphon.cli.main.commands[name], arguments)
        case ["uvicorn", *arguments]:
            parses(uvicorn_command, arguments if "--ws" not in arguments[:1] else [*arguments, "module:application"])
        case ["python", "-m", module, *_]:
            assert module in {"venv", "antiphon", "websockets"} or (ROOT / f"{module.replace('.', '/')}.py").exists()
        case ["python", "manage.py", name, *_]:
            folders = ["core", "contrib/auth"]
            assert any(name in find_commands(str(DJANGO / folder / "management")) for folder in folders), name
        case ["pip", "install", what]:
            extra = re.search(r"\[(\w+)\]", what)
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            assert extra is None or extra[1] in extras
        case [script, *_] if script.startswith("scripts/"):
            assert (ROOT / script).is_file()
        case _:
            assert words[0] in {"cd", "mkdir", "source", "django-admin", "curl"}, f"what is {words}?"


DJANGO = Path(find_commands.__globals__["__file__"]).parents[2]


@pytest.mark.parametrize(("place", "command"), sorted(set(commands())))
def test_command_exists(place: str, command: str) -> None:
    check(shlex.split(command))


@pytest.mark.parametrize(
    "words", [["make", "nothing"], ["antiphon", "serve", "--nothing", "a:b"], ["rm"], ["scripts/no"]]
)
def test_a_command_that_does_not_exist_is_noticed(words: list[str]) -> None:
    with pytest.raises((AssertionError, click.UsageError)):
        check(words)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_page_is_plain(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    assert text.endswith("\n")
    assert not re.search("[\U0001f300-\U0001faff\u2600-\u27bf]", text), "no emoji"
    assert "\t" not in text
    assert not re.search(r" +$", text, re.MULTILINE), "spaces at the end of a line"
