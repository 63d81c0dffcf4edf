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
    origins_refused: int = 0
    """Handshakes of web pages whose origin is not allowed; answered with 403."""
    tokens_refused: int = 0
    """Tokens that were not accepted: expired, not signed by anybody known, or for something else."""
    handshakes_timed_out: int = 0
    """Handshakes that took longer than ``handshake_timeout``."""
    half_open_dropped: int = 0
    """Connections cut off without a request because more than ``max_half_open`` waited, and they for longest."""
    bad_requests: int = 0
    """Requests to open a WebSocket that break HTTP or RFC 6455 §4; answered with 400, 405, 413 or 426."""
    headers_too_large: int = 0
    """Requests over ``max_header_size`` or ``max_headers``; answered with 431."""
    connections_over_limit: int = 0
    """Handshakes refused with 503 because the process has ``max_connections``."""
    addresses_over_limit: int = 0
    """Handshakes refused with 429 because their address has ``connections_per_address``."""
    protocol_errors: int = 0
    """Connections closed with 1002 or 1007 because the client broke RFC 6455."""
    messages_too_big: int = 0
    """Connections closed with 1009: over ``max_message_size``, before or after decompression."""
    fragments_over_limit: int = 0
    """Connections closed because of a message in more than ``max_fragments`` fragments."""
    unfinished_over_limit: int = 0
    """Connections closed because the process held ``unfinished_limit`` bytes of unfinished messages."""
    control_floods: int = 0
    """Connections closed for more pings and pongs than ``control_rate`` allows."""
    rate_limited: int = 0
    """Connections closed for more messages (or commands) or bytes than ``message_rate`` and ``byte_rate`` allow."""
    pings_unanswered: int = 0
    """Connections given up because a ping was not answered within ``ping_timeout``."""
    compressions: int = 0
    """Messages that were compressed; a publication is compressed once however many members get it."""
    client_errors: int = 0
    """Bad frames that were answered with an error frame."""
    turns_unavailable: int = 0
    """Handlers and commands that were not done because the engine was away; the client may try again."""
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
    publications_repeated: int = 0
    """Publications that an engine told of twice; members got them once."""
    publications_recovered: int = 0
    """Publications that the process had not heard of, and that were filled in from history."""
    continuity_losses: int = 0
    """Times that the engine may have missed publications; each time the groups' positions were checked."""
    position_outages: int = 0
    """Times that the engine did not say where groups stand, or what they missed; it was asked until it did."""
    kicked: int = 0
    """Connections that were closed because an order said so."""
    orders_refused: int = 0
    """Orders of other processes that are not understood."""
    api_refused: int = 0
    """Requests to the HTTP API without one of `api_keys`; answered with 401."""
    api_errors: int = 0
    """Calls of the HTTP API that were answered with an error."""
    revocations_failed: int = 0
    """Times that a logged out session's or a user's connections could not be told to close (`revoke_on_logout`)."""
    engine_outages: int = 0
    """Times that the engine could no longer be used; each time the log says why, and when it could again."""
    engine_refusals: int = 0
    """Calls that the engine could not carry out; each caller got ``EngineUnavailable`` or ``OutcomeUnknown``."""
    engine_publications_missed: int = 0
    """Publications that another process made, that never came, and that are no longer kept."""
    engine_messages_dropped: int = 0
    """Messages that were not told to another process because it did not read, or was not there."""
    gaps: int = 0
    """Times that publications of a group were lost to this process; all its members were told."""
    channels_full: int = 0
    """Messages that a channel had no room for; each sender got ``ChannelFull``."""
    channel_overflows: int = 0
    """Channels that were emptied because their reader was too slow; each reader got ``MessagesLost``."""
    channel_messages_dropped: int = 0
    """Messages that those readers did not get."""
    channel_messages_expired: int = 0
    """Messages that nobody took from their channel within its ``expiry``."""
    messages_missed: int = 0
    """Messages that a group's rule left out for members who read too slowly; each was told how many."""
    dropped_bytes: int = 0
    """Bytes that a closed slow client did not get."""
    sends_after_close: int = 0
    """Messages for a connection that was closed already."""
    drained: int = 0
    """Connections that were told to come back because the server stops."""
    key_reads_failed: int = 0
    """Times that the file `token_jwks` could not be read again; the keys from before stay in use."""
    log_lines_suppressed: int = 0
    """Lines that were not logged because too many like them came in a second."""

    def as_dict(self) -> dict[str, int]:
        """Return every counter by name."""
        return dataclasses.asdict(self)
