"""Several processes where groups live in one."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.doctor.project import ANTIPHON_LAYER

from ..conftest import Find

MEMORY = "channels.layers.InMemoryChannelLayer"
OURS = """
    from antiphon import AsyncWebsocketConsumer, publish

    class News(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await publish("a", text_data)
"""
QUIET = """
    from antiphon import AsyncWebsocketConsumer

    class Echo(AsyncWebsocketConsumer):
        pass
"""
THEIRS = """
    from channels.generic.websocket import AsyncWebsocketConsumer

    class Chat(AsyncWebsocketConsumer):
        groups = ["a"]
"""
FOUR = {"Procfile": "web: uvicorn project.asgi:application --workers 4\n"}
PLAIN = {"Procfile": "web: uvicorn project.asgi:application\n"}
DAPHNE = {"Procfile": "web: daphne project.asgi:application\n"}
ENV = {"Dockerfile": "ENV WEB_CONCURRENCY=3\n"}

SEVERAL: list[tuple[dict[str, Any], list[str]]] = [
    ({"workers": 2}, ["--workers"]),
    ({"workers": 1}, []),
    ({"commands": FOUR}, ["Procfile:1"]),
    ({"commands": PLAIN}, []),
    ({"commands": {"Procfile": "web: uvicorn other.asgi:application --workers 4\n"}}, []),
    ({"environment": {"WEB_CONCURRENCY": "3"}}, ["WEB_CONCURRENCY"]),
    ({"environment": {"WEB_CONCURRENCY": "1"}}, []),
    ({"environment": {"WEB_CONCURRENCY": "many"}}, []),
    ({"environment": {"WEB_CONCURRENCY": "3"}, "commands": PLAIN}, ["WEB_CONCURRENCY"]),
    ({"environment": {"WEB_CONCURRENCY": "3"}, "commands": DAPHNE}, []),
    ({"environment": {"WEB_CONCURRENCY": "3"}, "commands": FOUR}, ["Procfile:1"]),
    ({"commands": {**PLAIN, **ENV}}, ["Dockerfile:1"]),
    ({"commands": {**DAPHNE, **ENV}}, []),
    ({}, []),
]


@pytest.mark.parametrize(("more", "places"), SEVERAL)
def test_several_processes(find: Find, more: dict[str, Any], places: list[str]) -> None:
    assert [str(spot.place) for spot in find("memory-engine-processes", OURS, **more)] == places
    assert [str(spot.place) for spot in find("in-memory-layer-processes", THEIRS, layer=MEMORY, **more)] == places


def test_the_command_to_write(find: Find) -> None:
    (spot,) = find("memory-engine-processes", OURS, commands=FOUR)
    assert spot.code == "antiphon serve project.asgi:application"
    assert "4 processes" in spot.problem


def test_who_does_not_mind(find: Find) -> None:
    assert find("memory-engine-processes", QUIET, workers=2) == []
    assert find("memory-engine-processes", THEIRS, layer=MEMORY, workers=2) == []
    assert find("memory-engine-processes", OURS, workers=2, environment={"ANTIPHON_ENGINE": "redis://"}) == []
    assert find("in-memory-layer-processes", OURS, layer=MEMORY, workers=2) == []
    assert find("in-memory-layer-processes", THEIRS, layer=ANTIPHON_LAYER, workers=2) == []


@pytest.mark.parametrize("how", ["antiphon serve {} --engine redis://", "ANTIPHON_ENGINE=redis:// antiphon serve {}"])
def test_a_command_with_an_engine_of_its_own(find: Find, how: str) -> None:
    command = how.format("project.asgi:application --workers 4")
    assert find("memory-engine-processes", OURS, commands={"Procfile": f"web: {command}\n"}) == []


def test_channels_consumers_on_antiphons_layer(find: Find) -> None:
    assert len(find("memory-engine-processes", THEIRS, layer=ANTIPHON_LAYER, workers=2)) == 1


def test_groups_that_others_speak_to(find: Find) -> None:
    views = {"views.py": "from antiphon import sync\nsync.publish('a', 1)\n"}
    assert len(find("memory-engine-processes", QUIET, files=views, workers=2)) == 1


def test_workers_of_channels(find: Find) -> None:
    commands = {"Procfile": "worker: python manage.py runworker thumbnails mails\nweb: python manage.py runserver\n"}
    (spot,) = find("memory-engine-processes", QUIET, layer=ANTIPHON_LAYER, commands=commands)
    assert "thumbnails or mails" in spot.problem
    (spot,) = find("in-memory-layer-processes", QUIET, layer=MEMORY, commands=commands)
    assert "InMemoryChannelLayer" in spot.problem
    assert find("memory-engine-processes", QUIET, commands=commands) == []
    assert (
        find("in-memory-layer-processes", QUIET, layer="channels_redis.core.RedisChannelLayer", commands=commands) == []
    )


TASKS = """
    from antiphon import sync
    from celery import shared_task
    from channels.layers import get_channel_layer
    from project.celery import app
    import dramatiq

    @shared_task(bind=True)
    def first(self):
        sync.publish("a", 1)

    @app.task
    def second():
        def inner():
            get_channel_layer().group_send("a", {"type": "x"})

    @dramatiq.actor
    def third():
        sync.group_send("a", {"type": "x"})

    @other
    def fourth():
        sync.publish("a", 1)
"""


def test_tasks_run_elsewhere(find: Find) -> None:
    files = {"tasks.py": TASKS}
    found = find("sent-elsewhere", OURS, files=files, layer=ANTIPHON_LAYER)
    assert [str(spot.place) for spot in found] == ["tasks.py:9", "tasks.py:14", "tasks.py:18"]
    assert [spot.place.line for spot in find("sent-elsewhere", OURS, files=files)] == [9, 18]
    assert [spot.place.line for spot in find("sent-elsewhere", THEIRS, files=files, layer=MEMORY)] == [9, 14, 18]
    eager = {"CELERY_TASK_ALWAYS_EAGER": True}
    assert find("sent-elsewhere", OURS, files=files, layer=ANTIPHON_LAYER, settings=eager) == []
    shared = {"ANTIPHON_ENGINE": "redis://"}
    assert find("sent-elsewhere", OURS, files=files, layer=ANTIPHON_LAYER, environment=shared) == []


def test_management_commands_run_elsewhere(find: Find) -> None:
    files = {"chat/management/commands/tell.py": "from antiphon import sync\nsync.publish('a', 1)\n"}
    (spot,) = find("sent-elsewhere", OURS, files=files)
    assert "a management command" in spot.problem
