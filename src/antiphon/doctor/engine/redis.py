"""What there is to know of a Redis engine: its servers, how far away they are, how they are set, what one may do."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import hiredis

from antiphon.doctor.checks.words import many
from antiphon.doctor.engine.examination import Examination, Fact, Say, Times, size
from antiphon.doctor.engine.probe import SECONDS, Probe, measured, opened, told_when_slow
from antiphon.doctor.finding import Level
from antiphon.engines.redis import advice, scripts
from antiphon.engines.redis.client import Client
from antiphon.engines.redis.connection import Connection
from antiphon.engines.redis.engine import RedisEngine
from antiphon.engines.redis.faults import Fault, code_of, fault_of_connection
from antiphon.engines.redis.keys import Keys
from antiphon.engines.redis.options import Options, parse
from antiphon.exceptions import EngineError, EngineUnavailable

__all__ = ["examine"]

#: Seconds: a publication takes one round trip, and so much of it is felt.
FAR = 0.005
#: The part of ``timeout`` that one answer may take.
LATE = 0.2
#: Seconds that the clocks of a cluster's servers may differ: lifetimes and leases have whole ones.
APART = 1.0

_RIGHTS = "Give the user this right, or all that docs/deploy/redis.md lists, and run this again:"


class _Server(NamedTuple):
    """What one server has said."""

    name: str
    said: Mapping[str, str]
    clock: float
    """By how many seconds its clock is ahead of this host's."""


async def examine(url: str, say: Say) -> Examination:
    """Use the engine, and ask its servers; raise what ``start`` raises."""
    options = parse(url)
    engine, keys = RedisEngine(options), Keys(options.prefix, options.db)
    found = Examination(options.where)
    async with opened(engine, options.where, say, lambda probe: _take_away(engine, keys, probe)) as probe:
        servers = [await _ask(client, options, found, say) for client in engine.client.servers]
        with told_when_slow("measuring publications", say):
            published = await probe.measure()
        living = await _living(engine, keys, probe)
    if published is not None:
        found.times.append(published)
    _say_rights(found, probe, options)
    _say_clocks(found, servers)
    words = many(living, "process lives", "processes live")
    found.facts.append(Fact("antiphon", f"{words} here, with the prefix {options.prefix}"))
    return found


async def _ask(client: Client, options: Options, found: Examination, say: Say) -> _Server:
    """Ask one server, over a connection of its own."""
    host, port = client.address or ("", 0)
    name = f"{host}:{port}" if port else host
    connection = None
    try:
        with told_when_slow(f"asking {name}", say):
            async with asyncio.timeout(options.timeout + SECONDS):
                connection = await client.open()
                times = await measured(f"PING {name}", lambda: connection.ask("PING"))
                server = _Server(name, await _said(connection, options), await _clock(connection))
    except (OSError, hiredis.ReplyError, Fault) as error:
        raise EngineUnavailable(str(fault_of_connection(error, f"Redis at {name}", options.timeout))) from error
    finally:
        if connection is not None:
            connection.abort()
    found.times.append(times)
    found.facts += _facts(server)
    _say_times(found, times, name, options.timeout)
    _say_settings(found, server)
    return server


def _say_settings(found: Examination, server: _Server) -> None:
    """Say what of its settings does not suit, and of which nothing can be said."""
    for each in advice.advise_fully(server.said):
        level = Level.WARNING if each.is_risk else Level.ADVICE
        problem, remedy = _sentence(each.problem), _sentence(each.remedy)
        found.find(each.name, level, each.setting, problem, remedy, server=server.name)
    if "unsaid" in server.said:
        problem = f"Not all of its settings may be asked for, and nothing is said of those: {server.said['unsaid']}."
        remedy = "Run this with the URL of a user who may use INFO and CONFIG GET; antiphon itself needs no CONFIG."
        found.find("not-told", Level.ADVICE, "settings", problem, remedy, server=server.name)


async def _said(connection: Connection, options: Options) -> dict[str, str]:
    """Return what a server tells of itself; less, where it may not be asked."""
    said = {"takes_over": "yes" if options.master or options.is_cluster else "no"}
    try:
        said |= advice.read_info((await connection.ask("INFO")).decode(errors="replace"))
    except hiredis.ReplyError as error:
        said["unsaid"] = str(error)
    try:
        for name in advice.SETTINGS:
            answer = [each.decode(errors="replace") for each in await connection.ask("CONFIG", "GET", name)]
            said |= dict(zip(answer[::2], answer[1::2], strict=True))
    except hiredis.ReplyError as error:
        said["unsaid"] = str(error)
    return said


async def _clock(connection: Connection) -> float:
    began = time.time()
    seconds, microseconds = await connection.ask("TIME")
    return int(seconds) + int(microseconds) / 1e6 - (began + time.time()) / 2


# What is said of a server


def _facts(server: _Server) -> Iterator[Fact]:
    said = server.said
    yield Fact("server", f"{server.name}, {_kind(said)}")
    if "unsaid" in said and "role" not in said:
        return
    policy = said.get("maxmemory_policy", "unknown")
    limit = advice.number(said, "maxmemory")
    of = f"of {size(limit)}, maxmemory-policy {policy}" if limit else "used, and no limit"
    yield Fact("memory", f"{size(advice.number(said, 'used_memory'))} {of}")
    yield Fact("disk", _disk(said))
    clients = said.get("connected_clients", "?")
    yield Fact("connections", f"{clients} of {said['maxclients']}" if "maxclients" in said else clients)


