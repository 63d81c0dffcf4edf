"""Whole Django projects with faults planted in them, and what runs the doctor on one.

A line that a finding is to be reported for ends with ``# <- its-name``; what has no line is listed beside the files.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["BASIS", "CLEAN", "DOORS", "OPEN", "PLANTED", "Outcome", "Planted", "doctor", "settings", "write"]

_MARK = re.compile(r"#\s*<- ([\w-]+)((?:, [\w-]+)*)\s*$")


@dataclass(frozen=True)
class Planted:
    """The files of a project, and the findings that belong to no line."""

    files: Mapping[str, str]
    elsewhere: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def expected(self) -> list[tuple[str, str]]:
        """Name and place of each finding."""
        found = list(self.elsewhere)
        for name, text in self.files.items():
            for number, line in enumerate(textwrap.dedent(text).lstrip("\n").splitlines(), 1):
                if mark := _MARK.search(line):
                    names = [mark[1], *mark[2].split(", ")[1:]]
                    found += [(each, f"{name}:{number}") for each in names]
        return sorted(found)


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    code: int
    out: str
    err: str

    @property
    def findings(self) -> list[dict[str, Any]]:
        """What ``--json`` printed."""
        found: list[dict[str, Any]] = json.loads(self.out)
        return found

    @property
    def places(self) -> list[tuple[str, str]]:
        """Name and place of each finding."""
        return sorted((finding["name"], finding["where"]) for finding in self.findings)


def doctor(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Outcome:
    """Run ``antiphon doctor`` in ``folder``, in a process of its own."""
    ours = ("ANTIPHON_", "DJANGO_", "CHAT_", "WEB_CONCURRENCY", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [sys.executable, "-m", "antiphon", "doctor", *arguments],
        cwd=folder,
        env={**kept, "COLUMNS": "100", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """Write a project; return its folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"))
    return folder


