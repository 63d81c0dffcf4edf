"""The page about the doctor says what the doctor does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import antiphon.cli
from tests.docs.documents import blocks, page
from tests.docs.generate import part

from .projects import OPEN, doctor, write
from .table import MARK, PAGE, findings

TEXT = page(PAGE).read_text()


def test_the_table_is_as_the_checks_have_it() -> None:
    assert part(page(PAGE), MARK) == findings(), "run: python -m tests.doctor.table"


def test_what_is_shown_is_what_is_printed(tmp_path: Path) -> None:
    (shown,) = (block.text for block in blocks(page(PAGE)) if block.language == "text")
    printed = doctor(write(tmp_path, OPEN.files)).out
    versions = re.compile(r"^versions .*$", re.MULTILINE)
    assert versions.sub("", printed).startswith(versions.sub("", shown))


@pytest.mark.parametrize("command", re.findall(r"antiphon doctor[^`\n]*", TEXT))
def test_commands_are_taken(command: str) -> None:
    with antiphon.cli.doctor.make_context("doctor", shlex.split(command)[2:]):
        pass


def test_the_keys_are_those_of_the_json(tmp_path: Path) -> None:
    found = doctor(write(tmp_path, OPEN.files), "--json").findings
    table = TEXT.partition("| key | what |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", re.sub(r"\|[^|]*\|$", "", table, flags=re.MULTILINE))) == set(found[0])
