"""``manage.py runserver`` on antiphon's server: HTTP, WebSockets, static files, autoreload."""

from __future__ import annotations

import contextlib
import sys
import threading
from argparse import ArgumentParser
from typing import Any

import uvicorn
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError
from django.core.management.commands.runserver import Command as Runserver
from django.utils.module_loading import import_string

import antiphon
from antiphon.cli import server_options
from antiphon.server.process import Server
from antiphon.types import ASGIApplication

__all__ = ["Command"]

#: Seconds to stop in: who develops does not want to wait.
SHUTDOWN_TIMEOUT = 2
#: Seconds after which autoreload does not wait for the old server any more.
PATIENCE = SHUTDOWN_TIMEOUT + 1


class Command(Runserver):
    """Django's command with another server under it: checks, migrations' warning and autoreload are Django's."""

    help = "Starts antiphon's server for development: HTTP, WebSockets and static files."
    protocol = "http"
    _server: Server | None = None

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take Django's arguments and those of its static files."""
        super().add_arguments(parser)
        parser.add_argument(
            "--nostatic", action="store_false", dest="use_static_handler", help="Serve no static files."
        )
        parser.add_argument(
            "--insecure", action="store_true", dest="insecure_serving", help="Serve static files where DEBUG is off."
        )

    def get_application(self, options: dict[str, Any]) -> ASGIApplication:
        """Return the project's ASGI application, with static files before it."""
        path = getattr(settings, "ASGI_APPLICATION", None)
        if not path:
            raise CommandError(
                "ASGI_APPLICATION is not set: name the project's application, like 'project.asgi.application'"
            )
        try:
            application: ASGIApplication = import_string(path)
        except ImportError as error:
            raise ImproperlyConfigured(f"ASGI_APPLICATION {path!r} can't be loaded: {error}") from error
        if options["use_static_handler"] and (settings.DEBUG or options["insecure_serving"]):
            return _Static(application)
        return application

    def run(self, **options: Any) -> None:
        """Serve, under autoreload or not; stop in good order before autoreload ends this process."""
        self._is_over = threading.Event()
        try:
            super().run(**options)
        finally:
            if self._server is not None:
                self._server.should_exit = True
                with contextlib.suppress(KeyboardInterrupt):  # a second one does not wait
                    self._is_over.wait(PATIENCE)

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Check the project, say where it listens, and serve until Ctrl-C."""
        if not options["skip_checks"]:
            self.stdout.write("Performing system checks...\n\n")
            self.check(display_num_errors=True)
        self.check_migrations()
        host = f"[{self.addr}]" if self._raw_ipv6 else self.addr
        quit_command = "CTRL-BREAK" if sys.platform == "win32" else "CONTROL-C"
        self.stdout.write(
            f"Django {self.get_version()}, settings {settings.SETTINGS_MODULE!r}, antiphon {antiphon.__version__}\n"
            f"Serving HTTP and WebSockets at {self.protocol}://{host}:{self.port}/\n"
            f"Quit with {quit_command}.\n"
        )
        config = uvicorn.Config(
            self.get_application(options),
            host=self.addr,
            port=int(self.port),
            lifespan="off",
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
            **server_options("info"),
        )
        # Where autoreload runs this in a thread, signals are Django's: the server takes them in the main thread only.
        self._server = Server(config)
        try:
            self._server.run()
        finally:
            self._is_over.set()


class _Static(ASGIStaticFilesHandler):
    """Django's handler for static files, which lets all but HTTP pass (its own does from Django 4.2 on, too)."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)
