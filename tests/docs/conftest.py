"""Servers for the examples: started on a free port in the folder of the page's files, ended with their test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.servers import Servers, clean_environment


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
