"""The plain wire: each text frame is one JSON document, as in Channels. No envelope, no resume.

Laws:
- what is sent is JSON (RFC 8259) in UTF-8: NaN and infinities become ``null``, as ``JSON.stringify`` writes them;
- what is received is JSON within limits, or the client is told which rule it broke (``ClientError``) and goes on;
- a whole number outside 64 bits is refused when it comes in, because not every engine and client can carry it.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from typing import Any

import msgspec

from antiphon.exceptions import ClientError, NotEncodable
from antiphon.scalars import as_scalar
from antiphon.types import Position

__all__ = ["binary_frame", "decode", "encode", "error", "missed"]

_SMALLEST, _LARGEST = -(2**63), 2**64 - 1

#: Strings of a JSON document; without them, what looks like a bracket or a number is one.
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_NO_OPENING = bytes(byte for byte in range(256) if byte not in b"[{")
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS = bytes(1 if byte in b"[{" else 255 if byte in b"]}" else 0 for byte in range(256))
_LONG_NUMBER = b"0" * 19
_DIGITS_TO_ZERO = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
#: A whole number that may have more than 64 bits: not the end of a fraction or an exponent.
_LONG_WHOLE = re.compile(rb"(?<![\d.eE+\-])-?\d{19,}(?![\d.eE])")
#: A number near the ends of what a double can be. Each takes msgspec 10 µs, and the standard library a fraction of one.
_EXTREME = re.compile(rb"[eE][-+]?0*(?:29\d|[3-9]\d\d|\d{4,})")
_FEW = 16
#: Arrays and objects of one document. More of them make a second of work out of a few megabytes.
MOST_CONTAINERS = 100_000


_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(enc_hook=as_scalar).encode


def encode(content: Any) -> bytes:
    """Return ``content`` as JSON in UTF-8.

    Takes what ``json.dumps`` takes, and dates, UUIDs, decimals, dataclasses. A number or bool as a key becomes text:
    ``1`` and ``True`` are ``"1"``. Raises ``NotEncodable``.
    """
    try:
        return _encode(content)
    except (TypeError, NotImplementedError, ValueError, OverflowError, RecursionError) as error:
        return _encode_slowly(content, error)


def _encode_slowly(content: Any, error: BaseException) -> bytes:
    """Try what only the standard library takes: None as a key, half of a surrogate pair (escaped)."""
    try:
        return json.dumps(_finite(content), allow_nan=False, default=as_scalar).encode()
    except (TypeError, ValueError, NotImplementedError, RecursionError):
        raise NotEncodable(f"this content is not JSON: {str(error) or type(error).__name__}") from error


def _finite(content: Any) -> Any:
    """Return ``content`` with None for what is no number, as the fast way writes it."""
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {int(key) if isinstance(key, bool) else key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return content


def decode(payload: bytes, max_depth: int) -> Any:
    """Return the JSON document ``payload``, which is text in UTF-8; raise ``ClientError`` with what is wrong."""
    length = len(payload)
    containers = payload.count(b"[") + payload.count(b"{")
    if containers > MOST_CONTAINERS and len(_STRINGS.sub(b"", payload).translate(None, _NO_OPENING)) > MOST_CONTAINERS:
        raise ClientError("too_many_containers", f"the JSON has more than {MOST_CONTAINERS} arrays and objects")
    decode = _decode if length < 6 * _FEW or not _has_extremes(payload) else _decode_extremes
    try:
        content = decode(payload)
    except UnicodeDecodeError:
        raise ClientError("invalid_json", "the JSON is not UTF-8") from None
    except RecursionError:
        raise ClientError("too_deep", f"the JSON is nested deeper than {max_depth} levels") from None
    except msgspec.ValidationError as error:
        raise ClientError("number_too_large", f"a number in the JSON can't be carried: {error}") from None
    except msgspec.DecodeError as error:
        raise ClientError("invalid_json", _words(payload, error)) from None
    # Cheap looks at the bytes first: few messages are long enough, or have the digits, to need a closer one.
    if containers > max_depth and _depth(payload) > max_depth:
        raise ClientError("too_deep", f"the JSON is nested deeper than {max_depth} levels")
    if length >= 19 and _LONG_NUMBER in payload.translate(_DIGITS_TO_ZERO) and _has_large_number(payload):
        raise ClientError("number_too_large", "a whole number in the JSON has more than 64 bits")
    return content


def _words(payload: bytes, error: Exception) -> str:
    if not payload.strip():
        return "the message is empty; it should be a JSON document"
    if b"\\u" in payload and "truncated" in str(error):
        return "the JSON is cut off, or has half of a surrogate pair"
    return str(error)


def _has_extremes(payload: bytes) -> bool:
    """Tell whether a document has so many numbers near the ends of a double that msgspec would take long."""
    return len(_EXTREME.findall(payload)) > _FEW and len(_EXTREME.findall(_STRINGS.sub(b"", payload))) > _FEW


def _decode_extremes(payload: bytes) -> Any:
    """Decode such a document with the standard library: the same values, and the same refusals."""
    try:
        content = json.loads(payload.decode(), parse_float=_finite_float, parse_constant=_no_number)
        if b"\\u" in payload:
            _encode(content)  # half of a surrogate pair is no text
    except UnicodeEncodeError:
        raise msgspec.DecodeError("Input data was truncated") from None
    except (UnicodeDecodeError, msgspec.DecodeError):
        raise
    except json.JSONDecodeError as error:
        raise msgspec.DecodeError(f"JSON is malformed: {error}") from None
    except ValueError as error:  # more digits than Python reads
        raise msgspec.ValidationError(str(error)) from None
    return content


def _finite_float(token: str) -> float:
    number = float(token)
    if math.isinf(number):
        raise msgspec.ValidationError("Number out of range")
    return number


def _no_number(token: str) -> Any:
    raise msgspec.DecodeError(f"JSON is malformed: invalid token {token}")


def _depth(payload: bytes) -> int:
    """Return how deep a valid document is nested: 0 without containers. The bytes are looked at, not the content.

    A document of a megabyte may hold hundreds of thousands of containers: to walk through them takes ten times as long.
    """
    steps = _STRINGS.sub(b"", payload).translate(_STEPS, _NO_BRACKETS)
    return max(itertools.accumulate(memoryview(steps).cast("b")), default=0)


def _has_large_number(payload: bytes) -> bool:
    """Tell whether a valid document has a whole number outside 64 bits."""
    found = _LONG_WHOLE.finditer(_STRINGS.sub(b"", payload))
    return any(len(number[0]) > 20 or not _SMALLEST <= int(number[0]) <= _LARGEST for number in found)


def binary_frame() -> ClientError:
    """Return the answer to a binary frame where JSON is spoken; a new one each time, for a raised one grows."""
    return ClientError("unexpected_binary", "this connection speaks JSON in text frames")


def error(problem: ClientError, error_type: str, **details: Any) -> bytes | None:
    """Return the error frame that tells ``problem``, or None where ``error_type`` is empty: error frames are off."""
    if not error_type:
        return None
    return encode({"type": error_type, "code": problem.code, **details, "reason": problem.reason})


def missed(group: str, count: int, error_type: str) -> bytes | None:
    """Return the frame that tells a client how many messages of a group were left out for it, or None as above."""
    problem = ClientError("missed", "this client reads too slowly, and messages were left out")
    return error(problem, error_type, group=group, missed=count)


def gap(group: str, position: Position, error_type: str) -> bytes | None:
    """Return the frame that tells a client that publications of a group are lost, or None as above."""
    problem = ClientError("gap", "messages of this group are lost; what comes now is behind the gap")
    return error(problem, error_type, group=group, epoch=position.epoch, offset=position.offset)
