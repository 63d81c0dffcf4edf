"""Tokens in compact form: what is taken apart, and what is refused before anybody asks a key."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.exceptions import TokenInvalid
from antiphon.jws import ALGORITHMS, DEEPEST, LONGEST, read_base64url, read_json, take_apart

from .forge import b64, token

GOOD = token({"sub": "a"}, header={"kid": "one"})
HEADER, PAYLOAD, SIGNATURE = GOOD.split(".")


def refused(text: Any) -> str:
    """Take apart what can't be; return the words for it."""
    with pytest.raises(TokenInvalid) as raised:
        take_apart(text)
    return str(raised.value)


def headed(header: dict[str, Any] | bytes) -> str:
    """A token with that header alone."""
    return token({"sub": "a"}, header=header if isinstance(header, bytes) else json.dumps(header).encode())


def test_a_token_is_taken_apart() -> None:
    jws = take_apart(GOOD)
    assert (jws.algorithm, jws.kid) == ("HS256", "one")
    assert jws.signed == f"{HEADER}.{PAYLOAD}".encode()
    assert json.loads(jws.payload) == {"sub": "a"}
    assert len(jws.signature) == 32


@pytest.mark.parametrize(
    "text", [None, 5, True, GOOD.encode(), [GOOD], {"token": GOOD}], ids=lambda text: f"{text!r:.20}"
)
def test_what_is_no_text_is_no_token(text: Any) -> None:
    assert refused(text) == f"it is no text but {type(text).__name__}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        "null",
        HEADER,
        f"{HEADER}.{PAYLOAD}",
        f"{HEADER}.{PAYLOAD}.",
        f".{PAYLOAD}.{SIGNATURE}",
        f"{HEADER}..{SIGNATURE}",
        f"{GOOD}.",
        f".{GOOD}",
        f"{GOOD}.{SIGNATURE}",
        f"{GOOD}.{SIGNATURE}.{SIGNATURE}",  # a JWE has five parts
        f" {GOOD}",
        f"{GOOD} ",
        f"{GOOD}\n",
        f"{GOOD}\x00",
        f"Bearer {GOOD}",
        GOOD.replace(".", " . "),
        GOOD.replace(".", "。"),
        f"{HEADER}.{PAYLOAD}.{SIGNATURE[:10]} {SIGNATURE[10:]}",
        f"{HEADER}.{PAYLOAD}.{SIGNATURE[:10]}\n{SIGNATURE[10:]}",
        f"{HEADER}.{PAYLOAD}.{SIGNATURE}=",
        f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-1]}+",
        f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-1]}/",
        f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-1]}Ａ",
        f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-1]}%41",
        '{"payload": "", "signatures": []}',
    ],
)
def test_a_token_is_three_parts_of_base64url(text: str) -> None:
    assert refused(text) == "it is not three parts of base64url with dots between them"


def test_a_part_of_a_length_that_no_bytes_have_is_refused() -> None:
    assert refused(f"{HEADER}.{PAYLOAD}.{SIGNATURE}AA").startswith("its signature is not base64url")
    assert refused(f"A.{PAYLOAD}.{SIGNATURE}").startswith("its header is not base64url")


def test_a_part_has_one_spelling() -> None:
    # 32 bytes are 43 characters, of which the last carries two bits more than there are.
    spellings = [SIGNATURE[:-1] + last for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"]
    same = [text for text in spellings if base64.urlsafe_b64decode(f"{text}=") == take_apart(GOOD).signature]
    assert len(same) == 4
    for text in same:
        if text == SIGNATURE:
            assert take_apart(f"{HEADER}.{PAYLOAD}.{text}")
        else:
            assert refused(f"{HEADER}.{PAYLOAD}.{text}").startswith("its signature is not base64url")


def test_a_long_token_is_not_read() -> None:
    head = f"{HEADER}.{PAYLOAD}."
    longest = head + "AAAA" * ((LONGEST - len(head)) // 4)
    assert LONGEST - 4 < len(longest) <= LONGEST
    assert take_apart(longest)
    assert "characters" in refused("A" * (LONGEST + 1))
    assert "characters" in refused(GOOD + "A" * 50_000_000)


# The header


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_algorithm_is_one_of_a_few(algorithm: str) -> None:
    assert take_apart(headed({"alg": algorithm})).algorithm == algorithm


@pytest.mark.parametrize(
    "algorithm",
    [
        "none",
        "None",
        "NONE",
        "nOnE",
        "",
        "hs256",
        "HS256 ",
        "HS256\x00",
        "ΗS256",  # a Greek Eta
        "HS1",
        "HS",
        "PS256",
        "EdDSA",
        "ES256K",
        "ES521",
        "dir",
        "RSA-OAEP",
        "A128KW",
        None,
        True,
        0,
        256,
        ["HS256"],
        {"HS256": "HS256"},
        "HS256" * 500,
    ],
    ids=lambda algorithm: f"{algorithm!r:.20}",
)
def test_no_other_algorithm_is_one(algorithm: Any) -> None:
    words = refused(headed({"alg": algorithm}))
    assert words.startswith("its alg is ")
    assert len(words) < 200


def test_without_an_algorithm_it_is_refused() -> None:
    assert refused(headed({"typ": "JWT"})).startswith("its alg is None")


@pytest.mark.parametrize("kid", [0, 5, True, ["one"], {"kid": "one"}, 1.5])
def test_a_kid_is_text(kid: Any) -> None:
    assert refused(headed({"alg": "HS256", "kid": kid})) == "its kid is no text"


def test_a_kid_may_be_any_text() -> None:
    for kid in ("", "../../dev/null", "' OR 1=1 --", "\x00", "ключ"):
        assert take_apart(headed({"alg": "HS256", "kid": kid})).kid == kid
    assert take_apart(headed({"alg": "HS256", "kid": None})).kid is None


@pytest.mark.parametrize("name", ["crit", "b64"])
@pytest.mark.parametrize("value", [["exp"], ["b64"], [], None, True, False])
def test_an_extension_that_must_not_be_ignored_is_refused(name: str, value: Any) -> None:
    assert refused(headed({"alg": "HS256", name: value})).startswith(f"its header has {name}")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b'{"alg":"HS256"', "its header is not JSON"),
        (b'{"alg":"HS256"} x', "its header is not JSON"),
        (b"{'alg':'HS256'}", "its header is not JSON"),
        (b'\xef\xbb\xbf{"alg":"HS256"}', "its header is not JSON"),
        ('{"alg":"HS256"}'.encode("utf-16"), "its header is not JSON"),
        (b'{"alg":"HS256","x":NaN}', "its header is not JSON"),
        (b'{"alg":"none","alg":"HS256"}', "its header is not JSON: an object has a name twice"),
        (b'{"alg":"HS256","kid":"a","kid":"b"}', "its header is not JSON: an object has a name twice"),
        (b'{"alg":"HS256","\\u0061lg":"none"}', "its header is not JSON: an object has a name twice"),
        (b'{"alg":"HS256","kid":"\\ud800"}', "its header is not JSON: it has half of a surrogate pair"),
        (b"[" * 5000, "its header is not JSON"),
        (b'{"a":' * 1000, "its header is not JSON"),
        (b"[]", "its header is JSON, but no object"),
        (b'"HS256"', "its header is JSON, but no object"),
        (b"null", "its header is JSON, but no object"),
        (b"5", "its header is JSON, but no object"),
    ],
    ids=lambda value: f"{value!r:.30}",
)
def test_a_header_is_an_object_of_json(header: bytes, words: str) -> None:
    assert refused(headed(header)).startswith(words)


