"""Which server runs."""

from __future__ import annotations

import pytest

from antiphon.doctor.project import ANTIPHON_LAYER

from ..conftest import Find

OURS = """
    from antiphon import AsyncWebsocketConsumer

    class Chat(AsyncWebsocketConsumer):
        pass
"""
THEIRS = OURS.replace("antiphon", "channels.generic.websocket")
STATIC = "django.contrib.staticfiles"


@pytest.mark.parametrize(
    ("apps", "words"),
    [
        (["antiphon.django", STATIC], None),
        (["antiphon.django"], None),
        (["antiphon.django", "daphne", STATIC], None),
        (["antiphon.django.apps.AntiphonConfig", STATIC], None),
        ([STATIC], "is not in INSTALLED_APPS: manage.py runserver is Django's"),
        ([], "is not in INSTALLED_APPS: manage.py runserver is Django's"),
        (["daphne", STATIC], "is not in INSTALLED_APPS: manage.py runserver is daphne's"),
        (["daphne", "antiphon.django", STATIC], 'behind "daphne": manage.py runserver is daphne\'s'),
        ([STATIC, "antiphon.django"], f'behind "{STATIC}": manage.py runserver is Django\'s'),
    ],
)
def test_runserver(find: Find, apps: list[str], words: str | None) -> None:
    settings = {"INSTALLED_APPS": apps}
    found = find("runserver-is-another", OURS, settings=settings)
    assert [str(spot.place) for spot in found] == (["INSTALLED_APPS"] if words else [])
    assert all(str(words) in spot.problem for spot in found)
    assert find("runserver-is-another", THEIRS, settings=settings) == []


def test_options_that_nobody_reads(find: Find) -> None:
    settings = {"ANTIPHON": {"outbox_limit": 1}}
    (spot,) = find("options-unread", OURS, settings=settings)
    assert str(spot.place) == "ANTIPHON"
    assert find("options-unread", OURS, settings={**settings, "INSTALLED_APPS": ["antiphon.django"]}) == []
    assert find("options-unread", OURS, settings=settings, layer=ANTIPHON_LAYER) == []
    assert find("options-unread", OURS, settings={}) == []


def test_options_that_can_not_be(find: Find) -> None:
    settings = {"ANTIPHON": {"outbox": 1}}
    (spot,) = find("options-refused", OURS, settings=settings, layer=ANTIPHON_LAYER)
    assert str(spot.place) == "ANTIPHON"
    assert "no option 'outbox'" in spot.problem
    (spot,) = find("options-refused", OURS, environment={"ANTIPHON_OUTBOX_LIMIT": "lots"})
    assert (str(spot.place), spot.problem[:34]) == ("the environment", "ANTIPHON_OUTBOX_LIMIT is 'lots'; i")
    assert find("options-refused", OURS, settings=settings) == []  # nobody reads them
    assert find("options-refused", OURS, layer=ANTIPHON_LAYER) == []


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (
            "uvicorn project.asgi:application --port 80 --ws wsproto",
            "uvicorn project.asgi:application --port 80 --ws antiphon.server:WebSocketProtocol "
            "--http antiphon.server:HTTPProtocol",
        ),
        (
            "uvicorn --ws=auto project.asgi:application",
            "uvicorn project.asgi:application --ws antiphon.server:WebSocketProtocol --http "
            "antiphon.server:HTTPProtocol",
        ),
        ("daphne project.asgi:application", "antiphon serve project.asgi:application"),
        (
            "daphne -b 0.0.0.0 -p 8001 project.asgi:application",
            "antiphon serve project.asgi:application --host 0.0.0.0 --port 8001",
        ),
        (
            "hypercorn --bind [::]:8000 project.asgi:application",
            "antiphon serve project.asgi:application --host :: --port 8000",
        ),
        ("hypercorn -b unix:/run/x project.asgi:application", "antiphon serve project.asgi:application"),
        (
            "gunicorn -b 0.0.0.0 -k uvicorn.workers.UvicornWorker project.asgi",
            "antiphon serve project.asgi:application --host 0.0.0.0",
        ),
        ("gunicorn -k uvicorn_worker.UvicornWorker project.asgi", "antiphon serve project.asgi:application"),
    ],
)
def test_a_slow_server(find: Find, command: str, code: str) -> None:
    (spot,) = find("slow-server", OURS, commands={"Procfile": f"web: {command}\n"})
    assert (str(spot.place), spot.code) == ("Procfile:1", code)
    assert find("slow-server", THEIRS, commands={"Procfile": f"web: {command}\n"}) == []


@pytest.mark.parametrize(
    "command",
    [
        "antiphon serve project.asgi:application",
        "uvicorn project.asgi:application --ws antiphon.server:WebSocketProtocol",
        "uvicorn project.asgi:application --ws=antiphon.server:WebSocketProtocol",
        "gunicorn -k mine.UvicornWorker project.asgi",
        "gunicorn project.wsgi",
        "daphne other.asgi:application",
        "python manage.py runserver",
    ],
)
def test_a_server_that_is_fast_or_unknown(find: Find, command: str) -> None:
    assert find("slow-server", OURS, commands={"Procfile": f"web: {command}\n"}) == []
