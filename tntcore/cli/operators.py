"""Commands for operators' keys."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from tntcore.cli import profiles, show
from tntcore.cli.base import Group, Session, once, pass_session
from tntcore.cli.errors import Wrong
from tntcore.cli.profiles import Profile, Profiles
from tntcore.cli.service import part
from tntcore.cli.show import field, identifier

_HEADER = "tnt-operator-key"
_ROLES = ("read", "operate", "admin")
_expires = click.option("--expires", metavar="IN", help="Expires after this time: 12h, 90d. Default: never.")
_save = click.option("--save", metavar="PROFILE", help="Save the key in this profile instead of showing it.")


@click.group("operator", cls=Group)
def operator() -> None:
    """Operators' keys: first, list, new, rotate, revoke, me."""


@operator.command("first")
@click.argument("name")
@_expires
@_save
@click.option(
    "--storage", is_flag=True, help="Use the storage account (AzureWebJobsStorage) instead of the host's key."
)
@click.option("--anyway", is_flag=True, help="With --storage: make the key even if another admin has one.")
@pass_session
def first_operator(
    session: Session, name: str, expires: str | None, save: str | None, storage: bool, anyway: bool
) -> None:
    """Make the first operator key, with the role admin. The key is shown only once.

    Set TNT_HOST_KEY to the functions host's master key. Or use --storage, which needs the service's own settings for
    the storage account, and the service's packages.
    """
    known = _profiles(session, save)
    service = session.service
    until = show.iso(service.now + show.seconds(expires)) if expires else None
    if storage:
        made = _in_storage(session.environ, name, until, anyway=anyway)
    else:
        key = profiles.clean_key(session.environ.get("TNT_HOST_KEY", ""), "TNT_HOST_KEY")
        if not key or anyway:
            raise Wrong("Put the functions host's master key into TNT_HOST_KEY, or use --storage.")
        body = {"name": name, **({"expiresAt": until} if until else {})}
        made = service.first(body, key)
    _shown(session, made, known, save)


def _in_storage(environ: Mapping[str, str], name: str, until: str | None, *, anyway: bool) -> dict[str, Any]:
    """Creates the first operator key in the storage account itself. Raises `Wrong`."""
    try:
        # Part of the service, which is absent if only the command line is installed.
        there = import_module("tntcore.tenancy.first_operator")
    except ModuleNotFoundError as error:
        raise Wrong(
            f"--storage needs the service's own packages, and {error.name} is missing. In the project's folder: "
            "`make install`, then `source .venv/bin/activate`."
        ) from None
    try:
        made: dict[str, Any] = there.make(environ, name, until, anyway=anyway)
    except there.NotMadeError as error:
        raise Wrong(str(error)) from None
    return made


@operator.command("list")
@pass_session
def list_operators(session: Session) -> None:
    """List all operator keys, revoked ones included."""
    columns = [
        field("NAME", "name", cut=True),
        field("ROLE", "role"),
        field("STATUS", "status", show.status),
        field("EXPIRES", "expiresAt", show.moment),
        field("LAST USED", "lastUsedAt", show.moment),
        identifier(),
    ]
    session.hits(iter(session.service.get("operator", operator=True)["hits"]), columns, "operators")


@operator.command("new")
@click.argument("name")
@click.option("--role", type=click.Choice(_ROLES), required=True)
@_expires
@_save
@once
@pass_session
def new_operator(session: Session, name: str, role: str, expires: str | None, save: str | None, key: str) -> None:
    """Make a key for an operator (needs the role admin). The key is shown only once."""
    known = _profiles(session, save)
    service = session.service
    body: dict[str, Any] = {"name": name, "role": role}
    if expires:
        body["expiresAt"] = show.iso(service.now + show.seconds(expires))
    _shown(session, service.post("operator", body, key=key, operator=True), known, save)


@operator.command("rotate")
@click.argument("uuid")
@_save
@once
@pass_session
def rotate_operator(session: Session, uuid: str, save: str | None, key: str) -> None:
    """Replace a key's text; the new one is shown only once. The old text works for another hour."""
    known = _profiles(session, save)
    made = session.service.post(f"operator/{part(uuid)}/rotate", None, key=key, operator=True)
    _shown(session, made, known, save)


@operator.command("revoke")
@click.argument("uuid", required=False)
@click.option("--name", help="Revoke all keys of this name.")
@click.option("--all", "everybody", is_flag=True, help="Revoke the keys of all operators.")
@pass_session
def revoke_operator(session: Session, uuid: str | None, name: str | None, everybody: bool) -> None:
    """Revoke a key, all keys of a name, or all keys. Except for the first, the key you use stays valid.

    Other processes of the service refuse revoked keys within half a minute.
    """
    if sum([uuid is not None, name is not None, everybody]) != 1:
        raise Wrong("Give either a uuid, --name NAME, or --all.")
    if uuid is not None:
        session.service.delete(f"operator/{part(uuid)}", operator=True)
        session.answer({"uuid": uuid, "status": "REVOKED"}, lambda: ["revoked"])
        return
    body = {"all": True} if everybody else {"name": name}
    found = session.service.post("operator/revoke", body, operator=True)
    lines = [f"revoked {show.safe(hit['name'])}  {hit['uuid']}" for hit in found["hits"]]
    session.answer(found["hits"], lambda: lines or ["There was no other key to revoke."])


@operator.command("me")
@pass_session
def me(session: Session) -> None:
    """Show the operator key you use and its role."""
    found = session.service.get("operator/me", operator=True)
    session.answer(
        found,
        lambda: show.details(
            [
                ("name", show.safe(found["name"])),
                ("role", show.safe(found["role"])),
                ("uuid", show.safe(found["uuid"])),
                ("subject", show.safe(found["subject"])),
                ("expires", show.moment(found["expiresAt"])),
            ]
        ),
    )


def _profiles(session: Session, save: str | None) -> Profiles:
    """Reads the profiles, and checks that one can be saved before a key is made that would be lost otherwise."""
    known = profiles.load(session.file)
    if save is not None:
        profiles.save(session.file, known)
    return known


def _shown(session: Session, made: dict[str, Any], known: Profiles, save: str | None) -> None:
    key = made["headers"][_HEADER]
    if save is not None:
        profiles.save(session.file, profiles.added(known, save, Profile(session.service.profile.url, "", key)))
        del made["headers"]
    session.answer(
        made,
        lambda: show.details(
            [
                ("name", show.safe(made["name"])),
                ("role", show.safe(made["role"])),
                ("uuid", show.safe(made["uuid"])),
                ("expires", show.moment(made["expiresAt"])),
                ("old one until", show.moment(made.get("formerValidUntil"))),
                ("key", f"in profile {show.safe(save)}" if save is not None else show.safe(key)),
                ("", "Keep the key: it is not shown again." if save is None else ""),
            ]
        ),
    )
