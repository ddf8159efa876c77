"""Commands for deliveries (webhook calls and outgoing messages) and for sending them again."""

from __future__ import annotations

from typing import Any

import click

from tntcore.cli import show
from tntcore.cli.base import Group, Session, ToolCommand, bar, contact_uuid, once, paged, pass_session, whole_uuid
from tntcore.cli.errors import Wrong
from tntcore.cli.follow import patiently
from tntcore.cli.service import part
from tntcore.cli.show import field, identifier
from tntcore.cli.tenants import check_webhook

_STATUSES = ("HELD", "PENDING", "DELIVERED", "FAILED", "WITHHELD")
_AGAIN = ("FAILED", "WITHHELD", "DELIVERED")
_KINDS = ("webhook", "task", "didcomm", "test")
_REPLAYED = {
    None: "queued again",
    "held": "not sent again: it waits until the connection is completed, and is then sent by itself",
    "under-way": "not sent again: it is under way. See `deliveries show`",
    "just-replayed": "not sent again: it was sent again less than a minute ago. Repeat this after a minute",
}


@click.group("deliveries", cls=Group)
def deliveries() -> None:
    """Webhook calls and outgoing messages: list, count, show."""


@deliveries.command("list")
@click.option("--status", type=click.Choice(_STATUSES, case_sensitive=False))
@click.option("--kind", type=click.Choice(_KINDS, case_sensitive=False))
@click.option("--contact", metavar="CONTACT", help="Only with this contact: uuid, DID or name.")
@click.option("--message", metavar="UUID")
@click.option("--action", metavar="UUID")
@click.option("--webhook", metavar="ID", help="Only of the webhook with this id.")
@click.option("--since", metavar="TIME", help="Only since a time, or for the last 10m, 2h, 3d.")
@click.option("--until", metavar="TIME")
@paged
@pass_session
def list_deliveries(
    session: Session,
    status: str | None,
    kind: str | None,
    contact: str | None,
    message: str | None,
    action: str | None,
    webhook: str | None,
    since: str | None,
    until: str | None,
    limit: int | None,
) -> None:
    """List the newest webhook calls and outgoing messages with their status, newest last."""
    service = session.tenant
    if webhook is not None:
        check_webhook(session, webhook)
    query = {
        "status": status,
        "kind": kind,
        "contact": contact_uuid(service, contact) if contact else None,
        "message": whole_uuid(service, "message", message) if message else None,
        "action": whole_uuid(service, "action", action) if action else None,
        "webhookId": webhook,
        "since": show.since(since, service.now) if since else None,
        "until": show.since(until, service.now) if until else None,
        "order": "newest",
    }
    columns = [
        field("TIME", "createdAt", show.moment),
        field("KIND", "kind"),
        field("STATUS", "status", show.status),
        field("TRIES", "attempts"),
        field("ANSWER", "responseStatus"),
        field("ERROR", "error", cut=True),
        field("NEXT TRY", "nextAttemptAt", show.moment, spare=True),
        field("TYPE", "type", show.short_type, cut=True),
        identifier(),
    ]
    session.hits(service.pages("delivery", query), columns, "deliveries", limit, newest_last=True)


@deliveries.command("show")
@click.argument("uuid")
@pass_session
def show_delivery(session: Session, uuid: str) -> None:
    """Show one delivery with all its attempts."""
    found = session.tenant.get(session.path("delivery", uuid))
    session.answer(found, lambda: _delivery(found))


def _delivery(found: dict[str, Any]) -> list[str]:
    columns = [
        field("TRY", "number"),
        field("AT", "at", show.moment),
        field("TOOK", "duration", lambda value: f"{show.safe(value)} ms"),
        field("ANSWER", "responseStatus"),
        field("ERROR", "error", cut=True),
        field(
            "ANSWERED WITH",
            "answer",
            lambda value: show.safe(value) if isinstance(value, str) else _json(value),
            cut=True,
        ),
    ]
    rest = {name: value for name, value in found.items() if name not in ("log", "request", "skipped")}
    log = show.table(found["log"], columns, show.terminal_width()) if found["log"] else ["not tried yet"]
    return [*show.members(rest), *_request(found["request"]), "", *log]


def _request(sent: dict[str, Any] | None) -> list[str]:
    """The lines of the request that is sent: its first line, headers and body, as HTTP has them."""
    if sent is None:
        return []
    headers = (f"{show.safe(name)}: {show.safe(value)}" for name, value in sent["headers"].items())
    body = sent["body"]
    content = [show.safe(body)] if isinstance(body, str) else show.written(body).split("\n")
    return ["", f"{show.safe(sent['method'])} {show.safe(sent['url'])}", *headers, "", *content]


def _json(value: Any) -> str:
    return "" if value is None else show.written(value, None)


@click.command("replay", cls=ToolCommand)
@click.argument("uuid", required=False)
@click.option("--since", metavar="TIME", help="All since a time, or of the last 10m, 2h, 3d.")
@click.option("--until", metavar="TIME")
@click.option(
    "--status",
    "statuses",
    type=click.Choice(_AGAIN, case_sensitive=False),
    multiple=True,
    help="Default: FAILED and WITHHELD.",
)
@click.option("--webhook", metavar="ID", help="Only of the webhook with this id.")
@once
@pass_session
def replay(
    session: Session,
    uuid: str | None,
    since: str | None,
    until: str | None,
    statuses: tuple[str, ...],
    webhook: str | None,
    key: str,
) -> None:
    """Send a delivery again, or all deliveries since a time. Deliveries that are still under way, or were sent again
    less than a minute ago, are skipped.
    """
    service = session.tenant
    if (uuid is None) is (since is None):
        raise Wrong("Give either the UUID of a delivery or --since.")
    if uuid is not None:
        if until or statuses or webhook:
            raise Wrong(
                "--until, --status and --webhook need --since. Leave them out, or give --since in place of the UUID."
            )
        done = service.post(f"{session.path('delivery', uuid)}/replay", None, key=key)
        session.answer(done, lambda: [_REPLAYED[done.get("skipped")], "", *_delivery(done)])
        return
    begin = show.since(str(since), service.now)
    end = show.since(until, service.now) if until else None
    if webhook is not None:
        check_webhook(session, webhook)
    chosen = statuses or _AGAIN[:2]
    expected = _count(session, {"since": begin, "until": end, "webhookId": webhook}, chosen)
    body = {"since": begin, "until": end, "status": list(chosen), "webhookId": webhook}
    at = service.post("delivery/replay", {name: value for name, value in body.items() if value}, key=key)
    path = f"delivery/replay/{part(at['uuid'])}"
    with bar(session, expected, "sending again") as moved:
        done_before = 0
        while True:
            done_now = at["replayed"] + at["skipped"]
            moved(done_now - done_before)
            done_before = done_now
            if at["status"] == "DONE":
                break
            session.sleep(0.5)
            at = patiently(lambda: service.get(path), session.sleep, session.note)
    session.answer(at, lambda: [f"{at['replayed']} queued again, {at['skipped']} skipped"])


def _count(session: Session, query: dict[str, Any], statuses: tuple[str, ...]) -> int | None:
    """Counts the deliveries that the query finds; None if there are more than the service counts."""
    totals = [session.tenant.get("delivery", {**query, "status": status, "limit": 1})["total"] for status in statuses]
    return sum(total["value"] for total in totals) if all(total["relation"] == "eq" for total in totals) else None
