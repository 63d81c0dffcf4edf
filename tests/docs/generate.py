"""The tables of the reference, made from the code: ``python -m tests.docs.generate`` writes them into the pages."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import click

from antiphon import cli, codes, config, counters, exceptions, rules
from antiphon.engines.redis.options import Options as RedisOptions
from antiphon.engines.sqlite.options import Options as SqliteOptions
from antiphon.wire.centrifuge import codes as wire

from .documents import page

__all__ = ["PARTS", "generated", "main", "part"]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _number(value: object, unit: str) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if value in ((), {}, ""):
        return "none"
    if unit.startswith("bytes") and isinstance(value, (int, float)) and value % 1024 == 0:
        whole = int(value)
        return f"{whole} ({whole >> 20} MiB)" if whole % (1 << 20) == 0 else f"{whole} ({whole >> 10} KiB)"
    return f"{value:g}" if isinstance(value, float) else f"`{value}`" if isinstance(value, str) else str(value)


def options() -> str:
    """Return the table of ``antiphon.config``."""
    rows = [
        (
            f"`{option.name}`",
            f"`{option.environment}`",
            _number(option.default, option.unit),
            option.unit,
            option.meaning,
        )
        for option in config.options()
    ]
    return _table(("option", "environment variable", "default", "unit", "meaning"), rows)


def sqlite_options() -> str:
    """Return the table of ``antiphon.engines.sqlite.options``."""
    return _engine_options(SqliteOptions)


def redis_options() -> str:
    """Return the table of ``antiphon.engines.redis.options``."""
    return _engine_options(RedisOptions)


def _engine_options(options: type[SqliteOptions] | type[RedisOptions]) -> str:
    fields = [field for field in dataclasses.fields(options) if "meaning" in field.metadata]
    rows = [(f"`{field.name}`", _number(field.default, "seconds"), str(field.metadata["meaning"])) for field in fields]
    return _table(("option", "default", "meaning"), rows)


def rule_settings() -> str:
    """Return the table of ``antiphon.rules``."""
    rows = [
        (f"`{setting.name}`", f"`{setting.default}`", setting.takes, setting.meaning) for setting in rules.settings()
    ]
    return _table(("setting", "default", "takes", "meaning"), rows)


def close_codes() -> str:
    """Return the table of ``antiphon.codes``."""
    rows = [
        (str(entry.code), entry.reason, entry.sender, "yes" if entry.come_back else "no")
        for entry in codes.CLOSE_CODES.values()
    ]
    return _table(("code", "reason", "sent by", "come back?"), rows)


def wire_errors() -> str:
    """Return the errors of ``antiphon.wire.centrifuge.codes``."""
    rows = [(str(each.code), each.message, "yes" if each.temporary else "no") for each in wire.ERRORS.values()]
    return _table(("code", "message", "temporary?"), rows)


def wire_close_codes() -> str:
    """Return the close codes of ``antiphon.wire.centrifuge.codes``."""
    rows = [
        (str(entry.code), entry.reason, entry.sender, "yes" if entry.come_back else "no")
        for entry in wire.DISCONNECTS.values()
    ]
    return _table(("code", "reason", "sent by", "come back?"), rows)


def wire_unsubscribe_codes() -> str:
    """Return the unsubscribe codes of ``antiphon.wire.centrifuge.codes``."""
    rows = [
        (str(entry.code), entry.reason, entry.sender, "yes" if entry.subscribe_anew else "no")
        for entry in wire.UNSUBSCRIBES.values()
    ]
    return _table(("code", "reason", "sent by", "subscribe anew?"), rows)


def counter_names() -> str:
    """Return the table of ``antiphon.counters``; one without a text of its own is told by its name."""
    (source,) = ast.parse(inspect.getsource(counters.Counters)).body
    assert isinstance(source, ast.ClassDef)
    texts: dict[str, str] = {}
    name = ""
    for node in source.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
            texts[name] = f"{name.replace('_', ' ').capitalize()}."
        elif name and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            texts[name] = " ".join(str(node.value.value).replace("``", "`").split())
    return _table(("counter", "what it counts"), [(f"`{name}`", text) for name, text in texts.items()])


def exception_tree() -> str:
    """Return the tree that ``antiphon.exceptions`` draws."""
    tree = inspect.cleandoc(exceptions.__doc__ or "").partition("::\n")[2]
    return f"```text\n{inspect.cleandoc(tree)}\n```"


def command_line() -> str:
    """Return each command with its options, from click's own declarations: its help looks different in each version."""
    parts = []
    for name, command in _commands(cli.main):
        arguments = " ".join(str(each.metavar) for each in command.params if isinstance(each, click.Argument))
        rows = [_option(each) for each in command.params if isinstance(each, click.Option)]
        table = _table(("option", "takes", "default", "meaning"), rows)
        heading = f"antiphon {name} {arguments}".rstrip()
        parts.append(f"## `{heading}`\n\n{command.help}\n\n{table}")
    return "\n\n".join(parts)


def _commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield the commands of a group and of the groups in it, by what is written for them."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _option(option: click.Option) -> tuple[str, str, str, str]:
    names = f"`{option.opts[0]}`" + "".join(f", `{name}`" for name in option.secondary_opts)
    meaning, _, default = (option.help or "").rstrip("]").partition("  [default: ")
    if option.is_flag:
        takes = ""
        default = option.opts[0] if option.default is True else "off"
    else:
        choices = option.type.choices if isinstance(option.type, click.Choice) else ()
        numbers = isinstance(option.type, (click.types.IntParamType, click.types.FloatParamType))
        takes = "one of " + ", ".join(choices) if choices else "number" if numbers else "text"
        default = default or (str(option.default) if isinstance(option.default, (str, int)) else "")
    return names, takes, default and f"`{default}`", meaning


#: Each generated part: its page, its name there, and what makes it.
PARTS: list[tuple[str, str, Callable[[], str]]] = [
    ("docs/reference/configuration.md", "options", options),
    ("docs/topics/engines.md", "sqlite options", sqlite_options),
    ("docs/deploy/redis.md", "redis options", redis_options),
    ("docs/topics/groups.md", "rules", rule_settings),
    ("docs/reference/close-codes.md", "close codes", close_codes),
    ("docs/reference/wire.md", "wire errors", wire_errors),
    ("docs/reference/wire.md", "wire close codes", wire_close_codes),
    ("docs/reference/wire.md", "wire unsubscribe codes", wire_unsubscribe_codes),
    ("docs/reference/counters.md", "counters", counter_names),
    ("docs/reference/api.md", "exceptions", exception_tree),
    ("docs/reference/cli.md", "command line", command_line),
]


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- generated: {name} -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def part(path: Path, name: str) -> str:
    """Return what stands between the marks of ``name``."""
    match = _pattern(name).search(path.read_text())
    assert match, f"{path} has no part {name!r}"
    return match[2].strip("\n")


def generated(path: Path, name: str, text: str) -> str:
    """Return the page with ``text`` between the marks of ``name``."""
    return _pattern(name).sub(lambda match: f"{match[1]}\n{text}\n\n{match[3]}", path.read_text())


def main() -> None:
    """Write every part."""
    for name, mark, make in PARTS:
        path = page(name)
        path.write_text(generated(path, mark, make()))


if __name__ == "__main__":
    main()
