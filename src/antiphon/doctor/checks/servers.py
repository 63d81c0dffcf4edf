"""Which server runs: antiphon's consumers run on any, and are fast on antiphon's."""

from __future__ import annotations

from collections.abc import Iterator

from antiphon import config as configuration
from antiphon.doctor.consumer import Family
from antiphon.doctor.deployment import Command
from antiphon.doctor.finding import Check, Level, Place, Spot
from antiphon.doctor.project import LayerKind, Project
from antiphon.exceptions import ConfigurationError

__all__ = ["CHECKS"]

OURS = "antiphon.django"
#: Applications with a runserver of their own.
_OTHERS = ("daphne", "django.contrib.staticfiles")
_PROTOCOL = "antiphon.server:WebSocketProtocol"


def runserver_is_another(project: Project) -> Iterator[Spot]:
    """Find a ``manage.py runserver`` that is not antiphon's."""
    if not project.of(Family.ANTIPHON):
        return
    ours = project.installed(OURS)
    before = [name for name in _OTHERS if _is_before(project, name, ours)]
    if ours is not None and not before:
        return
    what = f'"{OURS}" is not in INSTALLED_APPS' if ours is None else f'"{OURS}" stands behind "{before[0]}"'
    if "daphne" in before:
        problem = f"{what}: manage.py runserver is daphne's, on which antiphon's consumers are slower."
    else:
        problem = f"{what}: manage.py runserver is Django's own, which serves no WebSockets."
    yield Spot(Place("INSTALLED_APPS"), problem, "Put it first:", f'INSTALLED_APPS = ["{OURS}", …]')


def _is_before(project: Project, name: str, ours: int | None) -> bool:
    theirs = project.installed(name)
    return theirs is not None and (ours is None or theirs < ours)


def options_unread(project: Project) -> Iterator[Spot]:
    """Find options of antiphon's that nobody reads."""
    options = project.settings.get("ANTIPHON")
    if options and project.installed(OURS) is None and not project.has_layer(LayerKind.ANTIPHON):
        yield Spot(
            Place("ANTIPHON"),
            f'ANTIPHON is not read: "{OURS}" is not in INSTALLED_APPS, and no channel layer is antiphon\'s.',
            "Put it first:",
            f'INSTALLED_APPS = ["{OURS}", …]',
        )


def options_refused(project: Project) -> Iterator[Spot]:
    """Find options of antiphon's that can't be."""
    sources = [("ANTIPHON", project.options, {}), ("the environment", {}, project.environment)]
    for name, options, environment in sources:
        try:
            configuration.load(options, environment=environment)
        except ConfigurationError as error:
            yield Spot(
                Place(name),
                f"{str(error)[0].upper()}{str(error)[1:]}. antiphon can't start with that.",
                "Correct it; the reference of the configuration has every option.",
            )


def slow_server(project: Project) -> Iterator[Spot]:
    """Find commands that serve antiphon's consumers without antiphon's protocol class."""
    if not project.of(Family.ANTIPHON):
        return
    for command in project.serving:
        slow = _slow(command)
        if slow:
            yield Spot(
                command.place,
                f"{slow}: antiphon's consumers run on it, more slowly, with its limits instead of antiphon's.",
                "Serve with:",
                _instead(command, project.application),
            )


def _slow(command: Command) -> str:
    """Return what is slow about it; "" where nothing is, or where it can't be told."""
    match command.program:
        case "uvicorn":
            return "" if command.option("--ws") == _PROTOCOL else f"This uvicorn runs without --ws {_PROTOCOL}"
        case "daphne" | "hypercorn":
            return f"The server is {command.program}"
        case "gunicorn":
            worker = command.option("-k", "--worker-class") or ""
            is_theirs = worker.startswith(("uvicorn.workers.", "uvicorn_worker."))
            return f"The server is gunicorn with {worker}" if is_theirs else ""
    return ""


def _instead(command: Command, application: str) -> str:
    """Return the command to write, at the same address as far as it is known."""
    if command.program == "uvicorn":
        words = [word for word in command.words if not word.startswith("--ws=")]
        if "--ws" in words:
            at = words.index("--ws")
            del words[at : at + 2]
        return " ".join(["uvicorn", *words, "--ws", _PROTOCOL, "--http", "antiphon.server:HTTPProtocol"])
    module, _, name = application.rpartition(".")
    host, port = _address(command)
    where = [*(["--host", host] if host else []), *(["--port", port] if port else [])]
    return " ".join(["antiphon", "serve", f"{module}:{name}", *where])


def _address(command: Command) -> tuple[str, str]:
    """Return the host and the port that it listens on, "" for what is not said."""
    bind = command.option("-b", "--bind") or ""
    if command.program == "daphne":
        return bind, command.option("-p", "--port") or ""
    host, colon, port = bind.rpartition(":")
    if bind.startswith("unix:"):
        return "", ""
    return (host.strip("[]"), port) if colon else (bind, "")


CHECKS = [
    Check(
        "runserver-is-another",
        Level.WARNING,
        "`manage.py runserver` is daphne's or Django's, while consumers are antiphon's: `antiphon.django` is missing "
        "from `INSTALLED_APPS`, or stands behind `daphne` or `django.contrib.staticfiles`.",
        runserver_is_another,
    ),
    Check(
        "options-unread",
        Level.WARNING,
        "`ANTIPHON` is in the settings, and nothing reads it: neither is `antiphon.django` installed nor a layer "
        "antiphon's.",
        options_unread,
    ),
    Check(
        "options-refused",
        Level.ERROR,
        "`ANTIPHON`, or a variable `ANTIPHON_…` of the environment, has an option that does not exist, or a value that "
        "can't be.",
        options_refused,
    ),
    Check(
        "slow-server",
        Level.WARNING,
        "A command in a Procfile, Dockerfile, Compose file, unit of systemd or `gunicorn.conf.py` serves antiphon's "
        "consumers with daphne, hypercorn, gunicorn's uvicorn workers, or uvicorn without antiphon's protocol class.",
        slow_server,
    ),
]
