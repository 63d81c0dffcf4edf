"""Keys: what each is for, which is asked, and which are refused when they are read."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import warnings
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon import keys as module
from antiphon.exceptions import ConfigurationError
from antiphon.jws import ALGORITHMS
from antiphon.keys import MOST_KEYS, Key, Keys, key_set, public_keys, secret_key, sign

from .forge import (
    OTHER_SECRET,
    SECRET,
    b64,
    curve_key,
    ed25519_key,
    jwk,
    key_for,
    parts,
    private_pem,
    public_pem,
    rsa_key,
    token,
)
from .forge import key_set as document

PUBLIC = [algorithm for algorithm in ALGORITHMS if not algorithm.startswith("HS")]


def key_of(algorithm: str, name: str = "") -> Key:
    """The key that verifies what ``key_for`` signs."""
    key = key_for(algorithm, name)
    return secret_key(key, "it") if isinstance(key, str) else public_keys(public_pem(key), "it")[0]


def refused(make: Any, *args: Any) -> str:
    """Read a key that can't be; return the words for it."""
    with pytest.raises(ConfigurationError, match=r"^it") as raised:
        make(*args, "it")
    assert raised.value.__cause__ is None
    return str(raised.value)


# What fits


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_fits_what_it_has_signed(algorithm: str) -> None:
    jws = parts(token({"sub": "a"}, algorithm=algorithm))
    assert key_of(algorithm).fits(jws)
    assert not key_of(algorithm, "another").fits(jws)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_fits_what_the_library_has_signed(algorithm: str) -> None:
    key = key_for(algorithm)
    made = jwt.encode({"sub": "a"}, key if isinstance(key, str) else private_pem(key), algorithm)
    assert key_of(algorithm).fits(parts(made))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signature_is_for_one_content(algorithm: str) -> None:
    jws = parts(token({"sub": "a"}, algorithm=algorithm))
    key = key_of(algorithm)
    assert not key.fits(jws._replace(signed=jws.signed + b"A"))
    assert not key.fits(jws._replace(signed=jws.signed.replace(b".", b"")))
    for cut in (
        b"",
        jws.signature[:1],
        jws.signature[:-1],
        jws.signature[1:],
        jws.signature[: len(jws.signature) // 2],
    ):
        assert not key.fits(jws._replace(signature=cut))
    for other in (jws.signature + b"\0", b"\0" + jws.signature, jws.signature * 2, b"\0" * len(jws.signature)):
        assert not key.fits(jws._replace(signature=other))


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
def test_a_signature_of_zeros_and_of_the_order_fits_nothing(algorithm: str) -> None:
    jws = parts(token({"sub": "a"}, algorithm=algorithm))
    half = len(jws.signature) // 2
    ones = (1).to_bytes(half, "big")
    for r, s in [(b"\0" * half, ones), (ones, b"\0" * half), (ones, ones), (b"\xff" * half, b"\xff" * half)]:
        assert not key_of(algorithm).fits(jws._replace(signature=r + s))


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
def test_a_signature_in_der_is_none(algorithm: str) -> None:
    key = curve_key(algorithm)
    content = parts(token({"sub": "a"}, algorithm=algorithm))
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    digest = {"ES256": hashes.SHA256(), "ES384": hashes.SHA384(), "ES512": hashes.SHA512()}[algorithm]
    assert not key_of(algorithm).fits(content._replace(signature=key.sign(content.signed, ec.ECDSA(digest))))


# What a key is for


@pytest.mark.parametrize(
    ("bytes_", "algorithms"),
    [
        (32, {"HS256"}),
        (47, {"HS256"}),
        (48, {"HS256", "HS384"}),
        (63, {"HS256", "HS384"}),
        (64, {"HS256", "HS384", "HS512"}),
        (1000, {"HS256", "HS384", "HS512"}),
    ],
)
def test_a_secret_is_for_what_it_is_long_enough_for(bytes_: int, algorithms: set[str]) -> None:
    assert secret_key("x" * bytes_, "it").algorithms == algorithms
    assert secret_key("ü" * (bytes_ // 2) + "x" * (bytes_ % 2), "it").algorithms == algorithms


def test_a_public_key_is_for_its_own_algorithms() -> None:
    assert key_of("RS256").algorithms == {"RS256", "RS384", "RS512"}
    for algorithm in ("ES256", "ES384", "ES512"):
        assert key_of(algorithm).algorithms == {algorithm}


@pytest.mark.parametrize("claimed", ALGORITHMS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_a_token_claims_does_not_change_what_a_key_is_for(algorithm: str, claimed: str) -> None:
    jws = parts(token({"sub": "a"}, algorithm=algorithm))
    assert key_of(algorithm).fits(jws._replace(algorithm=claimed)) == (claimed == algorithm)


@pytest.mark.parametrize("claimed", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "ES384", "ES512"])
def test_a_public_key_is_no_secret(algorithm: str, claimed: str) -> None:
    # CVE-2015-9235: a token "signed" by HMAC with the text of the public key, which everybody has.
    private = key_for(algorithm)
    pem = public_pem(private)
    for text in (pem, pem.strip(), pem.replace("\n", ""), pem.replace("\n", "\r\n")):
        forged = parts(token({"sub": "admin"}, algorithm=claimed, key=text))
        assert not key_of(algorithm).fits(forged)
        assert not Keys([key_of(algorithm)]).find(claimed, None)
    assert "token_public_keys" in refused(secret_key, pem.strip())


@pytest.mark.parametrize("algorithm", ["none", "None", "PS256", "EdDSA", "HS", "", "ES256K", "ES521"])
def test_nothing_fits_another_algorithm(algorithm: str) -> None:
    for known in ("HS256", "RS256", "ES512"):
        jws = parts(token({"sub": "a"}, algorithm=known))._replace(algorithm=algorithm)
        assert not key_of(known).fits(jws)
        assert not key_of(known).fits(jws._replace(signature=b""))


def test_a_signature_by_pss_does_not_pass_as_one_by_pkcs() -> None:
    assert not key_of("RS256").fits(parts(token({}, algorithm="PS256", header={"alg": "RS256"})))


# Which key is asked


def asked(keys: Keys, algorithm: str, kid: str | None) -> list[Key]:
    return list(keys.find(algorithm, kid))


def test_a_kid_chooses_and_without_one_all_of_the_algorithm_are_asked() -> None:
    one, two = secret_key(SECRET, "it", "one"), secret_key(OTHER_SECRET, "it", "two")
    bare, rsa = secret_key(SECRET + "!", "it"), key_of("RS256")
    keys = Keys([one, two, bare, rsa])
    assert len(keys) == 4
    assert keys.kids == {"one", "two"}
    assert asked(keys, "HS256", "one") == [one]
    assert asked(keys, "HS256", "two") == [two]
    assert asked(keys, "HS256", None) == [one, two, bare]
    assert asked(keys, "HS256", "three") == [bare], "a key without an id may be any"
    assert asked(keys, "RS256", "one") == [], "one is another key"
    assert asked(keys, "RS256", "three") == [rsa]
    assert asked(keys, "RS256", None) == [rsa]
    assert asked(keys, "ES256", None) == []


@pytest.mark.parametrize("kid", ["", "ONE", "one ", "one\x00", "оne", "../one", "one' OR '1'='1", "http://evil.io/one"])
def test_a_kid_is_compared_and_nothing_else(kid: str) -> None:
    assert asked(Keys([secret_key(SECRET, "it", "one")]), "HS256", kid) == []


def test_keys_of_one_id_are_all_asked() -> None:
    old, new = secret_key(SECRET, "it", "one"), secret_key(OTHER_SECRET, "it", "one")
    assert asked(Keys([old, new]), "HS256", "one") == [old, new]


def test_no_keys_are_none() -> None:
    assert asked(Keys([]), "HS256", None) == []


def test_a_secret_is_not_shown() -> None:
    key = secret_key(SECRET, "it", "one")
    assert repr(key) == "<Key 'one' for HS256, HS384, HS512>"
    assert SECRET not in repr([key, Keys([key]), vars(Keys)])
    assert not hasattr(key, "__dict__")


# Secrets


@pytest.mark.parametrize("secret", ["", "x", "secret", "x" * 31, "ü" * 15])
def test_a_short_secret_is_refused_with_advice(secret: str) -> None:
    words = refused(secret_key, secret)
    assert f"it has {len(secret.encode())} bytes; a secret has 32 or more" in words
    assert "secrets.token_urlsafe(48)" in words


@pytest.mark.parametrize("secret", [f"{SECRET}\n", f" {SECRET}", f"\t{SECRET}\r\n", " " * 40])
def test_white_space_around_a_secret_is_refused(secret: str) -> None:
    words = refused(secret_key, secret)
    assert "white space" in words
    assert SECRET not in words


def test_a_secret_in_bytes_may_have_any() -> None:
    assert secret_key(b"\n" * 32, "it").algorithms == {"HS256"}


@pytest.mark.parametrize(
    "secret",
    [
        lambda: public_pem(rsa_key()).strip(),
        lambda: private_pem(rsa_key()).strip(),
        lambda: json.dumps(jwk("RS256")),
        lambda: document(jwk("RS256")),
        lambda: "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ someone@somewhere",
    ],
)
def test_a_key_of_another_kind_is_no_secret(secret: Any) -> None:
    words = refused(secret_key, secret())
    assert "is a public key, or looks like one" in words
    assert secret()[:40] not in words


def test_half_of_a_surrogate_pair_is_no_secret() -> None:
    assert "surrogate" in refused(secret_key, "\ud800" * 40)


# PEM


def test_a_text_may_hold_several_keys() -> None:
    pem = "# ours\n" + public_pem(rsa_key()) + "\n# theirs\r\n" + public_pem(curve_key("ES256")).replace("\n", "\r\n")
    assert [sorted(key.algorithms) for key in public_keys(pem, "it")] == [["RS256", "RS384", "RS512"], ["ES256"]]


def test_the_older_form_of_an_rsa_key_is_one() -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode()
    assert "RSA PUBLIC KEY" in pem
    assert public_keys(pem, "it")[0].fits(parts(token({}, algorithm="RS256")))


@pytest.mark.parametrize("bits", [1024, 1536, 2047])
def test_a_weak_rsa_key_is_refused(bits: int) -> None:
    assert refused(public_keys, public_pem(rsa_key(bits))) == f"it is an RSA key of {bits} bits; it has 2048 or more"


def other_curve() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256K1())


@pytest.mark.parametrize("make", [ed25519_key, other_curve])
def test_a_key_of_another_kind_is_refused(make: Any) -> None:
    assert refused(public_keys, public_pem(make())).startswith("it is neither an RSA key nor one on the curves")


@pytest.mark.parametrize("make", [rsa_key, ed25519_key, lambda: curve_key("ES256")])
def test_a_private_key_is_refused_and_not_shown(make: Any) -> None:
    pem = private_pem(make())
    for text in (pem, public_pem(make()) + pem):
        words = refused(public_keys, text)
        assert "openssl pkey" in words
        assert pem.splitlines()[1][:20] not in words


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "x",
        SECRET,
        "-----BEGIN PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----\n-----END RSA PUBLIC KEY-----",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        lambda: public_pem(rsa_key()) + "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        lambda: public_pem(rsa_key()) + public_pem(rsa_key())[:100],
    ],
    ids=lambda pem: f"{pem!r:.50}",
)
def test_what_is_no_public_key_is_refused(pem: Any) -> None:
    text = pem if isinstance(pem, str) else pem()
    assert "openssl x509" in refused(public_keys, text)


