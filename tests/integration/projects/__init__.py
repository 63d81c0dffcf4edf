"""Whole Django projects, each as somebody would have it who came from Channels, and how tests run them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ..servers import ALL, PATIENCE, Kind, Server, Servers, clean_environment

__all__ = ["ANTIPHON", "DAPHNE", "PLAIN_UVICORN", "manage", "project", "serve"]

_KINDS = {kind.name: kind for kind in ALL}
#: ``antiphon serve``, uvicorn with its own protocol class, and daphne.
ANTIPHON, PLAIN_UVICORN, DAPHNE = _KINDS["antiphon"], _KINDS["uvicorn-plain"], _KINDS["daphne"]


def project(name: str) -> Path:
    """Return the folder of a project: that of its ``manage.py``."""
    return Path(__file__).parent / name


def serve(servers: Servers, kind: Kind, folder: Path, application: str, env: Mapping[str, str] | None = None) -> Server:
    """Serve the project as its author would: from its folder; ``env`` is what its settings read."""
    command = (sys.executable, "-m", kind.module, *kind.arguments, application)
    return servers.run(command, f"{kind.name} {folder.name}", env=env, cwd=folder, kind=kind).listening()


def manage(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run a command of the project's ``manage.py`` to its end, and return what it printed."""
    done = subprocess.run(
        (sys.executable, "manage.py", *arguments),
        cwd=folder,
        env={**clean_environment(), **(env or {})},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    if done.returncode:
        pytest.fail(f"manage.py {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout
