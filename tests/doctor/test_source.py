"""The files that are read, and the names in them."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from antiphon.doctor import source
from antiphon.doctor.source import Library, is_installed, shown, words_of

from .projects import write

SPEAKS = "from channels.layers import get_channel_layer\n"


def test_a_projects_own_files_are_read(tmp_path: Path) -> None:
    theirs = [
        "venv/pyvenv.cfg",
        "venv/a.py",
        "node_modules/a.py",
        "chat/migrations/a.py",
        "chat/tests/a.py",
        "chat/test_views.py",
        "chat/tests.py",
        "conftest.py",
        ".hidden/a.py",
        "env/lib/site-packages/a.py",
        "other/manage.py",
        "other/a.py",
    ]
    write(
        tmp_path, {**dict.fromkeys(theirs, SPEAKS), "chat/views.py": SPEAKS, "tasks.py": SPEAKS, "dull.py": "a = 1\n"}
    )
    library = Library(tmp_path, tmp_path)
    assert [each.shown for each in library.all()] == ["tasks.py", os.path.join("chat", "views.py")]
    assert not library.is_cut


@pytest.mark.parametrize(
    "content",
    [
        b"channel_layer = (",
        b"# channel_layer \xff\n",
        b"channel_layer = 1\x00",
        b"channel_layer = " + b"-" * 2000 + b"1",
    ],
)
def test_what_can_not_be_read_is_left_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.py").write_bytes(content)
    library = Library(tmp_path, tmp_path)
    assert library.all() == ()
    assert library.read(tmp_path / "a.py") is None
    assert library.read(tmp_path / "nothing.py") is None


def test_a_deep_tree_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": f"channel_layer = {' + '.join(['1'] * 200)}\n"})
    assert Library(tmp_path, tmp_path).all() == ()


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {f"{number}.py": SPEAKS for number in range(5)} | {"0.py": SPEAKS + "#" * 100})
    monkeypatch.setattr(source, "LARGEST", 100)
    monkeypatch.setattr(source, "MOST", 3)
    library = Library(tmp_path, tmp_path)
    assert [each.shown for each in library.all()] == ["1.py", "2.py"]
    assert library.is_cut
    assert library.read(tmp_path / "0.py") is None


def test_a_file_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": SPEAKS})
    library = Library(tmp_path, tmp_path)
    first = library.read(tmp_path / "a.py")
    assert first is not None
    assert library.all() == (first,)


NAMES = """
import antiphon
import antiphon.sync as speak
import channels.layers
from channels.layers import get_channel_layer as layer
from . import local

def late():
    from antiphon import publish
"""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("antiphon.group_send", "antiphon.group_send"),
        ("speak.publish", "antiphon.sync.publish"),
        ("channels.layers.get_channel_layer", "channels.layers.get_channel_layer"),
        ("layer", "channels.layers.get_channel_layer"),
        ("publish", "antiphon.publish"),
        ("local.publish", ""),
        ("other", ""),
        ("make().publish", ""),
    ],
)
def test_dotted_names(tmp_path: Path, text: str, name: str) -> None:
    write(tmp_path, {"a.py": NAMES})
    read = Library(tmp_path, tmp_path).read(tmp_path / "a.py")
    assert read is not None
    assert read.dotted(ast.parse(text, mode="eval").body) == name


def test_words_are_names_and_texts_and_no_comments(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"a.py": "# a comment\nfrom x import Y\ndef f(arg, *, key=b'Bytes'): g(name='Text').attr\nclass C: pass\n"},
    )
    assert words_of(ast.parse((tmp_path / "a.py").read_text())) == {
        "y",
        "f",
        "arg",
        "key",
        "bytes",
        "g",
        "name",
        "text",
        "attr",
        "c",
    }


def test_paths_are_shown_relative(tmp_path: Path) -> None:
    assert shown(tmp_path / "a" / "b.py", tmp_path) == os.path.join("a", "b.py")
    assert shown(tmp_path / "b.py", tmp_path / "a") == os.path.join("..", "b.py")
    far = tmp_path / "1" / "2" / "3" / "4"
    assert shown(tmp_path / "b.py", far) == str(tmp_path / "b.py")


def test_installed_files() -> None:
    assert is_installed(Path(ast.__file__))
    assert is_installed(Path(pytest.__file__))
    assert not is_installed(Path(__file__))
