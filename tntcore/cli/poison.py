"""Commands for the queues: what waits in them, and poison, which failed too often (operator)."""

from __future__ import annotations

from typing import Any

import click

from tntcore.cli import show
from tntcore.cli.base import Group, Session, ToolCommand, bar, paged, pass_session
from tntcore.cli.service import part
from tntcore.cli.show import Column, field

_QUEUES = ("inbound", "exchange", "outbound", "relay")


@click.command("backlog", cls=ToolCommand)
@pass_session
def backlog(session: Session) -> None:
    """Show how many queue messages wait in each queue, and since when the next one does (operator)."""
    found = session.service.get("backlog", operator=True)
    columns = [field("QUEUE", "queue"), field("WAITING", "waiting"), field("SINCE", "oldestAt", show.moment)]
    session.answer(found, lambda: show.table(found["queues"], columns, show.terminal_width()))


@click.group("poison", cls=Group)
def poison() -> None:
    """Queue messages that failed too often: list, replay, forget (operator)."""


@poison.command("list")
@click.option("--queue", type=click.Choice(_QUEUES))
@paged
@pass_session
def list_poison(session: Session, queue: str | None, limit: int | None) -> None:
    """List poison messages. Their contents are not shown; the tenant sees the message or delivery as FAILED."""
    columns = [
        field("SINCE", "at", show.moment),
        field("QUEUE", "queue"),
        Column("HAS", lambda row: f"{len(row['items'])} of {_tenants(row)} tenant(s)" if row["items"] else ""),
        field("BYTES", "bytes"),
        field("REPLAYABLE", "replayable", lambda value: "yes" if value else "no"),
        field("ID", "id"),
    ]
    session.hits(session.service.pages("poison", {"queue": queue}, operator=True), columns, "poison", limit)


def _tenants(row: Any) -> int:
    return len({item["principalUuid"] for item in row["items"]})


@poison.command("replay")
@click.argument("queue", type=click.Choice(_QUEUES), required=False)
@click.argument("id_", metavar="[ID]", required=False)
@click.option("--tenant", metavar="UUID", help="Only messages with items of this tenant.")
@pass_session
def replay_poison(session: Session, queue: str | None, id_: str | None, tenant: str | None) -> None:
    """Handle poison messages again: all, those of QUEUE, or one. Nothing takes effect twice."""
    given = {"queue": queue, "id": id_, "principalUuid": tenant}
    body = {name: value for name, value in given.items() if value}
    total = {"replayed": 0, "senseless": 0, "missing": 0}
    with bar(session, None, "replaying") as moved:
        while True:
            page = session.service.post("poison/replay", body, operator=True)
            moved(page["replayed"])
            # Messages that cannot be replayed appear on every page again.
            total = {**page, "replayed": total["replayed"] + page["replayed"]}
            if not (page["more"] and page["replayed"]):
                break
    total["more"] = page["more"]
    session.answer(
        total,
        lambda: [
            f"{total['replayed']} put back on their queues"
            + (f", {total['senseless']} cannot be handled and stay" if total["senseless"] else "")
            + (f", {total['missing']} stay because their envelopes are gone" if total["missing"] else "")
        ],
    )


@poison.command("forget")
@click.argument("queue", type=click.Choice(_QUEUES))
@click.argument("id_", metavar="ID")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_session
def forget_poison(session: Session, queue: str, id_: str, yes: bool) -> None:
    """Delete a poison message. Its content will never be handled."""
    if not yes:
        click.confirm(f"Delete {show.safe(id_)} of {queue} permanently?", abort=True, err=True)
    session.service.delete(f"poison/{part(queue)}/{part(id_)}", operator=True)
    session.answer({"queue": queue, "id": id_}, lambda: ["deleted"])
