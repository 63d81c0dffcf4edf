"""Keys of the configuration, and of a file that is exchanged while the server runs."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.config import Config, load
from antiphon.counters import Counters
from antiphon.exceptions import ConfigurationError, TokenInvalid
from antiphon.keyring import INTERVAL, Keyring, open_verifier
from antiphon.keys import public_keys, secret_key
from antiphon.verifier import Verifier

from .forge import NOW, OTHER_SECRET, SECRET, curve_key, ed25519_key, jwk, key_set, private_pem, public_pem, rsa_key
from .forge import token as forged


class Ring:
    """A keyring of one file, with a clock that only the test moves."""

    def __init__(self, path: Path, *fixed: Any) -> None:
        self.path = path
        self.counters = Counters()
        self.now = 100.0
        self.ring = Keyring(fixed, path, clock=lambda: self.now, counters=self.counters)

    def write(self, *keys: dict[str, Any] | str) -> None:
        """Put another file in its place, as a deployment does: in one step."""
        new = self.path.with_suffix(".new")
        new.write_text(keys[0] if isinstance(keys[0], str) else key_set(*keys))  # type: ignore[arg-type]
        new.replace(self.path)

    def accepts(self, name: str, *, kid: str | None = "", algorithm: str = "ES256") -> bool:
        """Tell whether a token of the key of that name is accepted now."""
        text = forged(
            {"sub": "ann"},
            algorithm=algorithm,
            key=curve_key("ES256", name) if algorithm == "ES256" else None,
            header={"kid": name if kid == "" else kid},
        )
        try:
            return Verifier(self.ring).connection(text, NOW).user == "ann"
        except TokenInvalid:
            return False

    @property
    def failed(self) -> int:
        return self.counters.key_reads_failed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with one key, old."""
    file = tmp_path / "keys.json"
    file.write_text(key_set(jwk("ES256", "old")))
    return file


def lines(log: pytest.LogCaptureFixture, level: int = logging.ERROR) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno >= level]


# The file changes


