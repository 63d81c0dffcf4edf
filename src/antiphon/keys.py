"""Keys: what tokens are verified with, and which key is asked about which token.

Laws:
- a key has its algorithms, from the day it is read: a secret is for HMAC, an RSA key for RS256 and its like, a key on a
  curve for the one algorithm of that curve (RFC 8725 §3.1). What a token claims chooses among keys, never how one of
  them is used;
- a ``kid`` chooses the keys of that id; where there is none of it, and where a token names none, all keys that have no
  id, or all there are, are asked;
- a key that is too weak is refused when it is read (RFC 7518 §3.2, §3.3), and so is a private one where only its public
  half belongs;
- no key is in a message, or in the ``repr`` of anything.

The cryptography is PyJWT's. It is imported when the first key is read, so that who has no tokens need not have it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from antiphon.exceptions import ConfigurationError
from antiphon.jws import ALGORITHMS, JWS, read_base64url, read_json

__all__ = ["Key", "KeySource", "Keys", "key_set", "public_keys", "secret_key", "sign"]

#: How many bytes a secret has at least for an algorithm: as many as its hash (RFC 7518 §3.2).
SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
#: RFC 7518 §3.3.
RSA_BITS = 2048
_RSA = ("RS256", "RS384", "RS512")
#: A curve, in cryptography's words, and what it is for (RFC 7518 §3.4).
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_JWK_CURVES = ("P-256", "P-384", "P-521")
#: Keys of one set. Without a kid each of them is asked.
MOST_KEYS = 100

_PEM = re.compile(r"-----BEGIN ((?:RSA )?PUBLIC KEY)-----.*?-----END \1-----", re.DOTALL)


class Key:
    """One key, with the algorithms that it is for."""

    __slots__ = ("_material", "algorithms", "kid")

    def __init__(self, material: Any, algorithms: Iterable[str], kid: str | None = None) -> None:
        self._material = material
        self.algorithms = frozenset(algorithms)
        self.kid = kid

    def __repr__(self) -> str:
        return f"<Key {self.kid!r} for {', '.join(sorted(self.algorithms))}>"

    def fits(self, token: JWS) -> bool:
        """Tell whether the holder of this key, or of its private half, has signed ``token``."""
        if token.algorithm not in self.algorithms:
            return False
        return bool(_algorithm(token.algorithm).verify(token.signed, self._material, token.signature))


class KeySource(Protocol):
    """Where a verifier finds keys."""

    def find(self, algorithm: str, kid: str | None) -> Sequence[Key]:
        """Return the keys for ``algorithm`` that a token with this ``kid`` may be signed with, by the laws above."""


class Keys:
    """Keys that stay as they are."""

    __slots__ = ("_keys", "kids")

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = tuple(keys)
        self.kids = frozenset(key.kid for key in self._keys if key.kid is not None)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, algorithm: str, kid: str | None) -> Sequence[Key]:
        """Return the keys for ``algorithm`` that a token with this ``kid`` may be signed with."""
        fitting = [key for key in self._keys if algorithm in key.algorithms]
        if kid is None:
            return fitting
        return [key for key in fitting if key.kid == (kid if kid in self.kids else None)]


def secret_key(secret: str | bytes, where: str, kid: str | None = None) -> Key:
    """Return the key that ``secret`` is, for HMAC; ``where`` is said in a ``ConfigurationError``."""
    return Key(*_secret(secret, where), kid)


def _secret(secret: str | bytes, where: str) -> tuple[Any, list[str]]:
    """Return a secret as PyJWT takes it, and what it is long enough for."""
    if isinstance(secret, str) and secret != secret.strip():
        raise ConfigurationError(f"{where} begins or ends with white space, which is likely to be a mistake")
    content = _encoded(secret, where)
    if len(content) < SECRET_BYTES["HS256"]:
        raise ConfigurationError(
            f"{where} has {len(content)} bytes; a secret has {SECRET_BYTES['HS256']} or more, for it can be guessed "
            "from any token. This makes one: python -c 'import secrets; print(secrets.token_urlsafe(48))'"
        )
    try:
        material = _algorithm("HS256").prepare_key(content)
    except _library().InvalidKeyError:
        material = None
    if material is None or (content.startswith(b"{") and b'"kty"' in content):
        raise ConfigurationError(
            f"{where} is a public key, or looks like one, and everybody knows such a secret; keys in PEM belong into "
            "token_public_keys, a key set into token_jwks"
        )
    return material, [name for name, least in SECRET_BYTES.items() if len(content) >= least]


def _encoded(secret: str | bytes, where: str) -> bytes:
    try:
        return secret if isinstance(secret, bytes) else secret.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"{where} has half of a surrogate pair") from None


def public_keys(pem: str, where: str) -> list[Key]:
    """Return the public keys in PEM that the text ``pem`` has; ``where`` is said in a ``ConfigurationError``."""
    if "PRIVATE KEY" in pem:
        raise ConfigurationError(
            f"{where} is a private key; here belongs its public half: openssl pkey -in private.pem -pubout"
        )
    found = [match[0] for match in _PEM.finditer(pem)]
    if not found or len(found) != pem.count("-----BEGIN "):
        raise ConfigurationError(
            f"{where} is no public key in PEM: '-----BEGIN PUBLIC KEY-----' and what follows. "
            "Of a certificate it is: openssl x509 -in certificate.pem -pubkey -noout"
        )
    return [Key(key, _algorithms_of(key, where)) for key in (_load_pem(each, where) for each in found)]


def _load_pem(pem: str, where: str) -> Any:
    _algorithm("RS256")  # that both libraries are there is found out now
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        return load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(f"{where} has a public key that can't be read") from None


def _algorithms_of(key: Any, where: str) -> Sequence[str]:
    """Return what an RSA key or one on a curve is for, be it private or public."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(key, (rsa.RSAPublicKey, rsa.RSAPrivateKey)):
        if key.key_size < RSA_BITS:
            raise ConfigurationError(f"{where} is an RSA key of {key.key_size} bits; it has {RSA_BITS} or more")
        return _RSA
    if isinstance(key, (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey)) and key.curve.name in _CURVES:
        return [_CURVES[key.curve.name]]
    raise ConfigurationError(f"{where} is neither an RSA key nor one on the curves P-256, P-384 and P-521")


