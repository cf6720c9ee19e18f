"""The command reference: every command of the command line, with its arguments, options and examples."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from solon.cli.main import cli

from .docstrings import table

_REMARK = re.compile(r"^(\S.*?) {2,}(\S.*)$")
"""A command of an example and the remark behind it."""
_INTRODUCTION = """# Command reference

This page lists every command. It is made from the command line itself when the site is built; `solon COMMAND --help`
prints the same.

Every command exits with 0 when it is done, with 1 after an error, with 2 for a wrong command line, and with 130 when
Ctrl-C stopped it. An error is one line: place, cause, remedy. `solon --debug COMMAND` shows the traceback as well.
"""


def commands_page() -> str:
    """The page as Markdown."""
    lines = [_INTRODUCTION]
    for path, command in all_commands():
        lines += ["", f"{'#' * (len(path) + 1)} solon {' '.join(path)}", "", _help(command), ""]
        lines += ["```text", f"solon {' '.join([*path, *_usage(command)])}", "```", ""]
        options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
        if options:
            lines += [*table(("Option", "Meaning"), [_option(each) for each in options]), ""]
        if command.epilog and not isinstance(command, click.Group):
            lines += _examples(command.epilog)
    return "\n".join(lines) + "\n"


def all_commands(
    group: click.Group = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it, groups before what they hold."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from all_commands(command, (*path, name))


def _help(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "").replace("\b\n", "").replace("<", "&lt;")


def _usage(command: click.Command) -> list[str]:
    return command.collect_usage_pieces(click.Context(command))


def _option(option: click.Option) -> tuple[str, str]:
    names = ", ".join(f"`{each}`" for each in (*option.opts, *option.secondary_opts))
    takes = "" if option.is_flag else f" `{option.make_metavar(click.Context(click.Command('none')))}`"
    default = ""
    if option.show_default and option.default is not None and not option.is_flag:
        default = f" Default: `{option.default}`."
    required = " Required." if option.required else ""
    return names + takes, (option.help or "").replace("<", "&lt;") + required + default


def _examples(epilog: str) -> list[str]:
    text = inspect.cleandoc(epilog.replace("\b\n", ""))
    lines = [line for line in text.splitlines() if line.strip() and not re.fullmatch(r"Examples?:", line.strip())]
    commands = [_REMARK.sub(r"\1  # \2", line) for line in inspect.cleandoc("\n".join(lines)).splitlines()]
    return ["```sh", *commands, "```"]
