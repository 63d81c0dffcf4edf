"""The long form, from the command line: ``scripts/chaos --help``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.integration.servers import Servers, clean_environment

from .plan import Plan, sqlite_url
from .redisset import RedisSet
from .run import run, spawn
from .storm import storm


def main() -> int:
    """Run what the command line says; 0: nothing was lost that nobody was told of."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description="Break connections, and see what is lost.")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--publications", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=300, help="over which they are published")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="what goes wrong is drawn with it")
    parser.add_argument("--sdks", type=int, default=10, help="how many real SDKs in each encoding")
    parser.add_argument("--pages", type=int, default=40, help="how many of antiphon's own client for browsers")
    parser.add_argument("--workers", type=int, default=1, help="with more than one they are killed and frozen, too")
    parser.add_argument(
        "--engine",
        choices=["memory", "sqlite", "redis"],
        default="memory",
        help="sqlite or redis for several workers; the servers of redis are killed, frozen, cut off and replaced",
    )
    parser.add_argument(
        "--calm", type=float, help="seconds between two things that a worker suffers, about: 8, with redis 40; 0: none"
    )
    parser.add_argument("--redis-calm", type=float, default=5, help="the same of Redis, beyond what recovery takes")
    parser.add_argument("--mischief", type=float, default=6, help="things that go wrong per second")
    parser.add_argument("--carrier", type=int, default=0, help="lose, repeat and delay one in so many below the hub")
    parser.add_argument("--refusal", type=int, default=0, help="with several workers: let one in so many fail")
    parser.add_argument("--fault", default="", help="break antiphon, to see it noticed: drop:1000, repeat:1000, …")
    parser.add_argument("--log", type=Path, help="the file in which to keep what the server says")
    parser.add_argument("--storm", type=int, default=0, help="instead: so many clients come back at the same moment")
    arguments = parser.parse_args()
    if arguments.workers > 1 and arguments.engine == "memory":
        parser.error("the memory engine lives in one process: several workers need --engine sqlite or redis")
    if arguments.workers == 1 and arguments.engine == "redis":
        parser.error("with --engine redis there are several workers: --workers 2")
    begun = time.monotonic()

    def say(words: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {words}", flush=True)

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(RedisSet(folder)) if arguments.engine == "redis" else None
        plan = _plan(arguments, redis.engine if redis is not None else sqlite_url(folder))
        servers = Servers(folder, clean_environment())
        stack.callback(servers.close)
        try:
            say(f"seed {plan.seed}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
            if arguments.storm:
                return asyncio.run(storm(servers, arguments.storm, say))
            server = spawn(servers, plan)
            if arguments.log:
                stack.callback(lambda: arguments.log.write_text(server.log()))
            verdict = asyncio.run(run(server, plan, say, redis))
        except KeyboardInterrupt:
            say("interrupted: no verdict")
            return 130
    print(verdict.text(), flush=True)
    return 1 if verdict.findings else 0


def _plan(arguments: argparse.Namespace, shared_engine: str) -> Plan:
    calm = arguments.calm if arguments.calm is not None else 40 if arguments.engine == "redis" else 8
    environment = {"CHAOS_FAULT": arguments.fault} if arguments.fault else {}
    if arguments.carrier:
        environment["CHAOS_CARRIER"] = str(arguments.carrier)
    if arguments.refusal:
        environment["CHAOS_REFUSAL"] = str(arguments.refusal)
    return Plan(
        seed=arguments.seed,
        clients=arguments.clients,
        publications=arguments.publications,
        seconds=arguments.seconds,
        sdks=arguments.sdks,
        pages=arguments.pages,
        engine="memory://" if arguments.engine == "memory" else shared_engine,
        workers=arguments.workers,
        calm=calm,
        redis_calm=arguments.redis_calm,
        mischief=arguments.mischief,
        patience=60,
        environment=environment,
    )


if __name__ == "__main__":
    sys.exit(main())
