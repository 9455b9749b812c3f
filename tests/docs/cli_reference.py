"""The page docs/reference/cli.md, made from the commands themselves.

`python tests/docs/cli_reference.py` writes it; a test fails when it is stale. The text is that of `--help`; the layout is our
own, because that of `--help` differs between versions of click.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from pytest_marketreplay.cli import cli

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
_HEAD = """\
# Command line

This page is made from the help texts of the commands (`python tests/docs/cli_reference.py`). `-h` or `--help` after any command
prints the same. Exit codes: 0 all is well, 1 something is wrong with what was looked at, 2 the command was wrong.
"""


def commands(group: click.Group = cli, path: str = "marketreplay") -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, with its whole name, in alphabetic order."""
    for name in sorted(group.commands):
        command = group.commands[name]
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def text_and_example(command: click.Command) -> tuple[str, str]:
    """Return a command's help without its example, and the example."""
    whole = inspect.cleandoc(command.help or "")
    text, _, example = whole.partition("\b\nExample:\n")
    return text.strip(), inspect.cleandoc(example).strip()


def _in_markdown(text: str) -> str:
    return re.sub(r"<\w+>[\w.]*\w", r"`\g<0>`", text)  # `<name>` alone would be HTML


def _argument(argument: click.Argument) -> str:
    name = (argument.metavar or (argument.name or "").upper()).strip("[].")
    name += "..." if argument.nargs == -1 else ""
    return name if argument.required else f"[{name}]"


def _default(option: click.Option) -> str:
    return f" Default: `{option.default}`." if option.show_default else ""


def _value(option: click.Option) -> str:
    if option.is_flag:
        return ""
    return f" {option.metavar or option.type.name.upper().replace(' ', '_').replace('INTEGER_RANGE', 'INTEGER')}"


def render() -> str:
    """Return the whole page."""
    out = [_HEAD, "| command | |", "| --- | --- |"]
    for path, command in commands():
        summary = text_and_example(command)[0].split("\n\n")[0].replace("\n", " ")
        out.append(f"| [`{path}`](#{path.replace(' ', '-')}) | {_in_markdown(summary)} |")
    for path, command in commands():
        text, example = text_and_example(command)
        arguments = [_argument(each) for each in command.params if isinstance(each, click.Argument)]
        options = [each for each in command.params if isinstance(each, click.Option)]
        usage = " ".join([path, *(["[OPTIONS]"] if options else []), *arguments])
        out += ["", f"## {path}", "", "```text", usage, "```", "", _in_markdown(text)]
        if options:
            out += ["", "| option | |", "| --- | --- |"]
        for option in options:
            names = ", ".join(f"`{name}{_value(option)}`" for name in option.opts)
            required = " Required." if option.required else ""
            out.append(f"| {names} | {option.help}{_default(option)}{required} |")
        out += ["", "Example:", "", "```console no-run", f"$ {example}", "```"]
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
