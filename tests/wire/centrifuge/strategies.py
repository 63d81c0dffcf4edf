"""What hypothesis makes up: every command, result and push."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from antiphon.types import Position
from antiphon.wire.centrifuge import commands, publication, pushes, replies
from antiphon.wire.centrifuge.codes import ERRORS, Error

__all__ = ["command", "data", "documents", "errors", "ids", "push", "result", "text", "twins", "uint32", "uint64"]

text = st.text(max_size=8)
uint32 = st.integers(0, 2**32 - 1) | st.just(0)
int32 = st.integers(-(2**31), 2**31 - 1) | st.just(0)
uint64 = st.sampled_from([0, 1, 127, 128, 2**32, 2**53 + 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)
int64 = st.integers(-(2**63), 2**63 - 1) | st.just(0)
times = st.integers(0, 2**63 - 1) | st.just(0)
ids = st.integers(1, 2**32 - 1)

scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
documents = st.recursive(
    scalars | text,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(text, children, max_size=3),
    max_leaves=6,
)
#: Data of the application: JSON on one line.
data: st.SearchStrategy[bytes] = documents.map(lambda document: json.dumps(document).encode())
maybe_data = data | st.just(b"")


def maps(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(text, values, max_size=3)


recoveries = st.builds(commands.Recovery, st.booleans(), text, uint64)

#: Of each command.
kinds: list[st.SearchStrategy[Any]] = [
    st.builds(commands.Connect, text, maybe_data, maps(recoveries), text, text, maps(text)),
    st.builds(
        commands.Subscribe,
        *(text, text, st.booleans(), text, uint64, maybe_data, st.booleans(), st.booleans(), st.booleans()),
        *(st.booleans(), int64, int32),
    ),
    st.builds(commands.Unsubscribe, text),
    st.builds(commands.Publish, text, maybe_data, int32),
    st.builds(commands.Presence, text),
    st.builds(commands.PresenceStats, text),
    st.builds(commands.History, text, int32, st.none() | st.builds(Position, text, uint64), st.booleans()),
    st.just(commands.Ping()),
    st.builds(commands.Send, maybe_data),
    st.builds(commands.Rpc, text, maybe_data),
    st.builds(commands.Refresh, text),
    st.builds(commands.SubRefresh, text, text, int32),
]
command: st.SearchStrategy[Any] = st.one_of(kinds)
#: Two of one kind.
twins: st.SearchStrategy[tuple[Any, Any]] = st.sampled_from(kinds).flatmap(lambda kind: st.tuples(kind, kind))

infos = st.builds(publication.ClientInfo, text, text, maybe_data, maybe_data)
publications = st.builds(
    publication.Publication, maybe_data, st.none() | infos, uint64, st.none() | maps(text), times, text
)
subscribed = st.builds(
    replies.SubscribeResult,
    *(st.booleans(), uint32, st.booleans(), text, st.lists(publications, max_size=3), st.booleans(), uint64),
    *(st.booleans(), maybe_data, st.booleans()),
)

result: st.SearchStrategy[Any] = st.one_of(
    st.builds(
        replies.ConnectResult,
        *(text, text, st.booleans(), uint32, maybe_data, maps(subscribed), uint32, st.booleans(), text, text, times),
    ),
    subscribed,
    st.just(replies.UnsubscribeResult()),
    st.just(replies.PublishResult()),
    st.builds(replies.PresenceResult, maps(infos)),
    st.builds(replies.PresenceStatsResult, uint32, uint32),
    st.builds(replies.HistoryResult, st.lists(publications, max_size=3), text, uint64),
    st.builds(replies.RpcResult, maybe_data),
    st.builds(replies.RefreshResult, text, text, st.booleans(), uint32),
    st.builds(replies.SubRefreshResult, st.booleans(), uint32),
)

push: st.SearchStrategy[Any] = st.one_of(
    publications,
    st.builds(pushes.Join, infos),
    st.builds(pushes.Leave, infos),
    st.builds(pushes.Unsubscribe, uint32, text),
    st.builds(pushes.Message, maybe_data),
    st.builds(pushes.Subscribe, st.booleans(), text, uint64, st.booleans(), maybe_data),
    st.builds(pushes.Disconnect, uint32, text),
    st.builds(pushes.Refresh, st.booleans(), uint32),
)

errors: st.SearchStrategy[Error] = st.sampled_from(list(ERRORS.values())) | st.builds(
    Error, uint32, text, st.booleans()
)
