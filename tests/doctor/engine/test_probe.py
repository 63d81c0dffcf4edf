"""The use of an engine as a server makes it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from antiphon.doctor.engine import probe as module
from antiphon.doctor.engine.probe import COUNT, Probe, measured, opened, told_when_slow
from antiphon.engines.memory import MemoryEngine
from antiphon.exceptions import EngineUnavailable
from antiphon.types import ClientInfo, Event, Position

from ...engines.sqlite import until


class Lame(MemoryEngine):
    """Refuses some verbs, and tells nobody of others."""

    def __init__(self, *, refused: str = "", deaf: str = "") -> None:
        super().__init__()
        self._refused, self._deaf = refused, deaf
        self.is_stopped = False

    def _look_at(self, verb: str) -> None:
        if verb == self._refused:
            raise EngineUnavailable(f"{verb} may not be done")

    async def publish(self, *arguments: Any, **options: Any) -> Position:
        self._look_at("publish")
        return await super().publish(*arguments, **options)

    async def send_event(self, group: str, event: Event) -> None:
        if self._deaf == "group_send":
            logging.getLogger("antiphon.engines").error("the cable is cut")
        else:
            await super().send_event(group, event)

    def enter(self, group: str, info: ClientInfo, *, announced: bool = False) -> None:
        if self._deaf != "enter":
            super().enter(group, info, announced=announced)

    async def stop(self) -> None:
        self.is_stopped = True
        await super().stop()


def nothing(text: str) -> None:
    raise AssertionError(f"nothing is slow here: {text}")


async def test_all_that_works_is_tried_and_measured() -> None:
    engine = MemoryEngine()
    async with opened(engine, "memory", nothing) as probe:
        assert probe.refusals == []
        times = await probe.measure()
        assert times is not None
        assert times.what == "publish"
        group = probe.group
    assert 0 < len(times.seconds) <= COUNT
    assert list(times.seconds) == sorted(times.seconds)
    page = await engine.history(group, module._RETENTION)
    assert page.publications == (), "what was published is taken away"


async def test_what_is_refused_is_told_by_its_name_and_not_measured() -> None:
    engine = Lame(refused="publish")
    async with opened(engine, "memory", nothing) as probe:
        assert [(each.verb, each.words) for each in probe.refusals] == [("publish", "publish may not be done")]
        assert await probe.measure() is None
    assert engine.is_stopped


async def test_what_is_not_heard_is_told_with_what_the_engine_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "HEARING", 0.01)
    async with opened(Lame(deaf="group_send"), "memory", nothing) as probe:
        ((verb, words),) = probe.refusals
    assert verb == "group_send"
    assert "was not heard within 0.01 s. the cable is cut" in words
    assert not caplog.records, "it is told once"
    assert logging.getLogger("antiphon.engines").propagate
    async with opened(Lame(deaf="enter"), "memory", nothing) as probe:
        assert [each.verb for each in probe.refusals] == ["enter"]


async def test_the_engine_is_stopped_where_the_use_of_it_fails() -> None:
    engine = Lame()
    with pytest.raises(ZeroDivisionError):
        async with opened(engine, "memory", nothing):
            raise ZeroDivisionError
    assert engine.is_stopped


async def test_what_was_made_is_taken_away_also_where_the_use_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    async def take_away(probe: Probe) -> None:
        taken.append(probe.group)

    async def cut(probe: Probe) -> None:
        raise asyncio.CancelledError

    engine = Lame()
    async with opened(engine, "memory", nothing, take_away) as probe:
        assert taken == []
    assert taken == [probe.group]
    monkeypatch.setattr(Probe, "try_all", cut)
    with pytest.raises(asyncio.CancelledError):
        async with opened(engine, "memory", nothing, take_away):
            raise AssertionError("it was cut off")
    assert (len(taken), engine.is_stopped) == (2, True)


async def test_an_engine_that_does_not_start_raises_what_it_raises() -> None:
    class Away(MemoryEngine):
        async def start(self, events: Any, process: str = "") -> None:
            assert isinstance(events, Probe)
            raise EngineUnavailable("nobody is there")

    with pytest.raises(EngineUnavailable, match="nobody is there"):
        async with opened(Away(), "memory", nothing):
            raise AssertionError("it has not started")
    assert logging.getLogger("antiphon.engines").propagate


async def test_what_takes_long_is_told_while_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOW", 0.001)
    said: list[str] = []
    with told_when_slow("connecting to h", said.append):
        await until(lambda: said)
    assert said == ["connecting to h …"]
    with told_when_slow("asking", said.append):
        pass
    await asyncio.sleep(0)
    assert len(said) == 1


async def test_measuring_ends_with_the_number_or_with_the_time() -> None:
    done: list[None] = []

    async def work() -> None:
        done.append(None)

    assert len((await measured("x", work, 60)).seconds) == len(done) == COUNT
    assert len((await measured("x", work, 0)).seconds) == 1
