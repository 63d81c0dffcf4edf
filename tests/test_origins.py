"""Origins: which pages pass, and every trick that must not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from antiphon.exceptions import ConfigurationError
from antiphon.origins import Origins, Refusal


def refusal(
    origin: str | bytes | list[bytes] | None,
    host: str | None = "example.com",
    *,
    allowed: tuple[str, ...] = (),
    localhost: bool = False,
    secure: bool = False,
) -> Refusal | None:
    """What becomes of a handshake with these headers."""
    values: list[Any] = origin if isinstance(origin, list) else [] if origin is None else [origin]
    headers = [(b"accept", b"*/*")]
    headers += [(b"host", host.encode("latin-1"))] if host is not None else []
    headers += [(b"origin", value if isinstance(value, bytes) else value.encode("latin-1")) for value in values]
    return Origins(allowed, localhost=localhost).refusal(headers, secure=secure)


def passes(*args: Any, **options: Any) -> bool:
    return refusal(*args, **options) is None


# The host of the request


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("host", ["example.com", None, "garbage host"])
def test_without_the_header_it_passes(host: str | None, secure: bool) -> None:
    assert passes(None, host, secure=secure)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://example.com", "example.com"),
        ("https://example.com", "example.com"),
        ("http://example.com:8000", "example.com:8000"),
        ("http://localhost:8000", "localhost:8000"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("HTTP://Example.COM", "eXample.com"),
        ("http://example.com", "example.com:80"),
        ("http://example.com:80", "example.com"),
        ("https://example.com", "example.com:443"),
        ("https://example.com:443", "example.com"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("http://[::1]", "[::1]:80"),
        ("http://[2001:db8::1]", "[2001:DB8:0:0:0:0:0:1]"),
        ("https://xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("http://my_service:8000", "my_service:8000"),
        ("http://example.com.", "example.com."),
    ],
)
def test_a_page_of_the_same_host_passes(origin: str, host: str) -> None:
    assert passes(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://example.com:8000", "example.com"),
        ("http://example.com", "example.com:8000"),
        ("http://example.com:8000", "example.com:8001"),
        ("https://example.com", "example.com:80"),
        ("http://example.com", "example.com:443"),
        ("http://example.com:443", "example.com"),
        ("http://www.example.com", "example.com"),
        ("http://example.com", "www.example.com"),
        ("http://example.com.", "example.com"),
        ("http://127.0.0.1:8000", "localhost:8000"),
        ("http://[::1]:8000", "[::2]:8000"),
        ("ftp://example.com", "example.com"),
        ("ws://example.com", "example.com"),
        ("chrome-extension://example.com", "example.com"),
        ("http://example.com", None),
        ("http://example.com", ""),
        ("http://example.com", "user@example.com"),
        ("http://example.com", "example.com/"),
        ("http://example.com", "example.com:"),
        ("http://example.com", "example.com, evil.io"),
        ("http://example.com", "http://example.com"),
        ("http://example.com", "x" * 65536),
    ],
)
def test_a_page_of_another_host_does_not(origin: str, host: str | None) -> None:
    assert not passes(origin, host)


def test_two_host_headers_are_none() -> None:
    headers = [(b"host", b"example.com"), (b"host", b"evil.io"), (b"origin", b"http://evil.io")]
    assert Origins((), localhost=False).refusal(headers, secure=False) is not None
    headers[2] = (b"origin", b"http://example.com")
    assert Origins((), localhost=False).refusal(headers, secure=False) is not None


def test_over_tls_a_page_that_came_without_it_does_not_pass() -> None:
    assert passes("https://example.com", secure=True)
    assert not passes("http://example.com", secure=True)
    assert not passes("http://example.com", "example.com:80", secure=True)
    assert passes("http://example.com", secure=True, allowed=("http://example.com",)), "unless it was allowed to"


# Entries


@pytest.mark.parametrize(
    ("entry", "origin"),
    [
        ("https://page.io", "https://page.io"),
        (" https://Page.IO ", "https://page.io"),
        ("https://page.io:443", "https://page.io"),
        ("https://page.io", "https://page.io:443"),
        ("https://page.io:8443", "https://page.io:8443"),
        ("http://[::1]:8080", "http://[0::1]:8080"),
        ("https://*.page.io", "https://a.page.io"),
        ("https://*.page.io", "https://a.b.page.io"),
        ("https://*.page.io:8443", "https://a.page.io:8443"),
        ("https://*.xn--bcher-kva.example", "https://www.xn--bcher-kva.example"),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("null", "null"),
        ("NULL", "null"),
        ("*", "https://page.io"),
        ("*", "null"),
        ("*", "garbage"),
    ],
)
def test_an_entry_admits_its_origin(entry: str, origin: str) -> None:
    assert not passes(origin)
    assert passes(origin, allowed=("https://other.io", entry))
    assert passes(origin, allowed=(entry,), secure=True)


ENTRIES = ("https://example.com", "https://*.example.com", "https://example.com:8443")

HOSTILE = [
    "https://example.com.evil.io",
    "https://evilexample.com",
    "https://evil-example.com",
    "https://.example.com",
    "https://a..example.com",
    "https://example.com.",
    "https://a.example.com.",
    "https://example.comm",
    "https://example.co",
    "https://com",
    "https://*.example.com",
    "http://example.com",
    "http://a.example.com",
    "wss://example.com",
    "ftp://example.com",
    "https://example.com:444",
    "https://a.example.com:8443",
    "https://example.com:0",
    "https://example.com:0443",
    "https://example.com:65979",  # 443 + 65536
    "https://example.com:99999",
    "https://example.com:",
    "https://example.com:443:443",
    "https://example.com:x",
    "https://example.com:-443",
    "https://example.com:٤٤٣".encode(),
    "null",
    "Null",
    "",
    " ",
    "https://",
    "https:///example.com",
    "https:/example.com",
    "https:example.com",
    "//example.com",
    "example.com",
    "://example.com",
    "https://example.com@evil.io",
    "https://evil.io@example.com",
    "https://user:password@example.com",
    "https://evil.io#example.com",
    "https://evil.io/example.com",
    "https://evil.io/https://example.com",
    "https://evil.io?https://example.com",
    "https://evil.io\\.example.com",
    "https://evil.io\\@example.com",
    "https://evil.io%2f.example.com",
    "https://evil.io%00.example.com",
    "https://evil.io\x00.example.com",
    "https://evil.io\n.example.com",
    "https://example.com\n",
    "\nhttps://example.com",
    "https://example.com\r\nX: y",
    "https://example.com ",
    " https://example.com",
    "https://example.com\t",
    "https://example.com/",
    "https://example.com#",
    "https://example.com?",
    "https://example.com,https://evil.io",
    "https://evil.io, https://example.com",
    "https://evil.io https://example.com",
    "https://[example.com]",
    "https://[::1",
    "https://[::1].example.com",
    "https://[:::1]",
    "https://exämple.com",
    "https://exämple.com".encode(),
    "https://ｅｘａｍｐｌｅ.com".encode(),
    "https://example。com".encode(),
    b"\xff\xfe",
    "https://" + "a" * 65536 + ".example.com",
    "https://" + "a." * 32768 + "example.com",
    "https://example.com" * 4000,
    [b"https://example.com", b"https://example.com"],
    [b"https://example.com", b"https://evil.io"],
    [b"https://evil.io", b"https://example.com"],
    [b"null", b"null"],
    [b"https://example.com", b""],
]


@pytest.mark.parametrize("origin", HOSTILE, ids=lambda origin: f"{origin!r:.60}")
@pytest.mark.parametrize("secure", [False, True])
def test_what_only_looks_allowed_is_refused(origin: Any, secure: bool) -> None:
    for localhost in (False, True):
        assert not passes(origin, "api.test", allowed=ENTRIES, localhost=localhost, secure=secure)


def test_a_wildcard_is_for_what_is_below_and_not_for_the_name_itself() -> None:
    assert passes("https://a.example.com", "api.test", allowed=("https://*.example.com",))
    assert not passes("https://example.com", "api.test", allowed=("https://*.example.com",))
    assert not passes("https://a.example.com:8443", "api.test", allowed=("https://*.example.com",))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("example.com", "has no scheme"),
        ("//example.com", "has no scheme"),
        ("://example.com", "has no scheme"),
        ("", "has no scheme"),
        ("localhost:8000", "has no scheme"),
        ("https://example.com/", "no path"),
        ("https://example.com/chat", "no path"),
        ("https://example.com?a=1", "no path"),
        ("https://example.com#a", "no path"),
        ("https://user@example.com", "names a user"),
        ("https://user:pw@example.com", "names a user"),
        ("https://*", "wildcard"),
        ("https://*example.com", "wildcard"),
        ("https://a*.example.com", "wildcard"),
        ("https://a.*.com", "wildcard"),
        ("https://*.*.com", "wildcard"),
        ("https://example.*", "wildcard"),
        ("*://example.com", "no origin"),
        ("**", "has no scheme"),
        ("https://bücher.example", "punycode"),
        ("https://example.com:99999", "no origin"),
        ("https://example.com:http", "no origin"),
        ("https://[::1", "no origin"),
        ("https://a b", "no origin"),
        ("https://", "no origin"),
    ],
)
def test_an_entry_that_can_not_be_an_origin_is_a_configuration_error(entry: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as raised:
        Origins(("https://fine.example", entry), localhost=False)
    assert "allowed_origins has" in str(raised.value)
    assert repr(entry) in str(raised.value)
    assert "'https://*.example.com'" in str(raised.value)


# localhost


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost",
        "http://localhost:5173",
        "https://localhost:8443",
        "http://app.localhost:3000",
        "http://a.b.localhost",
        "http://127.0.0.1:3000",
        "https://127.0.0.1",
        "http://127.255.0.9:1",
        "http://[::1]:3000",
        "http://[0:0:0:0:0:0:0:1]",
    ],
)
def test_localhost_may_be_any_port(origin: str) -> None:
    assert not passes(origin, "example.com")
    assert passes(origin, "example.com", localhost=True)
    assert passes(origin, "example.com", localhost=True, secure=True)


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost.evil.io",
        "http://evillocalhost",
        "http://localhost.",
        "http://127.0.0.1.evil.io",
        "http://127.0.0.256",
        "http://127.1",
        "http://128.0.0.1",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://0x7f.0.0.1",
        "http://2130706433",
        "http://[::2]",
        "http://[::ffff:127.0.0.1]",
        "http://localhost@evil.io",
        "http://evil.io#localhost",
        "ftp://localhost",
        "chrome-extension://localhost",
        "file://localhost",
        "null",
    ],
)
def test_what_only_looks_like_localhost_is_refused(origin: str) -> None:
    assert not passes(origin, "example.com", localhost=True)


# What a refusal says


@pytest.mark.parametrize(
    ("origin", "entry"),
    [
        ("https://page.io", "https://page.io"),
        ("HTTPS://Page.io:443", "https://page.io"),
        ("http://page.io:8000", "http://page.io:8000"),
        ("http://[::1]:80", "http://[::1]"),
        ("null", "null"),
        ("file://", None),
        ("garbage", None),
        ([b"https://a.io", b"https://b.io"], None),
    ],
)
def test_a_refusal_names_what_would_admit_it(origin: Any, entry: str | None) -> None:
    told = refusal(origin, "example.com")
    assert told is not None
    assert told.host == "example.com"
    assert told.entry == entry
    if isinstance(origin, str):
        assert told.origin == origin
    assert passes(origin, "example.com", allowed=(entry or "*",))


# Laws

labels = st.text("ab*@#/\\.:-_[]é 1", max_size=6)


@given(labels, labels, st.booleans())
@example(".", "", False)
def test_nothing_but_the_allowed_is_allowed(before: str, behind: str, secure: bool) -> None:
    origin = f"https://{before}example.com{behind}"
    admitted = passes(origin, "api.test", allowed=("https://example.com",), secure=secure)
    assert admitted == (origin == "https://example.com")


@given(labels, labels)
def test_below_a_name_is_what_ends_with_a_dot_and_it(before: str, behind: str) -> None:
    origin = f"https://{before}example.com{behind}"
    if passes(origin, "api.test", allowed=("https://*.example.com",)):
        assert behind in ("", ":443")
        assert before.endswith(".")
        assert all(set(label) <= set("ab1-_") and label for label in before[:-1].split("."))


@given(st.binary(max_size=60), st.binary(max_size=60), st.booleans(), st.booleans())
def test_any_bytes_are_judged_without_an_exception(origin: bytes, host: bytes, localhost: bool, secure: bool) -> None:
    judge = Origins(ENTRIES, localhost=localhost)
    told = judge.refusal([(b"host", host), (b"origin", origin)], secure=secure)
    if told is None:
        assert origin.isascii()
        assert origin.lower().startswith((b"http://", b"https://"))
