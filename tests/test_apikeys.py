"""Keys of the HTTP API: what can be one, and how they are compared."""

from __future__ import annotations

import hmac

import pytest

from antiphon.apikeys import SHORTEST, APIKeys, check_api_path
from antiphon.exceptions import ConfigurationError

KEYS = APIKeys(["the-first-of-two-keys", "the-second-of-two-keys"])


def test_any_of_them_is_good_and_nothing_else() -> None:
    assert KEYS
    assert KEYS.have(b"the-first-of-two-keys")
    assert KEYS.have(b"the-second-of-two-keys")
    for other in (b"", b"the-first-of-two-key", b"the-first-of-two-keyss", b"\xff", b"THE-FIRST-OF-TWO-KEYS"):
        assert not KEYS.have(other)


def test_where_there_are_none_none_is_good() -> None:
    assert not APIKeys([])
    assert not APIKeys([]).have(b"")


@pytest.mark.parametrize("shown", [b"the-first-of-two-keys", b"the-second-of-two-keys", b"neither"])
def test_all_are_compared_whichever_is_right(monkeypatch: pytest.MonkeyPatch, shown: bytes) -> None:
    compared: list[bytes] = []
    compare_digest = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return compare_digest(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    KEYS.have(shown)
    assert compared == [b"the-first-of-two-keys", b"the-second-of-two-keys"]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("k" * (SHORTEST - 1), "15 characters"),
        ("", "not a word"),
        ("two words of some length", "not a word"),
        ("schlüssel-der-länge-nach", "not a word"),
        ("a-line-and-another\n", "not a word"),
    ],
)
def test_what_can_not_be_a_key_is_told_and_not_shown(key: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"key 2 of api_keys .*{words}") as caught:
        APIKeys(["the-first-of-two-keys", key])
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize("path", ["", "/api", "/antiphon/api", "/v1.0/~api_-"])
def test_a_path_is_one_to_be_served_below(path: str) -> None:
    check_api_path(path, KEYS)


@pytest.mark.parametrize("path", ["api", "/", "/api/", "//api", "/a b", "/api?x", "/é", "/api\n"])
def test_another_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="a path like /api"):
        check_api_path(path, KEYS)


def test_a_path_without_keys_is_a_mistake() -> None:
    check_api_path("", APIKeys([]))
    with pytest.raises(ConfigurationError, match="set api_keys"):
        check_api_path("/api", APIKeys([]))