# JSON


@pytest.mark.parametrize(
    ("document", "content"),
    [
        (b'{"a": [1, -2.5, "\xc3\xbc\\u00fc\\ud83d\\ude00", true, null]}', {"a": [1, -2.5, "üü😀", True, None]}),
        (b" [] ", []),
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"1e308", 1e308),
        (b"1e-999", 0.0),
    ],
)
def test_json_is_read(document: bytes, content: Any) -> None:
    assert read_json(document) == content


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"NaN", "NaN is no number"),
        (b"Infinity", "Infinity is no number"),
        (b"-Infinity", "-Infinity is no number"),
        (b"1e999", "larger than any"),
        (b"-1e999", "larger than any"),
        (b"18446744073709551616", "64 bits"),
        (b"-9223372036854775809", "64 bits"),
        (b"1" * 6000, "64 bits"),
        (b'{"a": 1, "a": 1}', "a name twice"),
        (b'[{"b": {"a": 1, "b": 2, "a": 3}}]', "a name twice"),
        (b'"\xff"', "not UTF-8"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b'"\xc0\xaf"', "not UTF-8"),
        (b'"\\ud83d"', "surrogate"),
        (b'{"\\udc00": 1}', "surrogate"),
        (b"[" * 100_000, "nested too deep"),
        (b"", "Expecting"),
        (b"{} {}", "Extra data"),
        (b'"a\nb"', "control character"),
        (b"01", "Extra data"),
        (b"+1", "Expecting"),
        (b"/* */ 1", "Expecting"),
    ],
    ids=lambda value: f"{value!r:.30}",
)
def test_json_is_read_strictly(document: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_json(document)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":[0,', "]}]")])
def test_json_is_so_deep_and_no_deeper(opening: str, closing: str) -> None:
    levels = opening.count("[") + opening.count("{")
    deep = opening * (DEEPEST // levels) + "0" + closing * (DEEPEST // levels)
    flat = "[" + ",".join(["[]"] * 1000) + "]"
    for document in (deep, flat, '"' + "[" * 1000 + '"'):
        read_json(document.encode())
    for times in (DEEPEST // levels + 1, 500, 10_000):
        with pytest.raises(ValueError, match="nested too deep"):
            read_json((opening * times + "0" + closing * times).encode())


@pytest.mark.parametrize(
    "document", [b'{"hidden": hidden}', b'{"hidden": 1, "hidden": 2}', b'"hidden\xff"', b"[hidden"]
)
def test_the_words_do_not_repeat_the_document(document: bytes) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        read_json(document)
    assert "hidden" not in str(raised.value)


# Laws


@given(st.binary(max_size=100))
def test_bytes_have_one_spelling(content: bytes) -> None:
    assert read_base64url(b64(content)) == content


@given(st.text("AQgw-_+/= \n", max_size=12))
def test_another_spelling_is_refused(text: str) -> None:
    try:
        content = read_base64url(text)
    except ValueError:
        return
    assert b64(content) == text


@given(st.text(max_size=300) | st.lists(st.text("abcABC019-_=", max_size=40), max_size=4).map(".".join))
def test_any_text_is_taken_apart_or_refused(text: str) -> None:
    try:
        take_apart(text)
    except TokenInvalid:
        return
    assert text.count(".") == 2


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes_in_the_parts_are_taken_or_refused(header: bytes, payload: bytes) -> None:
    try:
        jws = take_apart(f"{b64(header)}.{b64(payload)}.{b64(b'x')}")
    except TokenInvalid:
        return
    assert jws.payload == payload
