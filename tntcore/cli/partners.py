"""Commands for invitations, contacts, identities and connections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tntcore.cli import qr, show
from tntcore.cli.base import (
    CREATED,
    Group,
    Session,
    ToolCommand,
    contact_uuid,
    find_contact,
    once,
    paged,
    pass_session,
    wait_options,
)
from tntcore.cli.errors import WaitedInVain, Wrong
from tntcore.cli.service import is_uuid, part
from tntcore.cli.show import Column, field, identifier
from tntcore.cli.tenants import read_json

_OVER = ("completed", "abandoned")
_FORMS = ("out-of-band/1", "out-of-band/2", "connections/1")


@click.command("invite", cls=ToolCommand)
@click.option("--label", help="The inviter's name as the partner sees it. Default: the identity's name.")
@click.option("--identity", metavar="UUID|DID", help="The inviting identity. Default: the default identity.")
@click.option("--email", help="Also create a contact with this email address, for this invitation.")
@click.option("--name", help="With --email: the contact's name.")
@click.option("--multi-use", is_flag=True, help="Any number of partners can accept the invitation.")
@click.option("--expires", metavar="IN", help="Expires after this time: 30m, 12h, 7d. Default: never.")
@click.option("--form", type=click.Choice(_FORMS), help="Default: out-of-band/1. out-of-band/2 is for DIDComm v2.")
@click.option("--goal", help="The purpose, as text for the partner.")
@click.option("--public-did", is_flag=True, help="Put the identity's own DID in the invitation.")
@click.option(
    "--qr", "picture", type=click.Path(path_type=Path), help="Also save the QR code as this .svg or .png file."
)
@wait_options("Wait until the connection is completed.")
@once
@pass_session
def invite(
    session: Session,
    label: str | None,
    identity: str | None,
    email: str | None,
    name: str | None,
    multi_use: bool,
    expires: str | None,
    form: str | None,
    goal: str | None,
    public_did: bool,
    picture: Path | None,
    wait: bool,
    timeout: float | None,
    key: str,
) -> None:
    """Make an invitation and show its URL and QR code."""
    service = session.tenant
    if picture is not None and picture.suffix not in (".svg", ".png"):
        raise Wrong("The QR code was not saved. Name a file that ends in .svg or .png.")
    plain = {
        "label": label,
        "form": form,
        "goal": goal,
        "multiUse": multi_use,
        "publicDid": public_did,
        "expiresAt": show.iso(service.now + show.seconds(expires)) if expires else None,
    }
    chosen = {name: value for name, value in plain.items() if value}
    if identity:
        chosen["identityId"] = identity
    if email:
        if chosen.keys() - {"identityId"}:
            raise Wrong("With --email, no options but --name and --identity are allowed. Remove the others.")
        contact = {"email": email, **({"displayName": name} if name else {})}
        made = service.post("contact", {**chosen, "contact": contact}, key=key)
    else:
        made = service.post("invitation", chosen, key=key)
    if wait:
        session.say(*_invited(made))
        session.line(made)
    else:
        session.answer(made, lambda: _invited(made))
    if picture is not None:
        try:
            qr.save(str(made["shortUrl"]), picture)
        except ValueError as error:
            raise Wrong(f"The invitation was made, but {picture} was not saved: {error}.") from None
    if not wait:
        return
    session.note("waiting for the partner; Ctrl-C stops waiting, the invitation stays valid")
    query = {"invitation": made["invitationId"]}
    _completed(session, lambda: list(service.pages("connection", query)), timeout)


def _invited(made: dict[str, Any]) -> list[str]:
    """The invitation's URL and, if it fits on the terminal, its QR code above."""
    url, width = show.safe(made["shortUrl"]), show.terminal_width()
    picture: list[str] = []
    if width is not None:
        picture = [*_drawn(url, width), ""]
    told = [("invitation", show.safe(made["invitationId"])), ("expires", show.moment(made.get("expiresAt")))]
    return [*picture, url, "", *show.details(told)]


def _drawn(url: str, width: int) -> list[str]:
    try:
        drawn = qr.lines(qr.matrix(url), colour=click.get_current_context().color is not False)
    except ValueError:
        return ["(The URL is too long for a QR code.)"]
    needed = show.measure(drawn[0])
    hint = f"(The QR code takes {needed} columns: make the terminal wider, or save it by --qr code.svg.)"
    return drawn if needed <= width else [hint]


