"""``{% antiphon_position %}``: what it writes, and that a page loses nothing by it."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.template import Context, Engine

import antiphon
from antiphon import app, sync
from antiphon.app import current_app
from antiphon.exceptions import UsageError
from tests.docs.documents import blocks, page

ENGINE = Engine(
    libraries={"antiphon": "antiphon.django.templatetags.antiphon"}, builtins=["django.template.defaultfilters"]
)


@pytest.fixture(autouse=True)
def _configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_app", None)
    monkeypatch.setattr(app, "_configured", {})
    antiphon.configure(rules={"room:*": {"history_size": 10}})


def rendered(source: str, **context: Any) -> str:
    return str(ENGINE.from_string("{% load antiphon %}" + source).render(Context(context)))


async def test_a_position_for_json_script_and_one_for_an_attribute() -> None:
    position = await antiphon.publish("room:1", "x")
    as_script = await sync_to_async(rendered)(
        '{% antiphon_position group as position %}{{ position|json_script:"position" }}', group="room:1"
    )
    found = re.fullmatch(r'<script id="position" type="application/json">(.*)</script>', as_script)
    assert found
    assert json.loads(found[1]) == position._asdict()
    as_attribute = await sync_to_async(rendered)('<p data-position="{% antiphon_position "room:1" %}">')
    found = re.fullmatch(r'<p data-position="([^"]*)">', as_attribute)
    assert found
    assert json.loads(html.unescape(found[1])) == position._asdict()
    await current_app().stop()


async def test_what_is_published_after_it_is_in_the_page_or_behind_the_position() -> None:
    """The data is read while the template is rendered, behind the tag."""
    rows: list[int] = []

    async def writes(row: int) -> None:
        rows.append(row)
        await antiphon.publish("room:1", row)

    def read() -> list[int]:
        sync.publish("room:1", 2)  # somebody else's, whose row is committed first, between the tag and the reading
        return list(rows)

    await writes(1)
    rows.append(2)
    page = await sync_to_async(rendered)(
        '{% antiphon_position "room:1" as position %}{{ position }}|{{ rows }}', rows=read
    )
    position, _, shown = html.unescape(page).partition("|")
    since = antiphon.Position(**json.loads(position))
    await writes(3)
    missed = [json.loads(each.data) for each in (await antiphon.history("room:1", since=since)).publications]
    assert set(json.loads(shown)) | set(missed) == {1, 2, 3}
    await current_app().stop()


async def test_the_example_of_the_reference() -> None:
    antiphon.configure(rules={"board:*": {"history_size": 10}})
    (block,) = (each for each in blocks(page("docs/reference/api.md")) if each.language == "html")
    found = await sync_to_async(
        lambda: str(ENGINE.from_string(block.text).render(Context({"notes": [{"text": "a"}]})))
    )()
    assert "<li>a</li>" in found
    assert '<script id="since" type="application/json">{"epoch": "' in found
    await current_app().stop()


@pytest.mark.parametrize(("group", "words"), [("other", "keeps no history"), ("a\nb", "can't name a group")])
def test_a_group_without_positions_is_a_mistake(group: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        rendered("{% antiphon_position group %}", group=group)


async def test_async_code_does_not_render() -> None:
    with pytest.raises(UsageError, match="async"):
        rendered('{% antiphon_position "room:1" %}')
