"""Tokens made by hand, good and bad: by the standard library and cryptography, without the code that is tested."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from antiphon.jws import JWS, take_apart

SECRET = "a secret of sixty-four bytes and more, as every algorithm takes it."
OTHER_SECRET = "another secret, that is as long as this, and not known to anyone else."
NOW = 1_700_000_000.0

HASHES: dict[str, tuple[Any, hashes.HashAlgorithm]] = {
    "256": (hashlib.sha256, hashes.SHA256()),
    "384": (hashlib.sha384, hashes.SHA384()),
    "512": (hashlib.sha512, hashes.SHA512()),
}
CURVES: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
JWK_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


def rsa_key(bits: int = 2048, name: str = "") -> rsa.RSAPrivateKey:
    """The RSA key of that name."""
    return _rsa_key(bits, name)


@functools.cache
def _rsa_key(bits: int, name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def curve_key(algorithm: str, name: str = "") -> ec.EllipticCurvePrivateKey:
    """The key of that name on the curve that the algorithm is for."""
    return _curve_key(algorithm, name)


@functools.cache
def _curve_key(algorithm: str, name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(CURVES[algorithm])


def key_for(algorithm: str, name: str = "") -> Any:
    """A key that signs with ``algorithm``: a secret, or a private key."""
    if algorithm.startswith("HS"):
        return SECRET + name
    return rsa_key(name=name) if algorithm.startswith(("RS", "PS")) else curve_key(algorithm, name)


def public_pem(key: Any) -> str:
    public = key.public_key()
    return str(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def private_pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def ed25519_key() -> Any:
    return ed25519.Ed25519PrivateKey.generate()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def jwk(algorithm: str, name: str = "", **members: Any) -> dict[str, Any]:
    """The key of that name as a JSON Web Key, with ``members`` over it; None takes one away."""
    key = key_for(algorithm, name)
    if isinstance(key, str):
        content = {"kty": "oct", "k": b64(key.encode())}
    elif isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        content = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
    else:
        point = key.public_key().public_numbers()
        size = (key.key_size + 7) // 8
        content = {
            "kty": "EC",
            "crv": JWK_CURVES[algorithm],
            "x": number(point.x, size),
            "y": number(point.y, size),
        }
    return {key: value for key, value in {**content, "kid": name or None, **members}.items() if value is not None}


def key_set(*keys: dict[str, Any]) -> str:
    return json.dumps({"keys": list(keys)})


def signature(algorithm: str, key: Any, content: bytes) -> bytes:
    """Sign as RFC 7518 §3 has it."""
    digest, named = HASHES[algorithm[2:]]
    if algorithm.startswith("HS"):
        return hmac.new(key.encode() if isinstance(key, str) else key, content, digest).digest()
    if algorithm.startswith("RS"):
        return bytes(key.sign(content, padding.PKCS1v15(), named))
    if algorithm.startswith("PS"):
        return bytes(key.sign(content, padding.PSS(padding.MGF1(named), named.digest_size), named))
    size = (key.key_size + 7) // 8
    r, s = decode_dss_signature(key.sign(content, ec.ECDSA(named)))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def token(
    claims: dict[str, Any] | bytes,
    *,
    algorithm: str = "HS256",
    key: Any = None,
    header: dict[str, Any] | bytes | None = None,
) -> str:
    """A token that says ``claims``; ``header`` goes over the usual one, or in place of it where it is bytes."""
    if not isinstance(header, bytes):
        header = json.dumps({"alg": algorithm, "typ": "JWT", **(header or {})}).encode()
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    content = f"{b64(header)}.{b64(payload)}"
    key = key_for(algorithm) if key is None else key
    return f"{content}.{b64(signature(algorithm, key, content.encode()))}"


def parts(text: str) -> JWS:
    """A good token's parts."""
    return take_apart(text)
