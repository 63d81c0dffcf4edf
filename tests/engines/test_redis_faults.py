"""What goes wrong with Redis, in words."""

from __future__ import annotations

import asyncio
import logging
import ssl

import hiredis
import pytest

from antiphon.counters import Counters
from antiphon.engines.redis.faults import Fault, Outage, all_of, code_of, fault_of, fault_of_connection


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'. script: 4a, on @user_script:1.", "OOM"),
        ("ERR Error running script (call to f_4a): @user_script:1: OOM command not allowed when used", "OOM"),
        ("READONLY You can't write against a read only replica.", "READONLY"),
        ("NOSCRIPT No matching script. Please use EVAL.", "NOSCRIPT"),
        ("ERR Client sent AUTH, but no password is set. Did you mean …", "WRONGPASS"),
        ("ERR invalid password", "WRONGPASS"),
        ("ERR unknown command", "ERR"),
        ("ERR The user executing the script can't run this command or subcommand script: 4a", "NOPERM"),
        ("ERR ACL failure in script: User u has no permissions to run the 'time' command", "NOPERM"),
    ],
)
def test_the_word_that_says_what_it_is(text: str, code: str) -> None:
    assert code_of(hiredis.ReplyError(text)) == code


@pytest.mark.parametrize(
    ("text", "words", "is_settled"),
    [
        ("OOM command not allowed", "maxmemory", False),
        ("NOAUTH Authentication required.", "wants a password", True),
        ("WRONGPASS invalid username-password pair or user is disabled.", "does not accept", True),
        ("NOPERM this user has no permissions", "may not do that", True),
        ("READONLY You can't write", "sentinels", False),
        ("LOADING Redis is loading", "loading its data", False),
        ("BUSY Redis is busy running a script", "SCRIPT KILL", False),
        ("MISCONF Redis is configured to save", "disk", False),
        ("MOVED 1 host", "cluster", True),
        ("ERR DB index is out of range", "answered with an error", True),
        ("ERR max number of clients reached", "max number of clients", False),
    ],
)
def test_each_error_says_where_and_what_to_do(text: str, words: str, is_settled: bool) -> None:
    fault = fault_of(hiredis.ReplyError(text), "Redis at h:1")
    assert str(fault).startswith("Redis at h:1: ")
    assert words in str(fault)
    assert text in str(fault)
    assert fault.is_settled is is_settled


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "did not answer within 5 s"),
        (ConnectionRefusedError(111, "Connect call failed"), "can't be reached"),
        (ConnectionResetError(), "closed the connection"),
        (asyncio.IncompleteReadError(b"", 1), "closed the connection"),
        (hiredis.ReplyError("NOAUTH Authentication required."), "wants a password"),
        (OSError(), "can't be reached (OSError)"),
    ],
)
def test_why_there_is_no_connection(error: Exception, words: str) -> None:
    assert words in str(fault_of_connection(error, "Redis at h:1", 5))


def test_a_certificate_that_is_not_accepted_is_the_configurations_fault() -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_message = "self-signed certificate"
    fault = fault_of_connection(error, "Redis at h:1", 5)
    assert fault.is_settled
    assert "self-signed certificate" in str(fault)
    assert "?ca=" in str(fault)


def test_a_fault_stays_what_it_is() -> None:
    fault = Fault("Redis", "it is gone")
    assert fault_of_connection(fault, "elsewhere", 5) is fault


def test_what_none_of_several_does_is_settled_where_one_can_never_do_it() -> None:
    faults = [Fault("Redis at h:1", "it is gone"), Fault("Redis at h:2", "it is gone too")]
    assert str(all_of(faults, "both")) == "both: Redis at h:1: it is gone; Redis at h:2: it is gone too"
    assert not all_of(faults, "both").is_settled
    assert all_of([*faults, Fault("Redis at h:3", "it wants a password", "NOAUTH")], "all").is_settled


def test_an_outage_is_counted_and_logged_once_until_everything_works(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    counters = Counters()
    outage = Outage("Redis at h:1", counters)
    outage.end("commands")
    for cause in ("commands", "subscription", "commands"):
        outage.begin(cause, Fault("Redis at h:1", "it is gone"))
    assert outage.fault is not None
    outage.end("commands")
    assert counters.engine_outages == 1
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    outage.end("subscription")
    outage.end("subscription")
    assert outage.fault is None
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "works again" in caplog.records[1].getMessage()
    outage.begin("publish", Fault("Redis at h:1", "it is full", "OOM"))
    assert counters.engine_outages == 2
