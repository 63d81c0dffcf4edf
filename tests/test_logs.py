"""Log lines: how many pass, what is said of those that do not, and what no client can put into one."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import antiphon
from antiphon import app
from antiphon.counters import Counters
from antiphon.logs import LOGGERS, LONGEST, LineLimit, limit_lines, shown

HOSTILE = "\x1b[31mred\r\nERROR: forged\x00\x7f\x85\u2028\u202egnp.exe\ud800"


def record(
    message: str = "a line", *args: Any, at: float = 0.0, level: int = logging.INFO, error: BaseException | None = None
) -> logging.LogRecord:
    trace = (type(error), error, error.__traceback__) if error is not None else None
    made = logging.LogRecord("antiphon.test", level, __file__, 1, message, args, trace)
    made.created = at
    return made


class Log:
    """A limit, and what it lets pass."""

    def __init__(self, per_second: int = 3) -> None:
        self.counters = Counters()
        self.limit = LineLimit(self.counters, per_second)
        self.lines: list[str] = []

    def __call__(self, *args: Any, **options: Any) -> bool:
        made = record(*args, **options)
        passed = self.limit.filter(made)
        if passed:
            self.lines.append(logging.Formatter("%(message)s").format(made))
        return passed


def raised(kind: type[Exception], *args: Any) -> Exception:
    try:
        raise kind(*args)
    except Exception as error:
        return error


# How many


def test_so_many_of_a_kind_pass_in_a_second_and_the_next_tells_of_the_others() -> None:
    log = Log()
    assert [log("line %d", number, at=0.1) for number in range(10)] == [True] * 3 + [False] * 7
    assert log.counters.log_lines_suppressed == 7
    assert not log("line %d", 10, at=1.0)
    assert log("line %d", 11, at=1.1)
    assert log("line %d", 12, at=1.1)
    assert log.lines == ["line 0", "line 1", "line 2", "line 11 (and 8 more like it)", "line 12"]


def test_kinds_do_not_count_for_each_other() -> None:
    log = Log(per_second=1)
    assert log("one %s", 1)
    assert log("two %s", 1)
    assert log("two %s", 1, level=logging.DEBUG)
    assert not log("one %s", 2)
    assert log("one %s", 3, at=1.0)
    assert log.lines[-1] == "one 3 (and 1 more like it)"


def test_exceptions_are_of_a_kind_by_class_and_place() -> None:
    log = Log(per_second=1)
    for _ in range(5):
        log("exception in %s()", "receive", error=raised(KeyError))
        log("exception in %s()", "receive", error=raised(LookupError))
        try:
            raise KeyError
        except KeyError as elsewhere:
            log("exception in %s()", "receive", error=elsewhere)
    assert log.counters.log_lines_suppressed == 12
    assert len(log.lines) == 3
    log("exception in %s()", "receive", error=raised(KeyError), at=1.0)
    assert log.lines[-1].startswith("exception in receive() (and 4 more like it)\nTraceback")


def test_an_exception_that_was_never_raised_has_no_place() -> None:
    log = Log(per_second=1)
    assert log("x", error=KeyError())
    assert not log("x", error=KeyError())
    assert log("x", error=LookupError())


def test_a_clock_that_is_set_back_silences_nothing_for_long() -> None:
    log = Log()
    for _ in range(5):
        log(at=1000.0)
    assert log(at=10.0)
    assert log.lines[-1] == "a line (and 2 more like it)"
    assert [log(at=10.0) for _ in range(3)] == [True, True, False]


def test_a_clock_that_differs_a_little_between_threads_lets_no_more_pass() -> None:
    log = Log()
    assert [log(at=at) for at in (5.0, 4.9, 5.1, 4.9, 5.2, 4.8, 5.85)] == [True] * 3 + [False] * 4


def test_kinds_without_end_are_forgotten() -> None:
    log = Log(per_second=1)
    for number in range(5000):
        assert log(f"a line of its own {number}")
    assert len(log.limit._kinds) <= 1000


@given(st.lists(st.floats(0, 0.5), max_size=80))
def test_in_no_second_more_pass_and_every_line_is_told_of(pauses: list[float]) -> None:
    log, now, times = Log(), 0.0, []
    for pause in pauses:
        now += pause
        if log(at=now):
            times.append(now)
    for first, fourth in zip(times, times[3:], strict=False):
        assert fourth - first >= 1
    assert log(at=now + 1)
    told = sum(int(number) for line in log.lines for number in re.findall(r"and (\d+) more", line))
    assert told == log.counters.log_lines_suppressed == len(pauses) - len(times)


def test_any_thread_may_log() -> None:
    log = Log(per_second=7)
    threads = [threading.Thread(target=lambda: [log(at=5.0) for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(log.lines) == 7
    assert log.counters.log_lines_suppressed == 1993


# What is in a line


def test_a_fit_line_is_left_as_it_was_made() -> None:
    made = record("%s is %d, 100%%", "größer 世界 🎶", 7)
    assert LineLimit(Counters()).filter(made)
    assert (made.msg, made.args) == ("%s is %d, 100%%", ("größer 世界 🎶", 7))
    assert made.getMessage() == "größer 世界 🎶 is 7, 100%"


@pytest.mark.parametrize("template", ["%s", "a %s b", "100%% %s"])
def test_control_characters_are_escaped(template: str) -> None:
    log = Log()
    assert log(template, HOSTILE)
    (line,) = log.lines
    assert line.isprintable()
    assert r"\x1b[31mred\r\nERROR: forged\x00\x7f\x85\u2028\u202egnp.exe\ud800" in line


def test_a_percent_sign_of_a_client_is_a_percent_sign() -> None:
    log = Log(per_second=1)
    log("%s", "%s %d %(name)s \n")
    log("%s", "suppressed")
    log("%s", "%s %d %(name)s", at=1.0)
    assert log.lines == [r"%s %d %(name)s \n", "%s %d %(name)s (and 1 more like it)"]


def test_a_line_has_an_end() -> None:
    log = Log()
    log("%s", "x" * 10_000_000)
    assert log.lines[0] == "x" * LONGEST + "… (10000000 characters)"


def test_what_an_exception_says_can_not_look_like_a_line() -> None:
    log = Log()
    log("failed", error=raised(ValueError, f"bad value {HOSTILE}\nERROR: forged again\n\n  indented"))
    first, heading, *frames, text, forged, again, empty, indented = log.lines[0].split("\n")
    assert (first, heading) == ("failed", "Traceback (most recent call last):")
    assert frames[0].startswith('  File "')
    assert text == r"ValueError: bad value \x1b[31mred\r"
    assert forged == r"    ERROR: forged\x00\x7f\x85\u2028\u202egnp.exe\ud800"
    assert (again, empty.strip(), indented) == ("    ERROR: forged again", "", "  indented")


def test_an_exception_s_text_has_an_end_and_so_has_each_in_its_chain() -> None:
    log = Log()
    try:
        try:
            raise ValueError("x" * 10_000_000)
        except ValueError as error:
            raise KeyError("y" * 10_000_000) from error
    except KeyError as error:
        log("failed", error=error)
    assert len(log.lines[0]) < 3 * LONGEST
    assert "direct cause" in log.lines[0]
    assert "ValueError: xxx" in log.lines[0]
    assert "KeyError: 'yyy" in log.lines[0]


def test_an_exception_that_has_no_text_is_logged_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    log = Log()
    assert log("failed", error=raised(Mute))
    assert "Mute" in log.lines[0]


def test_a_fit_traceback_is_as_python_writes_it() -> None:
    error = raised(KeyError, "a")
    log = Log()
    log("failed", error=error)
    plain = logging.Formatter("%(message)s").format(record("failed", error=error))
    assert log.lines[0] == plain


def test_exc_info_without_an_exception_is_nothing() -> None:
    made = record()
    made.exc_info = (None, None, None)
    assert LineLimit(Counters()).filter(made)
    assert made.exc_text is None


@given(st.text())
def test_any_text_becomes_one_line(text: str) -> None:
    log = Log()
    log("%s", text)
    assert log.lines[0].isprintable()
    assert len(log.lines[0].splitlines()) <= 1
    log("x", error=raised(ValueError, text))
    trace = log.lines[1].split("\n")[2:]
    assert all(line.isprintable() and (line.startswith((" ", "ValueError")) or not line) for line in trace)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/a/", "'/a/'"),
        ("a\r\nb\x1b", r"'a\r\nb\x1b'"),
        ("'", '"\'"'),
        (7, "'7'"),
        ("x" * 10, "'xxxxx'… (10 characters)"),
    ],
)
def test_shown(value: object, expected: str) -> None:
    assert shown(value, 5 if value == "x" * 10 else 200) == expected


# Where it is


@pytest.fixture
def loggers() -> Iterator[None]:
    """The loggers of antiphon, put back as they were."""
    before = {name: logging.getLogger(name).filters[:] for name in LOGGERS}
    yield
    for name, filters in before.items():
        logging.getLogger(name).filters[:] = filters


@pytest.mark.usefixtures("loggers")
def test_every_logger_has_the_limit_once_and_the_newest() -> None:
    for counters in (Counters(), Counters()):
        limit_lines(counters)
        for name in LOGGERS:
            logger = logging.getLogger(name)
            assert len([each for each in logger.filters if isinstance(each, LineLimit)]) == 1
            before = counters.log_lines_suppressed
            for _ in range(25):
                logger.handle(record(f"of {name}"))
            assert counters.log_lines_suppressed == before + 5


@pytest.mark.usefixtures("loggers")
def test_the_process_s_antiphon_limits_its_lines_and_counts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(app, "_app", None)
    current = app.current_app()
    for number in range(30):
        logging.getLogger("antiphon.connection").warning("flood %d", number)
    assert current.counters.log_lines_suppressed == 10
    assert len(caplog.records) == 20


def test_no_logger_is_left_out() -> None:
    sources = Path(antiphon.__file__).parent.rglob("*.py")
    calls = [call for source in sources for call in re.findall(r"getLogger\((.*?)\)", source.read_text())]
    names = {call.strip('"') for call in calls if call != "name"}
    assert names - {"uvicorn.error", "uvicorn.access"} == set(LOGGERS)