def _completed(session: Session, ask: Any, timeout: float | None) -> None:
    """Waits until one of the connections that `ask` returns is completed, and prints it. Raises `WaitedInVain`."""
    told: list[str] = []

    def over(connections: list[dict[str, Any]]) -> bool:
        for each in connections:
            if each["state"] not in told:
                told.append(each["state"])
                session.note(each["state"])
        return any(each["state"] in _OVER for each in connections)

    found = next(each for each in session.wait(ask, over, timeout, "the connection") if each["state"] in _OVER)
    session.line(found)
    session.say(*_connection(found))
    if found["state"] != "completed":
        raise WaitedInVain("the connection was abandoned")


def _connection(found: dict[str, Any]) -> list[str]:
    return show.details(
        [
            ("connection", show.safe(found["uuid"])),
            ("state", show.status(found["state"])),
            ("contact", show.safe(found["contactUuid"])),
            ("their DID", show.short_did(found["theirDid"])),
            ("says it is", show.short_did(found.get("claimedDid"))),
            ("refused", show.safe(found.get("error"))),
            ("my DID", show.short_did(found["myDid"])),
        ]
    )


@click.command("accept", cls=ToolCommand)
@click.argument("invitation")
@click.option("--identity", metavar="UUID|DID", help="The accepting identity. Default: the default identity.")
@click.option("--name", help="A name for the contact. Default: the name it gives itself.")
@wait_options("Wait until the connection is completed.")
@once
@pass_session
def accept(
    session: Session,
    invitation: str,
    identity: str | None,
    name: str | None,
    wait: bool,
    timeout: float | None,
    key: str,
) -> None:
    """Accept an invitation, or connect to a public DID.

    INVITATION is the invitation's URL, its uuid if another tenant of this service made it, a file that contains its
    JSON (`-` reads standard input), or a partner's DID.
    """
    service = session.tenant
    contact: dict[str, str] = {"displayName": name} if name else {}
    body: dict[str, Any] = {"identityId": identity} if identity else {}
    if invitation.startswith("did:"):
        contact["did"] = invitation
    elif is_uuid(invitation):
        body["invitationId"] = invitation
    elif "://" in invitation:
        body["invitationUrl"] = invitation
    elif invitation != "-" and not Path(invitation).exists():
        raise Wrong(
            f"{show.safe(invitation)!r} is no URL, no uuid and no DID, and no file has this name. "
            "Give one of them, or `-` for JSON on standard input."
        )
    else:
        with click.open_file(invitation, "rb") as file:
            body["invitation"] = read_json(file)  # type: ignore[arg-type]
    made = service.post("contact", {**body, "contact": contact}, key=key)
    if wait:
        session.line(made)
    else:
        session.answer(made, lambda: _accepted(made))
    if made.get("unreachable"):
        session.note(f"the partner cannot be reached now: {made['unreachable']} Messages are held until it can.")
    if wait:
        _completed(session, lambda: [service.get(f"connection/{part(made['connectionUuid'])}")], timeout)


def _accepted(made: dict[str, Any]) -> list[str]:
    return show.details(
        [
            ("contact", show.safe(made["displayName"])),
            ("uuid", show.safe(made["uuid"])),
            ("status", show.status(made["status"])),
            ("connection", show.safe(made["connectionUuid"])),
            ("", "It was a contact already." if made.get("reused") else ""),
        ]
    )


@click.group("contacts", cls=Group)
def contacts() -> None:
    """Partners: list, show, remove."""


@contacts.command("list")
@click.option("--status", type=click.Choice(["REQUESTED", "ACCEPTED", "REJECTED"], case_sensitive=False))
@click.option("--did")
@click.option("--email")
@click.option("--search", metavar="TEXT", help="Only with this in the name, email, reference or DID.")
@paged
@pass_session
def list_contacts(
    session: Session, status: str | None, did: str | None, email: str | None, search: str | None, limit: int | None
) -> None:
    """List contacts."""
    query = {"status": status, "did": did, "email": email, "search": search}
    columns = [
        field("NAME", "displayName", cut=True),
        field("STATUS", "status", show.status),
        field("DID", "did", show.short_did, cut=True),
        field("EMAIL", "email", cut=True),
        field("REF", "internalRef", cut=True),
        *CREATED,
    ]
    session.hits(session.tenant.pages("contact", query), columns, "contacts", limit)


