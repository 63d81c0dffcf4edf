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
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from antiphon.exceptions import ConfigurationError, InvalidName

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
    return [Setting(field.name, **field.metadata) for field in dataclasses.fields(Rule)]


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
    return Rule(**{name: _value(pattern, known[name], value) for name, value in values.items()})


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


def _is_unicode(text: str) -> bool:
    """Tell whether ``text`` can travel between processes: half of a surrogate pair can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
