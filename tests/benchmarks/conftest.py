"""The load client, compiled for this session."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.build import compile_c
from benchmarks.paths import LOAD


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The load client's program."""
    folder = tmp_path_factory.mktemp("load")
    compile_c(folder)
    return folder / LOAD.name
