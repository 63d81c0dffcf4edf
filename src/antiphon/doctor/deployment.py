"""The commands by which a project is served, found in what people keep beside it: Procfile, Dockerfile, units, Compose.

Read as text, not as their formats: a command is a known program where a command can stand. Continued lines are joined,
and so are the parts of a command that YAML spreads over lines. What a shell would still have to fill in is left open.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from antiphon.doctor.finding import Place
from antiphon.doctor.source import LARGEST, shown

__all__ = ["Command", "Concurrency", "Deployment", "read_deployment", "read_gunicorn", "read_text"]

_FILES = (
    "Procfile",
    "Procfile.*",
    "Dockerfile",
    "Dockerfile.*",
    "*.Dockerfile",
    "docker-compose*.yml",
    "docker-compose*.yaml",
    "compose*.yml",
    "compose*.yaml",
    "*.service",
)
_PROGRAMS = {"antiphon", "uvicorn", "gunicorn", "hypercorn", "daphne", "manage.py"}
#: What may stand before a program without making something else of it.
_BEFORE = re.compile(
    r"""[\w.-]+:            # web: …, command: …
    | -                     # an item of a list in YAML
    | \w+=.*                # a variable, or ExecStart=…
    | (?:.*/)?(?:python[\d.]*|sh|bash|env|exec|nohup|tini|dumb-init)
    | poetry | pipenv | pdm | hatch | uv | newrelic-admin | ddtrace-run
    | run | run-program | -m | -c | -lc | -ec | -u | -- | CMD | ENTRYPOINT""",
    re.VERBOSE,
)
_CONCURRENCY = re.compile(r"""\bWEB_CONCURRENCY["']?\s*[:= ]\s*["']?(\d+)""")
_DEFAULT = re.compile(r"\$\{\w+:?-(\d+)\}")
#: Behind a number of workers that depends on the machine.
OR_MORE = "+"
_BLOCK = re.compile(r"^(\s*)(?:- )?(?:command|entrypoint):\s*([>|][-+\d]*)?\s*$")


@dataclass(frozen=True)
class Command:
    """One command: the program and its words, without quotes."""

    program: str
    words: tuple[str, ...]
    place: Place
    variables: Mapping[str, str]
    """What is set for it alone, as ``NAME=value`` in front."""
    is_for_any: bool = False
    """It names no application, and serves the project's: gunicorn's configuration, where no command is seen."""

    def option(self, *names: str) -> str | None:
        """Return what an option is given, by any of its names, the last time that it is."""
        found = None
        for word, following in zip(self.words, (*self.words[1:], ""), strict=True):
            for name in names:
                if word == name:
                    found = following
                elif name.startswith("--") and word.startswith(f"{name}="):
                    found = word.partition("=")[2]
                elif not name.startswith("--") and word.startswith(name) and not word.startswith("--"):
                    found = word.removeprefix(name).removeprefix("=")
        return found

    def serves(self, application: str) -> bool:
        """Tell whether it serves this ASGI application, ``project.asgi.application``, and not another one."""
        module = application.rpartition(".")[0]
        names = (word.replace(":", ".").removesuffix("()") for word in self.words)
        if not self.is_for_any and not any(name in (application, module) for name in names):
            return False
        if self.program == "gunicorn":
            return re.search("uvicorn|asgi", self.option("-k", "--worker-class") or "", re.I) is not None
        return self.program != "antiphon" or "serve" in self.words[:1]

    @property
    def workers(self) -> int | None:
        """How many processes it is told to make, at least; None where it is not told, or that can't be seen."""
        if self.program == "daphne":
            return 1
        text = self.option("--workers") if self.program in ("antiphon", "uvicorn") else self.option("-w", "--workers")
        if text is None and self.program in ("uvicorn", "gunicorn"):
            text = self.variables.get("WEB_CONCURRENCY")
        match = _DEFAULT.fullmatch(text or "")
        number = match[1] if match else (text or "").removesuffix(OR_MORE)
        return int(number) if number.isdecimal() else None

    @property
    def says_workers(self) -> str:
        """That number in words."""
        or_more = any(word.endswith(OR_MORE) for word in self.words)
        return f"{self.workers} processes{' or more' if or_more else ''}"


class Concurrency(NamedTuple):
    """``WEB_CONCURRENCY`` as some file sets it: how many processes uvicorn and gunicorn make where they aren't told."""

    number: int
    place: Place


class Deployment(NamedTuple):
    """What a project's files say of how it is served."""

    commands: tuple[Command, ...] = ()
    concurrency: tuple[Concurrency, ...] = ()

    def __add__(self, other: object) -> Deployment:
        """Put two together."""
        assert isinstance(other, Deployment)
        return Deployment(self.commands + other.commands, self.concurrency + other.concurrency)


def read_deployment(folder: Path, current: Path) -> Deployment:
    """Return what the files in ``folder`` say, and those one folder up if that is the root of the repository."""
    folders = [folder]
    if (folder.parent / ".git").exists() and not (folder / ".git").exists():
        folders.append(folder.parent)
    whole = Deployment()
    for each in folders:
        found = Deployment()
        for path in sorted(each.iterdir()):
            if any(fnmatch(path.name, pattern) for pattern in _FILES):
                found += read_text(_text(path), shown(path, current))
        configuration = each / "gunicorn.conf.py"
        if configuration.exists():
            found = _with_gunicorn(found, read_gunicorn(_text(configuration), shown(configuration, current)))
        whole += found
    return whole


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.stat().st_size <= LARGEST else ""
    except OSError:
        return ""


def read_text(text: str, name: str) -> Deployment:
    """Return what one file says; ``name`` is how it is shown."""
    commands: list[Command] = []
    concurrency: list[Concurrency] = []
    for number, line in _logical_lines(text):
        place = Place(name, number)
        if line.startswith("RUN "):  # runs when an image is built
            continue
        found = [_command(part.split(), place) for part in re.split(r"&&|\|\||[;|&]", _plain(line))]
        commands += [command for command in found if command is not None]
        match = _CONCURRENCY.search(line)
        if match and not any(found):
            concurrency.append(Concurrency(int(match[1]), place))
    return Deployment(tuple(commands), tuple(concurrency))


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines with their numbers: without comments, joined where they go on."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        start, line = at, _uncommented(lines[at])
        at += 1
        block = _BLOCK.match(line)
        if block:
            end = _end_of_block(lines, at, len(block[1]))
            joint = " ; " if (block[2] or "").startswith("|") else " "
            body = [_item(_uncommented(each)) for each in lines[at:end]]
            line, at = f"{line.rstrip('>|-+ ')} {joint.join(body)}".replace("\\ ;", ""), end
        while line.rstrip().endswith("\\") and at < len(lines):
            if not lines[at].lstrip().startswith("#"):  # a comment between the lines of one command
                line = line.rstrip()[:-1] + " " + _uncommented(lines[at]).strip()
            at += 1
        if line.strip():
            yield start + 1, line.strip()


def _uncommented(line: str) -> str:
    return "" if line.lstrip().startswith("#") else re.sub(r"\s#.*$", "", line)


def _item(line: str) -> str:
    return re.sub(r"^\s*- ", "", line).strip()


def _end_of_block(lines: list[str], at: int, indent: int) -> int:
    """Return where the value ends that begins below a key of YAML: where a line is indented no deeper."""
    while at < len(lines):
        line = lines[at]
        depth = len(line) - len(line.lstrip())
        if line.strip() and depth <= indent and not (depth == indent and line.lstrip().startswith("- ")):
            break
        at += 1
    return at


def _plain(line: str) -> str:
    """Take out the marks of quotes and of lists in brackets."""
    bare = re.sub(r"[\"']", " ", line)
    return re.sub(r"(?<=\s)[\[,](?=\s)|(?<=\s)\](?=\s|$)|,(?=\s)", " ", f" {bare} ")


def _command(words: list[str], place: Place) -> Command | None:
    for number, word in enumerate(words):
        program = word.removeprefix("ExecStart=").rpartition("/")[2]
        if program in _PROGRAMS:
            variables = dict(each.split("=", 1) for each in words[:number] if re.match(r"[A-Z_]\w*=", each))
            return Command(program, tuple(words[number + 1 :]), place, variables)
        if not _BEFORE.fullmatch(word):
            return None
    return None


def read_gunicorn(text: str, name: str) -> tuple[tuple[str, ...], Place]:
    """Return what a ``gunicorn.conf.py`` sets, as the words of a command, and where it sets the workers."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return (), Place(name, 1)
    words: list[str] = []
    place = Place(name, 1)
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        match node.targets[0].id, node.value:
            case "workers", value:
                number = _least(value)
                place = Place(name, node.lineno)
                more = "" if isinstance(value, ast.Constant) else OR_MORE
                words += ["--workers", f"{number}{more}"] if number is not None else []
            case "worker_class", ast.Constant(value=str(value)):
                words += ["--worker-class", value]
            case "wsgi_app", ast.Constant(value=str(value)):
                words.append(value)
    return tuple(words), place


def _least(node: ast.expr) -> int | None:
    """Return what an expression for the number of workers is on one processor, with nothing in the environment."""
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return value
        case ast.Constant(value=str(value)) if value.isdecimal():
            return int(value)
        case ast.BinOp(left=left, op=ast.Add() | ast.Mult() as op, right=right):
            first, second = _least(left), _least(right)
            if first is None or second is None:
                return None
            return first + second if isinstance(op, ast.Add) else first * second
        case ast.Call(func=ast.Attribute(attr="cpu_count") | ast.Name(id="cpu_count")):
            return 1
        case ast.Call(func=ast.Name(id="int"), args=[inner]):
            return _least(inner)
        case ast.Call(func=ast.Attribute(attr="get" | "getenv") | ast.Name(id="getenv"), args=[_, default]):
            return _least(default)
    return None


def _with_gunicorn(found: Deployment, configuration: tuple[tuple[str, ...], Place]) -> Deployment:
    """Let gunicorn's commands have its configuration too; one that says all by itself is a command."""
    words, place = configuration
    commands = tuple(
        Command(each.program, (*words, *each.words), each.place, each.variables) if each.program == "gunicorn" else each
        for each in found.commands
    )
    if not any(each.program == "gunicorn" for each in commands):
        is_for_any = all(word.startswith("-") for word in words[::2])  # options and their values, no application
        commands += (Command("gunicorn", words, place, {}, is_for_any),)
    return Deployment(commands, found.concurrency)
