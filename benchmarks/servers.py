"""The servers under test: how each is started, which paths it serves, what it can be asked."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

from benchmarks.paths import BUILD, BUN, C_SERVER, HERE, NODE_MODULES, PYTHON, ROOT

FANOUT, DEFLATE, LATENCY, SLOW, ECHO, CONNECT, IDLE = "fanout", "deflate", "latency", "slow", "echo", "connect", "idle"
PROCESSES, REACH = "processes", "reach"
"""Two processes that share one Redis: fan-out to the members of both, and the way from one to the other."""

Windows: TypeAlias = tuple[int, ...] | None


@dataclass(frozen=True, kw_only=True)
class Server:
    """One line of the tables.

    `command` holds `{port}` where the port goes, and `{redis}`, as `env` does, where the port of its Redis goes.
    """

    name: str
    label: str
    command: tuple[str, ...]
    cells: frozenset[str]
    path: str = "/ws"
    echo_path: str = "/echo"
    wire: str = "plain"
    """What is spoken in the cells with a group; the load client's `--wire`."""
    cwd: Path = ROOT
    env: Mapping[str, str] = field(default_factory=dict)
    processes: int = 1
    """How many are started, each on a port of its own."""
    has_redis: bool = False
    """They share a Redis, which is started with them."""
    windows: Windows = None
    """The windows that make sense, where a server is too slow for all."""
    needs: tuple[str, ...] = ()
    """Python packages without which it cannot run."""
    npm: tuple[str, ...] = ()
    """Packages of npm, likewise."""
    logged_in: bool = False
    """The handshake carries the cookie of a Django session."""
    stats_path: str | None = None
    """Where the server answers with antiphon's counters."""
    note: str = ""

    def missing(self) -> str | None:
        """What keeps this server from running here, if anything does."""
        for package in self.needs:
            if find_spec(package) is None:
                return f"the Python package {package} is not installed"
        for package in self.npm:
            if not (NODE_MODULES / package).exists():
                return f"the npm package {package} is not installed"
        for program in (self.command[0], *(["redis-server"] if self.has_redis else [])):
            if shutil.which(program) is None:
                return f"{program} is not there"
        return None


def cells(*names: str) -> frozenset[str]:
    """The kinds of cell that a server takes part in."""
    return frozenset(names)


def uvicorn(app: str, *, ws: str, http: str = "httptools") -> tuple[str, ...]:
    """The command for a uvicorn with everything fast that it has."""
    options = ["--loop", "uvloop", "--http", http, "--ws", ws, "--log-level", "warning", "--no-access-log"]
    return (PYTHON, "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--lifespan", "off", *options, app)


OUR_PROTOCOLS = {"ws": "antiphon.server:WebSocketProtocol", "http": "antiphon.server:HTTPProtocol"}
"""As `antiphon serve` chooses them."""
NO_RATES = {"ANTIPHON_MESSAGE_RATE": "0", "ANTIPHON_BYTE_RATE": "0"}
"""The one client that publishes sends more than the limits of one client's rate let through."""
ANTIPHON_APP = "benchmarks.apps.antiphon_app:app"
DJANGO_SITE = "benchmarks.apps.django_site.asgi:app"
CHANNELS_APP = "benchmarks.peers.channels_app:app"
OUR_LAYER = {"BENCH_LAYER": "antiphon.channels.ChannelLayer", **NO_RATES}
OUR_ENGINE = {"ANTIPHON_ENGINE": "redis://127.0.0.1:{redis}", **NO_RATES}
CHANNELS_NOTE = "in-memory layer with its capacity raised to 100,000; too slow for windows above 4"


def antiphon(
    name: str,
    label: str,
    *more_cells: str,
    cells: tuple[str, ...] = (FANOUT, LATENCY),
    windows: Windows = None,
    path: str | None = None,
    wire: str = "plain",
) -> Server:
    """One of the ways to speak to a group; all are paths of one application."""
    return Server(
        name=f"antiphon-{name}",
        label=f"antiphon, {label}",
        command=uvicorn(ANTIPHON_APP, **OUR_PROTOCOLS),
        path=path or f"/{name}",
        wire=wire,
        env=NO_RATES,
        stats_path="/stats",
        cells=frozenset((*cells, *more_cells)),
        windows=windows,
        needs=("antiphon",),
    )


def centrifuge(encoding: str, label: str) -> Server:
    """`publish` to a group that keeps its last 1,000, whose members are clients of Centrifuge's wire."""
    wire = f"centrifuge-{encoding}"
    return antiphon(wire, f"`publish` with history, {label}", cells=(FANOUT,), path="/centrifuge", wire=wire)


