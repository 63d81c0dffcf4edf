"""Which tokens are accepted, and what they say: Centrifugo's conventions for the claims of a JWT (RFC 7519).

A *connection token* says who a client is, and a *subscription token* that it may have one group.

Laws:
- no claim is read before the signature has been found to fit;
- a claim that is there and can't be is refused; a claim that is not known is left alone;
- ``exp``, ``nbf`` and ``iat`` are compared with ``now``, which the caller passes, and so is the audience or issuer that
  the configuration names;
- one token is not the other: a subscription token opens no connection, and a connection token no group;
- names are compared character by character: what looks alike is not the same.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from antiphon.exceptions import InvalidName, TokenExpired, TokenInvalid, TokenMismatch
from antiphon.jws import read_json, take_apart
from antiphon.keys import SECRET_BYTES, KeySource
from antiphon.names import check_group_name

__all__ = ["LATEST", "ConnectionToken", "Overrides", "Subscription", "SubscriptionToken", "Verifier"]

Claims = dict[str, Any]
Value = TypeVar("Value")

#: The end of the year 9999. What lies behind it was meant to be milliseconds.
LATEST = 253_402_300_799


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says about a subscription in place of the group's rule; None: nothing."""

    presence: bool | None = None
    join_leave: bool | None = None
    force_recovery: bool | None = None
    force_positioning: bool | None = None
    force_push_join_leave: bool | None = None


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says about one subscription: ``info`` is for presence, ``data`` for the client; both are JSON."""

    info: bytes | None = None
    data: bytes | None = None
    options: Overrides = Overrides()


class SubscriptionToken(Subscription, frozen=True, kw_only=True):
    """What a subscription token says; ``expires_at`` is when the subscription ends, seconds since 1970, or None."""

    expires_at: float | None


class ConnectionToken(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection token says.

    ``user`` is empty for somebody unknown. ``expires_at`` is when the connection ends, seconds since 1970, or None; it
    may be past by less than the leeway. ``info`` is JSON. ``groups`` are those that the connection is to join, and
    ``subscriptions`` has more about some of them. ``meta`` is for the application alone.
    """

    user: str
    expires_at: float | None
    info: bytes | None
    groups: tuple[str, ...]
    subscriptions: Mapping[str, Subscription]
    meta: Mapping[str, Any]


class Verifier:
    """Reads tokens that are signed with one of ``keys``.

    ``audience`` and ``issuer``, where they are not empty, are what a token has to name. ``leeway`` is in seconds.
    """

    def __init__(self, keys: KeySource, *, audience: str = "", issuer: str = "", leeway: float = 0.0) -> None:
        self._keys = keys
        self._audience = audience
        self._issuer = issuer
        self._leeway = leeway

    def connection(self, token: str, now: float) -> ConnectionToken:
        """Return what a connection token says; raise ``TokenExpired`` or ``TokenInvalid``."""
        claims = self._claims(token, now)
        if claims.get("channel") is not None:
            raise TokenInvalid("it is a subscription token (it has a channel), and opens no connection")
        subscriptions = _subscriptions(claims)
        return ConnectionToken(
            user=_user(claims),
            expires_at=self._expires_at(claims, now),
            info=_document(claims, "info"),
            groups=tuple(dict.fromkeys([*_channels(claims), *subscriptions])),
            subscriptions=subscriptions,
            meta=_optional(claims, "meta", dict) or {},
        )

    def subscription(self, token: str, *, group: str, user: str, client: str, now: float) -> SubscriptionToken:
        """Return what a subscription token says that came for ``group``, from ``user`` on the connection ``client``.

        Raises ``TokenExpired``, ``TokenInvalid``; ``TokenMismatch`` if it is for another of the three.
        """
        claims = self._claims(token, now)
        if "channel" not in claims:
            raise TokenInvalid("it names no channel, and so it is no subscription token")
        _compare("group", _required(claims, "channel", str), group)
        _compare("user", _user(claims), user)
        named = _optional(claims, "client", str)
        if named is not None:
            _compare("client", named, client)
        return SubscriptionToken(
            expires_at=self._expires_at(claims, now),
            info=_document(claims, "info"),
            data=_document(claims, "data"),
            options=_overrides(claims),
        )

    def _claims(self, token: str, now: float) -> Claims:
        """Return the claims of a token whose signature, audience, issuer and time are right."""
        jws = take_apart(token)
        keys = self._keys.find(jws.algorithm, jws.kid)
        if not keys:
            raise TokenInvalid(_no_key(jws.algorithm, jws.kid))
        if not any(key.fits(jws) for key in keys):
            raise TokenInvalid(f"its signature does not fit (asked: {len(keys)} of the keys, for {jws.algorithm})")
        try:
            claims = read_json(jws.payload)
        except ValueError as error:
            raise TokenInvalid(f"what it says is not JSON: {error}") from None
        if not isinstance(claims, dict):
            raise TokenInvalid("what it says is JSON, but no object of claims")
        self._check_addressee(claims)
        self._check_time(claims, now)
        return claims

    def _check_addressee(self, claims: Claims) -> None:
        audiences = _audiences(claims)
        if self._audience and self._audience not in audiences:
            raise TokenInvalid(f"it is for {_shown(audiences)}, and token_audience is {self._audience!r}")
        # RFC 7519 §4.1.3: who is not among those whom a token is for must refuse it.
        if audiences and not self._audience:
            raise TokenInvalid(f"it is for {_shown(audiences)}; if that is here, say so in token_audience")
        if self._issuer and _optional(claims, "iss", str) != self._issuer:
            raise TokenInvalid(f"its issuer is another than token_issuer, which is {self._issuer!r}")

    def _check_time(self, claims: Claims, now: float) -> None:
        expires, begins, issued = (_time(claims, name) for name in ("exp", "nbf", "iat"))
        if expires is not None and now >= expires + self._leeway:
            raise TokenExpired(f"it expired {now - expires:.0f} seconds ago")
        for name, time in (("nbf", begins), ("iat", issued)):
            if time is not None and now < time - self._leeway:
                raise TokenExpired(f"it is not valid yet: its {name} is {time - now:.0f} seconds from now")

    def _expires_at(self, claims: Claims, now: float) -> float | None:
        """Return when what the token opens comes to its end: ``expire_at`` (0: never), or else ``exp``."""
        if claims.get("expire_at") is None:
            return _time(claims, "exp")
        time = _time(claims, "expire_at")
        if time is not None and time < 0:
            raise TokenInvalid("its claim expire_at is negative; 0 is for never")
        if time and now >= time + self._leeway:
            raise TokenExpired(f"its expire_at was {now - time:.0f} seconds ago")
        return time or None