@pytest.mark.parametrize("body", ["", "AAAA", "!!!", "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA"])
def test_a_key_that_is_damaged_is_refused(body: str) -> None:
    pem = f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----"
    assert refused(public_keys, pem) == "it has a public key that can't be read"


# Key sets


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_of_a_set_fits(algorithm: str) -> None:
    jws = parts(token({"sub": "a"}, algorithm=algorithm))
    text = document(jwk(algorithm, kid="one", alg=algorithm, use="sig", key_ops=["verify"], x5c=["AAAA"]))
    for written in (text, text.encode(), json.loads(text)):
        (key,) = key_set(written, "it")
        assert key.kid == "one"
        assert key.algorithms == {algorithm}
        assert key.fits(jws)


def test_without_an_alg_a_key_of_a_set_is_for_what_it_can_be_for() -> None:
    keys = key_set(document(jwk("HS256"), jwk("RS256"), jwk("ES384")), "it")
    assert [len(key.algorithms) for key in keys] == [3, 3, 1]
    assert {key.kid for key in keys} == {None}


def test_an_alg_restricts_a_key_of_a_set() -> None:
    (key,) = key_set(document(jwk("RS256", alg="RS512")), "it")
    assert not key.fits(parts(token({}, algorithm="RS256")))
    assert key.fits(parts(token({}, algorithm="RS512")))


