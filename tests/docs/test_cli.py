"""The commands that the page about the command line shows, one after the other."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from .documents import blocks, page

PAGE = page("docs/reference/cli.md")


def test_reaching_a_servers_groups(project: Path) -> None:
    options = {"engine": f"sqlite:///{project}/antiphon.sqlite3", "rules": {"news:*": {"history_size": 10}}}
    with (project / "project" / "settings.py").open("a") as settings:
        settings.write(f"\nANTIPHON = {options!r}\n")
    (block,) = (block for block in blocks(PAGE) if block.language == "sh" and "antiphon publish" in block.text)
    printed: list[Any] = []
    for line in block.text.splitlines():
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(line)],
            cwd=project,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        printed.append(json.loads(done.stdout) if done.stdout else None)
    first, second, kept, kicked = printed
    assert (first["offset"], first["repeated"], second["offset"]) == (1, False, 2)
    assert [each["data"] for each in kept["publications"]] == ["tea is ready", {"text": "hello"}]
    assert kept["publications"][0]["tags"] == {"kind": "kitchen"}
    assert kicked is None