def _kind(said: Mapping[str, str]) -> str:
    name = said.get("server_name", "redis").capitalize()
    version = said.get("valkey_version") or said.get("redis_version") or "of a version that it does not tell"
    mode = "cluster" if said.get("cluster_enabled") == "1" else said.get("redis_mode", "")
    words = [f"{name} {version}", mode, _role(said)]
    if said.get("uptime_in_seconds", "").isdigit():
        words.append(f"up for {_duration(int(said['uptime_in_seconds']))}")
    return ", ".join(word for word in words if word)


def _role(said: Mapping[str, str]) -> str:
    replicas = advice.number(said, "connected_slaves")
    return f"{said['role']} with {many(replicas, 'replica')}" if "role" in said else ""


def _duration(seconds: int) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return many(seconds // length, unit)
    return many(seconds, "second")


def _disk(said: Mapping[str, str]) -> str:
    if said.get("aof_enabled") == "0":
        return "no append-only file"
    synced = said.get("appendfsync")
    return "append-only file" + (f", appendfsync {synced}" if synced else "")


def _say_times(found: Examination, times: Times, name: str, timeout: float) -> None:
    """Say whether the server is far away, or was late."""
    if times.median > FAR:
        problem = f"An answer takes {_ms(times.median)}: so long every publication, and every history, waits at least."
        remedy = "Run the server nearer to the processes that use it."
        found.find("far", Level.ADVICE, "answers", problem, remedy, server=name)
    if times.longest > LATE * timeout:
        problem = f"One of {len(times.seconds)} answers took {_ms(times.longest)}; after {timeout:g} s it is left."
        remedy = (
            "See whether its host is busy or swaps, whether it saves or rewrites its file at that moment, and what "
            "SLOWLOG GET and LATENCY DOCTOR say; or give the URL a longer timeout."
        )
        found.find("late", Level.WARNING, "answers", problem, remedy, server=name)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"


def _say_clocks(found: Examination, servers: list[_Server]) -> None:
    """Say how the clocks differ: this host's is not used, and those of several servers should be the same."""
    ahead = [server.clock for server in servers]
    spread = max(ahead) - min(ahead)
    words = f"the server's is {abs(ahead[0]):.2f} s {'ahead of' if ahead[0] > 0 else 'behind'} this host's"
    text = f"{words}, which is not used: times and lifetimes go by the server's alone"
    if len(servers) > 1:
        text = f"those of the servers differ by {spread:.2f} s; this host's is not used"
    found.facts.append(Fact("clocks", text))
    if spread > APART:
        late, early = max(servers, key=lambda each: each.clock), min(servers, key=lambda each: each.clock)
        problem = f"Their clocks differ by {spread:.1f} s: what is moved from one to the other ends that much off."
        remedy = "Let the hosts of the servers set their clocks by NTP."
        found.find("clocks-differ", Level.ADVICE, f"{early.name} and {late.name}", problem, remedy)


# What may be done


def _say_rights(found: Examination, probe: Probe, options: Options) -> None:
    if not probe.refusals:
        found.facts.append(Fact("rights", "keys, channels, scripts: all that a server needs works"))
    for verb, words in probe.refusals:
        said = re.search(r"\(((?:NOPERM|ERR) .*)\)$", words)
        if said is None or code_of(hiredis.ReplyError(said[1])) != "NOPERM":
            found.find("refused", Level.ERROR, verb, f"{words}.", "Let it be done, and run this again.")
        else:
            problem = f"{re.sub('^(NOPERM|ERR) | script: [0-9a-f]{40}, on @user_script:[0-9]+', '', said[1])}."
            found.find(
                "no-right", Level.ERROR, verb, problem[0].upper() + problem[1:], _RIGHTS, _rule(said[1], options)
            )


def _rule(said: str, options: Options) -> str:
    """Return the command that gives the right which was refused, if it is told which."""
    command = re.search(r"The command is (\w+)|run the '([\w|]+)' command", said)
    if "channel" in said:
        right = f"&{options.prefix}/*"
    elif "key" in said:
        right = f"~{options.prefix}:*"
    elif command is not None:
        right = f"+{(command[1] or command[2]).lower()}"
    else:
        return ""
    return f"ACL SETUSER {options.user or 'default'} {right}"


# On the keys that servers have


async def _take_away(engine: RedisEngine, keys: Keys, probe: Probe) -> None:
    """Remove the keys that were made; what may not be removed ends by itself."""
    group = probe.group
    names = (keys.position(group), keys.stream(group), keys.idempotency(group, probe.key), keys.presence(group))
    with contextlib.suppress(EngineError):
        await engine.client.pipeline.call("check", "DEL", *names)


async def _living(engine: RedisEngine, keys: Keys, probe: Probe) -> int:
    """Return how many processes live, without this one."""
    names = await engine.client.pipeline.run(scripts.ALIVE, [keys.processes], is_repeatable=True)
    return sum(not name.decode().startswith(probe.process) for name in names)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."
