"""The command line: ``antiphon serve module:application``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import click
from uvicorn.config import LOGGING_CONFIG

import antiphon
from antiphon import config as configuration
from antiphon.app import App
from antiphon.engines import open_engine
from antiphon.exceptions import ConfigurationError
from antiphon.server.runner import run

__all__ = ["main", "serve", "server_options"]

_OPTIONS = {option.name: option for option in configuration.options()}


@click.group()
@click.version_option(antiphon.__version__, prog_name="antiphon")
def main() -> None:
    """Realtime for Python: consumers, groups that do not lose messages, a fast fan-out."""


@main.command()
@click.argument("application", metavar="MODULE:APPLICATION")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 chooses a free one."
)
@click.option("--uds", default=None, help="Listen on this Unix socket instead.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Number of processes.")
@click.option("--reload", is_flag=True, help="Start again when a file changes (for development).")
@click.option("--engine", default=None, help=f"{_OPTIONS['engine'].meaning}  [default: {_OPTIONS['engine'].default}]")
@click.option("--app-dir", default=".", show_default=True, help="Folder to look for MODULE in.")
@click.option("--ssl-keyfile", default=None, help="TLS key, for wss://.")
@click.option("--ssl-certfile", default=None, help="TLS certificate, for wss://.")
@click.option("--proxy-headers/--no-proxy-headers", default=True, help="Believe X-Forwarded-* of trusted proxies.")
@click.option("--forwarded-allow-ips", default=None, help="Proxies to trust, separated by commas.")
@click.option("--root-path", default="", help="Path that the application is mounted at by a proxy.")
@click.option(
    "--ws-ping-interval", default=None, type=float, help="Seconds between two pings; 0: none.  [default: ping_interval]"
)
@click.option(
    "--ws-ping-timeout", default=None, type=float, help="Seconds to answer a ping; 0: ever.  [default: ping_timeout]"
)
@click.option(
    "--timeout-graceful-shutdown",
    default=None,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds that connections and handlers may take when the server stops.  [default: shutdown_timeout]",
)
@click.option(
    "--log-level",
    default="info",
    show_default=True,
    type=click.Choice(["critical", "error", "warning", "info", "debug"]),
    help="How much to log.",
)
@click.option("--access-log/--no-access-log", default=True, help="Log each HTTP request.")
def serve(application: str, *, app_dir: str, engine: str | None, **options: Any) -> None:
    """Serve an ASGI application, HTTP and WebSockets; MODULE:APPLICATION as for uvicorn."""
    if ":" not in application:
        raise click.UsageError(f"{application!r} names no application: write MODULE:APPLICATION, like project.asgi:app")
    if engine is not None:
        os.environ[_OPTIONS["engine"].environment] = engine  # the workers read it from there
    try:
        config = configuration.load(environment=os.environ)
        open_engine(config.engine)  # only to know now, not with the first connection, that there is such an engine
        App(config)  # likewise that its rules and origins can be
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    engine_was_chosen = _OPTIONS["engine"].environment in os.environ
    if options["workers"] > 1 and config.engine.startswith("memory:") and not engine_was_chosen:
        raise click.UsageError(
            "the memory engine lives in one process: members of a group on different workers would not hear each "
            "other. Use --workers 1, or an engine that processes share; an application without groups may say "
            "--engine memory:// to mean it."
        )
    sys.path.insert(0, str(Path(app_dir).resolve()))
    options = {name: value for name, value in options.items() if value is not None}
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))  # while the application is imported
    try:
        sys.exit(run(application, **{**server_options(options["log_level"]), **options}))
    except KeyboardInterrupt:  # likewise
        sys.exit(130)


@main.command()
@click.option(
    "--settings", default=None, help="Django's settings.  [default: DJANGO_SETTINGS_MODULE, or what manage.py names]"
)
@click.option("--app-dir", default=".", show_default=True, help="Folder of the project, the one that has manage.py.")
@click.option("--workers", default=None, type=click.IntRange(1), help="Number of processes that serve the project.")
@click.option("--json", is_flag=True, help="Print the findings as a list of JSON objects.")
def doctor(**options: Any) -> None:
    """Read a Django project's settings and routing, and say what in it will not work and what to write instead."""
    from antiphon.doctor.command import run as examine  # not what a server has to load

    sys.exit(examine(**options))


def server_options(log_level: str = "info") -> dict[str, Any]:
    """Return what uvicorn needs to serve with antiphon's protocol classes."""
    config = configuration.load(environment=os.environ)
    return {
        "http": "antiphon.server:HTTPProtocol",
        "ws": "antiphon.server:WebSocketProtocol",
        # For other applications; antiphon's consumers have their own configuration's limit.
        "ws_max_size": config.max_message_size,
        "ws_ping_interval": config.ping_interval,
        "ws_ping_timeout": config.ping_timeout,
        "log_config": _log_config(log_level),
    }


def _log_config(level: str) -> dict[str, Any]:
    """Return uvicorn's logging with antiphon's loggers beside its own."""
    loggers = {
        **LOGGING_CONFIG["loggers"],
        "antiphon": {"handlers": ["default"], "level": level.upper(), "propagate": False},
    }
    return {**LOGGING_CONFIG, "loggers": loggers}
