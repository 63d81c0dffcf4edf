"""What a call of the HTTP API says, by method, as Centrifugo's server API has it.

What is not known is ignored, as there. What is known and can't be honoured here is refused: an API that takes a wish
and does something else is worse than one that says no.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec

from antiphon.exceptions import ClientError
from antiphon.types import Position
from antiphon.wire.centrifuge.codes import ERROR_BAD_REQUEST, ERRORS, Error
from antiphon.wire.plain import decode

__all__ = [
    "Batch",
    "Broadcast",
    "Channels",
    "Content",
    "Disconnect",
    "History",
    "HistoryRemove",
    "Info",
    "Presence",
    "PresenceStats",
    "Publish",
    "Refresh",
    "Refused",
    "Request",
    "Subscribe",
    "Unsubscribe",
    "read",
]


class Refused(Exception):
    """A call is answered with an error; ``message`` is in words of its own where there is more to say than the code."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(code, message)
        self.error = Error(code, message or ERRORS[code].message)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The base of all."""

    cannot: ClassVar[tuple[str, ...]] = ()
    """Fields of Centrifugo's that antiphon can't honour."""


class Content(Request, frozen=True, kw_only=True):
    """What is published."""

    cannot = ("version", "version_epoch")

    data: Any = msgspec.UNSET
    b64data: str = ""
    tags: dict[str, str] | None = None
    idempotency_key: str | None = None
    skip_history: bool = False
    key: str | None = None
    """antiphon's own: which earlier publications it may take the place of, in a group that is ``latest_by_key``."""

    def content(self, max_depth: int) -> Any:
        """Return it; what is in base64 has to be JSON, too."""
        if self.b64data:
            try:
                return decode(base64.b64decode(self.b64data, validate=True), max_depth)
            except binascii.Error:
                raise Refused(ERROR_BAD_REQUEST, "b64data is not base64") from None
            except ClientError as problem:
                raise Refused(ERROR_BAD_REQUEST, f"b64data: {problem.reason}") from None
        if self.data is msgspec.UNSET:
            raise Refused(ERROR_BAD_REQUEST, "there is no data to publish")
        return self.data


class Publish(Content, frozen=True, kw_only=True):
    """Publish to a group."""

    channel: str


class Broadcast(Content, frozen=True, kw_only=True):
    """Publish the same to several."""

    channels: list[str]


class _OfGroup(Request, frozen=True, kw_only=True):
    channel: str


class Presence(_OfGroup, frozen=True, kw_only=True):
    """Tell who is in a group."""


class PresenceStats(_OfGroup, frozen=True, kw_only=True):
    """Tell how many are in it."""


class History(_OfGroup, frozen=True, kw_only=True):
    """Return what is kept of it: at most ``limit``, by default only its position; under 0: all."""

    class Since(msgspec.Struct, frozen=True):
        """A position; without an epoch, in the stream as it is."""

        offset: Annotated[int, msgspec.Meta(ge=0)] = 0
        epoch: str = ""

    limit: int = 0
    since: Since | None = None
    reverse: bool = False

    @property
    def position(self) -> Position | None:
        """Where it begins."""
        return Position(self.since.epoch, self.since.offset) if self.since is not None else None


class HistoryRemove(_OfGroup, frozen=True, kw_only=True):
    """Drop what is kept of it."""


class _OfConnections(Request, frozen=True, kw_only=True):
    """Whom it is for: connections of a user, one of them, or those of one session."""

    user: str = ""
    client: str = ""
    session: str = ""

    @property
    def whom(self) -> dict[str, str]:
        """What the layer's verbs take."""
        return {"user": self.user, "client": self.client, "session": self.session}


class Disconnect(_OfConnections, frozen=True, kw_only=True):
    """Close connections."""

    cannot = ("whitelist", "label_filter", "all_users")

    class Close(msgspec.Struct, frozen=True):
        """What they are told; 0 and empty: to stay away."""

        code: int = 0
        reason: str = ""

    disconnect: Close = Close()


class Subscribe(_OfConnections, frozen=True, kw_only=True):
    """Put connections into a group."""

    cannot = (
        *("info", "b64info", "data", "b64data", "expire_at", "recover_since", "override", "label_filter", "all_users"),
    )

    channel: str


class Unsubscribe(_OfConnections, frozen=True, kw_only=True):
    """Take connections out of a group."""

    cannot = ("label_filter", "all_users")

    channel: str


class Refresh(_OfConnections, frozen=True, kw_only=True):
    """Let connections end at ``expire_at``, or at once where they have ``expired``; 0: not by themselves."""

    cannot = ("info", "label_filter", "all_users")

    expired: bool = False
    expire_at: int = 0


class Info(Request, frozen=True, kw_only=True):
    """Tell of the process that answers."""


class Channels(Request, frozen=True, kw_only=True):
    """Tell of its groups whose name matches the pattern; empty: of all."""

    pattern: str = ""


class Batch(Request, frozen=True, kw_only=True):
    """Several calls, one behind the other, or ``parallel``."""

    commands: list[Any]
    parallel: bool = False


Known = TypeVar("Known", bound=Request)


def read(kind: type[Known], content: object) -> Known:
    """Return the call that ``content`` is; raise ``Refused`` with what is wrong with it."""
    if not isinstance(content, dict):
        raise Refused(ERROR_BAD_REQUEST, "a call is a JSON object")
    for name in kind.cannot:
        if content.get(name):
            raise Refused(ERROR_BAD_REQUEST, f"antiphon can't honour {name}; leave it out")
    # A field that is null is one that is not there, but for what is published.
    given = {name: value for name, value in content.items() if value is not None or name == "data"}
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise Refused(ERROR_BAD_REQUEST, f"this call can't be: {error}") from None
