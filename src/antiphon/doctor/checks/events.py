"""What is written out in calls of a layer: names of groups, and the types of events."""

from __future__ import annotations

import ast
import copy
import difflib
import re
from collections.abc import Iterator

from antiphon.doctor.call import LayerCall, Text, Via, text_of
from antiphon.doctor.checks.words import listed
from antiphon.doctor.consumer import Consumer, Family
from antiphon.doctor.finding import Check, Level, Place, Spot
from antiphon.doctor.project import LayerKind, Project
from antiphon.events import handler_name
from antiphon.exceptions import InvalidEvent, InvalidName
from antiphon.names import GROUP_NAME_BYTES, check_group_name

__all__ = ["CHECKS"]

#: What Channels' layers do not take in a name, and how long one may be (``channels.layers.BaseChannelLayer``).
_REFUSED = re.compile(r"[^a-zA-Z0-9\-_.]")
_LONGEST = 99
#: The layers that hold to that: antiphon's too, for whoever comes by ``get_channel_layer()``.
_STRICT = (LayerKind.MEMORY, LayerKind.REDIS, LayerKind.ANTIPHON)


def group_name_refused(project: Project) -> Iterator[Spot]:
    """Find names of groups that the layer which is used refuses."""
    for call in project.calls:
        text = text_of(call.group) if call.verb.startswith("group_") else None
        if text is None:
            continue
        layer = project.layer_of(call)
        if layer is not None and layer.kind in _STRICT:
            fault, repaired = _channels_fault(text), _repaired(call.group)
        elif call.via is Via.ANTIPHON or _is_ours(project, call):
            fault, repaired = _antiphon_fault(text), ""
        else:
            continue
        if fault:
            yield _refused(call.place, call.verb, text, fault, repaired)
    yield from _refused_attributes(project)


def _refused_attributes(project: Project) -> Iterator[Spot]:
    """Yield the names in the ``groups`` of Channels' consumers."""
    for consumer in project.of(Family.CHANNELS):
        layer = project.layers.get(consumer.alias)
        for name in consumer.groups if layer is not None and layer.kind in _STRICT else ():
            fault = _channels_fault(Text(name, True))
            if fault:
                repaired = repr(_REFUSED.sub("_", name))[:_LONGEST]
                yield _refused(consumer.place, f"groups of {consumer.name}", Text(name, True), fault, repaired)


def _refused(place: Place, where: str, text: Text, fault: str, repaired: str) -> Spot:
    name = repr(text.known) if text.is_whole else f"a name with {text.known!r}"
    return Spot(
        place,
        f"{where} is given {name:.160}, which can't name a group: {fault}. The call raises TypeError.",
        "Write, wherever the group is named:" if repaired else "Choose another name, wherever the group is named.",
        repaired,
    )


def _channels_fault(text: Text) -> str:
    bad = list(dict.fromkeys(_REFUSED.findall(text.known)))
    if bad:
        return f"it takes ASCII letters, digits, '-', '_' and '.', and not {listed([repr(each) for each in bad], 'or')}"
    if len(text.known) > _LONGEST:
        return f"it has {len(text.known)} characters, and {_LONGEST} are the most"
    return "it is empty" if text == Text("", True) else ""


def _antiphon_fault(text: Text) -> str:
    try:
        check_group_name(text.known or "a")
    except InvalidName:
        return f"it takes printable text of at most {GROUP_NAME_BYTES} bytes"
    return "it is empty" if text == Text("", True) else ""


def _repaired(node: ast.expr | None) -> str:
    """Return the literal or f-string with what is refused replaced; "" for what is made in another way."""
    if not isinstance(node, (ast.Constant, ast.JoinedStr)):
        return ""
    new = copy.deepcopy(node)
    for part in ast.walk(new) if isinstance(new, ast.Constant) else new.values:
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            part.value = _REFUSED.sub("_", part.value)
    return ast.unparse(new) if len(ast.unparse(new)) <= _LONGEST else ""


def _is_ours(project: Project, call: LayerCall) -> bool:
    """Tell whether the call stands in consumers of antiphon's, and speaks by theirs."""
    speakers = project.speakers(call)
    return (
        call.via is Via.CONSUMER and bool(speakers) and all(consumer.family is Family.ANTIPHON for consumer in speakers)
    )


