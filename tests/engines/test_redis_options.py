"""The URL of the Redis engine."""

from __future__ import annotations

import pytest

from antiphon.engines.redis.options import Options, parse
from antiphon.exceptions import ConfigurationError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", Options((("h", 6379),))),
        ("redis://h:1/", Options((("h", 1),))),
        ("redis://h:1/3", Options((("h", 1),), db=3)),
        ("redis://h?db=3", Options((("h", 6379),), db=3)),
        ("redis://[::1]:7/0", Options((("::1", 7),))),
        ("redis://:p%40ss@h", Options((("h", 6379),), password="p@ss")),
        ("redis://u:p:q@h", Options((("h", 6379),), user="u", password="p:q")),
        (f"rediss://h?ca={__file__}&verify=no", Options((("h", 6379),), tls=True, ca=__file__, verify="no")),
        ("unix:///run/r.sock?db=2", Options((("/run/r.sock", 0),), db=2)),
        ("unix://u:p@/run/r.sock", Options((("/run/r.sock", 0),), user="u", password="p")),
        ("redis+sentinel://a,b:1,[::1]/m?db=1", Options((("a", 26379), ("b", 1), ("::1", 26379)), "m", db=1)),
        (
            "rediss+sentinel://u:p@a/m?sentinel_user=s&sentinel_password=t",
            Options((("a", 26379),), "m", True, "u", "p", sentinel_user="s", sentinel_password="t"),
        ),
        ("redis+cluster://u:p@a,b:1", Options((("a", 6379), ("b", 1)), user="u", password="p", is_cluster=True)),
        ("rediss+cluster://a", Options((("a", 6379),), tls=True, is_cluster=True)),
        (
            "redis+shards://u:p@b:1,a/2",
            Options((("b", 1), ("a", 6379)), user="u", password="p", db=2, is_shards=True),
        ),
        ("rediss+shards://a?db=2", Options((("a", 6379),), tls=True, db=2, is_shards=True)),
        (
            "redis://h?prefix=x:y&timeout=2&lease=1.5",
            Options((("h", 6379),), prefix="x:y", timeout=2.0, lease=1.5),
        ),
    ],
)
def test_what_a_url_says(url: str, expected: Options) -> None:
    assert parse(url) == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://", "no host"),
        ("redis://h:0", "no host"),
        ("redis://h:99999", "no host"),
        ("redis://h:x", "no host"),
        ("redis://a,b", "takes one"),
        ("redis://h/x", "the database is a number"),
        ("redis://h/-1", "the database is a number"),
        ("redis://h?db=x", "db is a number"),
        ("redis://h?nosuch=1", "none of its options: db, prefix, timeout"),
        ("redis://h?timeout=0", "at least 0.1"),
        ("redis://h?lease=nan", "takes seconds"),
        ("redis://h?prefix={a}", "prefix takes"),
        ("redis://h?prefix=", "prefix takes"),
        ("redis://h?verify=maybe", "yes or no"),
        ("rediss://h?ca=/no/such.pem", "there is no file"),
        ("unix://run/r.sock", "three slashes"),
        ("unix://", "three slashes"),
        ("redis+sentinel://a,b", "names no master"),
        ("redis+sentinel://a/m/n", "names no master"),
        ("redis+sentinel://a,,b/m", "no host"),
        ("redis+cluster://a/1", "a cluster has none"),
        ("redis+cluster://a?db=1", "a cluster has none"),
        ("redis+shards://a/x", "the database is a number"),
        ("redis+shards://a,A:6379", "names one server twice"),
        ("redis+nosuch://a", "is written as one of"),
    ],
)
def test_what_can_not_be_is_refused_with_what_can(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        parse(url)


@pytest.mark.parametrize("url", ["redis://u:secret@h?nosuch=1", "redis+sentinel://a?sentinel_password=secret"])
def test_no_error_and_no_log_line_shows_a_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse(url)
    assert "secret" not in str(raised.value)
    options = Options((("h", 1),), password="secret", sentinel_password="secret")
    assert "secret" not in f"{options!r} {options.where}"


def test_where_it_is_in_words() -> None:
    assert parse("redis://u:p@h").where == "Redis at h:6379"
    assert parse("unix:///a.sock").where == "Redis at /a.sock"
    assert parse("redis+cluster://a,b").where == "the Redis cluster at a:6379,b:6379"
    assert parse("redis+shards://a,b/1").where == "the Redis shards at a:6379,b:6379"
    assert parse("redis+sentinel://a,b/m").where == "the master 'm' of the sentinels a:26379,b:26379"
