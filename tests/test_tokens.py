"""Making tokens: what a view gives is what the verifier accepts."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import antiphon
from antiphon import app as module
from antiphon.app import current_app
from antiphon.counters import Counters
from antiphon.exceptions import (
    ConfigurationError,
    InvalidName,
    NotEncodable,
    TokenExpired,
    TokenInvalid,
    TokenMismatch,
    UsageError,
)
from antiphon.jws import ALGORITHMS, LONGEST, take_apart
from antiphon.keyring import open_verifier
from antiphon.keys import Keys, public_keys, secret_key
from antiphon.tokens import connection_token, subscription_token
from antiphon.verifier import ConnectionToken, Overrides, Subscription, SubscriptionToken, Verifier
from antiphon.wire.plain import encode

from .forge import OTHER_SECRET, SECRET, key_for, private_pem, public_pem

WHEN = 1_700_000_000


@pytest.fixture(autouse=True)
def fresh_antiphon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process with one secret, at a time that does not go on."""
    monkeypatch.setattr(module, "_app", None)
    monkeypatch.setattr(module, "_configured", {})
    for name in list(os.environ):
        if name.startswith("ANTIPHON_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(time, "time", lambda: WHEN + 0.75)
    antiphon.configure(token_secrets=[SECRET, OTHER_SECRET])


def verifier() -> Verifier:
    """That of the configuration."""
    found = open_verifier(current_app().config, clock=time.monotonic, counters=Counters())
    assert found is not None
    return found


def connection(text: str, now: float = WHEN + 1) -> ConnectionToken:
    return verifier().connection(text, now)


def subscription(text: str, *, group: str = "news", user: str = "7", now: float = WHEN + 1) -> SubscriptionToken:
    return verifier().subscription(text, group=group, user=user, client="c1", now=now)


def test_a_token_for_a_connection() -> None:
    said = connection(connection_token("7"))
    assert said == ConnectionToken(user="7", expires_at=WHEN + 3600, info=None, groups=(), subscriptions={}, meta={})
    said = connection(
        connection_token("7", expires_in=60.5, info={"name": "Ann"}, groups=("news", "sport"), meta={"plan": "free"})
    )
    assert said == ConnectionToken(
        user="7",
        expires_at=WHEN + 61,
        info=b'{"name":"Ann"}',
        groups=("news", "sport"),
        subscriptions={},
        meta={"plan": "free"},
    )


def test_a_token_for_a_subscription() -> None:
    assert subscription(subscription_token("7", "news")) == SubscriptionToken(expires_at=WHEN + 3600)
    options = Overrides(presence=True, force_recovery=False)
    text = subscription_token("7", "news", expires_in=None, info=[1], data={"a": None}, options=options)
    assert subscription(text) == SubscriptionToken(expires_at=None, info=b"[1]", data=b'{"a":null}', options=options)
    assert isinstance(subscription(text), Subscription)
    with pytest.raises(TokenMismatch):
        subscription(text, group="sport")
    with pytest.raises(TokenMismatch):
        subscription(text, user="8")


def test_a_token_expires_but_for_none() -> None:
    text = connection_token("7", expires_in=60)
    assert connection(text, WHEN + 69).user == "7"
    with pytest.raises(TokenExpired):
        connection(text, WHEN + 70)
    assert connection(connection_token("7", expires_in=None), WHEN + 10**10).expires_at is None


def test_an_empty_user_and_an_empty_document_are_said() -> None:
    assert connection(connection_token("", info={})).user == ""
    documents: list[Any] = [{}, [], "", 0, False]
    for info in documents:
        assert connection(connection_token("7", info=info)).info == encode(info)


def test_the_first_secret_signs() -> None:
    text = connection_token("7")
    assert secret_key(SECRET, "it").fits(take_apart(text))
    assert take_apart(text).kid is None
    antiphon.configure(token_secrets=[OTHER_SECRET, SECRET])
    assert not secret_key(SECRET, "it").fits(take_apart(connection_token("7")))
    assert connection(text).user == "7", "the second is accepted still"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_is_signed_with_the_key_that_is_given(algorithm: str) -> None:
    key = key_for(algorithm, "own")
    given_key = key if isinstance(key, str) else private_pem(key)
    own = [secret_key(key, "it")] if isinstance(key, str) else public_keys(public_pem(key), "it")
    for text in (
        connection_token("7", key=given_key, algorithm=algorithm, kid="one"),
        subscription_token("7", "news", key=given_key, algorithm=algorithm, kid="one"),
    ):
        assert take_apart(text).kid == "one"
        assert take_apart(text).algorithm == algorithm
        assert own[0].fits(take_apart(text))
        with pytest.raises(TokenInvalid):
            connection(text)
    assert Verifier(Keys(own)).connection(connection_token("7", key=given_key, algorithm=algorithm), WHEN).user == "7"


def test_audience_and_issuer_are_those_of_the_configuration() -> None:
    antiphon.configure(token_secrets=[SECRET], token_audience="chat", token_issuer="me")
    assert connection(connection_token("7")).user == "7"
    assert subscription(subscription_token("7", "news")).expires_at == WHEN + 3600


@pytest.mark.parametrize(
    "make", [connection_token, lambda user, **options: subscription_token(user, "news", **options)]
)
def test_without_a_key_that_fits_nothing_is_signed(make: Callable[..., str]) -> None:
    with pytest.raises(ConfigurationError, match="pass it as key"):
        make("7", algorithm="RS256")
    with pytest.raises(ConfigurationError, match="pass it as key"):
        make("7", algorithm="none")
    with pytest.raises(ConfigurationError, match=r"^the key has 5 bytes"):
        make("7", key="short")
    antiphon.configure(token_secrets=["x" * 32])
    with pytest.raises(ConfigurationError, match="not for HS512, which takes 64 bytes or more"):
        make("7", algorithm="HS512")
    antiphon.configure()
    with pytest.raises(ConfigurationError, match=r"^there is no secret to sign tokens with: set token_secrets"):
        make("7")
    assert make("7", key=SECRET)


@pytest.mark.parametrize("user", [7, None, b"7", True, ["7"]], ids=repr)
def test_a_user_is_text(user: Any) -> None:
    with pytest.raises(UsageError, match=r"str\(request.user.pk\)"):
        connection_token(user)
    with pytest.raises(UsageError, match=r"str\(request.user.pk\)"):
        subscription_token(user, "news")


def test_a_subclass_of_text_is_text() -> None:
    class Safe(str):
        __slots__ = ()

    assert connection(connection_token(Safe("7"), groups=[Safe("news")], info=Safe("a"))).groups == ("news",)


@pytest.mark.parametrize("name", ["", "a\n", "a" * 256, 5, None])
def test_a_group_has_a_name_that_can_be(name: Any) -> None:
    with pytest.raises(InvalidName):
        connection_token("7", groups=[name])
    with pytest.raises(InvalidName):
        subscription_token("7", name)


def test_arguments_that_can_not_be_are_named() -> None:
    for expires_in in (0, -1, float("nan"), float("inf"), 1e300):
        with pytest.raises(UsageError, match=r"^expires_in is "):
            connection_token("7", expires_in=expires_in)
    with pytest.raises(UsageError, match=r"^groups is the text 'news'; it takes a list"):
        connection_token("7", groups="news")
    with pytest.raises(UsageError, match=r"^meta is of type list; it takes a dict"):
        connection_token("7", meta=[])  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [object(), lambda: 0, 2**64, "\ud800", {"a": -(2**63) - 1}])
