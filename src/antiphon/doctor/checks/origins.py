"""Which web pages may connect (RFC 6455 §10.2): a browser lets every page try, and sends the site's cookies along.

antiphon's consumers look at the ``Origin`` header themselves. Channels' do not: a validator has to stand before them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from antiphon.doctor.checks.scope import COOKIES, SESSION
from antiphon.doctor.consumer import Consumer, Family
from antiphon.doctor.finding import Check, Level, Place, Spot
from antiphon.doctor.project import Project
from antiphon.doctor.route import Middleware, Route
from antiphon.doctor.source import words_of

__all__ = ["CHECKS"]

VALIDATOR = "channels.security.websocket.OriginValidator"
#: How code of somebody's own that sees to origins would speak of them.
_OWN_CHECK = re.compile(r"(?:\b|_)origins?(?:\b|_)|allowed_?hosts|originvalidator")


def no_origin_check(project: Project) -> Iterator[Spot]:
    """Find consumers of Channels' that pages of any site can connect to."""
    seen: set[Consumer] = set()
    for route in project.routes:
        consumer = route.consumer
        if consumer in seen or consumer.family is not Family.CHANNELS or not route.is_websocket or _is_checked(route):
            continue
        seen.add(consumer)
        carried = ", with the cookies of whoever looks at it" if _has_cookies(route) else ""
        place, line = _websocket_line(project)
        yield Spot(
            consumer.place,
            f"Any web page, of any site, can connect to {consumer.name}{_by(route)}{carried}: no middleware on the way "
            "looks at the Origin header.",
            "Put AllowedHostsOriginValidator around "
            f"everything{f' at {place}' if place else ', in the ASGI application'}:",
            f"from channels.security.websocket import AllowedHostsOriginValidator\n{line}",
        )


def _by(route: Route) -> str:
    return f" (by {route.pattern!r})" if route.pattern else ""


def _is_checked(route: Route) -> bool:
    """Tell whether something on the way, or the consumer itself, sees to origins or may do so."""
    if route.passes(VALIDATOR):
        return True
    theirs = [middleware.words for middleware in route.middlewares if not middleware.is_known]
    own = [words_of(each.node) for each in route.consumer.classes]
    return not all(theirs) or any(map(_speaks_of_origins, theirs + own))


def _speaks_of_origins(words: frozenset[str]) -> bool:
    return any(_OWN_CHECK.search(word) for word in words)


def _has_cookies(route: Route) -> bool:
    return route.passes(COOKIES) or route.passes(SESSION)


def _websocket_line(project: Project) -> tuple[Place | None, str]:
    """Return where the application names what serves WebSockets, and that line with the validator in it."""
    module = project.application.rpartition(".")[0].replace(".", "/")
    for source in project.sources:
        if not module or not source.path.as_posix().endswith((f"{module}.py", f"{module}/__init__.py")):
            continue
        for node in ast.walk(source.tree):
            for key, value in zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ():
                if isinstance(key, ast.Constant) and key.value == "websocket":
                    line = f'"websocket": AllowedHostsOriginValidator({ast.unparse(value)}),'
                    return source.place(key), line if len(
                        line
                    ) < 200 else '"websocket": AllowedHostsOriginValidator(…),'
    return None, '"websocket": AllowedHostsOriginValidator(…),'


def every_origin_allowed(project: Project) -> Iterator[Spot]:
    """Find the option that lets every page in, where users are known by their cookies."""
    variable = "ANTIPHON_ALLOWED_ORIGINS"
    place = Place(variable if variable in project.environment else 'ANTIPHON["allowed_origins"]')
    if project.config is None or "*" not in project.config.allowed_origins:
        return
    for route in project.routes:
        is_open = not any(_admits_some(middleware) for middleware in route.middlewares)
        if route.consumer.family is Family.ANTIPHON and _has_cookies(route) and is_open:
            yield Spot(
                place,
                f'allowed_origins has "*", and {route.consumer.name}{_by(route)} gets the user\'s cookies: every web '
                "page can "
                "connect as whoever looks at it.",
                "Name the pages that may connect; those of the server's own host may anyway:",
                '"allowed_origins": ["https://www.example.com"]',
            )
            return


def _admits_some(middleware: Middleware) -> bool:
    """Tell whether it is a validator that does not admit all."""
    return middleware.origins is not None and "*" not in middleware.origins


def validator_admits_all(project: Project) -> Iterator[Spot]:
    """Find a validator that admits every page to a consumer of Channels'."""
    for route in project.routes:
        validators = [each for each in route.middlewares if each.origins is not None]
        if route.consumer.family is not Family.CHANNELS or not validators or any(map(_admits_some, validators)):
            continue
        is_by_hosts = "*" in project.settings.get("ALLOWED_HOSTS", ())
        what = "ALLOWED_HOSTS" if is_by_hosts else "allowed_origins"
        yield Spot(
            Place("ALLOWED_HOSTS" if is_by_hosts else project.application),
            f'{what} has "*", so that the validator before {route.consumer.name}{_by(route)} admits the pages of every '
            "site.",
            "Name the hosts that the site is served under:" if is_by_hosts else "Name the pages that may connect:",
            'ALLOWED_HOSTS = ["www.example.com"]'
            if is_by_hosts
            else 'OriginValidator(application, ["https://www.example.com"])',
        )
        return


CHECKS = [
    Check(
        "no-origin-check",
        Level.ERROR,
        "A consumer of Channels' can be reached without `OriginValidator` or `AllowedHostsOriginValidator` on the way: "
        "pages of every site can connect, with the cookies of those who look at them. antiphon's consumers check the "
        "origin by themselves.",
        no_origin_check,
    ),
    Check(
        "every-origin-allowed",
        Level.WARNING,
        'antiphon\'s `allowed_origins` has `"*"`, and a consumer behind it knows users by their cookies.',
        every_origin_allowed,
    ),
    Check(
        "validator-admits-all",
        Level.WARNING,
        'The validator before a consumer of Channels\' admits every page: `ALLOWED_HOSTS` has `"*"`, or its own list.',
        validator_admits_all,
    ),
]
