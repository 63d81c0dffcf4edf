"""What of Channels' own tests does not pass with antiphon's classes, and why: each test once, with its reason."""

from __future__ import annotations

__all__ = ["DIFFERENCES", "RUNS", "Run"]

from typing import NamedTuple


class Run(NamedTuple):
    """One run of a checkout's tests."""

    name: str
    what: str
    """What is put in place of Channels' own, in words."""
    checkout: str
    """Whose tests: ``channels`` or ``channels_redis``."""
    substitutes: tuple[str, ...]
    """What ``substitute.py`` is told to put in place."""
    paths: tuple[str, ...]
    """The files that are run, below the checkout."""


_REDIS = ("tests/test_core.py", "tests/test_pubsub.py")

RUNS = (
    Run("layer", "the layer", "channels", ("layer", "browser"), ("tests",)),
    Run("consumers", "the layer and the consumers", "channels", ("layer", "consumers", "browser"), ("tests",)),
    Run(
        "testing",
        "the layer, the consumers, the communicators and the live server",
        "channels",
        ("layer", "consumers", "testing", "browser"),
        ("tests",),
    ),
    Run("redis", "the layer, for both of channels_redis'", "channels_redis", ("redis",), _REDIS),
)

_AT_ONCE = (
    "An expired message is dropped when its time has come, not with the next `receive` of another channel: the test "
    "looks for it in between."
)
_POSES = (
    "The test lets a group message of type `websocket.receive` pose as a frame of the client. An event reaches "
    "handlers that the application has defined, and nothing else; the sender gets `InvalidEvent`."
)
_BAD_JSON = "A binary frame ends the test's consumer. antiphon answers it with an error frame, and the client goes on."
_UNDERSCORE = (
    "The test looks up the consumer's name in the in-memory layer's `channels`, and expects the consumer to die of the "
    "message. Here such a message reaches nobody, and the consumer lives."
)
_NO_KILL = (
    "After a timeout, Channels' communicator has cancelled the application, and `disconnect()` raises "
    "`CancelledError`. antiphon's goes on: the consumer gets its `disconnect`."
)
_NO_DROP = "The test wants a message to be dropped at a capacity of 3. It arrives."
_NO_EXPIRY = (
    "The test wants a consumer's message to expire. What waits for a reader that is there is kept, and arrives."
)
_INSIDE = "About the inside of channels_redis, or its Redis."

_GENERIC = "tests/test_generic_websocket.py::"
_CORE = "tests/test_core.py::"
_PUBSUB = "tests/test_pubsub.py::"
_LAYER = {"tests/test_inmemorychannel.py::test_expiry_unread": _AT_ONCE}
_CONSUMERS = {
    **_LAYER,
    f"{_GENERIC}test_websocket_consumer_groups": _POSES,
    f"{_GENERIC}test_async_websocket_consumer_groups": _POSES,
    f"{_GENERIC}test_async_websocket_consumer_specific_channel_layer": _POSES,
    f"{_GENERIC}test_json_websocket_consumer": _BAD_JSON,
    f"{_GENERIC}test_async_json_websocket_consumer": _BAD_JSON,
    f"{_GENERIC}test_block_underscored_type_function_call": _UNDERSCORE,
    f"{_GENERIC}test_block_leading_dot_type_function_call": _UNDERSCORE,
}

#: By the name of the run, by test: why it does not pass.
DIFFERENCES: dict[str, dict[str, str]] = {
    "layer": _LAYER,
    "consumers": _CONSUMERS,
    "testing": {**_CONSUMERS, "tests/test_testing.py::test_timeout_disconnect": _NO_KILL},
    "redis": {
        f"{_CORE}test_group_send_capacity": _NO_DROP,
        f"{_CORE}test_group_send_capacity_multiple_channels": _NO_DROP,
        f"{_CORE}test_message_expiry__earliest_message_expires": _NO_EXPIRY,
        f"{_CORE}test_message_expiry__group_send": _NO_EXPIRY,
        f"{_CORE}test_reject_bad_client_prefix": (
            "To read a channel that is another process's raises `InvalidName`, a `TypeError`; the test expects an "
            "`AssertionError`."
        ),
        f"{_CORE}test_double_receive[None]": _INSIDE,
        f"{_CORE}test_random_reset__client_prefix": _INSIDE,
        f"{_CORE}test_default_group_key_format": _INSIDE,
        f"{_CORE}test_custom_group_key_format": _INSIDE,
        f"{_CORE}test_receive_buffer_respects_capacity": _INSIDE,
        f"{_PUBSUB}test_receive_on_non_owned_general_channel": (
            "The test sends a text. A message is a dict with a `type`, as Channels' specification has it."
        ),
        f"{_PUBSUB}test_loop_instance_channel_layer_reference": _INSIDE,
        f"{_PUBSUB}test_serialize": _INSIDE,
        f"{_PUBSUB}test_deserialize": _INSIDE,
        f"{_PUBSUB}test_multi_event_loop_garbage_collection": _INSIDE,
        f"{_PUBSUB}test_auto_reconnect": _INSIDE,
    },
}
