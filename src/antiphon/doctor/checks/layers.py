"""The channel layer: whether there is one, what it loses, and whether it is the one that consumers are in.

antiphon's consumers are in antiphon's groups, whatever ``CHANNEL_LAYERS`` says; Channels' consumers, and all code that
calls ``get_channel_layer()``, are in those of the layer that it names.
"""

from __future__ import annotations

from collections.abc import Iterator

from antiphon.doctor.call import Via
from antiphon.doctor.checks.processes import processes
from antiphon.doctor.checks.words import LAYER_SETTING, listed
from antiphon.doctor.consumer import Consumer, Family
from antiphon.doctor.finding import Check, Level, Place, Spot
from antiphon.doctor.project import Layer, LayerKind, Project

__all__ = ["CHECKS"]

_TAKES = ("expiry", "capacity", "channel_capacity", "group_expiry")


def no_channel_layer(project: Project) -> Iterator[Spot]:
    """Find consumers of Channels' that speak to groups without a layer."""
    users = [
        (consumer, consumer.uses_layer or consumer.place)
        for consumer in project.of(Family.CHANNELS)
        if consumer.alias not in project.layers and (consumer.groups or consumer.uses_layer)
    ]
    if users:
        consumer, place = users[0]
        others = f", and likewise in {listed([each.name for each, _ in users[1:]])}" if users[1:] else ""
        alias = "" if consumer.alias == "default" else f' of the name "{consumer.alias}"'
        yield Spot(
            place,
            f"{consumer.name} uses self.channel_layer, which is None{others}: CHANNEL_LAYERS has no layer{alias}, and "
            "every call of it fails.",
            f"Write in {project.settings_module}:",
            LAYER_SETTING.replace("default", consumer.alias),
        )


def in_memory_layer(project: Project) -> Iterator[Spot]:
    """Find the layer of Channels' that lives in one process and drops at its capacity."""
    for layer in _layers(project, LayerKind.MEMORY):
        loss = f"drops a message, and tells nobody, when {layer.capacity} wait for a consumer; it lives in one process"
        yield _instead(project, layer, loss, *_our_layer(layer))


def redis_layer(project: Project) -> Iterator[Spot]:
    """Find the layers of channels_redis."""
    for layer in _layers(project, LayerKind.REDIS, LayerKind.REDIS_PUBSUB):
        if layer.kind is LayerKind.REDIS:
            loss = f"drops a message when {layer.capacity} wait for a consumer, and neither sender nor client is told"
        else:
            loss = "loses what is sent while its connection to Redis is down, and neither sender nor client is told"
        yield _instead(project, layer, loss, *_instead_of_redis(project, layer))


def _instead(project: Project, layer: Layer, loss: str, remedy: str, code: str) -> Spot:
    """Return what is wrong with a layer that is not antiphon's, for those in its groups and those who are not."""
    name = layer.backend.rpartition(".")[2]
    ours = project.of(Family.ANTIPHON)
    if ours and len(ours) == len(project.consumers):
        problem = f"{_are(ours)} in antiphon's groups, which {name} is not: get_channel_layer() does not reach them."
        return Spot(layer.place, problem, *_our_layer(layer))
    apart = f" {_are(ours)} in antiphon's groups, which get_channel_layer() does not reach." if ours else ""
    return Spot(layer.place, f"{name} {loss}.{apart}", remedy, code)


def _our_layer(layer: Layer) -> tuple[str, str]:
    return "Put antiphon's layer in its place:", LAYER_SETTING.replace("default", layer.alias)


def _instead_of_redis(project: Project, layer: Layer) -> tuple[str, str]:
    """Return what to do: antiphon's groups live in one process today, which is not enough for everybody."""
    remedy, code = _our_layer(layer)
    if not processes(project):
        return f"If one process serves the project: {remedy[0].lower()}{remedy[1:]}", code
    keep = "Several processes serve this project, and antiphon's groups live in one today: keep Redis,"
    if layer.kind is LayerKind.REDIS:
        return (
            f"{keep} let more wait, and let clients read what they may have missed:",
            f'"CONFIG": {{…, "capacity": {10 * layer.capacity}}}',
        )
    return f"{keep} and let clients read what they may have missed.", ""


def _layers(project: Project, *kinds: LayerKind) -> Iterator[Layer]:
    return (layer for layer in project.layers.values() if layer.kind in kinds)


