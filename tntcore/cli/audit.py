"""Commands for the audit log, for the caller's own key, and for operators to manage tenants."""

from __future__ import annotations

from typing import Any

import click

from tntcore.cli import show
from tntcore.cli.base import Group, Session, ToolCommand, paged, pass_session
from tntcore.cli.errors import Wrong
from tntcore.cli.operators import operator
from tntcore.cli.show import Column, field, identifier

_since = click.option("--since", metavar="TIME", help="Only from this time on.")
_until = click.option("--until", metavar="TIME", help="Only before this time.")


@click.command("account", cls=ToolCommand)
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


@click.command("audit", cls=ToolCommand)
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
    """Tenants: list, show, suspend, resume, limits, delete, usage, audit (operator)."""


@tenants.command("list")
@click.option("--search", "--name", metavar="TEXT", help="Only tenants whose name contains this.")
@click.option("--status", type=click.Choice(("ACTIVE", "SUSPENDED"), case_sensitive=False))
@paged
@pass_session
def list_tenants(session: Session, search: str | None, status: str | None, limit: int | None) -> None:
    """List tenants, oldest first."""
    columns = [
        field("NAME", "displayName", cut=True),
        field("STATUS", "status", show.status),
        field("KEEPS", "storedBytes"),
        field("CREATED", "createdAt", show.moment),
        identifier(),
    ]
    query = {"search": search, "status": status}
    session.hits(session.service.pages("principal", query, operator=True), columns, "tenants", limit)


@tenants.command("show")
@click.argument("uuid")
@pass_session
def show_tenant(session: Session, uuid: str) -> None:
    """Show everything that operators can see of a tenant."""
    found = session.service.get(session.path("principal", uuid, operator=True), operator=True)
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


@tenants.command("limits")
@click.argument("uuid")
@click.option("--stored-bytes", type=click.IntRange(0), metavar="BYTES", help="What it may keep; 0 for no limit.")
@click.option(
    "--messages-per-minute", type=click.IntRange(0), metavar="COUNT", help="What it may receive; 0 for no limit."
)
@click.option("--defaults", is_flag=True, help="Remove its limits: the service's defaults apply.")
@click.option(
    "--shards",
    type=click.IntRange(1, 16),
    metavar="COUNT",
    help="Partitions that new contacts and invitations are spread over; never less than before.",
)
@pass_session
def limits(
    session: Session,
    uuid: str,
    stored_bytes: int | None,
    messages_per_minute: int | None,
    defaults: bool,
    shards: int | None,
) -> None:
    """Show or change a tenant's limits and shards. What is not named stays as it is."""
    given = {"storedBytes": stored_bytes, "messagesPerMinute": messages_per_minute}
    changed = {name: value for name, value in given.items() if value is not None}
    path = session.path("principal", uuid, operator=True)
    found = session.service.get(path, operator=True)
    body: dict[str, Any] = {}
    if changed or defaults:
        body["limits"] = {**({} if defaults else found["limits"]), **changed}
    if shards is not None:
        body["shards"] = shards
    if body:
        found = session.service.put(path, body, operator=True)
    shown = {name: found["limits"].get(name) for name in given}
    session.answer(
        found,
        lambda: show.details(
            [
                *(
                    (name, "the service's default" if value is None else "none" if value == 0 else str(value))
                    for name, value in shown.items()
                ),
                ("shards", str(found["shards"])),
            ]
        ),
    )


@tenants.command("delete")
@click.argument("uuid")
@click.option("--name", metavar="NAME", help="The tenant's name, to confirm. At a terminal you are asked for it.")
@pass_session
def delete_tenant(session: Session, uuid: str, name: str | None) -> None:
    """Delete a tenant with all that it has. This cannot be undone."""
    path = session.path("principal", uuid, operator=True)
    known = session.service.get(path, operator=True)
    if name is None:
        asked = f"This deletes {show.safe(known['displayName'])} for ever. Type its name"
        name = str(click.prompt(asked, err=True))
    if name != known["displayName"]:
        raise Wrong("Nothing was deleted: that is not the tenant's name.")
    session.service.delete(path, operator=True)
    session.answer({"uuid": known["uuid"], "status": "DELETED"}, lambda: ["deleted"])


@tenants.command("audit")
@click.argument("uuid")
@_since
@_until
@paged
@pass_session
def tenant_audit(session: Session, uuid: str, since: str | None, until: str | None, limit: int | None) -> None:
    """List what was done at a tenant and by whom, newest first."""
    _list(session, f"{session.path('principal', uuid, operator=True)}/audit", since, until, limit, operator=True)


def _set(session: Session, uuid: str, word: str, reason: str | None) -> None:
    body = {"reason": reason} if reason else {}
    done = session.service.post(f"{session.path('principal', uuid, operator=True)}/{word}", body, operator=True)
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
        identifier("TENANT", "principalUuid", spare=True),
        Column("", lambda row: "" if row["status"] == "DONE" else "broke off"),
    ]
    session.hits(service.pages(path, query, operator=operator), columns, "acts", limit)