def _no_key(algorithm: str, kid: str | None) -> str:
    words = f"no key is for {algorithm}" + (f" and has the kid {kid!r:.80}" if kid is not None else "")
    least = SECRET_BYTES.get(algorithm, 0)
    return words + (f"; a secret has {least} bytes or more for it" if least > SECRET_BYTES["HS256"] else "")


def _compare(what: str, named: str, wanted: str) -> None:
    if named != wanted:
        raise TokenMismatch(f"it is for {what} {named!r:.120}, and came for {wanted!r:.120}")


def _shown(texts: list[str]) -> str:
    return f"{', '.join(map(repr, texts)):.200}" or "nobody"


_WORDS = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}


def _wrong(name: str, value: Any, wanted: str) -> TokenInvalid:
    return TokenInvalid(f"its claim {name} is {_WORDS.get(type(value), 'null')}, and not {wanted}")


def _required(claims: Claims, name: str, kind: type[Value]) -> Value:
    value = claims[name]
    if not isinstance(value, kind):
        raise _wrong(name, value, _WORDS[kind])
    return value


def _optional(claims: Claims, name: str, kind: type[Value]) -> Value | None:
    """Return a claim that may be left out, or be null: so issuers in Go write what is empty."""
    return None if claims.get(name) is None else _required(claims, name, kind)


def _user(claims: Claims) -> str:
    # Tokens of other kinds may be signed with the same key, and name their user elsewhere: they are nobody's here.
    if "sub" not in claims:
        raise TokenInvalid("it has no sub, which names the user; for somebody unknown it is empty")
    return _required(claims, "sub", str)


def _time(claims: Claims, name: str) -> float | None:
    """Return a time (RFC 7519 §2, NumericDate), or None where there is none; null is no way to say never."""
    if name not in claims:
        return None
    value = claims[name]
    if type(value) not in (int, float):
        raise _wrong(name, value, "a number of seconds since 1970")
    if not -LATEST <= value <= LATEST:
        raise TokenInvalid(f"its claim {name} is behind the year 9999; times are seconds since 1970, not milliseconds")
    return float(value)


def _audiences(claims: Claims) -> list[str]:
    value = claims.get("aud")
    audiences = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(each, str) for each in audiences):
        raise TokenInvalid("its claim aud is neither text nor a list of texts")
    return audiences


def _document(claims: Claims, name: str) -> bytes | None:
    """Return a claim that may be anything, as JSON: ``b64…`` has it in base64, and comes first."""
    encoded = _optional(claims, f"b64{name}", str)
    if not encoded:
        # Written anew, JSON is on one line.
        return None if claims.get(name) is None else msgspec.json.encode(claims[name])
    try:
        document = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise TokenInvalid(f"its claim b64{name} is not base64") from None
    try:
        return msgspec.json.encode(read_json(document))
    except ValueError as error:
        raise TokenInvalid(f"its claim b64{name} is not JSON: {error}") from None


def _group(name: object) -> str:
    try:
        return check_group_name(name)
    except InvalidName as error:
        raise TokenInvalid(f"of its groups one has a name that can't be: {error}") from None


def _channels(claims: Claims) -> list[str]:
    return [_group(name) for name in _optional(claims, "channels", list) or ()]


def _subscriptions(claims: Claims) -> dict[str, Subscription]:
    members = _optional(claims, "subs", dict) or {}
    return {_group(name): _subscription(members, name) for name in members}


def _subscription(members: Claims, name: str) -> Subscription:
    content = _optional(members, name, dict) or {}
    return Subscription(info=_document(content, "info"), data=_document(content, "data"), options=_overrides(content))


def _overrides(claims: Claims) -> Overrides:
    given = _optional(claims, "override", dict) or {}
    return Overrides(**{name: _switch(given, name) for name in Overrides.__struct_fields__})


def _switch(given: Claims, name: str) -> bool | None:
    """Return what ``{"value": true}`` says; without a value it is false: so issuers in Go write that."""
    content = _optional(given, name, dict)
    return None if content is None else _optional(content, "value", bool) or False
