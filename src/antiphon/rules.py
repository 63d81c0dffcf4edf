"""Rules: what holds for the groups whose name matches a pattern.

A rule is a set of settings. Each is declared once, as a field of ``Rule``, with its default, what it takes and what it
means; to add one, add a field. The option ``rules`` of the configuration maps patterns to settings::

    antiphon.configure(rules={"cursors:*": {"slow": "latest_by_key"}, "prices:*": {"slow": "drop_oldest"}})

In a pattern ``*`` stands for any text, also for none; every other character stands for itself, and case counts.

Laws:
- every group has one rule: that of the first pattern that matches its name, and the defaults where none does;
- a setting that can't be is found when the rules are made, not when a group is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from antiphon.exceptions import ConfigurationError, InvalidName
from antiphon.types import Publishing, Retention

__all__ = ["KEY_LENGTH", "Rule", "Rules", "Setting", "check_key", "settings"]

#: How many characters a publication's key has at most.
KEY_LENGTH = 255

#: Turns what a source says into the setting's value, or raises ``ValueError``.
Reader: TypeAlias = Callable[[Any], Any]


def _setting(default: Any, takes: str, meaning: str, reads: Reader) -> Any:
    """Declare a setting."""
    metadata = {"default": default, "takes": takes, "meaning": meaning, "reads": reads}
    return dataclasses.field(default_factory=lambda: default, metadata=metadata)


def _choice(default: str, meaning: str, *others: str) -> Any:
    """Declare a setting that is one of some words."""
    words = (default, *others)

    def reads(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError
        return value

    return _setting(default, ", ".join(f"`{word}`" for word in words), meaning, reads)


def _flag(meaning: str) -> Any:
    """Declare a setting that is on or off, and off where nothing is said."""

    def reads(value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value

    return _setting(False, "`True` or `False`", meaning, reads)


def _number(default: float, meaning: str, takes: str, *, whole: bool = False, zero: bool = False) -> Any:
    """Declare a setting that is a number over 0, or 0 where ``zero`` allows it."""

    def reads(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise ValueError
        if (value == 0 and not zero) or (whole and value != int(value)):
            raise ValueError
        return int(value) if whole else float(value)

    return _setting(default, takes, meaning, reads)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The settings of a group."""

    slow: Literal["close", "drop_oldest", "latest_by_key"] = _choice(
        "close",
        "A member who reads too slowly is closed with 1013; or the oldest messages of the group that wait for it are "
        "left out; or of those with the same key only the newest waits for it.",
        "drop_oldest",
        "latest_by_key",
    )
    subscribe: Literal["deny", "allow"] = _choice(
        "deny",
        "Whether clients of the Centrifuge wire may subscribe by themselves, where the consumer has no `on_subscribe`.",
        "allow",
    )
    publish: Literal["deny", "members", "allow"] = _choice(
        "deny",
        "Whether they may publish, where the consumer has no `on_publish`: nobody, those who are in the group, or all.",
        "members",
        "allow",
    )
    history: Literal["deny", "members"] = _choice(
        "deny",
        "Whether those who are in the group may ask for its history; who comes back recovers in any case.",
        "members",
    )
    presence: Literal["off", "kept", "members"] = _choice(
        "off",
        "Whether it is noted who is in the group: not at all, for the application, or so that those who are in it may "
        "ask, too.",
        "kept",
        "members",
    )
    join_leave: bool = _flag(
        "Whether members on the Centrifuge wire are told who joins and who leaves: for a group of people, not for a "
        "crowd, as each of n members is told of n."
    )
    recovery: Literal["stream", "cache"] = _choice(
        "stream",
        "What who comes back is given: all that it missed, or only the newest publication, where each takes the place "
        "of those before it.",
        "cache",
    )
    history_size: int = _number(
        0, "How many publications are kept; 0: none.", "a whole number, 0 or more", whole=True, zero=True
    )
    history_lifetime: float = _number(300.0, "How long each of them is kept.", "seconds, over 0")
    position_lifetime: float = _number(
        30 * 86400.0,
        "How long the group's position is kept after its last member left or its last publication: much longer than "
        "its publications, so that who comes back late is told of what it missed, and not that nothing was there.",
        "seconds, over 0",
    )
    idempotency_window: float = _number(
        300.0,
        "How long an idempotency key is remembered: a second publication with it is not made.",
        "seconds, over 0",
    )

    # Made once for all publications, and so that engines know it again by identity.
    retention: Retention = dataclasses.field(init=False, repr=False, compare=False)
    """What is kept of the group's stream."""
    publishing: Publishing | None = dataclasses.field(init=False, repr=False, compare=False)
    """What goes with a publication besides its data, where nothing else does; None: nothing is kept either."""

    def __post_init__(self) -> None:
        retention = Retention(self.history_size, self.history_lifetime, self.position_lifetime, self.idempotency_window)
        object.__setattr__(self, "retention", retention)
        object.__setattr__(self, "publishing", Publishing(retention) if self.history_size else None)


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """One setting as the documentation sees it."""

    name: str
    default: Any
    takes: str
    meaning: str
    reads: Reader


