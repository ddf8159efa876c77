"""Commands that send messages and show those sent and received."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import click

from tntcore.cli import show
from tntcore.cli.base import (
    Group,
    Names,
    Session,
    ToolCommand,
    contact_uuid,
    find_contact,
    once,
    pass_session,
    wait_options,
    whole_uuid,
)
from tntcore.cli.errors import Wrong
from tntcore.cli.follow import OVERLAP, Hit, News, follow, latest, patiently
from tntcore.cli.service import part
from tntcore.cli.show import Column, field, identifier
from tntcore.cli.tenants import read_json

_BASIC = "https://didcomm.org/basicmessage/1.0/message"
_ARROWS = {"IN": "←", "OUT": "→"}
_ON_ITS_WAY = ("SENDING", "HELD")
_STATUSES = ("RECEIVED", "REJECTED", "CONFLICT", "FAILED", "HELD", "SENDING", "SENT")


def _message_options(command: Any) -> Any:
    command = wait_options("Wait until the message is sent. Exit code 1 if it fails.")(command)
    return click.option(
        "-f",
        "--file",
        type=click.File("rb"),
        help="A file with a message's JSON, in place of TEXT; `-` reads standard input.",
    )(command)


@click.command("send", cls=ToolCommand)
@click.argument("contact")
@click.argument("text", required=False)
@_message_options
@click.option("--from", "identity", metavar="UUID|DID", help="The sending identity. Default: the default identity.")
@click.option("--reference", metavar="ID", help="The new thread's id. Default: a random one.")
@once
@pass_session
def send(
    session: Session,
    contact: str,
    text: str | None,
    file: BinaryIO | None,
    wait: bool,
    timeout: float | None,
    identity: str | None,
    reference: str | None,
    key: str,
) -> None:
    """Send a message on a new thread.

    To CONTACT (its uuid, DID or name); TEXT as a basic message, or any message by --file.

    A message to a contact whose connection is not completed is held, and goes out by itself.
    """
    service = session.tenant
    message = _message(text, file)
    body: dict[str, Any] = {"type": "DIDCOMM", "to": find_contact(service, contact), "data": {"message": message}}
    if identity:
        body["from"] = identity
    if reference:
        body["referenceID"] = reference
    _sent(session, service.post("action", body, key=key), wait, timeout)


@click.command("reply", cls=ToolCommand)
@click.argument("action")
@click.argument("text", required=False)
@_message_options
@once
@pass_session
def reply(
    session: Session,
    action: str,
    text: str | None,
    file: BinaryIO | None,
    wait: bool,
    timeout: float | None,
    key: str,
) -> None:
    """Send a message on a thread.

    ACTION is the thread's uuid: the column ACTION of `messages`."""
    body = {"command": "message", "data": {"message": _message(text, file)}}
    _sent(session, session.tenant.post(session.path("action", action), body, key=key), wait, timeout)


def _message(text: str | None, file: BinaryIO | None) -> dict[str, Any]:
    if (text is None) is (file is None):
        raise Wrong("Give either TEXT or --file.")
    if file is None:
        return {"@type": _BASIC, "content": text}
    message = read_json(file)
    if not isinstance(message, dict):
        raise Wrong("A message must be a JSON object.")
    return message


def _sent(session: Session, action: dict[str, Any], wait: bool, timeout: float | None) -> None:
    if wait:
        session.note(f"waiting until the message of action {show.safe(action['uuid'])} is sent; Ctrl-C stops waiting")

        def look() -> dict[str, Any]:
            found: dict[str, Any] = session.tenant.get(f"action/{part(action['uuid'])}")
            return found

        latest_state = session.wait(look, lambda found: found["typeStatus"] not in _ON_ITS_WAY, timeout, "sending")
        action = {**action, "typeStatus": latest_state["typeStatus"]}
    message = action["data"]["message"] if action.get("data") else {}
    session.answer(
        action,
        lambda: show.details(
            [
                ("status", show.status(action["typeStatus"])),
                ("action", show.safe(action["uuid"])),
                ("thread", show.safe(action["referenceID"])),
                ("message", show.safe(message.get("@id") or message.get("id"))),
            ]
        ),
    )
    if action["typeStatus"] == "FAILED":
        raise click.exceptions.Exit(1)