def test_what_would_be_refused_is_not_signed(content: Any) -> None:
    with pytest.raises(NotEncodable):
        connection_token("7", info=content)
    with pytest.raises(NotEncodable):
        subscription_token("7", "news", data=content)
    with pytest.raises(NotEncodable):
        connection_token("7", meta={"a": content})


def test_a_token_that_is_too_long_is_not_made() -> None:
    assert len(connection_token("7", info="x" * 5900)) < LONGEST
    with pytest.raises(UsageError, match=f"{LONGEST} are the most"):
        connection_token("7", info="x" * 6100)


def test_a_secret_is_in_no_error() -> None:
    for options in ({"algorithm": "RS256", "key": SECRET}, {"algorithm": "HS1", "key": SECRET}, {"key": SECRET + "\n"}):
        with pytest.raises(ConfigurationError) as raised:
            connection_token("7", **options)  # type: ignore[arg-type]
        assert SECRET not in str(raised.value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
names = st.text(min_size=1, max_size=20).filter(str.isprintable)


@given(st.text(max_size=20), json_values, st.lists(names, max_size=4, unique=True), st.floats(1, 1e9))
def test_what_is_made_is_accepted(user: str, info: Any, groups: list[str], expires_in: float) -> None:
    text = connection_token(user, info=info, groups=groups, meta={"info": info}, expires_in=expires_in, key=SECRET)
    said = Verifier(Keys([secret_key(SECRET, "it")])).connection(text, WHEN)
    assert said.user == user
    assert said.groups == tuple(groups)
    assert said.meta == {"info": info}
    assert (said.info is None) == (info is None)
    assert said.expires_at == WHEN + math.ceil(expires_in)