def key_set(document: Mapping[str, Any] | str | bytes, where: str) -> list[Key]:
    """Return the keys of a JSON Web Key Set (RFC 7517 §5); ``where`` is said in a ``ConfigurationError``.

    Those that are for something else than signatures, or of a kind that is not known here, are left out, as §5 has it.
    """
    if not isinstance(document, Mapping):
        try:
            document = read_json(_encoded(document, where))
        except ValueError as error:
            raise ConfigurationError(f"{where} is not JSON: {error}") from None
    members = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(members, list) or not all(isinstance(member, Mapping) for member in members):
        raise ConfigurationError(f'{where} is no JSON Web Key Set, which is like {{"keys": [{{"kty": "RSA", …}}]}}')
    if len(members) > MOST_KEYS:
        raise ConfigurationError(f"{where} has {len(members)} keys; {MOST_KEYS} are the most that are taken")
    found = [_jwk(member, f"{where}, key {number}") for number, member in enumerate(members, 1) if _is_ours(member)]
    if not found:
        raise ConfigurationError(f"{where} has no key that could verify a token")
    return found


def _is_ours(jwk: Mapping[str, Any]) -> bool:
    """Tell whether a key is for signatures, and of a kind that is known here."""
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("use", "sig") == "sig"
        and (not isinstance(operations, list) or "verify" in operations)
        and jwk.get("alg", "RS256") in ALGORITHMS
        and (jwk.get("kty") in ("oct", "RSA") or (jwk.get("kty") == "EC" and jwk.get("crv") in _JWK_CURVES))
    )


def _jwk(jwk: Mapping[str, Any], where: str) -> Key:
    kid = jwk.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise ConfigurationError(f"{where}: its kid is no text")
    if "d" in jwk:
        raise ConfigurationError(f"{where} is a private key; leave out all but its public half")
    material, algorithms = _jwk_secret(jwk, where) if jwk["kty"] == "oct" else _jwk_public(jwk, where)
    if "alg" in jwk and jwk["alg"] not in algorithms:
        raise ConfigurationError(f"{where}: its alg is {jwk['alg']}, and it can be {', '.join(algorithms)}")
    return Key(material, [jwk["alg"]] if "alg" in jwk else algorithms, kid)


def _jwk_secret(jwk: Mapping[str, Any], where: str) -> tuple[Any, Sequence[str]]:
    try:
        secret = read_base64url(jwk["k"])
    except (KeyError, TypeError, ValueError):
        raise ConfigurationError(f"{where} is a secret without a k in base64url") from None
    return _secret(secret, where)


def _jwk_public(jwk: Mapping[str, Any], where: str) -> tuple[Any, Sequence[str]]:
    algorithm = _algorithm("RS256" if jwk["kty"] == "RSA" else "ES256")
    try:
        key = algorithm.from_jwk(dict(jwk))
    except (_library().InvalidKeyError, KeyError, TypeError, ValueError):
        raise ConfigurationError(f"{where} is an {jwk['kty']} key that can't be read") from None
    return key, _algorithms_of(key, where)


def sign(payload: bytes, key: str | bytes, algorithm: str, kid: str | None = None) -> str:
    """Return ``payload`` as a token, signed with a secret, or with a private key in PEM.

    Raises ``ConfigurationError`` for a key that can't be, or that is not for ``algorithm``.
    """
    if algorithm not in ALGORITHMS:
        raise ConfigurationError(f"algorithm is {algorithm!r:.40}; it can be {', '.join(ALGORITHMS)}")
    material, algorithms = _secret(key, "the key") if algorithm in SECRET_BYTES else _private_key(key, algorithm)
    if algorithm not in algorithms:
        raise ConfigurationError(
            f"the key is for {', '.join(algorithms)}, and not for {algorithm}"
            + (f", which takes {SECRET_BYTES[algorithm]} bytes or more" if algorithm in SECRET_BYTES else "")
        )
    token: str = _library().signer.encode(payload, material, algorithm, {"kid": kid} if kid is not None else None)
    return token


def _private_key(pem: str | bytes, algorithm: str) -> tuple[Any, Sequence[str]]:
    _algorithm(algorithm)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_encoded(pem, "the key"), password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(
            f"the key is no private key in PEM that can be read without a password, as {algorithm} takes"
        ) from None
    return key, _algorithms_of(key, "the key")


class _Library(NamedTuple):
    """What is used of PyJWT."""

    signer: Any
    InvalidKeyError: type[Exception]


@functools.cache
def _library() -> _Library:
    try:
        from jwt import InvalidKeyError, PyJWS
    except ImportError:
        raise _missing() from None
    return _Library(PyJWS(algorithms=ALGORITHMS), InvalidKeyError)


@functools.cache
def _algorithm(name: str) -> Any:
    """Return PyJWT's algorithm of that name."""
    try:
        return _library().signer.get_algorithm_by_name(name)
    except NotImplementedError:  # there is PyJWT, but not cryptography
        raise _missing() from None


def _missing() -> ConfigurationError:
    return ConfigurationError("tokens need PyJWT and cryptography: pip install 'antiphon[tokens]'")