def settings(*apps: str, more: str = "") -> str:
    """Return the settings of a project with these applications before Django's."""
    installed = [*apps, "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
    return (
        'SECRET_KEY = "planted"\nALLOWED_HOSTS = ["chat.example.com"]\nROOT_URLCONF = "project.urls"\n'
        f"USE_TZ = True\nINSTALLED_APPS = {[*installed, 'django.contrib.staticfiles']!r}\n"
        'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}\n'
    ) + textwrap.dedent(more)


MANAGE = """
    import os
    import sys

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

    if __name__ == "__main__":
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
"""

ASGI = """
    from channels.auth import AuthMiddlewareStack
    from channels.routing import ProtocolTypeRouter, URLRouter
    from channels.security.websocket import AllowedHostsOriginValidator
    from django.core.asgi import get_asgi_application

    pages = get_asgi_application()

    from chat.routing import websocket_urlpatterns

    application = ProtocolTypeRouter(
        {
            "http": pages,
            "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
        }
    )
"""

ROUTING = """
    from django.urls import path

    from chat.consumers import Chat

    websocket_urlpatterns = [path("ws/<str:room>/", Chat.as_asgi())]
"""

BASIS = {
    "manage.py": MANAGE,
    "project/__init__.py": "",
    "project/urls.py": "urlpatterns = []\n",
    "project/asgi.py": ASGI,
    "chat/__init__.py": "",
    "chat/routing.py": ROUTING,
}

_APPLICATION = 'ASGI_APPLICATION = "project.asgi.application"\n'

#: Channels' consumers on the in-memory layer, open to every page, served by several processes.
OPEN = Planted(
    {
        **BASIS,
        "project/settings.py": settings(
            "channels",
            "chat",
            more=_APPLICATION + 'CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}\n',
        ),
        "project/asgi.py": """
            import os

            from channels.auth import AuthMiddlewareStack
            from channels.routing import ProtocolTypeRouter, URLRouter
            from django.core.asgi import get_asgi_application

            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
            pages = get_asgi_application()

            from chat.routing import websocket_urlpatterns

            application = ProtocolTypeRouter(
                {"http": pages, "websocket": AuthMiddlewareStack(URLRouter(websocket_urlpatterns))}
            )
        """,
        "chat/consumers.py": """
            from channels.generic.websocket import AsyncJsonWebsocketConsumer


            class Chat(AsyncJsonWebsocketConsumer):  # <- no-origin-check
                async def connect(self):
                    self.room = self.scope["url_route"]["kwargs"]["room"]
                    if not self.scope["user"].is_authenticated:
                        await self.close(code=4401)  # <- goes-on-after-close
                    await self.channel_layer.group_add(f"chat:{self.room}", self.channel_name)  # <- group-name-refused
                    await self.accept()

                async def receive_json(self, content):
                    if content.get("type") == "bye":
                        await self.close()
                        return
                    event = {"type": "chat.mesage", "text": content["text"]}
                    await self.channel_layer.group_send(f"chat-{self.room}", event)  # <- event-without-handler
                    await self.channel_layer.group_send(  # <- event-type-refused
                        f"chat-{self.room}", {"type": "_secret"}
                    )

                async def chat_message(self, event):
                    await self.send_json(event)
        """,
        "chat/views.py": """
            from asgiref.sync import async_to_sync
            from channels.layers import get_channel_layer


            def kick(request, room):
                layer = get_channel_layer()
                async_to_sync(layer.group_send)("chat-" + room, {"type": "close"})  # <- event-type-refused
        """,
        "Procfile": """
            web: uvicorn project.asgi:application --port $PORT --workers 4  # <- in-memory-layer-processes
            other: uvicorn elsewhere.main:app --workers 8
        """,
    },
    (("in-memory-layer", 'CHANNEL_LAYERS["default"]'),),
)

#: antiphon's consumers, and the rest of the project still as it was with Channels, Redis and daphne.
HALFWAY = Planted(
    {
        **BASIS,
        "project/settings.py": settings(
            "daphne",
            "channels",
            "chat",
            more=_APPLICATION
            + """
            CHANNEL_LAYERS = {
                "default": {
                    "BACKEND": "channels_redis.core.RedisChannelLayer",
                    "CONFIG": {"hosts": ["redis://localhost:6379"], "capacity": 1500},
                }
            }
            ANTIPHON = {"outbox_limit": 2000000}
            """.replace("\n            ", "\n"),
        ),
        "chat/consumers.py": """
            from antiphon import AsyncJsonWebsocketConsumer, publish


            class Chat(AsyncJsonWebsocketConsumer):
                async def connect(self):
                    self.room = "chat: " + self.scope["url_route"]["kwargs"]["room"]
                    await self.channel_layer.group_add(self.room, self.channel_name)
                    await self.accept()

                async def receive_json(self, content):
                    await publish(self.room, content)

                async def chat_notice(self, event):
                    await self.send_json(event)
        """,
        "chat/views.py": """
            from asgiref.sync import async_to_sync
            from channels.layers import get_channel_layer as the_layer

            from antiphon import sync


            def notice(request, room):
                layer = the_layer()
                async_to_sync(layer.group_send)(room, {"type": "chat.notice"})  # <- unreachable-groups
                sync.group_send(room, {"type": "chat.notice"})
        """,
        "chat/tests.py": """
            from channels.layers import get_channel_layer


            async def test_notice():
                await get_channel_layer().group_send("kitchen", {"type": "chat.notice"})
        """,
        "Dockerfile": """
            FROM python:3.12
            RUN pip install gunicorn uvicorn && gunicorn --version
            # CMD ["daphne", "project.asgi:application"]
            CMD ["daphne", "-b", "0.0.0.0", "-p", "8001", "project.asgi:application"]  # <- slow-server
        """,
        "docker-compose.yml": """
            services:
              web:
                build: .
                command: >  # <- slow-server, memory-engine-processes
                  gunicorn project.asgi:application
                  --bind 0.0.0.0:8000
                  -k uvicorn.workers.UvicornWorker -w 3
              pages:
                command: gunicorn project.wsgi -w 9
        """,
    },
    (
        ("redis-layer", 'CHANNEL_LAYERS["default"]'),
        ("runserver-is-another", "INSTALLED_APPS"),
        ("options-unread", "ANTIPHON"),
    ),
)

#: Sync and async mixed up, no layer, no application named.
MIXED = Planted(
    {
        **BASIS,
        "project/settings.py": settings("channels", "chat"),
        "chat/routing.py": """
            from channels.routing import URLRouter
            from django.urls import path, re_path

            from chat.consumers import Chat, Clock

            websocket_urlpatterns = [
                path("ws/", URLRouter([re_path(r"^chat/(?P<room>[\\w-]+)/$", Chat.as_asgi())])),
                path("ws/clock/", Clock.as_asgi()),
            ]
        """,
        "chat/base.py": """
            class Announcing:
                def announce(self, text):
                    self.channel_layer.group_send("announcements", {"type": "chat.message"})  # <- not-awaited
        """,
        "chat/consumers.py": """
            from channels.generic.websocket import JsonWebsocketConsumer  # <- channels-consumer
            from channels.generic.websocket import AsyncWebsocketConsumer

            from chat.base import Announcing


            class Chat(Announcing, JsonWebsocketConsumer):
                def connect(self):
                    self.channel_layer.group_add("announcements", self.channel_name)  # <- no-channel-layer, not-awaited
                    self.accept()

                async def receive_json(self, content):  # <- async-in-sync-consumer
                    self.announce(content)

                async def chat_message(self, event):  # <- async-in-sync-consumer
                    self.send_json(event)


            class Clock(AsyncWebsocketConsumer):
                async def connect(self):
                    self.accept()  # <- not-awaited

                def disconnect(self, code):  # <- sync-in-async-consumer
                    pass

                async def receive(self, text_data=None, bytes_data=None):
                    await self.send(text_data=text_data)
        """,
    },
    (("no-asgi-application", "ASGI_APPLICATION"),),
)

#: Doors that stand open, and scopes with something missing.
DOORS = Planted(
    {
        **BASIS,
        "project/settings.py": settings(
            "antiphon.django",
            "channels",
            "chat",
            more=_APPLICATION + 'ANTIPHON = {"allowed_origins": ["*"]}\nALLOWED_HOSTS = ["*"]\n',
        ),
        "project/asgi.py": """
            from channels.auth import AuthMiddleware, AuthMiddlewareStack
            from channels.routing import ProtocolTypeRouter, URLRouter
            from channels.security.websocket import AllowedHostsOriginValidator
            from channels.sessions import CookieMiddleware
            from django.core.asgi import get_asgi_application

            pages = get_asgi_application()

            from django.urls import path

            from chat.consumers import Bell, Chat, Echo, Latch, Token


            def with_token(inner):
                async def token_application(scope, receive, send):
                    return await inner(dict(scope, user="somebody"), receive, send)

                return token_application


            class Guard:
                def __init__(self, guarded):
                    self.guarded = guarded

                async def __call__(self, scope, receive, send):
                    if dict(scope["headers"]).get(b"origin") == b"https://chat.example.com":
                        await self.guarded(scope, receive, send)


            bell = Guard(Bell.as_asgi())


            async def ring(scope, receive, send):
                await bell(scope, receive, send)


            routes = URLRouter(
                [
                    path("chat/", AuthMiddlewareStack(Chat.as_asgi())),
                    path("echo/", AllowedHostsOriginValidator(Echo.as_asgi())),
                    path("bell/", ring),
                    path("token/", with_token(Token.as_asgi())),
                    path("latch/", CookieMiddleware(AuthMiddleware(Latch.as_asgi()))),
                ]
            )
            application = ProtocolTypeRouter({"http": pages, "websocket": routes})
        """,
        "chat/consumers.py": """
            from channels.generic.websocket import AsyncWebsocketConsumer as TheirConsumer  # <- channels-consumer

            from antiphon import AsyncWebsocketConsumer


            class Chat(AsyncWebsocketConsumer):
                async def connect(self):
                    await self.accept(self.scope["user"].get_username())


            class Echo(TheirConsumer):
                async def connect(self):
                    self.user = self.scope["user"]  # <- no-user-in-scope
                    self.visits = self.scope["session"]["visits"]  # <- no-session-in-scope
                    await self.accept()


            class Bell(TheirConsumer):
                async def connect(self):
                    self.user = self.scope.get("user")
                    await self.accept()


            class Token(AsyncWebsocketConsumer):
                async def connect(self):
                    await self.accept(self.scope["user"])


            class Latch(AsyncWebsocketConsumer):
                async def connect(self):
                    await self.close()  # <- goes-on-after-close
                    await self.leave()

                async def leave(self):
                    await self.send(text_data="bye")
        """,
    },
    (
        ("every-origin-allowed", 'ANTIPHON["allowed_origins"]'),
        ("validator-admits-all", "ALLOWED_HOSTS"),
        ("middleware-order", "project.asgi.application"),
    ),
)

#: antiphon's layer, configured as another one was, under several processes and workers.
WORKERS = Planted(
    {
        **BASIS,
        "project/settings.py": settings(
            "chat",
            more=_APPLICATION
            + """
            CHANNEL_LAYERS = {
                "default": {
                    "BACKEND": "antiphon.channels.ChannelLayer",
                    "CONFIG": {"hosts": ["redis://localhost:6379"], "group_expiry": 3600},
                }
            }
            ANTIPHON = {"outbox_limit": "lots"}
            """.replace("\n            ", "\n"),
        ),
        "project/asgi.py": """
            from channels.auth import AuthMiddlewareStack
            from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
            from django.core.asgi import get_asgi_application

            pages = get_asgi_application()

            from chat.consumers import Thumbnails
            from chat.routing import websocket_urlpatterns

            application = ProtocolTypeRouter(
                {
                    "http": pages,
                    "websocket": AuthMiddlewareStack(URLRouter(websocket_urlpatterns)),
                    "channel": ChannelNameRouter({"thumbnails": Thumbnails.as_asgi()}),
                }
            )
        """,
        "chat/consumers.py": """
            from channels.consumer import SyncConsumer

            from antiphon import AsyncJsonWebsocketConsumer


            class Thumbnails(SyncConsumer):
                def make(self, message):
                    print(message)


            class Chat(AsyncJsonWebsocketConsumer):
                groups = ["everybody"]

                async def receive_json(self, content):
                    await self.channel_layer.send("thumbnails", {"type": "make", "path": content["path"]})
        """,
        "chat/management/commands/tell.py": """
            from antiphon import sync
            from django.core.management.base import BaseCommand


            class Command(BaseCommand):
                def handle(self, **options):
                    sync.publish("everybody", {"text": "hello"})  # <- sent-elsewhere
        """,
        "Procfile": """
            web: antiphon serve project.asgi:application --workers 2 --engine memory://  # <- memory-engine-processes
            worker: python manage.py runworker thumbnails  # <- memory-engine-processes
        """,
        "gunicorn.conf.py": """
            import multiprocessing

            worker_class = "uvicorn.workers.UvicornWorker"
            workers = multiprocessing.cpu_count() * 2 + 1  # <- memory-engine-processes, slow-server
        """,
        "chat.service": """
            [Service]
            Environment=WEB_CONCURRENCY=3
            ExecStart=/srv/chat/bin/antiphon serve project.asgi:application \\
                --uds /run/chat.sock
        """,
    },
    (
        ("options-refused", "ANTIPHON"),
        ("layer-option-refused", 'CHANNEL_LAYERS["default"]["CONFIG"]'),
        ("layer-option-unused", 'CHANNEL_LAYERS["default"]["CONFIG"]'),
        ("runserver-is-another", "INSTALLED_APPS"),
        ("memory-engine-processes", "--workers"),
    ),
    ("--workers", "2"),
)

#: Nothing wrong: both families on antiphon's layer, and code that looks wrong at first sight.
CLEAN = Planted(
    {
        **BASIS,
        "project/settings.py": settings(
            "antiphon.django",
            "channels",
            "daphne",
            "chat",
            more=_APPLICATION
            + """
            CHANNEL_LAYERS = {"default": {"BACKEND": "antiphon.channels.ChannelLayer", "CONFIG": {"capacity": 10}}}
            ANTIPHON = {"allowed_origins": ["https://app.example.com"]}
            """.replace("\n            ", "\n"),
        ),
        "chat/routing.py": """
            from django.urls import path

            from chat.consumers import Chat, Feed, Sync

            websocket_urlpatterns = [
                path("ws/feed/", Feed.as_asgi()),
                path("ws/sync/", Sync.as_asgi()),
                path("ws/<str:room>/", Chat.as_asgi()),
            ]
        """,
        "chat/consumers.py": """
            from asgiref.sync import async_to_sync

            from antiphon import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer, publish, shared


            class Base(AsyncJsonWebsocketConsumer):
                async def refuse(self, code):
                    await self.close(code=code)

                async def admitted(self):
                    if self.scope["user"].is_authenticated:
                        return True
                    await self.refuse(4401)
                    return False


            class Chat(Base):
                async def connect(self):
                    if not await self.admitted():
                        return
                    self.room = self.scope["url_route"]["kwargs"]["room"]
                    try:
                        self.number = int(self.room)
                    except ValueError:
                        await self.refuse(4404)
                        return
                    if self.number < 0:
                        await self.close()
                    else:
                        await self.channel_layer.group_add(f"chat: {self.room}", self.channel_name)
                        await self.accept()

                async def disconnect(self, code):
                    pass

                async def receive_json(self, content):
                    match content:
                        case {"type": "bye"}:
                            await self.close()
                        case {"type": "say", "text": text}:
                            event = {"type": "chat.said", "text": text}
                            await self.channel_layer.group_send(f"chat: {self.room}", event)
                            await self.channel_layer.send("thumbnails", {"type": "anything"})
                        case _:
                            await publish(f"chat: {self.room}", content)

                @shared
                def chat_said(event):
                    return event

                def helper(self, event):
                    return event


            class Feed(AsyncWebsocketConsumer):
                async def receive(self, text_data=None, bytes_data=None):
                    for line in text_data.splitlines():
                        await self.send(text_data=line)
                        if line == "end":
                            await self.close()


            class Sync(AsyncWebsocketConsumer):
                async def tell(self):
                    async_to_sync(self.channel_layer.group_send)("sync", {"type": "chat.said"})
        """,
        "chat/views.py": """
            from asgiref.sync import async_to_sync
            from channels.layers import get_channel_layer


            def notice(request, room):
                async_to_sync(get_channel_layer().group_send)(f"notice-{room}", {"type": "chat.said"})
        """,
        "Procfile": """
            web: antiphon serve project.asgi:application --host 0.0.0.0
            pages: gunicorn project.wsgi --workers 4
        """,
        "elsewhere/manage.py": "",
        "elsewhere/code.py": """
            async def other(layer):
                await layer.group_send("x y", {"type": "of.another.project"})
        """,
    },
)

PLANTED = {
    "open": OPEN,
    "halfway": HALFWAY,
    "mixed": MIXED,
    "doors": DOORS,
    "workers": WORKERS,
    "clean": CLEAN,
}
