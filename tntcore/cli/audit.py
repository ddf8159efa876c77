"""Commands for the audit log, for the caller's own key, and for operators to manage tenants."""

from __future__ import annotations

import click

from tntcore.cli import show
from tntcore.cli.base import Command, Group, Session, paged, pass_session
from tntcore.cli.operators import operator
from tntcore.cli.service import part
from tntcore.cli.show import Column, field

_since = click.option("--since", metavar="TIME", help="Only from this time on.")
_until = click.option("--until", metavar="TIME", help="Only before this time.")


@click.command("account", cls=Command)
@pass_session
def account(session: Session) -> None:
    """Show the subscription key you use and its scope."""
    found = session.tenant.get("account")
    key = found["key"]
    session.answer(
        found,
        lambda: show.details(
            [
                ("tenant", show.safe(found["displayName"])),
                ("uuid", show.safe(found["principalUuid"])),
                ("status", show.status(found["status"])),
                ("key", show.safe(key["name"])),
                ("scope", show.safe(key["scope"])),
                ("expires", show.moment(key["expiresAt"])),
                ("keeps", f"{found['storedBytes']} of {found['quota'] or 'any number of'} bytes"),
            ]
        ),
    )


@click.command("audit", cls=Command)
@_since
@_until
@paged
@pass_session
def audit(session: Session, since: str | None, until: str | None, limit: int | None) -> None:
    """List what was done at the tenant and by whom, newest first: keys, settings, webhooks, and operators' actions."""
    _list(session, "audit", since, until, limit)


@operator.command("audit")
@_since
@_until
@paged
@pass_session
def operator_audit(session: Session, since: str | None, until: str | None, limit: int | None) -> None:
    """List what operators did, newest first."""
    _list(session, "operator/audit", since, until, limit, operator=True)


@click.group("tenants", cls=Group)
def tenants() -> None:
    """Tenants: list, show, suspend, resume, audit (operator)."""


@tenants.command("list")
@click.option("--name", metavar="TEXT", help="Only tenants whose name contains this.")
@click.option("--status", type=click.Choice(("ACTIVE", "SUSPENDED"), case_sensitive=False))
@paged
@pass_session
def list_tenants(session: Session, name: str | None, status: str | None, limit: int | None) -> None:
    """List tenants, oldest first."""
    columns = [
        field("NAME", "displayName", cut=True),
        field("STATUS", "status", show.status),
        field("KEEPS", "storedBytes"),
        field("CREATED", "createdAt", show.moment),
        field("UUID", "uuid"),
    ]
    query = {"name": name, "status": status}
    session.hits(session.service.pages("principal", query, operator=True), columns, "tenants", limit)


@tenants.command("show")
@click.argument("uuid")
@pass_session
def show_tenant(session: Session, uuid: str) -> None:
    """Show everything that operators can see of a tenant."""
    found = session.service.get(f"principal/{part(uuid)}", operator=True)
    session.answer(found, lambda: show.written(found).split("\n"))


_reason = click.option("--reason", metavar="TEXT", help="The reason, for the audit log. The tenant can read it.")


@tenants.command("suspend")
@click.argument("uuid")
@_reason
@pass_session
def suspend(session: Session, uuid: str, reason: str | None) -> None:
    """Suspend a tenant: its messages and calls are refused, its data is kept."""
    _set(session, uuid, "suspend", reason)


@tenants.command("resume")
@click.argument("uuid")
@_reason
@pass_session
def resume(session: Session, uuid: str, reason: str | None) -> None:
    """Resume a suspended tenant."""
    _set(session, uuid, "resume", reason)


@tenants.command("audit")
@click.argument("uuid")
@_since
@_until
@paged
@pass_session
def tenant_audit(session: Session, uuid: str, since: str | None, until: str | None, limit: int | None) -> None:
    """List what was done at a tenant and by whom, newest first."""
    _list(session, f"principal/{part(uuid)}/audit", since, until, limit, operator=True)


def _set(session: Session, uuid: str, word: str, reason: str | None) -> None:
    body = {"reason": reason} if reason else {}
    done = session.service.post(f"principal/{part(uuid)}/{word}", body, operator=True)
    session.answer(done, lambda: [show.status(done["status"])])


def _list(
    session: Session, path: str, since: str | None, until: str | None, limit: int | None, *, operator: bool = False
) -> None:
    service = session.service if operator else session.tenant
    query = {name: show.since(value, service.now) for name, value in (("since", since), ("until", until)) if value}
    columns = [
        field("WHEN", "createdAt", show.moment),
        Column("WHO", lambda row: show.safe(row["by"]["name"] or row["by"]["id"])),
        field("DID", "act"),
        field("ON", "on", cut=True),
        field("TENANT", "principalUuid"),
        Column("", lambda row: "" if row["status"] == "DONE" else "broke off"),
    ]
    session.hits(service.pages(path, query, operator=operator), columns, "acts", limit)
