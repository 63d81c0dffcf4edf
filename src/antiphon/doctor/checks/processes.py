"""Several processes, where groups live in one: antiphon's memory engine, and Channels' in-memory layer."""

from __future__ import annotations

import re
from collections.abc import Iterator

from antiphon.doctor.call import LayerCall, Via
from antiphon.doctor.checks.words import listed
from antiphon.doctor.consumer import Family
from antiphon.doctor.deployment import Command
from antiphon.doctor.finding import Check, Level, Place, Spot
from antiphon.doctor.project import LayerKind, Project

__all__ = ["CHECKS", "processes"]

_BY_CONCURRENCY = ("uvicorn", "gunicorn")
#: What makes a task of a function: Celery's decorators, Huey's, Dramatiq's.
_TASK = re.compile(r"celery\.(?:\w+\.)*shared_task|.*\bcelery\.(?:\w+\.)*task|huey\..*task|dramatiq\.actor")
#: Settings by which tasks run where they are called.
_EAGER = ("CELERY_TASK_ALWAYS_EAGER", "CELERY_ALWAYS_EAGER", "HUEY_IMMEDIATE")


def processes(project: Project) -> list[tuple[Place, str]]:
    """Return each place that says that several processes serve the project, and what it says."""
    found: list[tuple[Place, str]] = []
    if project.workers is not None and project.workers > 1:
        found.append((Place("--workers"), f"There are to be {project.workers} processes"))
    for command in project.serving:
        if command.workers is not None and command.workers > 1:
            found.append((command.place, f"This {command.program} is told to make {command.says_workers}"))
    return [*found, *_by_concurrency(project)]


def _by_concurrency(project: Project) -> Iterator[tuple[Place, str]]:
    """Yield where ``WEB_CONCURRENCY`` counts: for uvicorn and gunicorn, where the command says nothing."""
    commands = list(project.serving)
    if commands and not any(each.program in _BY_CONCURRENCY and each.workers is None for each in commands):
        return
    declared = [(each.number, each.place) for each in project.deployment.concurrency]
    number = project.environment.get("WEB_CONCURRENCY", "")
    if number.isdecimal():
        declared.append((int(number), Place("WEB_CONCURRENCY")))
    for count, place in declared:
        if count > 1:
            yield place, f"WEB_CONCURRENCY is {count}"


def memory_engine(project: Project) -> Iterator[Spot]:
    """Find the memory engine where several processes would have to share it."""
    if not project.is_in_memory:
        return
    elsewhere = {command.place for command in project.serving if not _engine(command).startswith("memory:")}
    for place, what in processes(project) if _speaks_by_antiphon(project) else ():
        if place in elsewhere:
            continue
        yield Spot(
            place,
            f"{what}, and antiphon's memory engine lives in one: members of a group do not hear each other across "
            "processes.",
            "Serve with one process:",
            f"antiphon serve {_target(project)}",
        )
    if project.has_layer(LayerKind.ANTIPHON):
        yield from _workers_apart(project, "antiphon's memory engine")


def _engine(command: Command) -> str:
    """Return the engine that a command names for itself; the memory engine if it names none."""
    return command.option("--engine") or command.variables.get("ANTIPHON_ENGINE") or "memory:"


def in_memory_layer(project: Project) -> Iterator[Spot]:
    """Find Channels' in-memory layer where several processes would have to share it."""
    for place, what in processes(project) if _speaks_by(project, LayerKind.MEMORY) else ():
        yield Spot(
            place,
            f"{what}, and InMemoryChannelLayer lives in one: members of a group do not hear each other across "
            "processes.",
            "Serve with one process, or use a layer that processes share.",
        )
    if project.has_layer(LayerKind.MEMORY):
        yield from _workers_apart(project, "InMemoryChannelLayer")


def _workers_apart(project: Project, what: str) -> Iterator[Spot]:
    """Yield each worker of Channels' that the layer can't reach."""
    for command in project.deployment.commands:
        if command.program == "manage.py" and command.words[:1] == ("runworker",):
            yield Spot(
                command.place,
                f"runworker is a process of its own, and {what} lives in the server's: nothing that is sent to "
                f"{listed(command.words[1:], 'or') or 'its channels'} gets there.",
                "Do that work in the server's process, or use a layer that processes share.",
            )


def sent_elsewhere(project: Project) -> Iterator[Spot]:
    """Find calls in code that runs in a process of its own, which a layer in the server's process does not reach."""
    if any(project.settings.get(name) is True for name in _EAGER):
        return
    for call in project.calls:
        where, layer = _elsewhere(call), _in_one_process(project, call)
        if where and layer and call.verb in ("group_send", "publish", "send"):
            yield Spot(
                call.place,
                f"{call.verb} is called in {where}, which runs in a process of its own, and {layer} lives in the "
                "server's: nobody hears it.",
                "Let that process tell the server, with a request to a view that speaks to the group.",
            )


def _elsewhere(call: LayerCall) -> str:
    """Return what runs the code that ``call`` stands in, if it is not the server."""
    if "management/commands" in call.source.path.as_posix():
        return "a management command"
    return "a task" if any(_TASK.fullmatch(name) for name in call.decorators) else ""


def _in_one_process(project: Project, call: LayerCall) -> str:
    """Return the layer by which ``call`` speaks, if it lives in one process."""
    layer = project.layer_of(call) if call.via is Via.CHANNELS else None
    if layer is not None and layer.kind is LayerKind.MEMORY and project.of(Family.CHANNELS):
        return "InMemoryChannelLayer"
    is_ours = call.via is Via.ANTIPHON or (layer is not None and layer.kind is LayerKind.ANTIPHON)
    return "antiphon's memory engine" if is_ours and project.is_in_memory else ""


def _speaks_by_antiphon(project: Project) -> bool:
    ours = project.of(Family.ANTIPHON)
    if any(consumer.speaks_to_groups for consumer in ours):
        return True
    if ours and any(call.via is Via.ANTIPHON for call in project.calls):
        return True
    return _speaks_by(project, LayerKind.ANTIPHON)


def _speaks_by(project: Project, kind: LayerKind) -> bool:
    """Tell whether a consumer of Channels' speaks to groups by a layer of this kind."""
    for consumer in project.of(Family.CHANNELS):
        layer = project.layers.get(consumer.alias)
        if layer is not None and layer.kind is kind and consumer.speaks_to_groups:
            return True
    return False


def _target(project: Project) -> str:
    module, _, name = project.application.rpartition(".")
    return f"{module}:{name}"


CHECKS = [
    Check(
        "memory-engine-processes",
        Level.ERROR,
        "Several processes serve the project, and antiphon's groups live in one: `--workers`, `WEB_CONCURRENCY`, a "
        "command in a Procfile, Dockerfile, Compose file, unit of systemd or `gunicorn.conf.py`, or a `runworker`.",
        memory_engine,
    ),
    Check(
        "in-memory-layer-processes",
        Level.ERROR,
        "The same with Channels' `InMemoryChannelLayer`.",
        in_memory_layer,
    ),
    Check(
        "sent-elsewhere",
        Level.WARNING,
        "A task of Celery, Huey or Dramatiq, or a management command, speaks to a group that lives in the server's "
        "process.",
        sent_elsewhere,
    ),
]
