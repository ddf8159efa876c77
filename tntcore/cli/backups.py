"""Backup, restore and repair: with the storage account itself, so with the service's own packages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from tntcore.cli import show
from tntcore.cli.base import Session, ToolCommand, pass_session
from tntcore.cli.errors import Wrong


@click.command("backup", cls=ToolCommand)
@click.argument("target")
@pass_session
def backup(session: Session, target: str) -> None:
    """Copy all that the service has stored to TARGET, while it runs; the next time only what has changed.

    TARGET is a folder, or container:NAME in the storage account of TNT_BACKUP_STORAGE. Settings of the storage account
    are the service's own. A backup that was interrupted goes on when the command is given again.
    """
    with _progress(session) as told:
        done = _do("run_backup", session.environ, target, _other(session), told)
    session.answer(done, lambda: _lines(done, "backup"))


@click.command("restore", cls=ToolCommand)
@click.argument("source")
@click.option("--over", is_flag=True, help="Even into an account that is not empty.")
@click.option("--check", is_flag=True, help="Only read the whole backup, and compare it with its checksums.")
@pass_session
def restore(session: Session, source: str, over: bool, check: bool) -> None:
    """Put a backup into the storage account of the settings, which has to be empty, and repair it.

    Stop the service on that account first. It needs the master keys that the answer names. A restore that was
    interrupted goes on when the command is given again.
    """
    with _progress(session) as told:
        done = _do("run_restore", session.environ, source, _other(session), told, over=over, check=check)
    title = "checked" if check else "restored before, now repaired" if done["restoredBefore"] else "restored"
    session.answer(done, lambda: _lines(done, title))


@click.command("repair", cls=ToolCommand)
@pass_session
def repair(session: Session) -> None:
    """Make undelivered messages due, and complete records that are half done. The service may run meanwhile."""
    with _progress(session) as told:
        done = _do("run_repair", session.environ, told)
    session.answer(done, lambda: show.details([(name, str(count)) for name, count in done.items()]))


def _other(session: Session) -> str:
    return session.environ.get("TNT_BACKUP_STORAGE", "")


def _do(name: str, *arguments: Any, **options: Any) -> dict[str, Any]:
    """Raises `Wrong`."""
    try:
        # The service's own module, which is not there where the command line was installed alone.
        there = import_module("tntcore.maintenance.offline")
    except ModuleNotFoundError as error:
        raise Wrong(
            f"This needs the service's own packages, and {error.name} is missing. In the project's folder: "
            "`make install`, then `source .venv/bin/activate`."
        ) from None
    try:
        done: dict[str, Any] = getattr(there, name)(*arguments, **options)
    except there.NotDoneError as error:
        raise Wrong(str(error)) from None
    return done


@contextmanager
def _progress(session: Session) -> Iterator[Callable[[str, int], None]]:
    """Shows one line a part at a terminal: how many of how many is known by nobody."""
    hidden = session.as_json or not sys.stderr.isatty()
    last = ""
    total = 0

    def told(part: str, count: int) -> None:
        nonlocal last, total
        if hidden:
            return
        if part != last:
            if last:
                click.echo(err=True)
            last, total = part, 0
        total += count
        click.echo(f"\r  {part}: {total}", nl=False, err=True)

    yield told
    if last:
        click.echo(err=True)


def _lines(done: dict[str, Any], title: str) -> list[str]:
    keys = ", ".join(map(show.safe, done["masterKeys"])) or "none"
    lines = show.details(
        [
            (title, f"generation {done['generation']}, begun {show.moment(show.iso(done['began'] / 1000))}"),
            *((f"  {part}", str(count)) for part, count in done["copied"].items()),
            *((f"  repaired {part}", str(count)) for part, count in done.get("repaired", {}).items()),
            ("master keys", keys),
        ]
    )
    for queue, count in done["waiting"].items():
        lines.append(
            f"About {count} more messages waited in queue {queue} and are not in the backup. Back up again when it is "
            "shorter."
        )
    return list(lines)
