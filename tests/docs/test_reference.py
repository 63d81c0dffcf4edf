"""The reference says what the code says."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable

import pytest

import antiphon
import antiphon.sync
from antiphon import exceptions
from antiphon.consumer import AsyncWebsocketConsumer
from antiphon.layer import ChannelLayer

from .documents import ROOT, page
from .generate import PARTS, generated, part

API = page("docs/reference/api.md")
_HEADING = re.compile(r"^###+ `([\w.]+)\((.*)\)`$", re.MULTILINE)


@pytest.mark.parametrize(("name", "mark", "make"), PARTS, ids=[mark for _, mark, _ in PARTS])
def test_generated_part_is_as_the_code_has_it(name: str, mark: str, make: Callable[[], str]) -> None:
    assert part(page(name), mark) == make(), "run: python -m tests.docs.generate"


def test_writing_a_part_changes_that_part_only() -> None:
    name, mark, make = PARTS[0]
    assert generated(page(name), mark, make()) == page(name).read_text()
    assert generated(page(name), mark, "other") == page(name).read_text().replace(make(), "other")


def signature(path: str) -> str:
    """The parameters of what ``path`` names below antiphon, without types and without ``self``."""
    classes = {"ChannelLayer": ChannelLayer}
    first, *rest = path.removeprefix("antiphon.").split(".")
    found = functools.reduce(getattr, rest, classes.get(first) or getattr(antiphon, first))
    parameters = list(inspect.signature(found).parameters.values())
    if parameters and parameters[0].name == "self":
        del parameters[0]
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in parameters]
    return str(inspect.Signature(bare))[1:-1]


@pytest.mark.parametrize(("path", "parameters"), _HEADING.findall(API.read_text()))
def test_signature(path: str, parameters: str) -> None:
    assert signature(path) == parameters


def test_every_public_name_has_its_place() -> None:
    described = {path.split(".")[1] for path, _ in _HEADING.findall(API.read_text()) if path.startswith("antiphon.")}
    assert described == set(antiphon.__all__)
    listed = {path.removeprefix("antiphon.sync.") for path, _ in _HEADING.findall(API.read_text()) if ".sync." in path}
    assert listed == set(antiphon.sync.__all__)


@pytest.mark.parametrize("cls", [AsyncWebsocketConsumer, antiphon.AsyncJsonWebsocketConsumer, ChannelLayer])
def test_every_public_method_has_its_place(cls: type) -> None:
    internal = {"attach", "turns"}  # what the framework calls
    methods = {name for name, value in vars(cls).items() if not name.startswith("_") and name not in internal}
    inherited = {name for base in cls.__mro__[1:] for name in vars(base)}
    text = API.read_text()
    for name in methods:
        heading = f"#### `{cls.__name__}.{name}"
        assert f"{heading}(" in text or f"{heading}`" in text or name in inherited or f"| `{name}` |" in text, name


def test_every_exception_is_in_the_tree() -> None:
    tree = part(API, "exceptions")
    assert set(re.findall(r"^[│├└─ ]*(\w+)", tree, re.MULTILINE)) - {"text"} == set(exceptions.__all__)


def test_every_error_code_is_told_and_no_other() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    raised = set(re.findall(r"ClientError\(\s*\"(\w+)\"", sources))
    told = set(re.findall(r"^\| `(\w+)` \|", page("docs/reference/error-frames.md").read_text(), re.MULTILINE))
    assert told == raised


def test_the_changelog_has_the_version() -> None:
    assert f"## [{antiphon.__version__}]" in page("CHANGELOG.md").read_text()