def _are(consumers: tuple[Consumer, ...]) -> str:
    names = listed([consumer.name for consumer in consumers]) if len(consumers) <= 3 else "antiphon's consumers"
    return f"{names} {'is' if len(consumers) == 1 else 'are'}"


def unreachable_groups(project: Project) -> Iterator[Spot]:
    """Find calls by ``get_channel_layer()`` to groups that all consumers are elsewhere than."""
    ours = project.of(Family.ANTIPHON)
    if not ours or project.dark or len(ours) < len(project.consumers):
        return  # somebody may be there
    for call in project.calls:
        if call.via is not Via.CHANNELS or call.alias is None or not call.verb.startswith("group_"):
            continue
        layer = project.layers.get(call.alias)
        if layer is not None and layer.kind in (LayerKind.ANTIPHON, LayerKind.OTHER):
            continue
        if layer is None:
            problem = (
                f'{call.verb} reaches nobody: get_channel_layer() is None, as CHANNEL_LAYERS has no "{call.alias}"'
            )
        else:
            problem = f"{call.verb} reaches nobody: get_channel_layer() is {layer.backend.rpartition('.')[2]}"
        yield Spot(
            call.place,
            f"{problem}. {_are(ours)} in antiphon's groups.",
            f"Write in {project.settings_module}, or use antiphon.group_send (antiphon.sync.group_send in code that is "
            "not async):",
            LAYER_SETTING.replace("default", call.alias),
        )


def layer_option_refused(project: Project) -> Iterator[Spot]:
    """Find what antiphon's layer does not take."""
    for layer in _layers(project, LayerKind.ANTIPHON):
        unknown = [str(name) for name in layer.config if name not in _TAKES]
        if unknown:
            yield Spot(
                Place(f'{layer.place}["CONFIG"]'),
                f"antiphon's layer does not take {listed(unknown)}, and can't be made: get_channel_layer() raises "
                "ImproperlyConfigured.",
                f"Take {'it' if len(unknown) == 1 else 'them'} out. The engine is chosen in ANTIPHON:",
                'ANTIPHON = {"engine": "memory://"}',
            )


def layer_option_unused(project: Project) -> Iterator[Spot]:
    """Find what antiphon's layer takes, and does not need."""
    has_channels = any(route.protocol == "channel" for route in project.routes) or any(
        call.verb == "send" for call in project.calls
    )
    for layer in _layers(project, LayerKind.ANTIPHON):
        unused = [name for name in _TAKES[1:] if name in layer.config and (name == "group_expiry" or not has_channels)]
        if unused:
            yield Spot(
                Place(f'{layer.place}["CONFIG"]'),
                f"{listed(unused)} {'has' if len(unused) == 1 else 'have'} no effect on groups: a membership lasts as "
                "long as its connection, and what waits for a consumer is bounded in bytes, by mailbox_limit.",
                f"Take {'it' if len(unused) == 1 else 'them'} out.",
            )


CHECKS = [
    Check(
        "no-channel-layer",
        Level.ERROR,
        "A consumer of Channels' uses `self.channel_layer`, and `CHANNEL_LAYERS` has none: each call of it fails.",
        no_channel_layer,
    ),
    Check(
        "unreachable-groups",
        Level.ERROR,
        "Code calls `get_channel_layer()` to speak to a group, and every consumer is antiphon's: with another layer "
        "than antiphon's, nobody hears it.",
        unreachable_groups,
    ),
    Check(
        "layer-option-refused",
        Level.ERROR,
        "`CONFIG` of antiphon's layer has an option that it does not take, such as `hosts`.",
        layer_option_refused,
    ),
    Check(
        "in-memory-layer",
        Level.WARNING,
        "Channels' `InMemoryChannelLayer` lives in one process and drops messages at its capacity. antiphon's "
        "consumers are not in its groups.",
        in_memory_layer,
    ),
    Check(
        "redis-layer",
        Level.WARNING,
        "The layers of channels_redis lose messages, at their capacity (`core`) or while Redis is away (`pubsub`), and "
        "tell nobody. antiphon's consumers are not in their groups.",
        redis_layer,
    ),
    Check(
        "layer-option-unused",
        Level.ADVICE,
        "`CONFIG` of antiphon's layer has an option that has no effect on groups: `group_expiry`, `capacity`.",
        layer_option_unused,
    ),
]