def settings() -> list[Setting]:
    """Return every setting in the order of declaration."""
    return [Setting(field.name, **field.metadata) for field in dataclasses.fields(Rule) if field.init]


_DEFAULT = Rule()


class Rules:
    """The rules of one configuration: ``mapping`` has settings by pattern, in the order in which they are tried.

    Raises ``ConfigurationError``.
    """

    __slots__ = ("_rules",)

    def __init__(self, mapping: Mapping[str, Any]) -> None:
        self._rules = [(_parts(pattern), _rule(pattern, values)) for pattern, values in mapping.items()]

    def find(self, name: str) -> Rule:
        """Return the rule of the group called ``name``."""
        for parts, rule in self._rules:
            if _matches(parts, name):
                return rule
        return _DEFAULT

    @property
    def leave_out(self) -> bool:
        """Tell whether messages of any group may be left out for a member who reads too slowly."""
        return any(rule.slow != "close" for _, rule in self._rules)


def _parts(pattern: object) -> list[str]:
    """Return what stands between the stars."""
    if not isinstance(pattern, str) or not pattern:
        raise ConfigurationError(f"rules: {pattern!r} is no pattern; write a group's name, * in it stands for any text")
    return pattern.split("*")


def _matches(parts: list[str], name: str) -> bool:
    """Look for the parts one behind the other; no pattern makes this slow, whatever name a client thought of."""
    first, *others = parts
    if not others:
        return name == first
    *middle, last = others
    if not name.startswith(first):
        return False
    place = len(first)
    for part in middle:
        place = name.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return len(name) - place >= len(last) and name.endswith(last)


def _rule(pattern: str, values: Any) -> Rule:
    if not isinstance(values, Mapping):
        raise ConfigurationError(f'rules: {pattern!r} has {values!r}; it takes a dict, like {{"slow": "close"}}')
    known = {setting.name: setting for setting in settings()}
    for name in values:
        if name not in known:
            raise ConfigurationError(f"rules: {pattern!r} has {name!r}; the settings of a rule are: {', '.join(known)}")
    rule = Rule(**{name: _value(pattern, known[name], value) for name, value in values.items()})
    if rule.history_size and rule.slow != "close":
        raise ConfigurationError(
            f"rules: {pattern!r} has both history_size and slow={rule.slow!r}: who goes by positions can't be spared a "
            'publication. With slow="close" a slow client is closed, comes back and gets what it missed'
        )
    if rule.join_leave and rule.presence == "off":
        raise ConfigurationError(
            f'rules: {pattern!r} has join_leave without presence; set presence to "kept", so that it is known who joins'
        )
    if rule.recovery == "cache" and not rule.history_size:
        raise ConfigurationError(
            f"rules: {pattern!r} has recovery='cache' and keeps nothing that could be given; set history_size to 1"
        )
    return rule


def _value(pattern: str, setting: Setting, value: Any) -> Any:
    try:
        return setting.reads(value)
    except ValueError:
        raise ConfigurationError(
            f"rules: {setting.name} of {pattern!r} is {value!r}; it takes {setting.takes}"
        ) from None


def check_key(key: object) -> str:
    """Return ``key`` if a publication may have it: text of 1 to 255 characters; else raise ``InvalidName``."""
    if isinstance(key, str) and 0 < len(key) <= KEY_LENGTH and (key.isascii() or _is_unicode(key)):
        return key
    raise InvalidName(f"{key!r:.120} can't be a key: it takes text of 1 to {KEY_LENGTH} characters, or None for no key")


#: How many tags a publication has at most.
TAGS = 64


def check_tags(tags: object) -> dict[str, str]:
    """Return ``tags`` if a publication may have them: at most 64, text by text of up to 255 characters each."""
    if isinstance(tags, Mapping) and len(tags) <= TAGS and all(_is_tag(each) for pair in tags.items() for each in pair):
        return dict(tags)
    raise InvalidName(
        f"{tags!r:.120} can't be tags: they are at most {TAGS}, text by text of up to {KEY_LENGTH} characters"
    )


def _is_tag(text: object) -> bool:
    return isinstance(text, str) and len(text) <= KEY_LENGTH and (text.isascii() or _is_unicode(text))


def _is_unicode(text: str) -> bool:
    """Tell whether ``text`` can travel between processes: half of a surrogate pair can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