def django_site(name: str, label: str, *, consumers: str, auth: str) -> Server:
    """The Django project with sessions and users; consumer and session stack come from `channels` or `antiphon`."""
    ours = consumers == "antiphon"
    return Server(
        name=name,
        label=label,
        command=uvicorn(DJANGO_SITE, **(OUR_PROTOCOLS if ours else {"ws": "auto"})),
        path="/ws/bench/",
        env={"BENCH_CONSUMERS": consumers, "BENCH_AUTH": auth, **(NO_RATES if ours else {})},
        cells=cells(CONNECT, IDLE),
        needs=("channels", consumers),
        logged_in=True,
        note=f"{auth}'s AuthMiddlewareStack, database sessions in SQLite, the cookie of a user who is logged in",
    )


def channels(name: str, label: str, *more_cells: str, path: str = "/ws", ours: bool = False) -> Server:
    """Channels' consumers: with its in-memory layer on uvicorn, or with antiphon's layer and server."""
    return Server(
        name=name,
        label=label,
        command=uvicorn(CHANNELS_APP, **(OUR_PROTOCOLS if ours else {"ws": "auto"})),
        path=path,
        env=OUR_LAYER if ours else {},
        cells=cells(FANOUT, *more_cells),
        windows=(1, 4),
        needs=("channels", "websockets"),
        note="antiphon's layer and server" if ours else f"{CHANNELS_NOTE}; uvloop, httptools, uvicorn's `--ws auto`",
    )


def antiphon_pair(name: str, label: str, *, path: str) -> Server:
    """Two processes of the application, and the Redis that they share."""
    return Server(
        name=f"antiphon-redis-{name}",
        label=f"antiphon, {label}",
        command=uvicorn(ANTIPHON_APP, **OUR_PROTOCOLS),
        path=path,
        env=OUR_ENGINE,
        cells=cells(PROCESSES, REACH),
        processes=2,
        has_redis=True,
        needs=("antiphon", "hiredis"),
    )


def channels_pair(name: str, label: str, *, layer: str, note: str) -> Server:
    """Channels' consumers in two processes, with one of the layers of channels_redis."""
    return Server(
        name=name,
        label=label,
        command=uvicorn(CHANNELS_APP, ws="auto"),
        env={"BENCH_LAYER": layer, "BENCH_LAYER_HOST": "redis://127.0.0.1:{redis}"},
        cells=cells(PROCESSES, REACH),
        windows=(1, 4),
        processes=2,
        has_redis=True,
        needs=("channels", "channels_redis", "websockets"),
        note=f"{note}; uvloop, httptools, uvicorn's `--ws auto`; too slow for windows above 4",
    )


def c_server(mode: str, label: str) -> Server:
    """The yardstick in C."""
    command = (str(C_SERVER), "--port", "{port}", "--mode", mode)
    kinds = cells(FANOUT, LATENCY, ECHO, CONNECT, IDLE) if mode == "tick" else cells(FANOUT, LATENCY)
    return Server(name=f"c-{mode}", label=label, command=command, cells=kinds, note="epoll, no limits, no checks")


