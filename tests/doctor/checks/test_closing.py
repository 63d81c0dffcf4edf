"""Consumers that go on behind ``close()``; the paths themselves are in ``test_flow``."""

from __future__ import annotations

import pytest

from ..conftest import Find

CONSUMER = """
    from {module} import AsyncWebsocketConsumer

    class Base(AsyncWebsocketConsumer):
        async def connect(self):
            await self.close()
            await self.{call}

    class Chat(Base):
        pass
"""


@pytest.mark.parametrize(
    ("module", "call", "words"),
    [
        ("antiphon", "accept()", "has no effect"),
        ("channels.generic.websocket", "accept()", "the server raises"),
        (
            "channels.generic.websocket",
            "channel_layer.group_add('a', self.channel_name)",
            "joins the group all the same",
        ),
    ],
)
def test_it_is_found_once_and_says_what_comes_of_it(find: Find, module: str, call: str, words: str) -> None:
    (spot,) = find("goes-on-after-close", CONSUMER.format(module=module, call=call))
    assert str(spot.place) == "consumers.py:5"
    assert "() in line 6 on the same path" in spot.problem
    assert words in spot.problem
    assert "line 5" in spot.remedy


def test_another_file_is_named(find: Find) -> None:
    text = """
        import sys
        from pathlib import Path
        sys.path.insert(0, str(Path(__file__).parent))
        from doctor_mixin import Opens
        from antiphon import AsyncWebsocketConsumer

        class Chat(Opens, AsyncWebsocketConsumer):
            async def connect(self):
                await self.close()
                await self.open()
    """
    mixin = "class Opens:\n    async def open(self):\n        await self.accept()\n"
    (spot,) = find("goes-on-after-close", text, files={"doctor_mixin.py": mixin})
    assert "accept() at doctor_mixin.py:3" in spot.problem


def test_what_is_no_websocket_is_left_alone(find: Find) -> None:
    text = """
        from channels.consumer import AsyncConsumer

        class Chat(AsyncConsumer):
            async def run(self, message):
                await self.close()
                await self.send({})
    """
    assert find("goes-on-after-close", text) == []
