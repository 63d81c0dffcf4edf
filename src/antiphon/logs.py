"""What antiphon's log lines are held to, whatever clients do.

Laws:
- of one kind at most ``PER_SECOND`` lines pass in any second; the next that passes says how many did not, and
  ``log_lines_suppressed`` counts them;
- exceptions are of one kind only if the same place raised them: none is hidden behind another, or altogether;
- what a client wrote can't end a line, colour it, look like a line of its own, or go on for long: control characters
  are escaped, further lines of an exception's text are indented, and each text ends at ``LONGEST`` characters.

A filter of a parent is not asked for its children's lines, so each logger of antiphon has it: a new one has to be put
into ``LOGGERS``. Time is that of the records.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections import deque
from types import TracebackType

from antiphon.counters import Counters

__all__ = ["LOGGERS", "LONGEST", "PER_SECOND", "LineLimit", "limit_lines", "limit_servers_lines", "shown"]

#: Every logger of antiphon.
LOGGERS = (
    "antiphon",
    "antiphon.connection",
    "antiphon.engines",
    "antiphon.django",
    "antiphon.http_api",
    "antiphon.hub",
    "antiphon.inbox",
    "antiphon.layer",
    "antiphon.server",
    "antiphon.threads",
    "antiphon.transport",
)
#: Those of uvicorn that speak of clients.
SERVERS_LOGGERS = ("uvicorn.error", "uvicorn.access")
PER_SECOND = 20
LONGEST = 2000
#: Kinds are few, as many as there are calls of a logger and places that raise; should they not be, forget them all.
_MOST_KINDS = 1000


def shown(value: object, length: int = 200) -> str:
    """Return ``value`` as a log line may show it: on one line, quoted, and cut off at ``length`` characters."""
    text = str(value)
    return repr(text) if len(text) <= length else f"{text[:length]!r}… ({len(text)} characters)"


class LineLimit(logging.Filter):
    """Lets at most ``per_second`` lines of one kind pass in any second, and makes them fit. For any thread."""

    def __init__(self, counters: Counters, per_second: int = PER_SECOND) -> None:
        super().__init__()
        self._counters = counters
        self._per_second = per_second
        self._kinds: dict[object, _Kind] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether ``record`` passes; what passes is made fit to be a line."""
        with self._lock:
            withheld = self._kind(record).withhold(record.created)
            if withheld is None:
                self._counters.log_lines_suppressed += 1
                return False
        message = record.getMessage()
        line = _on_one_line(message) + (f" (and {withheld} more like it)" if withheld else "")
        if line != message:
            record.msg, record.args = line, ()
        if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
            record.exc_text = "".join(_indented(part) for part in traceback.format_exception(*record.exc_info)).rstrip()
        return True

    def _kind(self, record: logging.LogRecord) -> _Kind:
        key = (record.name, record.levelno, str(record.msg), *_place(record))
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= _MOST_KINDS:
                self._kinds.clear()
            kind = self._kinds[key] = _Kind(self._per_second)
        return kind


class _Kind:
    """Lines of one kind: when the last of them passed, and how many were withheld since."""

    __slots__ = ("_passed", "_withheld")

    def __init__(self, per_second: int) -> None:
        self._passed: deque[float] = deque(maxlen=per_second)
        self._withheld = 0

    def withhold(self, now: float) -> int | None:
        """Return None if a line of the time ``now`` may not pass, else how many before it did not."""
        passed = self._passed
        if passed and now < passed[-1] - 1:
            passed.clear()  # the clock was set back
        if len(passed) == passed.maxlen and now - passed[0] < 1:
            self._withheld += 1
            return None
        passed.append(now)
        withheld, self._withheld = self._withheld, 0
        return withheld


def _place(record: logging.LogRecord) -> tuple[object, ...]:
    """Return the exception's class and the line that raised it, where the record has one."""
    if not record.exc_info or record.exc_info[0] is None:
        return ()
    kind, _, trace = record.exc_info
    return (kind, *_innermost(trace))


def _innermost(trace: TracebackType | None) -> tuple[object, ...]:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return () if trace is None else (trace.tb_frame.f_code, trace.tb_lineno)


def _on_one_line(text: str) -> str:
    """Return ``text`` with everything escaped that is no visible character or space, and not too long."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}… ({len(text)} characters)"
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _indented(part: str) -> str:
    """Return a part of a traceback (a frame, or an exception's text) so that only its first line may begin a line."""
    if len(part) > LONGEST:
        part = f"{part[:LONGEST]}… ({len(part)} characters)"
    first, *more = part.rstrip("\n").split("\n")
    lines = [first, *(line if line.startswith(" ") else f"    {line}" for line in more)]
    return "".join(f"{_on_one_line(line)}\n" for line in lines)


class _ServersLines(LineLimit):
    """For uvicorn's own loggers: what clients wrote is escaped in every line; tracebacks alone are limited."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether ``record`` passes; its arguments stay as many as they were, for uvicorn's formatters."""
        if record.exc_info:
            record.msg = str(record.msg).rstrip("\n")
            return super().filter(record)
        if isinstance(record.args, tuple):
            record.args = tuple(_on_one_line(each) if isinstance(each, str) else each for each in record.args)
        return True


def limit_servers_lines(counters: Counters) -> None:
    """Hold uvicorn's loggers to what holds for lines about clients, from now on."""
    _put(_ServersLines(counters), SERVERS_LOGGERS)


def limit_lines(counters: Counters) -> None:
    """Hold every logger of antiphon to the laws from now on, anew, and count in ``counters``."""
    _put(LineLimit(counters), LOGGERS)


def _put(limit: LineLimit, names: tuple[str, ...]) -> None:
    for name in names:
        logger = logging.getLogger(name)
        for previous in [each for each in logger.filters if isinstance(each, LineLimit)]:
            logger.removeFilter(previous)
        logger.addFilter(limit)
