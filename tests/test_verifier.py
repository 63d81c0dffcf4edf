"""The verifier: which tokens are accepted, what they say, and every trick that must not pass."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.exceptions import ClientError, TokenExpired, TokenInvalid, TokenMismatch, TokenRefused
from antiphon.jws import ALGORITHMS
from antiphon.keys import Key, Keys, key_set, public_keys, secret_key
from antiphon.verifier import LATEST, ConnectionToken, Overrides, Subscription, SubscriptionToken, Verifier

from .forge import NOW, OTHER_SECRET, SECRET, b64, jwk, key_for, public_pem, rsa_key, token
from .forge import key_set as document


def verifier(*keys: Key, **options: Any) -> Verifier:
    return Verifier(Keys(keys or [secret_key(SECRET, "it")]), **options)


def connection(claims: dict[str, Any] | bytes, *, now: float = NOW, **options: Any) -> ConnectionToken:
    """What a well-signed connection token says."""
    if isinstance(claims, dict):
        claims = {"sub": "ann", **claims}
    return verifier(**options).connection(token(claims), now)


def subscription(
    claims: dict[str, Any], *, group: str = "news", user: str = "ann", client: str = "c1", **options: Any
) -> SubscriptionToken:
    """What a well-signed subscription token says, that came for ``group``."""
    text = token({"sub": "ann", "channel": "news", **claims})
    return verifier(**options).subscription(text, group=group, user=user, client=client, now=NOW)


def refusal(kind: type[TokenRefused], call: Any, *args: Any, **options: Any) -> str:
    """Have a token refused for that reason; return the words for the log."""
    with pytest.raises(TokenRefused) as raised:
        call(*args, **options)
    assert type(raised.value) is kind, raised.value
    assert raised.value.__cause__ is None
    assert SECRET not in str(raised.value)
    return str(raised.value)


def invalid(claims: dict[str, Any] | bytes, **options: Any) -> str:
    return refusal(TokenInvalid, connection, claims, **options)


# What a connection token says


def test_the_least_that_a_token_says_is_a_user() -> None:
    assert connection({}) == ConnectionToken(
        user="ann", expires_at=None, info=None, groups=(), subscriptions={}, meta={}
    )
    assert connection({"sub": ""}).user == "", "somebody unknown"


def test_everything_that_a_token_says() -> None:
    said = connection(
        {
            "sub": "Jürgen 🙂",
            "exp": NOW + 60,
            "nbf": NOW - 1,
            "iat": NOW - 1,
            "jti": "7",
            "info": {"name": "Jürgen", "n": 1.5},
            "channels": ["news", "sport", "news"],
            "subs": {"sport": {"info": [1], "data": None, "override": {"presence": {"value": True}}}, "weather": {}},
            "meta": {"plan": "free"},
            "role": "anything else",
        }
    )
    assert said == ConnectionToken(
        user="Jürgen 🙂",
        expires_at=NOW + 60,
        info='{"name":"Jürgen","n":1.5}'.encode(),
        groups=("news", "sport", "weather"),
        subscriptions={
            "sport": Subscription(info=b"[1]", options=Overrides(presence=True)),
            "weather": Subscription(),
        },
        meta={"plan": "free"},
    )


def test_what_is_null_is_not_there() -> None:
    empty = dict.fromkeys(["info", "b64info", "channels", "subs", "meta", "expire_at", "aud", "channel"])
    assert connection(empty) == connection({})
    nothing = {"a": None, "b": {"info": None, "b64info": None, "data": None, "b64data": None, "override": None}}
    assert connection({"subs": nothing}).subscriptions == {"a": Subscription(), "b": Subscription()}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_is_understood(algorithm: str) -> None:
    key = key_for(algorithm)
    keys = [secret_key(key, "it")] if isinstance(key, str) else public_keys(public_pem(key), "it")
    text = token({"sub": "ann"}, algorithm=algorithm)
    assert verifier(*keys).connection(text, NOW).user == "ann"
    head, payload, signature = text.split(".")
    claims = b64(json.dumps({"sub": "eve"}).encode())
    refusal(TokenInvalid, verifier(*keys).connection, f"{head}.{claims}.{signature}", NOW)
    assert payload != claims


# Signatures


def test_a_token_of_another_signer_is_refused() -> None:
    words = refusal(TokenInvalid, verifier().connection, token({"sub": "ann"}, key=OTHER_SECRET), NOW)
    assert words == "its signature does not fit (asked: 1 of the keys, for HS256)"


def test_without_a_key_for_it_a_token_is_refused() -> None:
    told = verifier().connection
    assert refusal(TokenInvalid, told, token({}, algorithm="RS256"), NOW) == "no key is for RS256"
    assert refusal(
        TokenInvalid, verifier(secret_key("x" * 32, "it")).connection, token({}, algorithm="HS512"), NOW
    ) == ("no key is for HS512; a secret has 64 bytes or more for it")
    one = verifier(secret_key(SECRET, "it", "one"))
    assert refusal(TokenInvalid, one.connection, token({}, header={"kid": "two"}), NOW) == (
        "no key is for HS256 and has the kid 'two'"
    )
    assert len(refusal(TokenInvalid, one.connection, token({}, header={"kid": "x\n" * 1000}), NOW)) < 150


def test_keys_are_exchanged_one_behind_the_other() -> None:
    old, new = secret_key(OTHER_SECRET, "it", "old"), secret_key(SECRET, "it", "new")
    both = verifier(new, old)
    for key, kid in ((OTHER_SECRET, "old"), (OTHER_SECRET, None), (SECRET, "new"), (SECRET, None)):
        assert both.connection(token({"sub": "ann"}, key=key, header={"kid": kid}), NOW).user == "ann"
    refusal(TokenInvalid, both.connection, token({"sub": "ann"}, key=OTHER_SECRET, header={"kid": "new"}), NOW)
    refusal(TokenInvalid, verifier(new).connection, token({"sub": "ann"}, key=OTHER_SECRET), NOW)


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, ["none"]])
def test_a_token_without_a_signature_is_refused(alg: Any) -> None:
    claims = b64(b'{"sub":"admin"}')
    header = b64(json.dumps({"alg": alg, "typ": "JWT"}).encode())
    for text in (f"{header}.{claims}.", f"{header}.{claims}", f"{header}.{claims}.AAAA"):
        refusal(TokenInvalid, verifier().connection, text, NOW)
    head, payload, signature = token({"sub": "ann"}).split(".")
    refusal(TokenInvalid, verifier().connection, f"{header}.{payload}.{signature}", NOW)
    refusal(TokenInvalid, verifier().connection, f"{head}.{payload}.", NOW)


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_a_public_key_is_no_secret(alg: str) -> None:
    pem = public_pem(rsa_key())
    asked = verifier(*public_keys(pem, "it"), *key_set(document(jwk("RS256", "named")), "it"), secret_key(SECRET, "it"))
    for key in (pem, pem.strip(), json.dumps(jwk("RS256")), jwk("RS256")["n"]):
        for kid in (None, "named", ""):
            forged = token({"sub": "admin"}, algorithm=alg, key=key, header={"kid": kid})
            refusal(TokenInvalid, asked.connection, forged, NOW)


@pytest.mark.parametrize(
    "offer",
    [
        {"jwk": jwk("RS256", "theirs")},
        {"jwk": jwk("HS256", "theirs")},
        {"jku": "https://evil.io/jwks.json"},
        {"jku": "file:///etc/passwd"},
        {"x5u": "https://evil.io/cert.pem"},
        {"x5c": ["MIIB"]},
        {"x5t": "AAAA"},
        {"kid": "../../../../dev/null"},
        {"kid": "/proc/sys/kernel/randomize_va_space"},
        {"kid": "' UNION SELECT 'x' --"},
        {"kid": "|cat /etc/passwd"},
        {"kid": "https://evil.io/jwks.json"},
        {"kid": ""},
        {"keys": [jwk("RS256", "theirs")]},
        {"iss": "https://evil.io"},
    ],
    ids=lambda offer: f"{offer!r:.40}",
)
def test_what_a_token_says_of_its_key_is_not_believed(offer: dict[str, Any]) -> None:
    own = verifier(secret_key(SECRET, "it"), *public_keys(public_pem(rsa_key()), "it"))
    for algorithm in ("HS256", "RS256"):
        key: Any = "theirs" * 10 if algorithm == "HS256" else rsa_key(name="theirs")
        refusal(TokenInvalid, own.connection, token({"sub": "admin"}, algorithm=algorithm, key=key, header=offer), NOW)
    # With a good signature it is a token like any other.
    assert own.connection(token({"sub": "ann"}, header=offer), NOW).user == "ann"


@pytest.mark.parametrize("key", ["", "\0", "secret", "x" * 32, "null", "None", "undefined"])
def test_what_others_take_for_a_secret_is_none(key: str) -> None:
    refusal(TokenInvalid, verifier().connection, token({"sub": "admin"}, key=key), NOW)


def test_no_claim_is_read_before_the_signature_has_been_found_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def reading(data: bytes) -> Any:
        read.append(data)
        return json.loads(data)

    monkeypatch.setattr("antiphon.verifier.read_json", reading)
    for bad in (b'{"sub": "ann", "exp": 1}', b"[[[", b"\xff", b'{"sub": 5}'):
        words = refusal(TokenInvalid, verifier().connection, token(bad, key=OTHER_SECRET), NOW)
        assert words.startswith("its signature")
    assert read == []
    verifier().connection(token({"sub": "ann"}), NOW)
    assert len(read) == 1


@pytest.mark.parametrize(
    "text",
    ["", " ", "null", "undefined", "a.b.c", "." * 8192, "A" * 8193, "A" * 10_000_000, "é.é.é", "\ud800.a.a", "a.b.c\n"],
    ids=lambda text: f"{text!r:.20}",
)
def test_what_is_no_token_is_refused(text: str) -> None:
    refusal(TokenInvalid, verifier().connection, text, NOW)
    refusal(TokenInvalid, verifier().subscription, text, group="news", user="ann", client="c1", now=NOW)


# Times


def test_a_token_expires_at_its_second() -> None:
    assert connection({"exp": NOW + 0.001}).expires_at == NOW + 0.001
    assert refusal(TokenExpired, connection, {"exp": NOW}) == "it expired 0 seconds ago"
    assert refusal(TokenExpired, connection, {"exp": NOW - 3600}) == "it expired 3600 seconds ago"
    for past in (0, -1, -0.0, -1.5, 1, -LATEST):
        refusal(TokenExpired, connection, {"exp": past})


def test_the_leeway_is_for_every_time() -> None:
    leeway: Any = {"leeway": 10.0}
    assert connection({"exp": NOW - 9}, **leeway).expires_at == NOW - 9
    refusal(TokenExpired, connection, {"exp": NOW - 10}, **leeway)
    for name in ("nbf", "iat"):
        connection({name: NOW})
        refusal(TokenExpired, connection, {name: NOW + 1})
        connection({name: NOW + 10}, **leeway)
        words = refusal(TokenExpired, connection, {name: NOW + 11}, **leeway)
        assert words == f"it is not valid yet: its {name} is 11 seconds from now"
    assert connection({"expire_at": NOW - 9}, **leeway).expires_at == NOW - 9
    refusal(TokenExpired, connection, {"expire_at": NOW - 10}, **leeway)


def test_expire_at_is_when_the_connection_ends() -> None:
    assert connection({"exp": NOW + 5}).expires_at == NOW + 5
    assert connection({"exp": NOW + 5, "expire_at": NOW + 60}).expires_at == NOW + 60
    assert connection({"exp": NOW + 5, "expire_at": 0}).expires_at is None, "never"
    assert connection({"expire_at": NOW + 60}).expires_at == NOW + 60
    assert connection({"expire_at": None, "exp": NOW + 5}).expires_at == NOW + 5
    refusal(TokenExpired, connection, {"exp": NOW, "expire_at": 0})
    words = refusal(TokenExpired, connection, {"exp": NOW + 60, "expire_at": NOW - 5})
    assert words == "its expire_at was 5 seconds ago"
    assert "negative" in invalid({"expire_at": -1})


@pytest.mark.parametrize("name", ["exp", "nbf", "iat", "expire_at"])
@pytest.mark.parametrize(
    "value", [str(int(NOW + 60)), "", "never", True, False, [NOW + 60], {"value": NOW}, [], {}], ids=repr
)
def test_a_time_is_a_number(name: str, value: Any) -> None:
    words = invalid({name: value})
    assert words.startswith(f"its claim {name} is ")
    assert words.endswith(", and not a number of seconds since 1970")


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
def test_null_is_not_the_same_as_never(name: str) -> None:
    assert invalid({name: None}) == f"its claim {name} is null, and not a number of seconds since 1970"


@pytest.mark.parametrize("name", ["exp", "nbf", "iat", "expire_at"])
@pytest.mark.parametrize("value", [LATEST + 1, NOW * 1000, 2**63, -LATEST - 1, 1e300, -1e300, 1e18])
def test_a_time_is_in_seconds_and_not_without_end(name: str, value: float) -> None:
    assert "milliseconds" in invalid({name: value})


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 400, "18446744073709551616"])
@pytest.mark.parametrize("name", ["exp", "nbf", "expire_at"])
def test_a_time_is_a_number_that_can_be(name: str, text: str) -> None:
    assert invalid(f'{{"sub":"ann","{name}":{text}}}'.encode()).startswith("what it says is not JSON")


# Claims of another kind


@pytest.mark.parametrize(
    "claims",
    [
        b"",
        b"null",
        b"[]",
        b'"ann"',
        b"5",
        b"{",
        b'{"sub":"ann"',
        b'{"sub":"ann"}}',
        b'{"sub":"ann"}\x00',
        b'{"sub":"ann","sub":"admin"}',
        b'{"sub":"ann","s\\u0075b":"admin"}',
        b'{"sub":"ann","info":{"a":1,"a":2}}',
        b'{"sub":"\xff"}',
        b'{"sub":"\\ud800"}',
        b"{'sub':'ann'}",
        b'\xef\xbb\xbf{"sub":"ann"}',
        b"[" * 5000,
        b'{"sub":"ann","info":' + b"[" * 2000 + b"]" * 2000 + b"}",
    ],
    ids=lambda claims: f"{claims!r:.40}",
)
def test_what_a_token_says_is_an_object_of_json(claims: bytes) -> None:
    text = token(claims) if claims else token(b" ")
    refusal(TokenInvalid, verifier().connection, text, NOW)


def test_a_user_is_named_and_is_text() -> None:
    assert "it has no sub" in invalid(b'{"user_id": 5}')
    for value, word in (
        (5, "a number"),
        (None, "null"),
        (True, "true or false"),
        (["ann"], "a list"),
        ({}, "an object"),
    ):
        assert invalid({"sub": value}) == f"its claim sub is {word}, and not text"


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"channels": "news"}, "its claim channels is text, and not a list"),
        ({"channels": {"news": {}}}, "its claim channels is an object, and not a list"),
        ({"channels": 5}, "its claim channels is a number, and not a list"),
        ({"channels": ["news", 5]}, "of its groups one has a name that can't be: 5 "),
        ({"channels": [None]}, "of its groups one has a name that can't be: None "),
        ({"channels": [["news"]]}, "of its groups one has a name that can't be"),
        ({"channels": [""]}, "of its groups one has a name that can't be"),
        ({"channels": ["a\n"]}, "of its groups one has a name that can't be"),
        ({"channels": ["a" * 256]}, "of its groups one has a name that can't be"),
        ({"subs": ["news"]}, "its claim subs is a list, and not an object"),
        ({"subs": "news"}, "its claim subs is text, and not an object"),
        ({"subs": {"": {}}}, "of its groups one has a name that can't be"),
        ({"subs": {"a\x00": {}}}, "of its groups one has a name that can't be"),
        ({"subs": {"news": True}}, "its claim news is true or false, and not an object"),
        ({"subs": {"news": {"override": []}}}, "its claim override is a list, and not an object"),
        (
            {"subs": {"news": {"override": {"presence": True}}}},
            "its claim presence is true or false, and not an object",
        ),
        ({"subs": {"news": {"override": {"presence": {"value": 1}}}}}, "its claim value is a number, and not true or"),
        ({"subs": {"news": {"override": {"presence": {"value": "true"}}}}}, "its claim value is text, and not true or"),
        ({"subs": {"news": {"b64data": "%"}}}, "its claim b64data is not base64"),
        ({"meta": []}, "its claim meta is a list, and not an object"),
        ({"meta": "x"}, "its claim meta is text, and not an object"),
        ({"b64info": 5}, "its claim b64info is a number, and not text"),
        ({"b64info": "{}"}, "its claim b64info is not base64"),
        ({"b64info": "AA"}, "its claim b64info is not base64"),
        ({"b64info": "é"}, "its claim b64info is not base64"),
        ({"b64info": "AAAA"}, "its claim b64info is not JSON"),
        ({"b64info": base64.b64encode(b"{} x").decode()}, "its claim b64info is not JSON"),
        ({"b64info": base64.b64encode(b'{"a":NaN}').decode()}, "its claim b64info is not JSON: NaN is no number"),
    ],
    ids=lambda value: f"{value!r:.60}",
)
def test_a_claim_of_another_kind_is_refused(claims: dict[str, Any], words: str) -> None:
    assert invalid(claims).startswith(words)


def test_a_document_may_be_in_base64() -> None:
    pretty = base64.b64encode(b'{\n  "name": "x"\n}').decode()
    assert connection({"b64info": pretty}).info == b'{"name":"x"}', "on one line"
    assert connection({"b64info": pretty, "info": 1}).info == b'{"name":"x"}'
    assert connection({"b64info": "", "info": 1}).info == b"1"
    assert subscription({"b64data": pretty, "b64info": ""}) == SubscriptionToken(expires_at=None, data=b'{"name":"x"}')


@pytest.mark.parametrize(
    "info", [{}, [], 0, "", False, {"a": {"b": [None]}}, 2**64 - 1, -(2**63), 1e-300, "\u2028\x00"]
)
def test_a_document_may_be_anything(info: Any) -> None:
    written = connection({"info": info}).info
    assert written is not None
    assert msgspec.json.decode(written) == info
    assert b"\n" not in written


@pytest.mark.parametrize("value", [{"value": True}, {"value": False}, {}, {"value": None}, None], ids=repr)
def test_an_override_is_on_off_or_not_there(value: dict[str, Any] | None) -> None:
    wanted = None if value is None else bool(value.get("value"))
    for name in ("presence", "join_leave", "force_recovery", "force_positioning", "force_push_join_leave"):
        said = subscription({"override": {name: value, "recover": {"value": True}, "unknown": 5}})
        assert said.options == Overrides(**{name: wanted})


# Audience and issuer


def test_an_audience_that_is_configured_has_to_be_named() -> None:
    here: Any = {"audience": "chat"}
    assert connection({"aud": "chat"}, **here).user == "ann"
    assert connection({"aud": ["mail", "chat"]}, **here).user == "ann"
    assert invalid({}, **here) == "it is for nobody, and token_audience is 'chat'"
    others: list[Any] = ["", [], "Chat", "chat ", "chat,mail", "chаt", ["mail"], [["chat"]], None, {"chat": 1}, 5, True]
    for other in [*others, ["chat", 5], [None]]:
        invalid({"aud": other}, **here)


def test_who_is_not_meant_refuses_a_token_for_others() -> None:
    assert invalid({"aud": "mail"}) == "it is for 'mail'; if that is here, say so in token_audience"
    assert connection({"aud": []}).user == "ann"
    assert len(invalid({"aud": ["x" * 100] * 50})) < 300


def test_an_issuer_that_is_configured_has_to_be_named() -> None:
    here: Any = {"issuer": "https://id.example.com/"}
    assert connection({"iss": "https://id.example.com/"}, **here).user == "ann"
    assert connection({"iss": "anybody"}).user == "ann"
    others: list[Any] = [
        "https://id.example.com",
        "HTTPS://ID.EXAMPLE.COM/",
        "",
        None,
        5,
        {},
        ["https://id.example.com/"],
    ]
    for other in others:
        invalid({"iss": other}, **here)
    assert "token_issuer" in invalid({}, **here)


# Subscription tokens


def test_everything_that_a_subscription_token_says() -> None:
    assert subscription({}) == SubscriptionToken(expires_at=None)
    said = subscription(
        {
            "exp": NOW + 60,
            "client": "c1",
            "info": {"role": "editor"},
            "data": [1],
            "override": {"presence": {"value": True}, "force_recovery": {"value": False}},
        }
    )
    assert said == SubscriptionToken(
        expires_at=NOW + 60,
        info=b'{"role":"editor"}',
        data=b"[1]",
        options=Overrides(presence=True, force_recovery=False),
    )
    assert subscription({"exp": NOW + 5, "expire_at": 0}).expires_at is None


LOOKS_ALIKE = [
    "News",
    "news ",
    " news",
    "nеws",
    "ｎews",
    "ne\u200bws",
    "news\u0000",
    "new",
    "newss",
    "*",
    "",
    "news/../x",
]


@pytest.mark.parametrize("other", LOOKS_ALIKE, ids=ascii)
def test_a_token_is_for_one_group(other: str) -> None:
    words = refusal(TokenMismatch, subscription, {"channel": other})
    assert words.startswith("it is for group ")
    refusal(TokenMismatch, subscription, {}, group=other)
    assert subscription({"channel": other}, group=other) == SubscriptionToken(expires_at=None)


def test_one_text_in_two_forms_is_two() -> None:
    refusal(TokenMismatch, subscription, {"channel": "caf\u00e9"}, group="cafe\u0301")
    refusal(TokenMismatch, subscription, {"sub": "\u212b"}, user="\u00c5")


@pytest.mark.parametrize("other", ["Ann", "ann ", "аnn", "", "ann\u0000", "an", "anna", "*"], ids=ascii)
def test_a_token_is_for_one_user(other: str) -> None:
    assert refusal(TokenMismatch, subscription, {"sub": other}).startswith("it is for user ")
    refusal(TokenMismatch, subscription, {}, user=other)
    assert subscription({"sub": other}, user=other) == SubscriptionToken(expires_at=None)


def test_a_token_may_be_for_one_connection() -> None:
    assert subscription({"client": None}) == subscription({"client": "c1"}) == subscription({})
    for other in ("c2", "C1", "", "c1 "):
        assert refusal(TokenMismatch, subscription, {"client": other}).startswith("it is for client ")
    refusal(TokenInvalid, subscription, {"client": 5})


@pytest.mark.parametrize("claims", [{"channel": 5}, {"channel": None}, {"channel": ["news"]}, {"channel": {"news": 1}}])
def test_a_group_of_another_kind_is_refused(claims: dict[str, Any]) -> None:
    assert refusal(TokenInvalid, subscription, claims).startswith("its claim channel is ")


@pytest.mark.parametrize(
    "claims", [{"sub": 5}, {"sub": None}, {"sub": ["ann"]}, {"exp": "soon"}, {"info": 1, "b64info": 5}]
)
def test_a_claim_of_a_subscription_token_of_another_kind_is_refused(claims: dict[str, Any]) -> None:
    refusal(TokenInvalid, subscription, claims)


def test_a_subscription_token_expires_first() -> None:
    refusal(TokenExpired, subscription, {"exp": NOW})
    refusal(TokenExpired, subscription, {"exp": NOW, "channel": "other"})
    refusal(TokenExpired, subscription, {"exp": NOW + 5, "expire_at": NOW - 1})
    refusal(TokenInvalid, subscription, {"aud": "mail"})
    refusal(TokenInvalid, subscription, {}, issuer="me")


def test_one_token_is_not_the_other() -> None:
    assert "subscription token" in invalid({"channel": "news"})
    assert "subscription token" in invalid({"channel": ""})
    asked = verifier()
    words = refusal(TokenInvalid, asked.subscription, token({"sub": "ann"}), group="", user="ann", client="c1", now=NOW)
    assert words == "it names no channel, and so it is no subscription token"
    named = token({"sub": "ann", "channels": ["news"]})
    refusal(TokenInvalid, asked.subscription, named, group="news", user="ann", client="c1", now=NOW)


# What is told


@pytest.mark.parametrize(
    ("kind", "code"),
    [(TokenExpired, "token_expired"), (TokenInvalid, "token_invalid"), (TokenMismatch, "token_mismatch")],
)
def test_the_client_is_told_less_than_the_log(kind: type[TokenRefused], code: str) -> None:
    error = kind("it is for user 'ann'")
    assert isinstance(error, ClientError)
    assert error.code == code
    assert error.reason
    assert "ann" not in error.reason
    assert str(error) == "it is for user 'ann'"
    assert repr(error) == f"{kind.__name__}(\"it is for user 'ann'\")"


def test_a_token_is_in_no_message() -> None:
    bad = [
        token({"sub": "ann"}, key=OTHER_SECRET),
        token({"sub": "ann", "exp": 1}),
        token({"sub": "ann", "aud": "x"}),
        token({"sub": 5}),
        token(b'{"sub":"ann"'),
        token({"sub": "ann"}, header={"crit": ["x"]}),
        token({"sub": "ann"}, header=b'{"alg":"HS256","alg":"HS256"}'),
        token({"sub": "ann"}) + "\n",
        "." + token({"sub": "ann"}),
    ]
    for text in bad:
        with pytest.raises(TokenRefused) as raised:
            verifier().connection(text, NOW)
        for part in text.strip("\n.").split("."):
            assert part not in str(raised.value)
            assert part not in raised.value.reason


# Laws

GOOD = {
    algorithm: token(
        {"sub": "ann", "channel": "news", "exp": NOW + 60, "info": {"a": 1}}, algorithm=algorithm, header={"kid": "k"}
    )
    for algorithm in ("HS256", "RS256", "ES256")
}
ALL = verifier(
    secret_key(SECRET, "it"),
    *(key for algorithm in ("RS256", "ES256") for key in public_keys(public_pem(key_for(algorithm)), "it")),
)
URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def accepted(text: str) -> bool:
    try:
        ALL.subscription(text, group="news", user="ann", client="c1", now=NOW)
    except TokenRefused:
        return False
    return True


@given(st.sampled_from(sorted(GOOD)), st.data(), st.sampled_from(URL) | st.characters())
def test_an_altered_character_makes_it_no_token(algorithm: str, data: Any, character: str) -> None:
    text = GOOD[algorithm]
    place = data.draw(st.integers(0, len(text) - 1))
    altered = text[:place] + character + text[place + 1 :]
    assert accepted(altered) == (altered == text)


def test_every_altered_character_makes_it_no_token() -> None:
    text = GOOD["HS256"]
    for place, old in enumerate(text):
        for new in {"A", "B", "g", "_", ".", "=", " ", chr(ord(old) ^ 1)} - {old}:
            assert not accepted(text[:place] + new + text[place + 1 :])


@given(st.sampled_from(sorted(GOOD)), st.data(), st.text(URL + ". =\n", max_size=4))
def test_what_is_cut_or_put_in_makes_it_no_token(algorithm: str, data: Any, put: str) -> None:
    text = GOOD[algorithm]
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, min(len(text), begin + 5)))
    altered = text[:begin] + put + text[end:]
    assert accepted(altered) == (altered == text)


@given(st.sampled_from(sorted(GOOD)), st.sampled_from(sorted(GOOD)), st.sampled_from(sorted(GOOD)))
def test_parts_of_several_tokens_make_none(first: str, second: str, third: str) -> None:
    mixed = ".".join(GOOD[each].split(".")[place] for place, each in enumerate((first, second, third)))
    assert accepted(mixed) == (mixed in GOOD.values())


scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = """
sub exp nbf iat expire_at aud iss jti info b64info data channels channel subs meta override client
"""
names = st.sampled_from(NAMES.split())


@given(st.dictionaries(names, anything, max_size=5))
def test_any_claims_are_accepted_or_refused(claims: dict[str, Any]) -> None:
    text = token(json.dumps({"sub": "ann", **claims}, ensure_ascii=True).encode())
    try:
        said = verifier(leeway=5.0).connection(text, NOW)
    except (TokenExpired, TokenInvalid):
        pass
    else:
        assert said.user == claims.get("sub", "ann")
        assert said.expires_at is None or said.expires_at > NOW - 5
        assert set(said.subscriptions) <= set(said.groups)
        assert said.info is None or msgspec.json.decode(said.info) is not None
    try:
        ALL.subscription(text, group="news", user="ann", client="c1", now=NOW)
    except TokenRefused:
        pass
    else:
        assert claims["channel"] == "news"
        assert claims.get("sub", "ann") == "ann"


@given(st.floats(0, 1e10), st.floats(0, 1e10), st.floats(0, 1000))
def test_a_token_is_accepted_until_it_has_expired(expires: float, now: float, leeway: float) -> None:
    try:
        connection({"exp": expires}, now=now, leeway=leeway)
    except TokenExpired:
        assert now >= expires
    else:
        assert now < expires + leeway


@given(
    st.text("news caf\u00e9\u0301е", min_size=1, max_size=5), st.text("news caf\u00e9\u0301е", min_size=1, max_size=5)
)
def test_a_token_is_for_the_group_that_it_names_letter_for_letter(named: str, wanted: str) -> None:
    text = token({"sub": "ann", "channel": named})
    try:
        verifier().subscription(text, group=wanted, user="ann", client="c1", now=NOW)
    except TokenMismatch:
        assert named != wanted
    else:
        assert named == wanted
