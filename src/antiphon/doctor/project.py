"""A project as checks see it: one value, made by ``load`` and never changed."""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from antiphon import config as configuration
from antiphon.config import Config
from antiphon.doctor.call import LayerCall, Via, layer_calls
from antiphon.doctor.consumer import Class, Consumer, Family
from antiphon.doctor.deployment import Command, Deployment
from antiphon.doctor.finding import Place
from antiphon.doctor.route import Route
from antiphon.doctor.source import Source
from antiphon.exceptions import ConfigurationError

__all__ = ["ANTIPHON_LAYER", "Layer", "LayerKind", "Project", "layer_kind"]

#: What a project writes to have antiphon's groups behind ``get_channel_layer()``.
ANTIPHON_LAYER = "antiphon.channels.ChannelLayer"


class LayerKind(enum.Enum):
    """Which backend a channel layer has."""

    ANTIPHON = "antiphon's"
    MEMORY = "Channels' in-memory layer"
    REDIS = "channels_redis.core"
    REDIS_PUBSUB = "channels_redis.pubsub"
    OTHER = "another"


_KINDS = {
    ANTIPHON_LAYER: LayerKind.ANTIPHON,
    "channels.layers.InMemoryChannelLayer": LayerKind.MEMORY,
    "channels_redis.core.RedisChannelLayer": LayerKind.REDIS,
    "channels_redis.pubsub.RedisPubSubChannelLayer": LayerKind.REDIS_PUBSUB,
}


def layer_kind(*names: str) -> LayerKind:
    """Return the kind of a backend by the full names of its class and of that one's bases."""
    return next((_KINDS[name] for name in names if name in _KINDS), LayerKind.OTHER)


@dataclass(frozen=True)
class Layer:
    """One entry of ``CHANNEL_LAYERS``."""

    alias: str
    backend: str
    kind: LayerKind
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def capacity(self) -> int:
        """How many messages of Channels' layers may wait for a consumer."""
        capacity = self.config.get("capacity")
        return capacity if isinstance(capacity, int) else 100

    @property
    def place(self) -> Place:
        """Where it is set."""
        return Place(f'CHANNEL_LAYERS["{self.alias}"]')


@dataclass(frozen=True, kw_only=True)
class Project:
    """What is known of a project."""

    folder: Path
    shown_folder: str = "."
    settings_module: str = "project.settings"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Every setting by name, Django's defaults included."""
    environment: Mapping[str, str] = field(default_factory=dict)
    application: str = ""
    """``ASGI_APPLICATION``; where that is not set, what it probably would be; "" where nothing is found."""
    routes: tuple[Route, ...] = ()
    dark: tuple[str, ...] = ()
    """What may lead to consumers, and could not be looked through."""
    layers: Mapping[str, Layer] = field(default_factory=dict)
    """``CHANNEL_LAYERS`` by alias."""
    sources: tuple[Source, ...] = ()
    is_cut: bool = False
    """Whether it has more files than were read."""
    deployment: Deployment = field(default_factory=Deployment)
    workers: int | None = None
    """``--workers``."""
    versions: Mapping[str, str] = field(default_factory=dict)

    @functools.cached_property
    def consumers(self) -> tuple[Consumer, ...]:
        """Every consumer that a route leads to, once."""
        return tuple(dict.fromkeys(route.consumer for route in self.routes))

    def of(self, *families: Family) -> tuple[Consumer, ...]:
        """Return the consumers of some families."""
        return tuple(consumer for consumer in self.consumers if consumer.family in families)

    @functools.cached_property
    def classes(self) -> Mapping[Class, tuple[Consumer, ...]]:
        """The project's own classes that consumers are made of, once each, with these consumers."""
        found: dict[tuple[str, str], tuple[Class, list[Consumer]]] = {}
        for consumer in self.consumers:
            for each in consumer.classes:
                found.setdefault((each.source.shown, each.name), (each, []))[1].append(consumer)
        return {each: tuple(consumers) for each, consumers in found.values()}

    @functools.cached_property
    def calls(self) -> tuple[LayerCall, ...]:
        """Every call of a layer's verb in the sources."""
        return tuple(call for source in self.sources for call in layer_calls(source))

    def speakers(self, call: LayerCall) -> tuple[Consumer, ...]:
        """Return the consumers in whose code ``call`` stands."""
        for each, consumers in self.classes.items():
            if each.source is call.source and each.name == call.owner:
                return consumers
        return ()

    def layer_of(self, call: LayerCall) -> Layer | None:
        """Return the entry of ``CHANNEL_LAYERS`` that ``call`` certainly speaks by."""
        if call.via is Via.CHANNELS:
            return self.layers.get(call.alias) if call.alias is not None else None
        if call.via is Via.CONSUMER:
            aliases = {consumer.alias for consumer in self.speakers(call) if consumer.family is not Family.ANTIPHON}
            return self.layers.get(aliases.pop()) if len(aliases) == 1 else None
        return None

    def installed(self, app: str) -> int | None:
        """Return the place of a Django application in ``INSTALLED_APPS``; None if it is not there."""
        for number, entry in enumerate(self.settings.get("INSTALLED_APPS", ())):
            if entry == app or str(entry).startswith(f"{app}.apps."):
                return number
        return None

    @property
    def options(self) -> Mapping[str, Any]:
        """``ANTIPHON`` of the settings, where it is read; the environment is not in it."""
        is_read = self.installed("antiphon.django") is not None or self.has_layer(LayerKind.ANTIPHON)
        options = self.settings.get("ANTIPHON") if is_read else None
        return options if isinstance(options, Mapping) else {}

    def has_layer(self, kind: LayerKind) -> bool:
        """Tell whether there is a layer of this kind."""
        return any(layer.kind is kind for layer in self.layers.values())

    @property
    def config(self) -> Config | None:
        """antiphon's configuration; None where an option of it can't be."""
        try:
            return configuration.load(self.options, environment=self.environment)
        except ConfigurationError:
            return None

    @property
    def is_in_memory(self) -> bool:
        """Whether antiphon's groups live in one process."""
        engine = self.environment.get("ANTIPHON_ENGINE") or self.options.get("engine") or Config().engine
        return str(engine).startswith("memory:")

    @property
    def serving(self) -> list[Command]:
        """The commands that serve this project's application."""
        return [each for each in self.deployment.commands if self.application and each.serves(self.application)]
