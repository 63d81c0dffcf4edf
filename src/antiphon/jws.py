"""A signed token as it travels: a JWS in compact form (RFC 7515 §7.1), taken apart and not believed yet.

Laws:
- of a token over ``LONGEST`` characters nothing is read;
- a token has one spelling: its parts are base64url without padding, white space or bits to spare, so that what differs
  in one character is another token;
- JSON is read strictly: no name twice (RFC 7519 §4), no NaN, no infinity, no half of a surrogate pair, no more than
  ``DEEPEST`` levels;
- of the header only ``alg`` and ``kid`` mean something. The keys that ``jwk``, ``jku``, ``x5c`` and ``x5u`` offer are
  the sender's own, and nobody looks at them; ``crit`` says that the rest must not be ignored, and is refused
  (RFC 7515 §4.1.11).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from typing import Any, NamedTuple

from antiphon.exceptions import TokenInvalid

__all__ = ["ALGORITHMS", "DEEPEST", "JWS", "LONGEST", "read_base64url", "read_json", "take_apart"]

#: A token that is longer is refused; it is the size of what a server reads of a request's head.
LONGEST = 8 * 1024
#: How deep the JSON of a token is nested.
DEEPEST = 64

#: The algorithms of RFC 7518 §3.1 that are understood. ``none`` is not among them.
ALGORITHMS = ("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512")

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)


class JWS(NamedTuple):
    """The parts of a token: nothing here is true before the signature has been found to fit."""

    algorithm: str
    kid: str | None
    signed: bytes
    """What the signature is for."""
    payload: bytes
    signature: bytes


def take_apart(token: object) -> JWS:
    """Return the parts of ``token``; raise ``TokenInvalid`` if it is none that can be verified."""
    if not isinstance(token, str):
        raise TokenInvalid(f"it is no text but {type(token).__name__}")
    if len(token) > LONGEST:
        raise TokenInvalid(f"it has {len(token)} characters, and {LONGEST} are the most that are read")
    match = _COMPACT.fullmatch(token)
    if match is None:
        raise TokenInvalid("it is not three parts of base64url with dots between them")
    header, payload, signature = (_part(each, name) for each, name in zip(match.groups(), _PARTS, strict=True))
    algorithm, kid = _read_header(header)
    return JWS(algorithm, kid, token[: match.end(2)].encode("ascii"), payload, signature)


_PARTS = ("header", "payload", "signature")


def _part(text: str, name: str) -> bytes:
    try:
        return read_base64url(text)
    except ValueError:
        raise TokenInvalid(f"its {name} is not base64url as RFC 7515 has it") from None


def _read_header(header: bytes) -> tuple[str, str | None]:
    """Return the algorithm that the token claims, and the id of the key where it names one."""
    try:
        content = read_json(header)
    except ValueError as error:
        raise TokenInvalid(f"its header is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise TokenInvalid("its header is JSON, but no object")
    for name in ("crit", "b64"):  # RFC 7515 §4.1.11, RFC 7797
        if name in content:
            raise TokenInvalid(f"its header has {name}, an extension that antiphon does not know")
    algorithm, kid = content.get("alg"), content.get("kid")
    if algorithm not in ALGORITHMS:
        raise TokenInvalid(f"its alg is {algorithm!r:.40}; it can be {', '.join(ALGORITHMS)}")
    if kid is not None and not isinstance(kid, str):
        raise TokenInvalid("its kid is no text")
    return algorithm, kid


def read_base64url(text: str) -> bytes:
    """Return the bytes that ``text`` stands for, in the only spelling that they have; else raise ``ValueError``."""
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if base64.urlsafe_b64encode(content).rstrip(b"=") != text.encode():
        raise ValueError("not the usual spelling")
    return content


def read_json(data: bytes) -> Any:
    """Return the JSON document ``data``, read strictly; raise ``ValueError`` in words that don't repeat it."""
    try:
        content = json.loads(
            data.decode(), object_pairs_hook=_object, parse_float=_finite, parse_constant=_no_number, parse_int=_whole
        )
        if b"\\u" in data:
            json.dumps(content, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except UnicodeEncodeError:
        raise ValueError("it has half of a surrogate pair") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if data.count(b"[") + data.count(b"{") > DEEPEST and _is_deeper(content, DEEPEST):
        raise ValueError("it is nested too deep")
    return content


def _is_deeper(content: Any, levels: int) -> bool:
    """Tell whether ``content`` has more than so many levels."""
    if not isinstance(content, (dict, list)):
        return False
    inner = content.values() if isinstance(content, dict) else content
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("an object has a name twice")
    return content


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is larger than any that can be")
    return number


def _whole(text: str) -> int:
    """Read a whole number of 64 bits at most: others can't be passed on to every client."""
    number = int(text) if len(text) <= 20 else 2**64
    if not -(2**63) <= number < 2**64:
        raise ValueError("a whole number has more than 64 bits")
    return number


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")
