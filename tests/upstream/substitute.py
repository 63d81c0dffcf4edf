"""A pytest plugin that puts antiphon's classes in the place of Channels', before the tests are imported.

It is loaded with ``-p`` in a checkout whose own package is called ``tests``: so it is imported by its bare name, from
the folder that it is in. ``ANTIPHON_SUBSTITUTE`` names what is put in place, by the functions below.
"""

from __future__ import annotations

import os
import shutil
import sys
import types
from typing import Any

import pytest

#: Options of channels_redis that say where and how its keys are kept.
OF_REDIS = {"hosts", "prefix", "on_disconnect", "on_reconnect", "symmetric_encryption_keys"}

BROWSER_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.hookimpl(trylast=True)
def pytest_sessionstart() -> None:
    """Put everything in place; Django's settings are known by now."""
    for name in os.environ["ANTIPHON_SUBSTITUTE"].split(","):
        {"layer": layer, "consumers": consumers, "testing": testing, "redis": redis, "browser": browser}[name]()


def layer() -> None:
    """``InMemoryChannelLayer``, which Channels' tests name in their imports and settings."""
    import channels.layers

    from antiphon.channels import ChannelLayer

    channels.layers.InMemoryChannelLayer = ChannelLayer


def consumers() -> None:
    """The four generic consumers."""
    import channels.generic.websocket

    import antiphon

    for name in ("WebsocketConsumer", "JsonWebsocketConsumer", "AsyncWebsocketConsumer", "AsyncJsonWebsocketConsumer"):
        setattr(channels.generic.websocket, name, getattr(antiphon, name))


def testing() -> None:
    """The communicators and the live server."""
    import channels.testing

    import antiphon.testing

    for name in ("ApplicationCommunicator", "HttpCommunicator", "WebsocketCommunicator"):
        setattr(channels.testing, name, getattr(antiphon.testing, name))
    channels.testing.ChannelsLiveServerTestCase = antiphon.testing.LiveServerTestCase


def redis() -> None:
    """Both layers of channels_redis; there is no Redis."""
    from django.conf import settings

    if not settings.configured:
        settings.configure()
    import antiphon.channels

    class Layer(antiphon.channels.ChannelLayer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**{name: value for name, value in options.items() if name not in OF_REDIS})

    core, pubsub = types.ModuleType("channels_redis.core"), types.ModuleType("channels_redis.pubsub")
    core.RedisChannelLayer = pubsub.RedisPubSubChannelLayer = Layer  # type: ignore[attr-defined]
    core.ChannelFull = antiphon.channels.ChannelFull  # type: ignore[attr-defined]
    sys.modules.update({"channels_redis.core": core, "channels_redis.pubsub": pubsub})


def browser() -> None:
    """Debian's Chromium, which as root runs without its sandbox and speaks to nobody but the test."""
    from selenium import webdriver

    class Options(webdriver.ChromeOptions):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.binary_location = shutil.which("chromium") or ""
            for flag in BROWSER_FLAGS:
                self.add_argument(flag)

    webdriver.ChromeOptions = Options
