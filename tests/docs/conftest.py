"""Servers for the examples, ended with their test, and the folder of a page's files: empty, or a Django project."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.servers import Servers, clean_environment

from .documents import page
from .reader import django


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Whatever this test starts; all of it is ended."""
    environment = clean_environment()
    del environment["PYTHONPATH"]  # an example finds its own files only
    servers = Servers(tmp_path_factory.mktemp("logs"), environment)
    yield servers
    servers.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the example's files."""
    return tmp_path


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the tutorial's first shell block makes, with a database; it is copied."""
    folder = tmp_path_factory.mktemp("blank")
    tutorial = page("docs/tutorial/chat.md").read_text()
    for command in re.findall(r"^(?:django-admin|python manage.py) (start.*)$", tutorial, re.MULTILINE):
        django(folder, *command.split())
    django(folder, "migrate")
    return folder


@pytest.fixture
def project(blank: Path, folder: Path) -> Path:
    """A new Django project."""
    shutil.copytree(blank, folder, dirs_exist_ok=True)
    return folder
