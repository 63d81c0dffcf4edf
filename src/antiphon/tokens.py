"""Making tokens, in a view that a page asks for one: who the client is, or that it may have a group.

They are what ``antiphon.verifier`` reads, and what Centrifugo reads. By default they are signed with the first of
``token_secrets``, and name ``token_audience`` and ``token_issuer`` where the configuration does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

from antiphon.app import current_app
from antiphon.exceptions import ConfigurationError, NotEncodable, UsageError
from antiphon.jws import LONGEST, read_json
from antiphon.keys import SECRET_BYTES, sign
from antiphon.names import check_group_name
from antiphon.verifier import LATEST, Overrides
from antiphon.wire.plain import encode

__all__ = ["connection_token", "subscription_token"]


def connection_token(
    user: str,
    *,
    expires_in: float | None = 3600.0,
    info: Any = None,
    groups: Iterable[str] = (),
    meta: Mapping[str, Any] | None = None,
    key: str | bytes | None = None,
    algorithm: str = "HS256",
    kid: str | None = None,
) -> str:
    """Return a token that says that its bearer is ``user``; an empty text is for somebody unknown.

    ``expires_in`` is in seconds; None: never. ``info`` is JSON that other members see in presence, ``meta`` a dict for
    the application alone, and the connection joins ``groups``. ``key`` is a secret, or for RS… and ES… a private key in
    PEM; ``kid`` names it. Raises ``UsageError`` (``InvalidName``, ``NotEncodable``), and ``ConfigurationError`` for a
    key that can't be.
    """
    if isinstance(groups, str):
        raise UsageError(f"groups is the text {groups!r:.120}; it takes a list of names")
    if meta is not None and not isinstance(meta, Mapping):
        raise UsageError(f"meta is of type {type(meta).__name__}; it takes a dict")
    claims = {"channels": [check_group_name(name) for name in groups] or None, "info": info, "meta": meta}
    return _token(user, expires_in, claims, key, algorithm, kid)


def subscription_token(
    user: str,
    group: str,
    *,
    expires_in: float | None = 3600.0,
    info: Any = None,
    data: Any = None,
    options: Overrides | None = None,
    key: str | bytes | None = None,
    algorithm: str = "HS256",
    kid: str | None = None,
) -> str:
    """Return a token that says that ``user`` may subscribe to ``group``.

    ``data`` is JSON that the client gets with the subscription, and ``options`` take the place of settings of the
    group's rule; the rest is as for ``connection_token``.
    """
    chosen = {name: getattr(options, name) for name in Overrides.__struct_fields__} if options is not None else {}
    override = {name: {"value": value} for name, value in chosen.items() if value is not None} or None
    claims = {"channel": check_group_name(group), "info": info, "data": data, "override": override}
    return _token(user, expires_in, claims, key, algorithm, kid)


def _token(
    user: str,
    expires_in: float | None,
    claims: Mapping[str, Any],
    key: str | bytes | None,
    algorithm: str,
    kid: str | None,
) -> str:
    if not isinstance(user, str):
        raise UsageError(f"user is of type {type(user).__name__}; it takes text, like str(request.user.pk)")
    config = current_app().config
    now = int(time.time())
    content = {
        "sub": user,
        "iat": now,
        "exp": _end(now, expires_in),
        "aud": config.token_audience or None,
        "iss": config.token_issuer or None,
        **claims,
    }
    payload = encode({name: value for name, value in content.items() if value is not None})
    try:
        read_json(payload)  # what would be refused is not signed
    except ValueError as error:
        raise NotEncodable(f"what this token says would be refused: {error}") from None
    token = sign(payload, key if key is not None else _first_secret(config.token_secrets, algorithm), algorithm, kid)
    if len(token) > LONGEST:
        raise UsageError(f"this token has {len(token)} characters, and {LONGEST} are the most that are read")
    return token


def _end(now: int, expires_in: float | None) -> int | None:
    if expires_in is None:
        return None
    if not 0 < expires_in < LATEST - now:
        raise UsageError(f"expires_in is {expires_in!r}; it takes a number of seconds over 0, or None for never")
    return now + math.ceil(expires_in)


def _first_secret(secrets: tuple[str, ...], algorithm: str) -> str:
    if algorithm not in SECRET_BYTES:
        raise ConfigurationError(f"a token is signed by {algorithm!r:.40} with a private key: pass it as key")
    if not secrets:
        raise ConfigurationError("there is no secret to sign tokens with: set token_secrets, or pass key")
    return secrets[0]
