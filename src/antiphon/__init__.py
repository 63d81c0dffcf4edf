"""antiphon: Channels' consumers, groups that do not lose messages, and a fan-out as fast as the kernel lets it be."""

from __future__ import annotations

__version__ = "0.1.0"

from antiphon import sync
from antiphon.api import (
    group_send,
    history,
    kick,
    presence,
    presence_stats,
    publish,
    refresh,
    remove_history,
    send,
    stats,
    subscribe,
    unsubscribe,
)
from antiphon.app import configure
from antiphon.consumer import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from antiphon.events import rpc, shared
from antiphon.sync_consumer import JsonWebsocketConsumer, WebsocketConsumer
from antiphon.types import Permission, Position

__all__ = [
    "AsyncJsonWebsocketConsumer",
    "AsyncWebsocketConsumer",
    "JsonWebsocketConsumer",
    "Permission",
    "Position",
    "WebsocketConsumer",
    "configure",
    "group_send",
    "history",
    "kick",
    "presence",
    "presence_stats",
    "publish",
    "refresh",
    "remove_history",
    "rpc",
    "send",
    "shared",
    "stats",
    "subscribe",
    "sync",
    "unsubscribe",
]
