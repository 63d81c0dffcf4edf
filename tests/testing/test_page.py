"""The examples of the how-to page, run as a reader runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.documents import blocks, build, page
from tests.docs.reader import django

PAGE = page("docs/howto/testing.md")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of the page."""
    build(PAGE, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "passed"), [(block.path, block.text.count("def test_")) for block in blocks(PAGE) if "test_" in block.path]
)
def test_with_pytest(folder: Path, file: str, passed: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", file],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"= {passed} passed" in done.stdout


def test_with_django(folder: Path) -> None:
    """In a project where the page's ``notes`` is an app."""
    django(folder, "startproject", "project", ".")
    (folder / "notes" / "__init__.py").touch()
    with (folder / "project" / "settings.py").open("a") as settings:
        settings.write("\nINSTALLED_APPS += ['notes']\n")
    django(folder, "makemigrations", "notes")
    done = subprocess.run(
        [sys.executable, "-W", "error", "manage.py", "test", "notes"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 1 test" in done.stderr
