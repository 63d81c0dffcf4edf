"""The command line: ``antiphon serve module:application``, and what reaches the groups of servers that run."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click
from uvicorn.config import LOGGING_CONFIG

import antiphon
from antiphon import config as configuration
from antiphon.app import App, current_app
from antiphon.engines import open_engine
from antiphon.exceptions import ClientError, ConfigurationError, EngineError, UsageError
from antiphon.http_api.results import client_info, publication
from antiphon.layer import ChannelLayer
from antiphon.server.runner import run
from antiphon.types import Position, Repeat
from antiphon.wire import plain

__all__ = ["main", "serve", "server_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = {option.name: option for option in configuration.options()}


_ENGINE = click.option(
    "--engine", default=None, help=f"{_OPTIONS['engine'].meaning}  [default: {_OPTIONS['engine'].default}]"
)


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
@_ENGINE
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


# Reaching the groups of servers that run: the engine is shared, and this process serves nobody


_SETTINGS = click.option(
    "--settings",
    default=None,
    help="Django's settings, whose ANTIPHON holds here, too.  [default: DJANGO_SETTINGS_MODULE]",
)
_APP_DIR = click.option("--app-dir", default=".", show_default=True, help="Folder to look for the settings in.")


def _reaching(command: Command) -> Command:
    """Give a command the options that say where the groups are."""
    return _ENGINE(_SETTINGS(_APP_DIR(command)))


@main.group()
def engine() -> None:
    """Look at the engine that servers share."""


@engine.command()
@click.argument("url", metavar="[URL]", default=None, required=False)
@click.option("--json", is_flag=True, help="Print it as a JSON object.")
@_SETTINGS
@_APP_DIR
def check(url: str | None, *, json: bool, **options: Any) -> None:
    """Use an engine as a server does, measure it, and say what of it is not set up well."""
    from antiphon.doctor.engine.command import run as examine  # not what a server has to load

    sys.exit(examine(_config({**options, "engine": url}).engine, json=json))


@main.command()
@click.argument("group", metavar="GROUP")
@click.argument("content", metavar="JSON")
@click.option("--idempotency-key", default=None, help="A second publication with it is not made.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="A word about it; may be given several times.")
@click.option("--key", default=None, help="Which earlier publications it takes the place of, where they wait.")
@_reaching
def publish(group: str, content: str, *, tags: Iterable[str], **options: Any) -> None:
    """Publish JSON to a group, - for what comes in, and print the position."""
    config = _config(options)
    payload = sys.stdin.buffer.read() if content == "-" else os.fsencode(content)
    try:
        document = plain.decode(payload, config.max_json_depth)
    except ClientError as problem:
        raise click.UsageError(f"this is not JSON that can be published: {problem.reason}") from None
    more: dict[str, Any] = {name: options[name] for name in ("key", "idempotency_key")}
    more["tags"] = dict(_pair(each) for each in tags) or None
    position = _reach(config, lambda layer: layer.publish(group, document, **more))
    _print({**position._asdict(), "repeated": isinstance(position, Repeat)})


@main.command()
@click.argument("group", metavar="GROUP")
@click.option("--since", default=None, metavar="EPOCH:OFFSET", help="Begin behind this position.")
@click.option("--limit", default=None, type=click.IntRange(0), help="How many at most; 0: only the position.")
@click.option("--reverse", is_flag=True, help="Newest first.")
@_reaching
def history(group: str, *, since: str | None, limit: int | None, reverse: bool, **options: Any) -> None:
    """Print what is kept of a group, and the position of the newest."""
    begin = _position(since) if since is not None else None
    page = _reach(_config(options), lambda layer: layer.history(group, since=begin, limit=limit, reverse=reverse))
    if begin is not None and begin.epoch != page.top.epoch:
        raise click.ClickException(f"the stream of epoch {begin.epoch!r} is gone; it is now {page.top.epoch!r}")
    _print({**page.top._asdict(), "publications": [publication(each) for each in page.publications]})


@main.command()
@click.argument("group", metavar="GROUP")
@_reaching
def presence(group: str, **options: Any) -> None:
    """Print who is in a group, by the id of the connection."""
    infos = _reach(_config(options), lambda layer: layer.presence(group))
    _print({client: client_info(info) for client, info in infos.items()})


@main.command()
@click.argument("user", metavar="[USER]", default="")
@click.option("--client", default="", help="The id of one connection, of the user if one is named.")
@click.option("--session", default="", help="The key of a Django session: only the connections that it opened.")
@click.option("--code", default=None, type=int, help="The close code; by default one that says to stay away.")
@click.option("--reason", default=None, help="Words for the client.")
@_reaching
def kick(user: str, *, client: str, session: str, code: int | None, reason: str | None, **options: Any) -> None:
    """Close connections of a user, whichever server they are on."""
    _reach(_config(options), lambda layer: layer.kick(user, client=client, session=session, code=code, reason=reason))


def _config(options: dict[str, Any]) -> configuration.Config:
    """Return the configuration that servers have: of the environment, and of Django's settings if they are named."""
    if options["engine"] is not None:
        os.environ[_OPTIONS["engine"].environment] = options["engine"]
    if options["settings"] is not None:
        os.environ["DJANGO_SETTINGS_MODULE"] = options["settings"]
    try:
        if "DJANGO_SETTINGS_MODULE" not in os.environ:
            return configuration.load(environment=os.environ)
        sys.path.insert(0, str(Path(options["app_dir"]).resolve()))
        return _config_of_django()
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None


def _config_of_django() -> configuration.Config:
    import django
    from django.core.exceptions import ImproperlyConfigured

    from antiphon.django.settings import configure_once

    try:
        django.setup()
        configure_once()
    except (ImportError, ImproperlyConfigured) as error:
        raise click.UsageError(f"Django's settings can't be used: {error}") from None
    return current_app().config


Result = TypeVar("Result")


def _reach(config: configuration.Config, work: Callable[[ChannelLayer], Coroutine[Any, Any, Result]]) -> Result:
    """Do what has to be done by the engine that the servers use."""
    if config.engine.startswith("memory:"):
        raise click.UsageError(
            "the memory engine lives in one process: nothing outside of the server reaches its groups. Name the engine "
            f"that the servers share by --engine or {_OPTIONS['engine'].environment}; a server on the memory engine is "
            "reached by its HTTP API"
        )

    async def reach() -> Result:
        app = App(config)
        try:
            return await work(app.layer)
        finally:
            await app.stop()

    try:
        return asyncio.run(reach())
    except (UsageError, ConfigurationError) as error:
        raise click.UsageError(str(error)) from None
    except (EngineError, OSError) as error:
        raise click.ClickException(f"engine {config.engine.partition(':')[0]}: {error}") from None


def _pair(tag: str) -> tuple[str, str]:
    name, sign, value = tag.partition("=")
    if not sign:
        raise click.UsageError(f"--tag takes NAME=VALUE, and this is {tag!r}")
    return name, value


def _position(text: str) -> Position:
    epoch, _, offset = text.rpartition(":")
    if not epoch or not (offset.isascii() and offset.isdigit()):
        raise click.UsageError(f"--since takes EPOCH:OFFSET, as publish and history print them, and this is {text!r}")
    return Position(epoch, int(offset))


def _print(content: Any) -> None:
    click.echo(plain.encode(content))


# The server


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