SERVERS = (
    antiphon("handler", "handler per member", ECHO, CONNECT, IDLE),
    antiphon("shared", "`@shared` handler"),
    antiphon("publish", "`publish`", DEFLATE, SLOW),
    antiphon("kept", "`publish` with history", cells=(FANOUT,)),
    centrifuge("json", "Centrifuge's wire in JSON"),
    centrifuge("protobuf", "Centrifuge's wire in Protobuf"),
    c_server("tick", "C, one write per member per tick"),
    c_server("message", "C, one write per member per message"),
    Server(
        name="bun",
        label="Bun, native publish",
        command=(str(BUN), str(HERE / "peers" / "bun_server.js"), "{port}"),
        cells=cells(FANOUT, LATENCY, SLOW, ECHO, CONNECT, IDLE),
        note="`server.publish`, without compression",
    ),
    Server(
        name="bun-deflate",
        label="Bun, native publish with compression",
        command=(str(BUN), str(HERE / "peers" / "bun_server.js"), "{port}", "deflate"),
        cells=cells(DEFLATE),
        note="`server.publish` with `compress`, `perMessageDeflate: true`",
    ),
    Server(
        name="node",
        label="Node `ws`",
        command=("node", str(HERE / "peers" / "node_ws.js"), "{port}"),
        cwd=BUILD,
        cells=cells(FANOUT, LATENCY, ECHO, CONNECT, IDLE),
        note="one `send` per member, without compression",
    ),
    Server(
        name="node-deflate",
        label="Node `ws` with compression",
        command=("node", str(HERE / "peers" / "node_ws.js"), "{port}", "deflate"),
        cwd=BUILD,
        cells=cells(DEFLATE),
        note="one `send` per member, `perMessageDeflate: true`",
    ),
    Server(
        name="websockets",
        label="`websockets`, `broadcast()`",
        command=(PYTHON, "-m", "benchmarks.peers.websockets_app", "{port}"),
        cells=cells(DEFLATE),
        needs=("websockets", "uvloop"),
        note="its asyncio server with its default compression, on uvloop",
    ),
    Server(
        name="aiohttp",
        label="aiohttp",
        command=(PYTHON, "-m", "benchmarks.peers.aiohttp_app", "{port}"),
        cells=cells(FANOUT, LATENCY, ECHO, CONNECT, IDLE),
        needs=("aiohttp", "uvloop"),
        note="uvloop, one `send_str` per member, without compression",
    ),
    Server(
        name="picows",
        label="picows alone",
        command=(PYTHON, "-m", "benchmarks.peers.picows_app", "{port}"),
        cells=cells(FANOUT, LATENCY, ECHO, CONNECT, IDLE),
        needs=("picows", "uvloop"),
        note="uvloop, one `send` per member per message",
    ),
    Server(
        name="starlette",
        label="Starlette on uvicorn",
        command=uvicorn("benchmarks.peers.starlette_app:app", ws="auto"),
        cells=cells(FANOUT, DEFLATE, LATENCY, ECHO, CONNECT, IDLE),
        needs=("starlette", "websockets"),
        note="a connection manager by hand; uvloop, httptools, uvicorn's `--ws auto`, its default compression "
        "for those who ask for it",
    ),
    channels("channels-uvicorn", "Channels on uvicorn", LATENCY, ECHO, CONNECT, IDLE),
    channels("channels-antiphon", "Channels' consumers on antiphon's layer and server", LATENCY, ECHO, ours=True),
    antiphon("sync", "synchronous handler per member", cells=(FANOUT,), windows=(1, 4)),
    channels("channels-sync", "Channels on uvicorn, synchronous consumers", path="/sync"),
    Server(
        name="channels-daphne",
        label="Channels on daphne",
        command=(
            PYTHON,
            "-m",
            "daphne",
            "-b",
            "127.0.0.1",
            "-p",
            "{port}",
            "-v",
            "0",
            CHANNELS_APP,
        ),
        cells=cells(FANOUT, LATENCY, ECHO, CONNECT),
        windows=(1, 4),
        needs=("channels", "daphne"),
        note=CHANNELS_NOTE,
    ),
    django_site(
        "antiphon-django",
        "antiphon in Django, session and user by antiphon's stack",
        consumers="antiphon",
        auth="antiphon",
    ),
    django_site(
        "antiphon-django-one-import",
        "antiphon in Django, session and user by Channels' stack",
        consumers="antiphon",
        auth="channels",
    ),
    django_site(
        "channels-django",
        "Channels in Django on uvicorn, session and user",
        consumers="channels",
        auth="channels",
    ),
    antiphon_pair("handler", "handler per member", path="/handler"),
    antiphon_pair("publish", "`publish`", path="/publish"),
    antiphon_pair("kept", "`publish` with history", path="/kept"),
    Server(
        name="antiphon-alone",
        label="antiphon, `publish`, one process with the memory engine",
        command=uvicorn(ANTIPHON_APP, **OUR_PROTOCOLS),
        path="/publish",
        env=NO_RATES,
        cells=cells(PROCESSES, REACH),
        needs=("antiphon",),
    ),
    Server(
        name="socketio-redis",
        label="Socket.IO with its Redis adapter",
        command=("node", str(HERE / "peers" / "socketio_server.js"), "{port}", "{redis}"),
        path="/socket.io/?EIO=4&transport=websocket",
        wire="socketio",
        cwd=BUILD,
        cells=cells(PROCESSES, REACH),
        processes=2,
        has_redis=True,
        npm=("socket.io", "@socket.io/redis-adapter", "redis"),
        note="`@socket.io/redis-adapter`, clients with the WebSocket transport alone, without compression",
    ),
    channels_pair(
        "channels-redis",
        "Channels with channels_redis",
        layer="channels_redis.core.RedisChannelLayer",
        note="`channels_redis.core.RedisChannelLayer` with its capacity raised to 100,000",
    ),
    channels_pair(
        "channels-redis-pubsub",
        "Channels with channels_redis, its Pub/Sub layer",
        layer="channels_redis.pubsub.RedisPubSubChannelLayer",
        note="`channels_redis.pubsub.RedisPubSubChannelLayer`",
    ),
)