@contacts.command("show")
@click.argument("contact", metavar="CONTACT")
@pass_session
def show_contact(session: Session, contact: str) -> None:
    """Show one contact with all its details. CONTACT is its uuid, DID or name."""
    _show(session, f"contact/{part(find_contact(session.tenant, contact))}")


@contacts.command("remove")
@click.argument("contact", metavar="CONTACT")
@pass_session
def remove_contact(session: Session, contact: str) -> None:
    """Delete a contact and its connections. Its messages are kept. CONTACT is its uuid, DID or name."""
    session.tenant.delete(f"contact/{part(find_contact(session.tenant, contact))}")
    session.answer({"contact": contact}, lambda: ["deleted"])


@click.group("identities", cls=Group)
def identities() -> None:
    """The tenant's own DIDs: list, show."""


@identities.command("list")
@paged
@pass_session
def list_identities(session: Session, limit: int | None) -> None:
    """List the tenant's own DIDs."""
    columns = [
        field("", "isDefault", lambda value: "*" if value else ""),
        field("NAME", "displayName", cut=True),
        field("STATUS", "status", show.status),
        field("DID", "did", cut=True),
        *CREATED,
    ]
    session.hits(session.tenant.pages("identity", {}), columns, "identities", limit)


@identities.command("show")
@click.argument("identity", metavar="UUID|DID")
@pass_session
def show_identity(session: Session, identity: str) -> None:
    """Show one identity with all its details."""
    _show(session, session.path("identity", identity))


@click.group("connections", cls=Group)
def connections() -> None:
    """Connections between your identities and contacts: list, show, accept, reject."""


@connections.command("list")
@click.option("--state", metavar="STATE", help="Only in this state of RFC 0023, such as request-received.")
@click.option("--contact", metavar="CONTACT", help="Only with this contact: uuid, DID or name.")
@paged
@pass_session
def list_connections(session: Session, state: str | None, contact: str | None, limit: int | None) -> None:
    """List connections and their states."""
    uuid = contact_uuid(session.tenant, contact) if contact else None
    query = {"state": state, "contactUuid": uuid}
    columns = [
        field("STATE", "state", show.status),
        field("ROLE", "role"),
        field("VERSION", "version"),
        field("THEIR DID", "theirDid", show.short_did, cut=True),
        identifier("CONTACT", "contactUuid"),
        identifier(),
    ]
    session.hits(session.tenant.pages("connection", query), columns, "connections", limit)


@connections.command("show")
@click.argument("uuid")
@pass_session
def show_connection(session: Session, uuid: str) -> None:
    """Show one connection with all its details."""
    _show(session, session.path("connection", uuid))


@connections.command("accept")
@click.argument("uuid")
@pass_session
def accept_connection(session: Session, uuid: str) -> None:
    """Accept a connection request that waits because automatic acceptance is off."""
    done = session.tenant.post(f"{session.path('connection', uuid)}/accept", None)
    session.answer(done, lambda: _connection(done))


@connections.command("reject")
@click.argument("uuid")
@pass_session
def reject_connection(session: Session, uuid: str) -> None:
    """Reject a waiting connection request, or abandon a connection that is not completed."""
    done = session.tenant.post(f"{session.path('connection', uuid)}/reject", None)
    session.answer(done, lambda: _connection(done))


@click.group("invitations", cls=Group)
def invitations() -> None:
    """Invitations made by `invite`: list, revoke."""


@invitations.command("list")
@paged
@pass_session
def list_invitations(session: Session, limit: int | None) -> None:
    """List invitations and whether they can still be accepted."""
    columns = [
        field("STATUS", "status", show.status),
        Column("LABEL", lambda row: show.safe(row["invitation"].get("label")), cut=True),
        field("FORM", "form"),
        field("USE", "multiUse", lambda value: "many" if value else "one"),
        field("EXPIRES", "expiresAt", show.moment, spare=True),
        *CREATED,
    ]
    session.hits(session.tenant.pages("invitation", {}), columns, "invitations", limit)


@invitations.command("revoke")
@click.argument("uuid")
@pass_session
def revoke_invitation(session: Session, uuid: str) -> None:
    """Revoke an invitation: nobody can accept it from now on."""
    session.tenant.delete(session.path("invitation", uuid))
    session.answer({"uuid": uuid, "status": "REVOKED"}, lambda: ["revoked"])


def _show(session: Session, path: str) -> None:
    found = session.tenant.get(path)
    session.answer(found, lambda: show.members(found))
