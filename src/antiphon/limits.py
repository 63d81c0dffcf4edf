"""Rates: what one client may send in a second, and what it may have saved up before.

A rate is a token bucket. It holds what the rate brings in ``burst`` seconds, each message takes from it, and time fills
it. Time comes in as an argument, in seconds of a clock that does not go back.

Laws:
- in any ``t`` seconds a client gets through at most what the bucket holds and what the rate brings in ``t``;
- a client that has been silent for ``burst`` seconds may send any one message, however small the rates;
- what is refused takes nothing.

Every message of every client is asked for, and to look at the clock costs more than all the rest. So a small part of
each bucket is kept in a purse, which is spent without a look; only when the purse is empty is time taken into account.
"""

from __future__ import annotations

from antiphon.config import Config

__all__ = ["Meter"]

#: One part in this many of a bucket is in the purse.
_PURSE = 128
#: What a bucket without a limit holds: so much that what is taken does not change it.
_BOUNDLESS = 1e300


class Meter:
    """What one client may still send: a bucket of messages and one of bytes, both full at the time ``now``.

    The rates are those of ``config``. The bucket of bytes holds at least a message of ``max_message_size``.
    """

    __slots__ = ("_byte_bucket", "_byte_purse", "_message_bucket", "_message_purse")

    def __init__(self, config: Config, now: float) -> None:
        self._message_bucket = _Bucket(config.message_rate, config.rate_burst, 1, now)
        self._byte_bucket = _Bucket(config.byte_rate, config.rate_burst, config.max_message_size, now)
        self._message_purse = self._message_bucket.purse
        self._byte_purse = self._byte_bucket.purse

    def spend(self, size: int) -> bool:
        """Take a message of ``size`` bytes from the purse; where this is False, ``take`` has to be asked."""
        messages = self._message_purse - 1
        octets = self._byte_purse - size
        if messages < 0 or octets < 0:
            return False
        self._message_purse = messages
        self._byte_purse = octets
        return True

    def take(self, size: int, now: float) -> bool:
        """Take a message of ``size`` bytes at the time ``now``, and fill the purse; False if it is too much."""
        messages = self._message_bucket.fill(now) + self._message_purse
        octets = self._byte_bucket.fill(now) + self._byte_purse
        if messages < 1 or octets < size:
            return False
        self._message_purse = self._message_bucket.keep(messages - 1)
        self._byte_purse = self._byte_bucket.keep(octets - size)
        return True

    def excess(self) -> tuple[str, str]:
        """Return which rate the client is over, where ``take`` was False: the option's name, and words for the rate."""
        if self._message_bucket.level + self._message_purse < 1:
            return "message_rate", f"more than {self._message_bucket.rate:.12g} messages per second"
        return "byte_rate", f"more than {self._byte_bucket.rate:.12g} bytes per second"


class _Bucket:
    """What a rate has brought and nobody has taken, without what is in the purse."""

    __slots__ = ("_at", "_most", "level", "purse", "rate")

    def __init__(self, rate: float, burst: float, largest: int, now: float) -> None:
        holds = max(rate * burst, float(largest)) if rate else _BOUNDLESS
        # The largest message has to fit in without the purse, which nobody fills while the client is silent.
        self.purse = float(min(holds // _PURSE, holds - largest))
        self._most = holds - self.purse
        self.rate = rate
        self._at = now
        self.level = self._most

    def fill(self, now: float) -> float:
        """Add what the rate has brought since the last time; return what there is."""
        self.level = min(self._most, self.level + (now - self._at) * self.rate)
        self._at = now
        return self.level

    def keep(self, tokens: float) -> float:
        """Keep ``tokens`` but for a purse full of them, which is returned."""
        purse = min(tokens, self.purse)
        self.level = tokens - purse
        return purse
