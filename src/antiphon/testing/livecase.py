"""Channels' live server for Django's test cases, with antiphon's server in it."""

from __future__ import annotations

try:
    from channels.testing import ChannelsLiveServerTestCase
except ImportError as error:
    raise ImportError(
        "LiveServerTestCase is that of Channels with another server: it needs the packages channels and daphne "
        f"({error}). The fixture live_antiphon needs neither."
    ) from error

from antiphon.testing.serverprocess import AntiphonProcess

__all__ = ["LiveServerTestCase"]


class LiveServerTestCase(ChannelsLiveServerTestCase):  # type: ignore[misc]
    """``channels.testing.ChannelsLiveServerTestCase``, served by antiphon.

    The server is a process of its own, which uses the test's database; that must not be in memory.
    """

    ProtocolServerProcess = AntiphonProcess