@pytest.mark.parametrize(
    "other",
    [
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
        {"kty": "new"},
        {"kty": None},
        {"kty": ["RSA"]},
        {},
        jwk("ES256", crv="secp256k1"),
        jwk("ES256", crv=["P-256"]),
        jwk("ES256", crv={}),
        jwk("RS256", use="enc"),
        jwk("RS256", key_ops=["encrypt"]),
        jwk("RS256", key_ops=[]),
        jwk("RS256", alg="RSA-OAEP"),
        jwk("RS256", alg="PS256"),
        jwk("HS256", alg="A256GCM"),
        jwk("HS256", alg="none"),
    ],
    ids=lambda other: f"{other!r:.60}",
)
def test_a_key_for_something_else_is_left_out(other: dict[str, Any]) -> None:
    (key,) = key_set(document(other, jwk("ES256", kid="ours")), "it")
    assert key.kid == "ours"
    assert refused(key_set, document(other)) == "it has no key that could verify a token"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (jwk("HS256", k=b64(b"x" * 31)), "it, key 2 has 31 bytes; a secret has 32"),
        (jwk("HS256", k=None), "it, key 2 is a secret without a k"),
        (jwk("HS256", k=5), "it, key 2 is a secret without a k"),
        (jwk("HS256", k="not base64!"), "it, key 2 is a secret without a k"),
        (jwk("HS256", alg="RS256"), "it, key 2: its alg is RS256, and it can be HS256, HS384, HS512"),
        (jwk("HS256", k=b64(b"x" * 32), alg="HS512"), "it, key 2: its alg is HS512, and it can be HS256"),
        (jwk("RS256", alg="HS256"), "it, key 2: its alg is HS256, and it can be RS256"),
        (jwk("RS256", alg="ES256"), "it, key 2: its alg is ES256"),
        (jwk("ES256", alg="ES384"), "it, key 2: its alg is ES384, and it can be ES256"),
        (jwk("RS256", d="AQAB"), "it, key 2 is a private key"),
        (jwk("ES256", d="AQAB"), "it, key 2 is a private key"),
        (jwk("RS256", n=None), "it, key 2 is an RSA key that can't be read"),
        (jwk("RS256", e=5), "it, key 2 is an RSA key that can't be read"),
        (jwk("RS256", e="AQ"), "it, key 2 is an RSA key that can't be read"),
        (jwk("RS256", n="AQAB"), "it, key 2 is an RSA key"),
        (jwk("RS256", n=b64(b"\xff" * 128)), "it, key 2 is an RSA key of 1024 bits"),
        (jwk("ES256", x="AAAA"), "it, key 2 is an EC key that can't be read"),
        (jwk("ES256", y=None), "it, key 2 is an EC key that can't be read"),
        (jwk("ES256", y=b64(b"\1" * 32)), "it, key 2 is an EC key that can't be read"),  # not on the curve
        (jwk("ES256", crv="P-384"), "it, key 2 is an EC key that can't be read"),
        (jwk("ES256", kid=5), "it, key 2: its kid is no text"),
        (jwk("ES256", kid=["a"]), "it, key 2: its kid is no text"),
    ],
    ids=lambda value: f"{value!r:.60}",
)
def test_a_key_that_can_not_be_is_named(bad: dict[str, Any], words: str) -> None:
    told = refused(key_set, document(jwk("ES256", kid="fine"), bad))
    assert told.startswith(words)
    assert str(bad.get("k", SECRET)) not in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is not JSON"),
        ("{", "it is not JSON"),
        ("https://example.com/jwks.json", "it is not JSON"),
        ('{"keys": [], "keys": []}', "it is not JSON: an object has a name twice"),
        (b"\xff", "it is not JSON: it is not UTF-8"),
        ("[" * 100_000, "it is not JSON: it is nested too deep"),
        ("[]", "it is no JSON Web Key Set"),
        ("{}", "it is no JSON Web Key Set"),
        ("null", "it is no JSON Web Key Set"),
        ('{"keys": {}}', "it is no JSON Web Key Set"),
        ('{"keys": null}', "it is no JSON Web Key Set"),
        ('{"keys": ["a"]}', "it is no JSON Web Key Set"),
        (json.dumps(jwk("RS256")), "it is no JSON Web Key Set"),
        ('{"keys": []}', "it has no key that could verify a token"),
    ],
    ids=lambda value: f"{value!r:.40}",
)
def test_what_is_no_key_set_is_refused(text: str | bytes, words: str) -> None:
    assert refused(key_set, text).startswith(words)