def test_keys_are_exchanged_while_the_server_runs(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ring = Ring(path)
    assert ring.accepts("old")
    assert not ring.accepts("new")
    ring.write(jwk("ES256", "old"), jwk("ES256", "new"))
    ring.now += INTERVAL
    assert ring.accepts("new"), "both are good while tokens of the old one are about"
    assert ring.accepts("old")
    ring.write(jwk("ES256", "new"))
    ring.now += INTERVAL
    assert ring.accepts("new")
    assert not ring.accepts("old")
    assert lines(caplog, logging.INFO) == [
        f"token_jwks: {str(path)!r} was read again; keys now: 2",
        f"token_jwks: {str(path)!r} was read again; keys now: 1",
    ]
    assert ring.failed == 0


def test_a_key_that_was_taken_away_is_refused_without_a_kid_too(path: Path) -> None:
    ring = Ring(path)
    assert ring.accepts("old", kid=None)
    ring.write(jwk("ES256", "new"))
    ring.now += INTERVAL
    assert not ring.accepts("old", kid=None)
    assert ring.accepts("new", kid=None)


def test_the_keys_of_the_configuration_stay(path: Path) -> None:
    ring = Ring(path, secret_key(SECRET, "it"))
    assert ring.accepts("any", kid=None, algorithm="HS256")
    ring.write(jwk("ES256", "new"))
    ring.now += INTERVAL
    assert ring.accepts("new")
    assert ring.accepts("any", kid=None, algorithm="HS256")
    assert ring.accepts("any", algorithm="HS256"), "a kid that nobody has may be that of a key without one"


def test_a_secret_can_be_exchanged_too(path: Path) -> None:
    ring = Ring(path)
    ring.write(jwk("HS256", "new"))
    ring.now += INTERVAL
    text = forged({"sub": "ann"}, key=SECRET + "new", header={"kid": "new"})
    assert Verifier(ring.ring).connection(text, NOW).user == "ann"


def count_looks(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    counted = {"looks": 0, "reads": 0}
    stat, read = Path.stat, Path.open

    def counting_stat(self: Path, **options: Any) -> os.stat_result:
        counted["looks"] += 1
        return stat(self, **options)

    def counting_open(self: Path, *args: Any, **options: Any) -> Any:
        counted["reads"] += 1
        return read(self, *args, **options)

    monkeypatch.setattr(Path, "stat", counting_stat)
    monkeypatch.setattr(Path, "open", counting_open)
    return counted


def test_the_file_is_looked_at_once_in_an_interval_whatever_comes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Ring(path)
    counted = count_looks(monkeypatch)
    for _ in range(100):
        assert ring.accepts("old")
        assert not ring.accepts("unknown")
    assert counted == {"looks": 0, "reads": 0}
    ring.now += INTERVAL
    for _ in range(100):
        assert ring.accepts("old")
    assert counted == {"looks": 1, "reads": 0}, "it has not changed"
    ring.now += INTERVAL
    for _ in range(100):
        assert not ring.accepts("unknown")
    assert counted["reads"] == 1, "for a kid that is not known it is read all the same"
    ring.now += INTERVAL / 2
    assert not ring.accepts("unknown")
    assert counted["reads"] == 1


def test_two_changes_within_one_tick_are_noticed(path: Path) -> None:
    ring = Ring(path)
    before = path.stat()
    path.write_text(path.read_text().replace('"old"', '"new"'))  # as long as before, in the same file
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    ring.now += INTERVAL
    assert not ring.accepts("old", kid="old-not"), "the key is another's"
    ring.now += INTERVAL
    assert ring.accepts("old", kid="new")


def test_a_change_while_the_file_is_read_is_noticed_at_the_next_look(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = Ring(path)
    ring.write(jwk("ES256", "first"))
    read = Path.open

    def exchanged(self: Path, *args: Any, **options: Any) -> Any:
        file = read(self, *args, **options)
        monkeypatch.setattr(Path, "open", read)
        ring.write(jwk("ES256", "first"), jwk("ES256", "second"))
        return file

    monkeypatch.setattr(Path, "open", exchanged)
    ring.now += INTERVAL
    assert ring.accepts("first")
    assert not ring.accepts("second")
    ring.now += INTERVAL
    assert ring.accepts("first"), "its kid is known, and the file is read for its stamp alone"
    assert ring.accepts("second")


# The file is damaged

DAMAGES = {
    "empty": ("", "it is not JSON: Expecting value: line 1 column 1 (char 0)"),
    "cut off": ('{"keys": [{"kty": "EC", "crv', "it is not JSON: "),
    "no keys": ('{"keys": []}', "it has no key that could verify a token"),
    "no set": ("[]", "it is no JSON Web Key Set"),
    "weak": (json.dumps({"keys": [jwk("HS256", k="AAAA")]}), "it, key 1 has 3 bytes"),
    "private": (json.dumps({"keys": [jwk("ES256", d="AAAA")]}), "it, key 1 is a private key"),
    "too large": (" " * (1024 * 1024 + 1), "it has more than 1048576 bytes"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_leaves_the_keys_from_before(path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ring = Ring(path)
    ring.write(DAMAGES[damage][0])
    ring.now += INTERVAL
    assert ring.accepts("old")
    assert ring.failed == 1
    (line,) = lines(caplog)
    assert line.startswith(f"token_jwks: {str(path)!r} can't be used, the keys from before stay: {DAMAGES[damage][1]}")
    for _ in range(5):
        ring.now += INTERVAL
        assert ring.accepts("old")
    assert ring.failed == 6, "it is tried again"
    assert len(lines(caplog)) == 1, "and said once"
    ring.write(jwk("ES256", "new"))
    ring.now += INTERVAL
    assert ring.accepts("new")
    assert ring.failed == 6
    assert lines(caplog, logging.INFO)[-1].endswith("was read again; keys now: 1")


def test_a_file_that_was_removed_leaves_the_keys_from_before(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ring = Ring(path)
    content = path.read_text()
    path.unlink()
    ring.now += INTERVAL
    assert ring.accepts("old")
    assert not ring.accepts("unknown")
    assert ring.failed == 1
    assert lines(caplog) == [
        f"token_jwks: {str(path)!r} can't be used, the keys from before stay: No such file or directory"
    ]
    path.write_text("")
    ring.now += INTERVAL
    assert ring.accepts("old")
    assert ring.failed == 2
    assert len(lines(caplog)) == 2, "something else is wrong with it now"
    path.write_text(content)
    ring.now += INTERVAL
    assert ring.accepts("old")
    assert ring.failed == 2


def test_a_file_that_is_whole_again_is_told_although_it_is_as_before(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ring = Ring(path)
    aside = path.rename(path.with_suffix(".aside"))
    ring.now += INTERVAL
    assert ring.accepts("old")
    aside.rename(path)
    ring.now += INTERVAL
    assert ring.accepts("old")
    assert lines(caplog, logging.INFO)[-1].endswith("was read again; keys now: 1")
    ring.now += INTERVAL
    assert not ring.accepts("unknown")
    assert len(lines(caplog, logging.INFO)) == 2, "what was read in vain for an unknown kid is not told"


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling"])
def test_what_is_no_file_leaves_the_keys_from_before(path: Path, kind: str) -> None:
    ring = Ring(path)
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere")
    ring.now += INTERVAL
    assert ring.accepts("old")
    assert ring.failed == 1


def test_a_link_that_is_turned_to_another_file_is_followed(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "current.json"
    link.symlink_to(path)
    ring = Ring(link)
    other = tmp_path / "other.json"
    other.write_text(key_set(jwk("ES256", "new")))
    turned = tmp_path / "turned"
    turned.symlink_to(other)
    turned.replace(link)
    ring.now += INTERVAL
    assert ring.accepts("new")


def test_no_key_is_in_the_log(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ring = Ring(path)
    for bad in (key_set(jwk("HS256", k=jwk("HS256")["k"], alg="RS256")), f'{{"keys": "{SECRET}"}}', SECRET):
        ring.write(bad)
        ring.now += INTERVAL
        assert ring.accepts("old")
    assert ring.failed == 3
    assert SECRET not in caplog.text
    assert jwk("HS256")["k"] not in caplog.text


@given(st.binary(max_size=200) | st.sampled_from([json.dumps({"keys": [jwk("ES256", "old")]}).encode()]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_file_holds_the_keys_from_before_stay(path: Path, content: bytes) -> None:
    path.write_text(key_set(jwk("ES256", "old")))
    ring = Ring(path)
    path.write_bytes(content)
    ring.now += INTERVAL
    assert ring.accepts("old")


# At the start


@pytest.mark.parametrize("damage", DAMAGES)
def test_at_the_start_a_damaged_file_is_an_error(path: Path, damage: str) -> None:
    path.write_text(DAMAGES[damage][0])
    with pytest.raises(ConfigurationError) as raised:
        Ring(path)
    assert str(raised.value).startswith(f"token_jwks: {str(path)!r} can't be used: {DAMAGES[damage][1]}")


def opened(**options: Any) -> Verifier | None:
    return open_verifier(load(options, environment={}), clock=lambda: 0.0, counters=Counters())


def refused(**options: Any) -> str:
    with pytest.raises(ConfigurationError) as raised:
        opened(**options)
    assert raised.value.__cause__ is None
    return str(raised.value)


def user(verifier: Verifier | None, text: str) -> str:
    assert verifier is not None
    return verifier.connection(text, NOW).user


def test_at_the_start_a_missing_file_is_an_error(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.json")
    assert refused(token_jwks=missing) == f"token_jwks: {missing!r} can't be used: No such file or directory"
    assert refused(token_jwks="a\0b").startswith("token_jwks: 'a\\x00b' can't be used: ")
    assert len(refused(token_jwks="a" * 100_000)) < 400


def test_without_keys_there_is_no_verifier() -> None:
    assert opened() is None
    assert open_verifier(Config(token_audience="a"), clock=lambda: 0.0, counters=Counters()) is None


def test_every_place_of_the_configuration_is_read(path: Path, tmp_path: Path) -> None:
    pem = tmp_path / "public.pem"
    pem.write_text(public_pem(rsa_key()))
    verifier = opened(
        token_secrets=[SECRET, OTHER_SECRET],
        token_public_keys=[str(pem), public_pem(curve_key("ES384"))],
        token_jwks=str(path),
    )
    for key in (SECRET, OTHER_SECRET):
        assert user(verifier, forged({"sub": "ann"}, key=key)) == "ann"
    assert user(verifier, forged({"sub": "bob"}, algorithm="RS256")) == "bob"
    assert user(verifier, forged({"sub": "eve"}, algorithm="ES384")) == "eve"
    text = forged({"sub": "joe"}, algorithm="ES256", key=curve_key("ES256", "old"), header={"kid": "old"})
    assert user(verifier, text) == "joe"


def test_a_key_set_may_stand_in_the_configuration_itself() -> None:
    verifier = opened(token_jwks="\n" + key_set(jwk("RS256", kid="one")))
    assert user(verifier, forged({"sub": "ann"}, algorithm="RS256", header={"kid": "one"})) == "ann"
    words = refused(token_jwks=key_set(jwk("HS256", alg="RS256")))
    assert words == "token_jwks, key 1: its alg is RS256, and it can be HS256, HS384, HS512"


def test_the_environment_is_a_place_too() -> None:
    environment = {"ANTIPHON_TOKEN_SECRETS": f"{'x' * 40}, {'y' * 40}", "ANTIPHON_TOKEN_LEEWAY": "0"}
    verifier = open_verifier(load(environment=environment), clock=lambda: 0.0, counters=Counters())
    for key in ("x" * 40, "y" * 40):
        assert user(verifier, forged({"sub": "ann"}, key=key)) == "ann"


def test_audience_issuer_and_leeway_are_those_of_the_configuration() -> None:
    verifier = opened(token_secrets=[SECRET], token_audience="here", token_issuer="them", token_leeway=5)
    good = {"sub": "ann", "aud": "here", "iss": "them", "exp": NOW - 4}
    assert user(verifier, forged(good)) == "ann"
    for bad in ({"aud": "there"}, {"iss": "others"}):
        with pytest.raises(TokenInvalid):
            user(verifier, forged({**good, **bad}))


def test_a_weak_key_is_refused_with_its_place(tmp_path: Path) -> None:
    assert refused(token_secrets=[SECRET, "guess"]).startswith("secret 2 of token_secrets has 5 bytes; a secret has 32")
    weak = tmp_path / "weak.pem"
    weak.write_text(public_pem(rsa_key(1024)))
    for entry in (str(weak), public_pem(rsa_key(1024))):
        assert refused(token_public_keys=[entry]) == (
            "entry 1 of token_public_keys is an RSA key of 1024 bits; it has 2048 or more"
        )


@pytest.mark.parametrize(
    "entry", [SECRET, "", "none.pem", "/", "/dev/zero", "a\0b", "x" * 5000, "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A"]
)
def test_an_entry_that_is_no_key_and_no_file_is_not_shown(entry: str) -> None:
    words = refused(token_public_keys=[public_pem(rsa_key()), entry])
    assert words.startswith("entry 2 of token_public_keys is no key in PEM, and no file with one: ")
    assert len(entry) < 4 or entry not in words


@pytest.mark.parametrize("make", [rsa_key, ed25519_key])
def test_a_private_key_among_the_public_ones_is_not_shown(make: Any, tmp_path: Path) -> None:
    pem = private_pem(make())
    file = tmp_path / "private.pem"
    file.write_text(pem)
    for entry in (pem, str(file)):
        words = refused(token_public_keys=[entry])
        assert words.startswith("entry 1 of token_public_keys is a private key")
        assert pem.splitlines()[1] not in words


def test_a_file_that_is_not_text_is_no_key(tmp_path: Path) -> None:
    file = tmp_path / "key.der"
    file.write_bytes(b"\xff\xfe")
    assert refused(token_public_keys=[str(file)]).endswith("no file with one: it is not UTF-8")


def test_a_keyring_may_have_a_longer_interval(path: Path) -> None:
    now = 0.0
    ring = Keyring(
        public_keys(public_pem(rsa_key()), "it"), path, clock=lambda: now, counters=Counters(), interval=60.0
    )
    path.write_text(key_set(jwk("ES256", "new")))
    now = 59.9
    assert [key.kid for key in ring.find("ES256", None)] == ["old"]
    now = 60.0
    assert [key.kid for key in ring.find("ES256", None)] == ["new"]
    assert [key.kid for key in ring.find("RS256", None)] == [None]
