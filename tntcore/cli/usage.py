"""Commands that count: usage by month, and messages and deliveries by day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from tntcore.cli import show
from tntcore.cli.audit import tenants
from tntcore.cli.base import Session, ToolCommand, contact_uuid, pass_session
from tntcore.cli.deliveries import deliveries
from tntcore.cli.messages import messages
from tntcore.cli.show import Column, field
from tntcore.cli.tenants import check_webhook

_since = click.option("--since", metavar="TIME", help="From this time on. Default: 7 days before --until.")
_until = click.option("--until", metavar="TIME", help="Before this time. Default: now.")
_contact = click.option("--contact", metavar="CONTACT", help="Only with this contact: uuid, DID or name.")
_type = click.option("--type", "type_", metavar="PREFIX", help="Only types that begin with this, such as basicmessage.")


@click.command("usage", cls=ToolCommand)
@pass_session
def usage(session: Session) -> None:
    """Show what the tenant did in each month, latest first: messages, bytes, credentials, proofs."""
    _months(session, session.tenant.get("usage"))


@tenants.command("usage")
@click.argument("uuid")
@pass_session
def tenant_usage(session: Session, uuid: str) -> None:
    """Show what a tenant did in each month, latest first."""
    path = f"{session.path('principal', uuid, operator=True)}/usage"
    _months(session, session.service.get(path, operator=True))


def _months(session: Session, found: Mapping[str, Any]) -> None:
    columns = [
        field("MONTH", "month"),
        field("IN", "messagesIn"),
        field("OUT", "messagesOut"),
        field("BYTES", "bytes"),
        field("ISSUED", "credentialsIssued"),
        field("RECEIVED", "credentialsReceived"),
        field("VERIFIED", "presentationsReceived"),
        field("SHOWN", "presentationsSent"),
    ]
    keeps = f"keeps {show.safe(found['storedBytes'])} bytes now"
    table = show.table(found["months"], columns, show.terminal_width()) if found["months"] else ["nothing was done yet"]
    session.answer(found, lambda: [*table, "", keeps])


@messages.command("count")
@_since
@_until
@_contact
@_type
@click.option("--direction", type=click.Choice(["IN", "OUT"], case_sensitive=False))
@pass_session
def count_messages(
    session: Session,
    since: str | None,
    until: str | None,
    contact: str | None,
    type_: str | None,
    direction: str | None,
) -> None:
    """Count messages by day and status, latest day first."""
    _counted(session, "message", {**_query(session, since, until, contact, type_), "direction": direction})


@deliveries.command("count")
@_since
@_until
@_contact
@_type
@click.option("--webhook", metavar="ID", help="Only of the webhook with this id.")
@pass_session
def count_deliveries(
    session: Session, since: str | None, until: str | None, contact: str | None, type_: str | None, webhook: str | None
) -> None:
    """Count deliveries by day and status, latest day first."""
    if webhook is not None:
        check_webhook(session, webhook)
    _counted(session, "delivery", {**_query(session, since, until, contact, type_), "webhookId": webhook})


def _query(
    session: Session, since: str | None, until: str | None, contact: str | None, type_: str | None
) -> dict[str, str | None]:
    service = session.tenant
    return {
        "since": show.since(since, service.now) if since else None,
        "until": show.since(until, service.now) if until else None,
        "contact": contact_uuid(service, contact) if contact else None,
        "type": show.long_type(type_ or ""),
    }


def _counted(session: Session, noun: str, query: Mapping[str, str | None]) -> None:
    found = session.tenant.get(f"{noun}/count", query)
    total = {"day": "all", "total": found["total"], "byStatus": found["byStatus"]}
    columns = [
        field("DAY", "day"),
        field("TOTAL", "total"),
        *(Column(show.safe(status), _number(status)) for status in sorted(found["byStatus"])),
    ]
    session.answer(found, lambda: show.table([*found["byDay"], total], columns, show.terminal_width()))
    if found["relation"] == "gte":
        session.note(f"only the latest {found['total']} were counted; there are more")


def _number(status: str) -> Any:
    return lambda row: show.safe(row["byStatus"].get(status, ""))
