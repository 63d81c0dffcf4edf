"""The plain wire: each text frame is one JSON document, as in Channels. No envelope, no resume.

Laws:
- what is sent is JSON (RFC 8259) in UTF-8: NaN and infinities become ``null``, as ``JSON.stringify`` writes them;
- what is received is JSON within limits, or the client is told which rule it broke (``ClientError``) and goes on;
- a whole number outside 64 bits is refused when it comes in, because not every engine and client can carry it.
"""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from antiphon.exceptions import ClientError, NotEncodable
from antiphon.scalars import as_scalar

__all__ = ["BINARY_FRAME", "decode", "encode", "error"]

#: The answer to a binary frame where JSON is spoken.
BINARY_FRAME = ClientError("unexpected_binary", "this connection speaks JSON in text frames")

_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_LONG_NUMBER = b"0" * 19
_DIGITS_TO_ZERO = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))


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
    try:
        content = _decode(payload)
    except UnicodeDecodeError:
        raise ClientError("invalid_json", "the JSON is not UTF-8") from None
    except RecursionError:
        raise ClientError("too_deep", f"the JSON is nested deeper than {max_depth} levels") from None
    except msgspec.ValidationError as error:
        raise ClientError("number_too_large", f"a number in the JSON can't be carried: {error}") from None
    except msgspec.DecodeError as error:
        raise ClientError("invalid_json", _words(payload, error)) from None
    # Cheap looks at the bytes first: few messages are long enough, or have the digits, to need a look at the content.
    length = len(payload)
    if length > 2 * max_depth and payload.count(b"[") + payload.count(b"{") > max_depth:
        _check_depth(content, max_depth)
    if length >= 19 and _LONG_NUMBER in payload.translate(_DIGITS_TO_ZERO) and _has_large_number(content):
        raise ClientError("number_too_large", "a whole number in the JSON has more than 64 bits")
    return content


def _words(payload: bytes, error: Exception) -> str:
    if not payload.strip():
        return "the message is empty; it should be a JSON document"
    if b"\\u" in payload and "truncated" in str(error):
        return "the JSON is cut off, or has half of a surrogate pair"
    return str(error)


def _check_depth(content: Any, limit: int) -> None:
    """Raise if containers are nested over ``limit``; a document without containers has depth 0."""
    level = [content]
    for _ in range(limit):
        level = [child for item in level if isinstance(item, (list, dict)) for child in _children(item)]
    if any(isinstance(item, (list, dict)) for item in level):
        raise ClientError("too_deep", f"the JSON is nested deeper than {limit} levels")


def _children(container: list[Any] | dict[str, Any]) -> Any:
    return container.values() if isinstance(container, dict) else container


def _has_large_number(content: Any) -> bool:
    waiting = [content]
    while waiting:
        item = waiting.pop()
        if isinstance(item, (list, dict)):
            waiting.extend(_children(item))
        elif type(item) is int and not _SMALLEST <= item <= _LARGEST:
            return True
    return False


def error(problem: ClientError, error_type: str) -> bytes | None:
    """Return the error frame that tells ``problem``, or None where ``error_type`` is empty: error frames are off."""
    if not error_type:
        return None
    return encode({"type": error_type, "code": problem.code, "reason": problem.reason})
