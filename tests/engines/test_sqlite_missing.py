"""What was written and not told: noticed, read, and at last given up."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.engines.sqlite import missing as module
from antiphon.engines.sqlite.frames import Published, Told
from antiphon.engines.sqlite.missing import Missing
from antiphon.engines.sqlite.options import Options
from antiphon.engines.sqlite.schema import connect
from antiphon.engines.sqlite.store import Store, read_commits
from antiphon.types import Publishing, Retention

from .test_sqlite_hearing import Ear

KEPT = Publishing(Retention(size=100, lifetime=60, position_lifetime=600, idempotency_window=120))


class Scene:
    """A database, one who hears of what is written there, and one who looks for what was not told."""

    def __init__(self, path: Path) -> None:
        self.connection = connect(Options(str(path), synchronous="off"))
        self.store = Store(self.connection)
        self.ear = Ear()
        self.missing = Missing(self._read, lambda: 0)
        self.reads = 0
        self.meanwhile: Callable[[], None] = lambda: None
        self.store.begin()
        self.ear.hearing.ready("a", self.ear.hearing.begin("a", None), self.store.touch("a", KEPT.retention, 0))
        self.store.finish()
        self.store.commit()

    async def _read(self, verb: Callable[[sqlite3.Connection], Any]) -> Any:
        self.reads += 1
        found = verb(self.connection)
        await asyncio.sleep(0)
        self.meanwhile()
        return found

    def write(self, *, kept: bool = True) -> Told:
        """Publish; what is returned may be told."""
        self.store.begin()
        self.store.publish("a", b"1", "", KEPT if kept else None, 0)
        seq = self.store.finish()
        self.store.commit()
        return Told(seq, list(self.store.told))

    def tell(self, told: Told) -> None:
        self.ear.hearing.take("other", told)

    async def look(self) -> None:
        await self.missing.look(self.ear.hearing, read_commits(self.connection))

    @property
    def heard(self) -> list[int]:
        return self.ear.offsets()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "streams.db")
    with contextlib.closing(scene.connection):
        yield scene


async def test_where_nothing_is_missing_nothing_is_read(scene: Scene) -> None:
    scene.tell(scene.write())
    for _ in range(3):
        await scene.look()
    assert (scene.heard, scene.reads) == ([1], 0)


async def test_what_is_kept_is_read_at_once_and_told_once(scene: Scene) -> None:
    late = scene.write()
    scene.write()
    await scene.look()
    assert scene.heard == [1, 2]
    scene.tell(late)
    await scene.look()
    assert (scene.heard, scene.ear.heard.losses) == ([1, 2], 0)


async def test_what_is_not_kept_is_given_up_at_the_second_look(scene: Scene) -> None:
    scene.write(kept=False)
    await scene.look()
    assert scene.ear.heard.losses == 0
    await scene.look()
    assert (scene.ear.counters.engine_publications_missed, scene.ear.heard.losses) == (1, 1)
    scene.tell(scene.write())
    assert scene.heard == [2]


async def test_what_comes_between_two_looks_is_not_missing(scene: Scene) -> None:
    late = scene.write(kept=False)
    await scene.look()
    scene.tell(late)
    later = scene.write(kept=False)
    await scene.look()
    scene.tell(later)
    await scene.look()
    assert (scene.heard, scene.ear.heard.losses) == ([1, 2], 0)


async def test_what_was_written_since_the_first_look_is_not_given_up_with_the_rest(scene: Scene) -> None:
    scene.write(kept=False)
    await scene.look()
    later = scene.write(kept=False)
    await scene.look()
    assert scene.ear.counters.engine_publications_missed == 1
    scene.tell(later)
    assert scene.heard == [2]


async def test_what_waits_is_told_in_its_place(scene: Scene) -> None:
    scene.write()
    for _ in range(3):
        scene.tell(scene.write(kept=True))
    assert scene.heard == []
    await scene.look()
    assert scene.heard == [1, 2, 3, 4]
    await scene.look()
    scene.tell(scene.write())
    assert (scene.heard, scene.ear.heard.losses) == ([1, 2, 3, 4, 5], 0)


async def test_when_too_much_waits_it_is_waited_no_longer(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING", 3)
    scene.write()
    for _ in range(4):
        assert not scene.missing.is_too_long(scene.ear.hearing)
        scene.tell(scene.write())
    assert scene.missing.is_too_long(scene.ear.hearing)
    ending = scene.missing.wait_no_longer(scene.ear.hearing)
    assert not scene.missing.is_too_long(scene.ear.hearing), "once is enough"
    await ending
    assert scene.heard == [1, 2, 3, 4, 5]
    assert len(scene.ear.hearing.order) == 0
    scene.tell(scene.write())
    assert (scene.heard, scene.ear.heard.losses) == ([1, 2, 3, 4, 5, 6], 0)


async def test_what_comes_while_it_is_read_is_told_once(scene: Scene) -> None:
    told = [scene.write(), scene.write(), scene.write()]

    def tell_all() -> None:
        for each in told:
            scene.tell(each)

    scene.meanwhile = tell_all
    await scene.look()
    scene.meanwhile = lambda: None
    await scene.look()
    assert (scene.heard, scene.ear.heard.losses) == ([1, 2, 3], 0)
    assert all(isinstance(item, Published) for each in told for item in each.items)
