"""Invitations, contacts, identities, connections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tntcore.cli import qr, show
from tntcore.cli.base import CREATED, Command, Group, Session, once, paged, pass_session
from tntcore.cli.errors import NotYet, Wrong
from tntcore.cli.service import is_uuid, part
from tntcore.cli.show import Column, field
from tntcore.cli.tenants import read_json

_OVER = ("completed", "abandoned")
_FORMS = ("out-of-band/1", "out-of-band/2", "connections/1")


def _wait_options(command: Any) -> Any:
    command = click.option(
        "--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait no longer: exit code 4."
    )(command)
    return click.option("--wait", is_flag=True, help="Until the connection is completed.")(command)


@click.command("invite", cls=Command)
@click.option("--label", help="Who invites, as the partner sees it. By default the identity's name.")
@click.option("--identity", metavar="UUID|DID", help="Who invites. By default the default identity.")
@click.option("--email", help="Make a contact of this address as well, which the invitation is for.")
@click.option("--name", help="That contact's name.")
@click.option("--multi-use", is_flag=True, help="For as many as come.")
@click.option("--expires", metavar="IN", help="In how long it expires: 30m, 12h, 7d. Else it does not.")
@click.option("--form", type=click.Choice(_FORMS), help="By default out-of-band/1; out-of-band/2 is DIDComm v2.")
@click.option("--goal", help="What for, in words.")
@click.option("--public-did", is_flag=True, help="Name the identity's own DID.")
@click.option("--qr", "picture", type=click.Path(path_type=Path), help="Save the QR code as this .svg or .png, too.")
@_wait_options
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
    """Make an invitation: its URL and QR code."""
    service = session.tenant
    if picture is not None and picture.suffix not in (".svg", ".png"):
        raise Wrong("The QR code is saved as .svg or .png.")
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
            raise Wrong("With --email, only --name and --identity can be chosen.")
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
            qr.save(str(made["invitationUrl"]), picture)
        except ValueError as error:
            raise Wrong(f"{picture} was not saved, the invitation is good: {error}.") from None
    if not wait:
        return
    session.note("waiting for the partner; Ctrl-C stops waiting, the invitation stays good")
    query = {"invitation": made["invitationId"]}
    _completed(session, lambda: list(service.pages("connection", query)), timeout)


def _invited(made: dict[str, Any]) -> list[str]:
    """The URL, and at a terminal the QR code above it, if it fits."""
    url, width = show.safe(made["invitationUrl"]), show.terminal_width()
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
    """Waits for the first connection of those that `ask` answers, and prints it. Raises `NotYet`."""
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
        raise NotYet("the connection was given up")


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


@click.command("accept", cls=Command)
@click.argument("invitation")
@click.option("--identity", metavar="UUID|DID", help="Who accepts. By default the default identity.")
@click.option("--name", help="What to call the contact. By default what it calls itself.")
@_wait_options
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
    """Accept an invitation, or reach a public DID.

    INVITATION is its URL, its uuid if it is another tenant's, a file with its JSON (`-`: what is piped in), or a
    partner's DID.
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
    else:
        with click.open_file(invitation, "rb") as file:
            body["invitation"] = read_json(file)  # type: ignore[arg-type]
    made = service.post("contact", {**body, "contact": contact}, key=key)
    if wait:
        session.line(made)
    else:
        session.answer(made, lambda: _accepted(made))
    if made.get("unreachable"):
        session.note(f"it cannot be reached now: {made['unreachable']} Messages are held until it is.")
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
@paged
@pass_session
def list_contacts(session: Session, status: str | None, did: str | None, email: str | None, limit: int | None) -> None:
    """Who is known."""
    query = {"status": status, "did": did, "email": email}
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
@click.argument("contact", metavar="UUID|DID")
@pass_session
def show_contact(session: Session, contact: str) -> None:
    """All of one."""
    _show(session, f"contact/{part(contact)}")


@contacts.command("remove")
@click.argument("contact", metavar="UUID|DID")
@pass_session
def remove_contact(session: Session, contact: str) -> None:
    """Forget a contact and its connections. Messages stay."""
    session.tenant.delete(f"contact/{part(contact)}")
    session.answer({"contact": contact}, lambda: ["forgotten"])


@click.group("identities", cls=Group)
def identities() -> None:
    """DIDs that the tenant acts as: list, show."""


@identities.command("list")
@paged
@pass_session
def list_identities(session: Session, limit: int | None) -> None:
    """Who the tenant is."""
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
    """All of one."""
    _show(session, f"identity/{part(identity)}")


@click.group("connections", cls=Group)
def connections() -> None:
    """What joins them: list, show, accept, reject."""


@connections.command("list")
@click.option("--state", metavar="STATE", help="In RFC 0023's words, such as request-received.")
@click.option("--contact", metavar="UUID")
@paged
@pass_session
def list_connections(session: Session, state: str | None, contact: str | None, limit: int | None) -> None:
    """Who is connected, and how far that is."""
    query = {"state": state, "contactUuid": contact}
    columns = [
        field("STATE", "state", show.status),
        field("ROLE", "role"),
        field("VERSION", "version"),
        field("THEIR DID", "theirDid", show.short_did, cut=True),
        field("CONTACT", "contactUuid"),
        field("UUID", "uuid"),
    ]
    session.hits(session.tenant.pages("connection", query), columns, "connections", limit)


@connections.command("show")
@click.argument("uuid")
@pass_session
def show_connection(session: Session, uuid: str) -> None:
    """All of one."""
    _show(session, f"connection/{part(uuid)}")


@connections.command("accept")
@click.argument("uuid")
@pass_session
def accept_connection(session: Session, uuid: str) -> None:
    """Answer a request that waits, where automatic acceptance is off."""
    done = session.tenant.post(f"connection/{part(uuid)}/accept", None)
    session.answer(done, lambda: _connection(done))


@connections.command("reject")
@click.argument("uuid")
@pass_session
def reject_connection(session: Session, uuid: str) -> None:
    """Reject a request that waits, or give up an exchange that is under way."""
    done = session.tenant.post(f"connection/{part(uuid)}/reject", None)
    session.answer(done, lambda: _connection(done))


@click.group("invitations", cls=Group)
def invitations() -> None:
    """What `invite` made: list, revoke."""


@invitations.command("list")
@paged
@pass_session
def list_invitations(session: Session, limit: int | None) -> None:
    """Invitations, and which of them are still good."""
    columns = [
        field("STATUS", "status", show.status),
        Column("LABEL", lambda row: show.safe(row["invitation"].get("label")), cut=True),
        field("FORM", "form"),
        field("USE", "multiUse", lambda value: "many" if value else "one"),
        field("EXPIRES", "expiresAt", show.moment),
        *CREATED,
    ]
    session.hits(session.tenant.pages("invitation", {}), columns, "invitations", limit)


@invitations.command("revoke")
@click.argument("uuid")
@pass_session
def revoke_invitation(session: Session, uuid: str) -> None:
    """Have it accepted by nobody from now on."""
    session.tenant.delete(f"invitation/{part(uuid)}")
    session.answer({"uuid": uuid, "status": "REVOKED"}, lambda: ["revoked"])


def _show(session: Session, path: str) -> None:
    found = session.tenant.get(path)
    session.answer(found, lambda: show.members(found))
