"""docs/cli.md has every command, and every option of those, that there is, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from tntcore.cli.main import cli

PAGE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield path + name, command


def test_every_command_is_in_the_reference() -> None:
    [table] = re.findall(r"\| command \| does \|\n.*?\n\n", PAGE, re.DOTALL)
    shown = {" ".join(re.findall(r"^[a-z-]+(?: [a-z][a-z-]*)?", text)) for text in re.findall(r"`([a-z][^`]*)`", table)}
    there = {path for path, _ in commands(cli)}
    assert there <= shown
    assert {text for text in shown if text.split()[0] in cli.commands} <= there
    options = set(re.findall(r"--[a-z][a-z-]*", PAGE))
    known = {name for _, command in commands(cli) for each in command.params for name in each.opts}
    known |= {"--help", *(name for each in cli.params for name in each.opts)}
    assert options - {"--only-group"} <= known


def test_every_command_says_what_it_does() -> None:
    for path, command in commands(cli):
        assert command.help, path
        for each in command.params:
            if isinstance(each, click.Option) and len(each.opts) and not isinstance(each.type, click.Choice):
                assert each.help or each.metavar or each.name in ("did", "email"), (path, each.name)