def _receivers(project: Project, call: LayerCall) -> list[Consumer]:
    """Return the consumers that may get what this call sends."""
    speakers = project.speakers(call) if call.via is Via.CONSUMER else ()
    is_joint = project.has_layer(LayerKind.ANTIPHON)
    if call.via is Via.ANTIPHON or _is_ours(project, call):
        families = {Family.ANTIPHON} | ({Family.CHANNELS, Family.OTHER} if is_joint else set())
    elif call.via is Via.CHANNELS or (speakers and all(each.family is Family.CHANNELS for each in speakers)):
        families = {Family.CHANNELS, Family.OTHER} | ({Family.ANTIPHON} if is_joint else set())
    else:
        families = set(Family)
    return [consumer for consumer in project.consumers if consumer.family in families]


def _sent(project: Project) -> Iterator[tuple[LayerCall, str, list[Consumer]]]:
    """Yield the calls that send an event whose type is written out, with it and those who may get it."""
    for call in project.calls:
        if call.verb in ("group_send", "send") and call.event_type is not None:
            receivers = _receivers(project, call)
            if receivers and not any(consumer.takes_all for consumer in receivers):
                yield call, call.event_type, receivers


def event_type_refused(project: Project) -> Iterator[Spot]:
    """Find events that name what is no handler, but the framework's."""
    for call, event_type, receivers in _sent(project):
        fault = _type_fault(event_type, receivers)
        if fault:
            yield Spot(
                call.place,
                f"An event of type {event_type!r} can reach no handler: {fault}.",
                "Name a handler of your own, here and in the consumer:",
                f'"type": "{_free_name(event_type)}"',
            )


def _type_fault(event_type: str, receivers: list[Consumer]) -> str:
    name = event_type.replace(".", "_")
    if name.startswith("_"):
        return "its name begins with an underscore"
    if any(consumer.family is Family.ANTIPHON for consumer in receivers):
        try:
            handler_name(event_type)
        except InvalidEvent as error:
            return f"{name} is a method of the framework" if "framework" in str(error) else "it is no name of a method"
    for consumer in receivers:
        if consumer.family is Family.CHANNELS and name in consumer.framework and name not in consumer.handlers:
            return f"{name} is a method of the framework, which would be called with the event"
    return ""


def _free_name(event_type: str) -> str:
    return f"chat.{re.sub(r'[^a-z0-9]+', '.', event_type.lower()).strip('.') or 'message'}"


def event_without_handler(project: Project) -> Iterator[Spot]:
    """Find events that no consumer has a handler for."""
    if project.dark:
        return  # the handler may be where nobody could look
    for call, event_type, receivers in _sent(project):
        is_for_channel = call.verb == "send" and text_of(call.group) is not None
        if is_for_channel or _type_fault(event_type, receivers):
            continue
        name = event_type.replace(".", "_")
        handlers = {handler for consumer in receivers for handler in consumer.handlers}
        if name not in handlers:
            yield Spot(
                call.place,
                f"An event of type {event_type!r} reaches no handler: {_who(receivers)} no method {name}."
                f"{_similar(name, handlers)}",
                "Correct the type, or write the handler:",
                f"{'def' if all(each.is_sync for each in receivers) else 'async def'} {name}(self, event):",
            )


def _who(receivers: list[Consumer]) -> str:
    names = [consumer.name for consumer in receivers]
    who = listed(names) if len(names) <= 3 else f"the {len(names)} consumers that may get it"
    return f"{who} {'has' if len(names) == 1 else 'have'}"


def _similar(name: str, handlers: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(handlers), 1, 0.75)
    return f" There is {near[0]}." if near else ""


CHECKS = [
    Check(
        "group-name-refused",
        Level.ERROR,
        "A group is given a name that its layer refuses. Channels' rule is ASCII letters, digits, `-`, `_` and `.`, "
        "fewer than 100; antiphon's own consumers may use any printable text.",
        group_name_refused,
    ),
    Check(
        "event-type-refused",
        Level.ERROR,
        "The `type` of an event names a method of the framework, or begins with an underscore.",
        event_type_refused,
    ),
    Check(
        "event-without-handler",
        Level.WARNING,
        "An event is sent whose `type` names no handler of any consumer that may get it.",
        event_without_handler,
    ),
]