def test_a_set_has_only_so_many_keys() -> None:
    key = jwk("ES256")
    assert len(key_set({"keys": [key] * MOST_KEYS}, "it")) == MOST_KEYS
    assert refused(key_set, {"keys": [key] * (MOST_KEYS + 1)}).startswith("it has 101 keys")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from(["HS256", "RS256", "ES256", "ES512"]),
    st.sampled_from(["kty", "k", "n", "e", "crv", "x", "y", "kid", "alg", "use", "key_ops", "d"]),
    json_values,
)
def test_any_key_of_a_set_is_taken_left_out_or_refused(algorithm: str, member: str, value: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            keys = key_set({"keys": [{**jwk(algorithm), member: value}]}, "it")
        except ConfigurationError:
            return
    assert all(key.algorithms <= set(ALGORITHMS) for key in keys)


# Signing


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_signed_fits(algorithm: str) -> None:
    key = key_for(algorithm)
    written = key if isinstance(key, str) else private_pem(key)
    for each in (written, written.encode()):
        jws = parts(sign(b'{"sub":"a"}', each, algorithm, "one"))
        assert (jws.algorithm, jws.kid, jws.payload) == (algorithm, "one", b'{"sub":"a"}')
        assert key_of(algorithm).fits(jws)
    assert parts(sign(b"{}", written, algorithm)).kid is None
    assert parts(sign(b"{}", written, algorithm, "")).kid == ""


@pytest.mark.parametrize("algorithm", ["none", "HS1", "PS256", "EdDSA", "", "hs256"])
def test_nothing_is_signed_with_another_algorithm(algorithm: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^algorithm is "):
        sign(b"{}", SECRET, algorithm)


@pytest.mark.parametrize(
    ("key", "algorithm", "words"),
    [
        ("short", "HS256", "the key has 5 bytes"),
        ("x" * 32, "HS384", "the key is for HS256, and not for HS384, which takes 48 bytes or more"),
        (SECRET, "RS256", "the key is no private key in PEM"),
        (SECRET, "ES256", "the key is no private key in PEM"),
        (lambda: public_pem(rsa_key()), "RS256", "the key is no private key in PEM"),
        (lambda: private_pem(rsa_key(1024)), "RS256", "the key is an RSA key of 1024 bits"),
        (lambda: private_pem(rsa_key()), "ES256", "the key is for RS256, RS384, RS512, and not for ES256"),
        (lambda: private_pem(curve_key("ES256")), "RS256", "the key is for ES256, and not for RS256"),
        (lambda: private_pem(curve_key("ES256")), "ES384", "the key is for ES256, and not for ES384"),
        (lambda: private_pem(ed25519_key()), "ES256", "the key is neither an RSA key nor"),
        (lambda: private_pem(rsa_key()).strip(), "HS256", "the key is a public key, or looks like one"),
    ],
)
def test_nothing_is_signed_with_a_key_that_is_not_for_it(key: Any, algorithm: str, words: str) -> None:
    secret = key if isinstance(key, str) else key()
    with pytest.raises(ConfigurationError) as raised:
        sign(b"{}", secret, algorithm)
    assert str(raised.value).startswith(words)
    assert secret not in str(raised.value)


def test_a_private_key_with_a_password_is_refused() -> None:
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    pem = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    with pytest.raises(ConfigurationError, match="without a password"):
        sign(b"{}", pem, "RS256")


# The library


def test_importing_antiphon_does_not_import_it() -> None:
    program = """
import sys
import antiphon, antiphon.tokens, antiphon.keyring, antiphon.server, antiphon.cli
print(sorted({name.split(".")[0] for name in sys.modules} & {"jwt", "cryptography"}))
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("missing", ["jwt", "cryptography"])
def test_without_it_the_extra_is_named(missing: str) -> None:
    program = f"""
import sys
sys.modules[{missing!r}] = None
from antiphon.exceptions import ConfigurationError
from antiphon.keys import key_set, public_keys, secret_key, sign
def told(make, *args):
    try:
        make(*args)
    except ConfigurationError as error:
        assert str(error) == "tokens need PyJWT and cryptography: pip install 'antiphon[tokens]'", error
        return True
    return False
pem = "-----BEGIN PUBLIC KEY-----\\nAAAA\\n-----END PUBLIC KEY-----"
keys = '{{"keys": [{{"kty": "RSA"}}]}}'
print(told(public_keys, pem, "it"), told(key_set, keys, "it"), told(sign, b"", pem, "RS256"))
print(told(secret_key, "x" * 32, "it"))
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    public, secret = done.stdout.splitlines()
    assert public == "True True True"
    assert secret == str(missing == "jwt"), "HMAC needs no cryptography"


def test_secrets_are_compared_in_the_library_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import hmac

    compared: list[tuple[bytes, bytes]] = []

    def comparing(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", comparing)
    jws = parts(token({"sub": "a"}))
    assert key_of("HS256").fits(jws)
    expected = hmac.new(SECRET.encode(), jws.signed, hashlib.sha256).digest()
    assert compared == [(jws.signature, expected)]
    assert not hasattr(module, "hmac")


# Laws


@given(st.sampled_from(ALGORITHMS), st.data())
def test_an_altered_signature_fits_nothing(algorithm: str, data: Any) -> None:
    jws = parts(TOKENS[algorithm])
    place = data.draw(st.integers(0, len(jws.signature) - 1))
    bit = data.draw(st.integers(0, 7))
    altered = bytearray(jws.signature)
    altered[place] ^= 1 << bit
    assert not FITTING[algorithm].fits(jws._replace(signature=bytes(altered)))


@given(st.sampled_from(ALGORITHMS), st.binary(max_size=150))
def test_no_bytes_are_a_signature_by_chance(algorithm: str, signature: bytes) -> None:
    assert not FITTING[algorithm].fits(parts(TOKENS[algorithm])._replace(signature=signature))


TOKENS = {algorithm: token({"sub": "a"}, algorithm=algorithm) for algorithm in ALGORITHMS}
FITTING = {algorithm: key_of(algorithm) for algorithm in ALGORITHMS}
