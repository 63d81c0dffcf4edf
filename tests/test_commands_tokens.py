"""Tokens and keyed publishing on the Centrifuge wire, command by command."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from antiphon.credentials import GRACE
from antiphon.tokens import connection_token, subscription_token
from antiphon.wire.centrifuge import codes as wire
from antiphon.wire.centrifuge.commands import REJECT_UNRECOVERED
from antiphon.wire.centrifuge.encoding import JSON, PROTOBUF, Encoding

from .centrifugal import Echo, Sdk, Service
from .fakes import run, settled, until

SECRET = "a secret that is long enough for HMAC with SHA-256"
DENIED = (wire.ERROR_PERMISSION_DENIED, "permission denied")


@pytest.fixture(params=[JSON, PROTOBUF], ids=lambda encoding: encoding.NAME)
def encoding(request: pytest.FixtureRequest) -> Encoding:
    found: Encoding = request.param
    return found


@pytest.fixture
def later() -> Iterator[Callable[[float], None]]:
    """Let the clock on the wall go on."""
    real, gone = time.time, [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("antiphon.credentials.time.time", lambda: real() + gone[0])
        yield lambda seconds: gone.__setitem__(0, gone[0] + seconds)


def served(test: Callable[[Service], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def main() -> None:
        service = await Service.start(token_secrets=[SECRET], **options)
        await test(service)
        await service.stop()

    run(main())


def token(user: str = "ada", **options: Any) -> str:
    return connection_token(user, key=SECRET, **options)


def test_connect_with_a_token_says_when_it_ends_and_joins_its_groups(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        sdk = Sdk(service, encoding=encoding)
        answer = await sdk.ask("connect", token=token(expires_in=60, groups=["kept:a", "open:b"]))
        assert answer["expires"] is True
        assert answer["ttl"] in (59, 60)
        assert set(answer["subs"]) == {"kept:a", "open:b"}
        assert sdk.connection._scope["token"].user == "ada"
        assert sdk.connection.info.user == "ada"
        await sdk.leave()

    served(main)


@pytest.mark.parametrize("bad", ["nonsense", "a.b.c", subscription_token("ada", "room", key=SECRET)])
def test_connect_with_a_bad_token_is_terminal(bad: str, encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        sdk = Sdk(service, encoding=encoding)
        sdk.frame({"connect": {"token": bad}, "id": 1})
        assert (await sdk.over())[0] == wire.CLOSE_INVALID_TOKEN
        assert sdk.answers == {}
        assert service.hub.counters.tokens_refused == 1
        assert sdk.consumer.received == []

    served(main)


def test_connect_with_an_expired_token_is_109_and_lets_the_client_come_back(later: Any, encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        old = token(expires_in=1)
        later(100)
        sdk = Sdk(service, encoding=encoding)
        assert await sdk.ask("connect", token=old) == (wire.ERROR_TOKEN_EXPIRED, "token expired")
        code, _ = await sdk.over()
        assert wire.comes_back(code)

    served(main)


def test_an_empty_token_is_nobody_and_the_consumer_decides() -> None:
    async def main(service: Service) -> None:
        sdk = Sdk(service)
        assert "expires" not in await sdk.ask("connect")
        assert sdk.connection.user_id == ""
        await sdk.leave()

    served(main)


def test_a_connection_whose_token_is_not_renewed_ends_after_the_grace() -> None:
    async def main(service: Service) -> None:
        sdk = await Sdk(service).connected(token=token(expires_in=10))
        began = service.hub.loop.time()
        assert (await sdk.over())[0] == wire.CLOSE_EXPIRED
        assert 9 + GRACE <= service.hub.loop.time() - began <= 11 + GRACE

    served(main, ping_interval=0)


def test_refresh_makes_it_longer(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        sdk = await Sdk(service, encoding=encoding).connected(token=token(expires_in=10))
        answer = await sdk.ask("refresh", token=token(expires_in=1000))
        assert (answer["expires"], answer["client"]) == (True, sdk.connection.client)
        assert answer["ttl"] in (999, 1000)
        await sdk.leave()

    served(main)


@pytest.mark.parametrize(
    ("make", "code"), [(lambda: token("alan"), wire.CLOSE_INVALID_TOKEN), (lambda: "x", wire.CLOSE_INVALID_TOKEN)]
)
def test_refresh_with_another_users_or_a_bad_token_is_terminal(make: Callable[[], str], code: int) -> None:
    async def main(service: Service) -> None:
        sdk = await Sdk(service).connected(token=token())
        sdk.frame({"refresh": {"token": make()}, "id": 9})
        assert (await sdk.over())[0] == code

    served(main)


def test_refresh_with_an_expired_token_is_an_error(later: Any) -> None:
    async def main(service: Service) -> None:
        sdk = await Sdk(service).connected(token=token(expires_in=1000))
        old = token(expires_in=1)
        later(100)
        assert await sdk.ask("refresh", token=old) == (wire.ERROR_EXPIRED, "expired")
        await sdk.leave()

    served(main)


def test_refresh_that_nobody_waits_for_is_the_end() -> None:
    async def main(service: Service) -> None:
        sdk = await Sdk(service).connected()
        sdk.frame({"refresh": {"token": token()}, "id": 9})
        assert (await sdk.over())[0] == wire.CLOSE_BAD_REQUEST

    served(main)


# Subscriptions


def pass_for(group: str, user: str = "ada", **options: Any) -> str:
    return subscription_token(user, group, key=SECRET, **options)


def test_a_subscription_token_opens_a_group_that_is_closed(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        sdk = await Sdk(service, encoding=encoding).connected(token=token())
        assert await sdk.ask("subscribe", channel="closed") == DENIED
        answer = await sdk.subscribed("closed", token=pass_for("closed", expires_in=60))
        assert answer["expires"] is True
        assert answer["ttl"] in (59, 60)
        assert await sdk.ask("unsubscribe", channel="closed") == {}
        await sdk.leave()

    served(main)


def test_a_bad_subscription_token_is_refused_whatever_the_rule_says() -> None:
    async def main(service: Service) -> None:
        sdk = await Sdk(service).connected(token=token())
        assert await sdk.ask("subscribe", channel="open", token="x") == DENIED
        assert "open" not in service.hub.groups
        await sdk.leave()

    served(main)


@pytest.mark.parametrize("bad", [("another", "ada"), ("closed", "alan")])
def test_a_subscription_token_for_something_else_is_terminal(bad: tuple[str, str]) -> None:
    async def main(service: Service) -> None:
        sdk = await Sdk(service).connected(token=token())
        sdk.frame({"subscribe": {"channel": "closed", "token": pass_for(*bad)}, "id": 9})
        assert (await sdk.over())[0] == wire.CLOSE_INVALID_TOKEN

    served(main)


def test_a_subscription_token_that_has_expired_is_109(later: Any) -> None:
    async def main(service: Service) -> None:
        sdk = await Sdk(service).connected(token=token())
        old = pass_for("closed", expires_in=1)
        later(100)
        expired = (wire.ERROR_TOKEN_EXPIRED, "token expired")
        assert await sdk.ask("subscribe", channel="closed", token=old) == expired
        await sdk.leave()

    served(main)


def test_a_subscription_that_is_not_renewed_ends_with_2501_and_one_that_is_goes_on() -> None:
    async def main(service: Service) -> None:
        sdk = await Sdk(service).connected(token=token(expires_in=None))
        await sdk.subscribed("closed:1", token=pass_for("closed:1", expires_in=10))
        await sdk.subscribed("closed:2", token=pass_for("closed:2", expires_in=10))
        answer = await sdk.ask("sub_refresh", channel="closed:2", token=pass_for("closed:2", expires_in=5000))
        assert answer["expires"] is True
        await until(lambda: sdk.pushes)
        (push,) = sdk.pushes
        assert (push["channel"], push["unsubscribe"]["code"]) == ("closed:1", wire.UNSUBSCRIBE_EXPIRED)
        assert "closed:1" not in service.hub.groups
        assert "closed:2" in service.hub.groups
        await sdk.leave()

    served(main, ping_interval=0)


def test_the_token_of_a_subscription_that_failed_does_not_end_the_next() -> None:
    async def main(service: Service) -> None:
        sdk = await Sdk(service).connected(token=token(expires_in=None))
        await service.publish("kept:1", 1)
        behind = {"recover": True, "epoch": "another", "offset": 1, "flag": REJECT_UNRECOVERED}
        refused = await sdk.ask("subscribe", channel="kept:1", token=pass_for("kept:1", expires_in=10), **behind)
        assert refused[0] == wire.ERROR_UNRECOVERABLE_POSITION
        await sdk.subscribed("kept:1")
        await sdk.subscribed("closed", token=pass_for("closed", expires_in=20))
        await until(lambda: sdk.pushes)
        assert [push["channel"] for push in sdk.pushes] == ["closed"], "the other would have ended before"
        await sdk.leave()

    served(main, ping_interval=0)


def test_sub_refresh_of_what_is_not_subscribed_is_denied() -> None:
    async def main(service: Service) -> None:
        sdk = await Sdk(service).connected(token=token())
        assert await sdk.ask("sub_refresh", channel="closed", token=pass_for("closed")) == DENIED
        await sdk.leave()

    served(main)


# Keyed publishing


async def publish_once(sdk: Sdk, key: str, data: Any = 1, channel: str = "open") -> Any:
    answer = await sdk.ask("rpc", method="antiphon.publish", data={"channel": channel, "data": data, "key": key})
    return answer["data"] if isinstance(answer, dict) else answer


def test_a_publication_with_a_key_is_made_once(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        reader = await Sdk(service).connected()
        await reader.subscribed("open")
        sdk = await Sdk(service, encoding=encoding).connected(token=token())
        first = await publish_once(sdk, "k", "a")
        assert (first["offset"], first["repeated"]) == (1, False)
        assert await publish_once(sdk, "k", "b") == {**first, "repeated": True}
        assert (await publish_once(sdk, "other", "c"))["offset"] == 2
        await until(lambda: len(reader.published("open")) == 2)
        await settled()
        assert reader.published("open") == ["a", "c"]
        await sdk.leave()
        await reader.leave()

    served(main)


def test_a_key_is_the_users_own_and_outlives_the_connection() -> None:
    async def main(service: Service) -> None:
        positions = []
        for user in ("ada", "alan", "ada"):
            sdk = await Sdk(service).connected(token=token(user))
            positions.append(await publish_once(sdk, "k"))
            await sdk.leave()
        assert [position["offset"] for position in positions] == [1, 2, 1]
        assert [position["repeated"] for position in positions] == [False, False, True]

    served(main)


def test_a_key_opens_nothing() -> None:
    async def main(service: Service) -> None:
        sdk = await Sdk(service, Echo()).connected()
        assert await publish_once(sdk, "k", channel="closed") == DENIED
        assert await publish_once(sdk, "k", channel="members") == DENIED
        await sdk.leave()

    served(main)


@pytest.mark.parametrize(
    "content", [None, 1, {}, {"channel": "open", "data": 1}, {"channel": "open", "data": 1, "key": ""}]
)
def test_what_is_no_keyed_publication_is_a_bad_request(content: Any) -> None:
    async def main(service: Service) -> None:
        sdk = await Sdk(service).connected()
        answer = await sdk.ask("rpc", method="antiphon.publish", data=content)
        assert answer[0] == wire.ERROR_BAD_REQUEST
        await sdk.leave()

    served(main)
