"""antiphon: Channels' consumers, groups that do not lose messages, and a fan-out as fast as the kernel lets it be."""

from __future__ import annotations

__version__ = "0.1.0"

from antiphon import sync
from antiphon.api import group_send, history, publish, send, stats
from antiphon.app import configure
from antiphon.consumer import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from antiphon.events import rpc, shared
from antiphon.sync_consumer import JsonWebsocketConsumer, WebsocketConsumer
from antiphon.types import Position

__all__ = [
    "AsyncJsonWebsocketConsumer",
    "AsyncWebsocketConsumer",
    "JsonWebsocketConsumer",
    "Position",
    "WebsocketConsumer",
    "configure",
    "group_send",
    "history",
    "publish",
    "rpc",
    "send",
    "shared",
    "stats",
    "sync",
]
