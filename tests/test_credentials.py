"""Tokens of a client on the Centrifuge wire: what they open, when they end, and what is said of bad ones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from antiphon.config import Config
from antiphon.counters import Counters
from antiphon.credentials import GRACE, Credentials, ttl_of
from antiphon.exceptions import TokenExpired, TokenInvalid, TokenMismatch
from antiphon.keyring import open_verifier
from antiphon.tokens import connection_token, subscription_token
from antiphon.verifier import Verifier

from .fakes import on_jumping_loop, until

SECRET = "a secret that is long enough for HMAC with SHA-256"


def make_verifier() -> Verifier:
    verifier = open_verifier(Config(token_secrets=(SECRET,)), clock=time.monotonic, counters=Counters())
    assert verifier is not None
    return verifier


class Holder:
    """Credentials, and what they have told."""

    def __init__(self, verifier: Verifier | None = None) -> None:
        self.expirations = 0
        self.ended: list[str] = []
        self.credentials = Credentials(verifier or make_verifier(), expired=self.expired, ended=self.ended.append)

    def expired(self) -> None:
        self.expirations += 1

    def show(self, user: str = "ada", **options: Any) -> None:
        self.credentials.show(connection_token(user, key=SECRET, **options))

    def show_for(self, group: str, user: str = "ada", token_user: str = "ada", **options: Any) -> Any:
        token = subscription_token(token_user, options.pop("token_group", group), key=SECRET, **options)
        return self.credentials.show_for(group, token, user=user, client="c")


@on_jumping_loop
async def test_a_token_says_who_the_client_is_and_for_how_long() -> None:
    holder = Holder()
    assert (holder.credentials.token, holder.credentials.ttl) == (None, None)
    holder.show(expires_in=60, groups=["a"], info={"name": "Ada"})
    token = holder.credentials.token
    assert token is not None
    assert (token.user, token.groups, token.info) == ("ada", ("a",), b'{"name":"Ada"}')
    assert holder.credentials.ttl in (59, 60)
    holder.credentials.close()


@on_jumping_loop
async def test_a_token_without_an_end_has_no_ttl() -> None:
    holder = Holder()
    holder.show(expires_in=None)
    assert holder.credentials.ttl is None
    assert ttl_of(holder.show_for("room", expires_in=None)) is None


@on_jumping_loop
async def test_a_connection_ends_some_time_after_its_token() -> None:
    holder = Holder()
    holder.show(expires_in=10)
    await until(lambda: holder.expirations)
    assert holder.expirations == 1


@on_jumping_loop
async def test_a_new_token_makes_it_longer() -> None:
    holder = Holder()
    loop_time = asyncio.get_running_loop().time
    holder.show(expires_in=10)
    holder.show(expires_in=1000)
    await until(lambda: holder.expirations, rounds=20_000)
    assert loop_time() >= 1000 + GRACE - 1


@on_jumping_loop
async def test_a_new_token_is_the_same_users() -> None:
    holder = Holder()
    holder.show("ada")
    with pytest.raises(TokenMismatch):
        holder.show("alan")
    assert holder.credentials.token is not None
    assert holder.credentials.token.user == "ada"
    holder.credentials.close()


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: connection_token("ada", key="another secret, which nobody here knows of"), TokenInvalid),
        (lambda: "no token", TokenInvalid),
        (lambda: subscription_token("ada", "room", key=SECRET), TokenInvalid),
    ],
)
def test_a_bad_token_changes_nothing(make: Callable[[], str], error: type[Exception]) -> None:
    @on_jumping_loop
    async def main() -> None:
        holder = Holder()
        with pytest.raises(error):
            holder.credentials.show(make())
        assert holder.credentials.token is None

    main()


@on_jumping_loop
async def test_a_subscription_ends_by_itself() -> None:
    holder = Holder()
    assert ttl_of(holder.show_for("room", expires_in=10)) in (9, 10)
    holder.show_for("other", expires_in=None)
    await until(lambda: holder.ended)
    assert (holder.ended, holder.expirations) == (["room"], 0)


@on_jumping_loop
async def test_a_subscription_that_is_over_does_not_end_again() -> None:
    holder = Holder()
    holder.show_for("room", expires_in=10)
    holder.credentials.forget("room")
    holder.credentials.forget("room")
    holder.show_for("other", expires_in=20)
    await until(lambda: holder.ended)
    assert holder.ended == ["other"]


@pytest.mark.parametrize("options", [{"token_user": "bob"}, {"token_group": "another"}])
def test_a_token_for_another_user_or_group_opens_nothing(options: dict[str, str]) -> None:
    @on_jumping_loop
    async def main() -> None:
        with pytest.raises(TokenMismatch):
            Holder().show_for("room", **options)

    main()


@on_jumping_loop
async def test_an_expired_subscription_token_opens_nothing() -> None:
    holder = Holder()
    token = subscription_token("ada", "room", key=SECRET, expires_in=1)
    real = time.time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("antiphon.credentials.time.time", lambda: real() + 100)
        with pytest.raises(TokenExpired):
            holder.credentials.show_for("room", token, user="ada", client="c")


@on_jumping_loop
async def test_without_keys_tokens_are_not_looked_at() -> None:
    credentials = Credentials(None, expired=lambda: None, ended=lambda group: None)
    assert not credentials.are_checked
    credentials.show("anything")
    assert credentials.token is None
    assert credentials.show_for("room", "anything", user="", client="c") is None


@on_jumping_loop
async def test_nothing_goes_on_after_the_end() -> None:
    holder = Holder()
    holder.show(expires_in=1)
    holder.show_for("room", expires_in=1)
    holder.credentials.close()
    other = Holder()
    other.show(expires_in=100)
    await until(lambda: other.expirations)
    assert (holder.expirations, holder.ended) == (0, [])