@click.group("messages", cls=Group)
def messages() -> None:
    """Messages sent and received: list (--follow), count, show."""


@messages.command("list")
@click.option("-F", "--follow", "following", is_flag=True, help="Also print new messages as they come, until Ctrl-C.")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    callback=lambda ctx, parameter, value: value or None,
    help="At most this many of the newest; 0 for all.",
)
@click.option("--since", metavar="TIME", help="Only since a time (2026-01-31T12:00:00Z) or for the last 10m, 2h, 3d.")
@click.option("--contact", metavar="CONTACT", help="Only with this contact: uuid, DID or name.")
@click.option("--action", metavar="UUID", help="Only on this thread.")
@click.option("--type", "type_", metavar="PREFIX", help="Only types that begin with this, such as basicmessage.")
@click.option("--direction", type=click.Choice(["IN", "OUT"], case_sensitive=False))
@click.option("--status", type=click.Choice(_STATUSES, case_sensitive=False))
@pass_session
def list_messages(
    session: Session,
    following: bool,
    limit: int | None,
    since: str | None,
    contact: str | None,
    action: str | None,
    type_: str | None,
    direction: str | None,
    status: str | None,
) -> None:
    """List the newest messages, newest last.

    With --follow, new messages are printed as they are handled, each once, even if the service restarts. A message that
    is handled more than a minute after newer ones appears only in the list.
    """
    service = session.tenant
    uuid = contact_uuid(service, contact) if contact else None
    query = {
        "contact": uuid,
        "action": whole_uuid(service, "action", action) if action else None,
        "type": show.long_type(type_ or ""),
        "direction": direction,
        "status": status,
    }

    def fetch(begin: float) -> Iterable[Hit]:
        return service.pages("message", {**query, "since": show.iso(begin)})

    begun = service.now
    # Started before the list is printed, so that nothing that arrives in between is missed.
    before = list(fetch(begun - OVERLAP)) if following else []
    if since is None:
        shown = latest(fetch, begun, limit)
    else:
        shown = list(service.pages("message", {**query, "since": show.since(since, begun)}))
    names = Names(service)
    if not following:
        session.hits(shown, _columns(names), "messages")
        return
    for hit in shown:
        _print_line(session, hit, names)
    for hit in follow(fetch, News(begun, [*before, *shown]), session.sleep, session.note):
        _print_line(session, hit, names)


def _columns(names: Names) -> list[Column]:
    return [
        field("TIME", "createdAt", show.moment),
        field("", "direction", lambda value: _ARROWS.get(str(value), "")),
        Column("WITH", lambda row: names.of(row["contactUuid"]), cut=True),
        field("STATUS", "status", show.status),
        field("TYPE", "type", show.short_type, cut=True, spare=True),
        identifier("ACTION", "actionUuid"),
        identifier(),
        Column("CONTENT", show.preview, cut=True),
    ]


def _print_line(session: Session, hit: Hit, names: Names) -> None:
    """Prints a message on one line, without delay."""
    if session.as_json:
        session.line(hit)
        return
    told = "" if hit["status"] in ("RECEIVED", "SENT", "SENDING") else f"{show.status(hit['status'])} "
    type_ = "" if str(hit["type"]).endswith("/basicmessage/1.0/message") else f"{show.short_type(hit['type'])} "
    who = patiently(lambda: names.of(hit["contactUuid"]), session.sleep, session.note) or "(nobody known)"
    line = (
        f"{click.style(show.moment(hit['createdAt']), dim=True)} {_ARROWS.get(str(hit['direction']), ' ')} "
        f"{click.style(who, bold=True)}  {told}{click.style(type_, dim=True)}{show.preview(hit)}"
    )
    click.echo(line)


@messages.command("show")
@click.argument("uuid")
@pass_session
def show_message(session: Session, uuid: str) -> None:
    """Show one message with its content."""
    found = session.tenant.get(session.path("message", uuid))
    content: Mapping[str, Any] = {name: found[name] for name in ("message", "envelope") if name in found}
    rest = {name: value for name, value in found.items() if name not in content and name != "sequence"}
    session.answer(
        found,
        lambda: [
            *show.members(rest),
            "",
            *(line for each in content.values() for line in show.written(each).split("\n")),
        ],
    )
