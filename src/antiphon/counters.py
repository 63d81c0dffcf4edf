"""What antiphon counts: every drop, refusal and error has a name here, and nothing is dropped without one."""

from __future__ import annotations

import dataclasses

__all__ = ["Counters"]


@dataclasses.dataclass(slots=True)
class Counters:
    """Numbers of one process since it started; ``antiphon.stats()`` reads them."""

    connections_accepted: int = 0
    """Connections that were opened by ``accept()``."""
    connections_refused: int = 0
    """Connections that were refused: by ``close()``, by an exception in ``connect()``, or because nobody decided."""
    connections_closed: int = 0
    """Accepted connections whose consumer has finished."""
    joins_refused: int = 0
    """``group_add`` for a connection that is closed, refused or unknown."""
    publications: int = 0
    """Publications of this process."""
    events: int = 0
    """Calls of ``group_send`` and ``send`` in this process."""
    events_refused: int = 0
    """Events whose ``type`` no handler may receive; the sender got an exception."""
    events_unhandled: int = 0
    """Events that reached members whose consumer defines no such handler."""
    events_undeliverable: int = 0
    """``send`` to a channel name that no connection has."""
    client_errors: int = 0
    """Bad frames that were answered with an error frame."""
    handler_errors: int = 0
    """Exceptions in the application's code. In a handler they close the connection with 1011."""
    usage_errors: int = 0
    """Calls of the application that were ignored with a line in the log, such as accept() after close()."""
    dropped_turns: int = 0
    """Messages and events that waited for a consumer when the server closed its connection."""
    slow_clients: int = 0
    """Connections closed because their outbox was full."""
    slow_consumers: int = 0
    """Connections closed because their mailbox was full."""
    dropped_bytes: int = 0
    """Bytes that a closed slow client did not get."""
    sends_after_close: int = 0
    """Messages for a connection that was closed already."""

    def as_dict(self) -> dict[str, int]:
        """Return every counter by name."""
        return dataclasses.asdict(self)
