"""``{% load antiphon %}``: where a group's stream is when a page is made, so that page and stream meet without a hole.

::

    {% load antiphon %}
    {% antiphon_position "room:7" as position %}{{ position|json_script:"position" }}
    <ul data-position="{% antiphon_position "room:7" %}">

The position has to be taken before the data of the page is read. What is published in between is then in the page, and
comes by the stream once more; the other way round it would be in neither.
"""

from __future__ import annotations

from django import template

from antiphon import sync
from antiphon.wire import plain

__all__ = ["antiphon_position", "register"]

register = template.Library()


class _Position(dict[str, object]):
    """A dict for ``json_script``; written out it is JSON, which Django escapes for an attribute in double quotes."""

    def __str__(self) -> str:
        return plain.encode(dict(self)).decode()


@register.simple_tag  # type: ignore[untyped-decorator]
def antiphon_position(group: str) -> _Position:
    """Return the position of ``group``: ``{"epoch": …, "offset": …}``, what a client subscribes with as ``since``.

    Raises ``UsageError`` for a group whose rule keeps no history, and where a template is rendered in async code.
    """
    return _Position(sync.history(group, limit=0).top._asdict())
