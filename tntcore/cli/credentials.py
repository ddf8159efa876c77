"""Commands for credentials, proofs, their exchanges, and AnonCreds schemas and definitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import click

from tntcore.cli import show
from tntcore.cli.base import (
    CREATED,
    Group,
    Names,
    Session,
    contact_uuid,
    find_contact,
    once,
    paged,
    pass_session,
    wait_options,
    whole_uuid,
)
from tntcore.cli.errors import WaitedInVain, Wrong
from tntcore.cli.show import Column, field
from tntcore.cli.tenants import read_json

_STATUSES = ("RECEIVED", "HELD", "REJECTED", "ISSUED", "REVOKED")
_OWN = ("issuer", "prover")  # roles whose credentials and presentations are the tenant's own: nothing is checked


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """Reads `NAME=VALUE` texts. Raises `Wrong`."""
    read = [text.partition("=") for text in texts]
    if any(not name or not mark for name, mark, _ in read):
        raise Wrong(f"{option} must have the form NAME=VALUE.")
    return {name: value for name, _, value in read}


def _data(file: BinaryIO | None) -> Any:
    if file is None:
        return None
    data = read_json(file)
    if not isinstance(data, dict):
        raise Wrong("The file must contain a JSON object.")
    return data


def _beginning(command: Any) -> Any:
    """Adds the options of commands that begin an exchange."""
    for option in (
        wait_options("Wait until the exchange has ended. Exit code 4 if it was abandoned."),
        click.option("--comment", metavar="TEXT", help="A text for the partner."),
        click.option("--protocol", metavar="NAME/VERSION", help="Default: the newest that the connection supports."),
        click.option(
            "--from", "identity", metavar="UUID|DID", help="The acting identity. Default: the default identity."
        ),
        click.option(
            "-f", "--file", type=click.File("rb"), help="A file with the JSON of `data`; `-` reads standard input."
        ),
    ):
        command = option(command)
    return command


def _begin(
    session: Session,
    path: str,
    contact: str,
    members: Mapping[str, Any],
    key: str,
    *,
    wait: bool,
    timeout: float | None,
) -> None:
    """Begins an exchange, and prints it; with `wait`, when it has ended. Raises `WaitedInVain`."""
    service = session.tenant
    body = {"to": find_contact(service, contact), **{name: value for name, value in members.items() if value}}
    begun = service.post(path, body, key=key)
    if wait:
        begun = session.wait(
            lambda: service.get(f"exchange/{begun['uuid']}"),
            lambda found: found["status"] != "ACTIVE",
            timeout,
            "the partner",
        )
    session.answer(begun, lambda: _exchange(begun))
    if wait and begun["status"] != "DONE":
        raise WaitedInVain(
            "the exchange waits for you" if begun["status"] == "WAITING" else "the exchange was abandoned"
        )


def _exchange(found: Mapping[str, Any]) -> list[str]:
    return show.details(
        [
            ("exchange", show.safe(found["uuid"])),
            ("state", show.status(found["state"])),
            ("status", show.status(found["status"])),
            ("contact", show.safe(found["contactUuid"])),
            ("credentials", show.safe(", ".join(found["credentialUuids"]))),
            ("presentations", show.safe(", ".join(found["presentationUuids"]))),
            ("error", show.safe(found["error"])),
        ]
    )


def _outcome(found: Mapping[str, Any]) -> list[str]:
    """The lines of a credential or presentation, with its checks."""
    hidden = ("checks", "summary", "credential", *(("verified",) if found["role"] in _OWN else ()))
    words = {True: click.style("passed", fg="green"), False: click.style("failed", fg="red"), None: "not made"}
    columns = [
        field("CHECK", "name"),
        Column("", lambda row: words[row["passed"]]),
        field("OF", "subject", cut=True),
        field("DETAIL", "detail", cut=True),
    ]
    table = show.table(found["checks"], columns, show.terminal_width()) if found["checks"] else []
    content = {name: found[name] for name in ("summary", "credential") if found.get(name)}
    return [
        *show.members({name: value for name, value in found.items() if name not in hidden}),
        *(["", *table] if table else []),
        *(line for value in content.values() for line in ("", *show.written(value).split("\n"))),
    ]


def _verified(session: Session, path: str) -> None:
    """Makes the checks again and prints them. Exit code 1 unless all passed."""
    found = session.tenant.post(f"{path}/verify", None)
    session.answer(found, lambda: _outcome(found))
    if not found["verified"]:
        raise click.exceptions.Exit(1)


def _outcomes(session: Session, noun: str, query: Mapping[str, Any], what: str, limit: int | None) -> None:
    names = Names(session.tenant)
    columns = [
        field("STATUS", "status", show.status),
        field("ROLE", "role"),
        field("FORMAT", "format"),
        Column("VERIFIED", lambda row: "-" if row["role"] in _OWN else "yes" if row["verified"] else "no"),
        Column("WITH", lambda row: names.of(row["contactUuid"]), cut=True),
        *CREATED,
    ]
    session.hits(session.tenant.pages(noun, query), columns, what, limit)


@click.group("credentials", cls=Group)
def credentials() -> None:
    """Credentials held and issued: list, show, offer, issue, verify, revoke, remove."""


@credentials.command("list")
@click.option("--status", type=click.Choice(_STATUSES, case_sensitive=False))
@click.option("--role", type=click.Choice(("issuer", "holder")))
@click.option("--contact", metavar="CONTACT", help="Only with this contact: uuid, DID or name.")
@paged
@pass_session
def list_credentials(
    session: Session, status: str | None, role: str | None, contact: str | None, limit: int | None
) -> None:
    """List credentials that you hold or issued."""
    uuid = contact_uuid(session.tenant, contact) if contact else None
    _outcomes(session, "credential", {"status": status, "role": role, "contact": uuid}, "credentials", limit)


@credentials.command("show")
@click.argument("uuid")
@pass_session
def show_credential(session: Session, uuid: str) -> None:
    """Show one credential with its checks and its content."""
    found = session.tenant.get(session.path("credential", uuid))
    session.answer(found, lambda: _outcome(found))


@credentials.command("offer")
@click.argument("contact")
@click.option("--format", "format_", metavar="FORMAT", help="ld-proof, jwt-vc, anoncreds or plain.")
@click.option("--definition", metavar="UUID", help="The AnonCreds credential definition; with --attribute.")
@click.option("--attribute", "attributes", multiple=True, metavar="NAME=VALUE", help="A claim; can be repeated.")
@_beginning
@once
@pass_session
def offer(
    session: Session,
    contact: str,
    format_: str | None,
    definition: str | None,
    attributes: Sequence[str],
    file: BinaryIO | None,
    identity: str | None,
    protocol: str | None,
    comment: str | None,
    wait: bool,
    timeout: float | None,
    key: str,
) -> None:
    """Offer CONTACT a credential: an AnonCreds one by --definition and --attribute, any other by --file.

    It is issued when the partner accepts, unless the setting autoIssue is false.
    """
    if (definition is None) is (file is None):
        raise Wrong("Give either --definition (with --attribute) or --file.")
    if file is not None and attributes:
        raise Wrong("--attribute needs --definition. With --file, put the claims into the file.")
    data = _data(file)
    if definition is not None:
        format_ = format_ or "anoncreds"
        uuid = whole_uuid(session.tenant, "credential-definition", definition)
        data = {"credentialDefinitionId": uuid, "attributes": _pairs(attributes, "--attribute")}
    members = {"command": "offer", "format": format_, "data": data}
    members |= {"from": identity, "protocol": protocol, "comment": comment}
    _begin(session, "credential", contact, members, key, wait=wait, timeout=timeout)


@credentials.command("issue")
@click.argument("exchange")
@click.option("--comment", metavar="TEXT", help="A text for the partner.")
@pass_session
def issue(session: Session, exchange: str, comment: str | None) -> None:
    """Issue the credential that the partner of EXCHANGE requested."""
    path = session.path("exchange", exchange)
    found = session.tenant.get(path)
    if (found["role"], found["state"]) != ("issuer", "request-received"):
        raise Wrong(f"Nothing is to be issued: you are {found['role']}, in state {found['state']}. See `exchanges`.")
    _step(session, f"{path}/accept", {"comment": comment} if comment else {})


@credentials.command("verify")
@click.argument("uuid")
@pass_session
def verify_credential(session: Session, uuid: str) -> None:
    """Check a credential that you hold again, as of now. Exit code 1 unless every check passed."""
    _verified(session, session.path("credential", uuid))


@credentials.command("revoke")
@click.argument("uuid")
@click.option("--notify/--no-notify", default=None, help="Whether to tell the holder. Default: the setting.")
@click.option("--comment", metavar="TEXT", help="A text for the holder.")
@pass_session
def revoke(session: Session, uuid: str, notify: bool | None, comment: str | None) -> None:
    """Revoke a credential that you issued."""
    body = {name: value for name, value in (("notify", notify), ("comment", comment)) if value is not None}
    found = session.tenant.post(f"{session.path('credential', uuid)}/revoke", body)
    session.answer(found, lambda: [show.status(found["status"])])


@credentials.command("remove")
@click.argument("uuid")
@pass_session
def remove_credential(session: Session, uuid: str) -> None:
    """Delete a credential."""
    path = session.path("credential", uuid)
    session.tenant.delete(path)
    session.answer({"uuid": path.rpartition("/")[2]}, lambda: ["deleted"])


@click.group("proofs", cls=Group)
def proofs() -> None:
    """Proofs shown and received: list, show, ask, verify."""


@proofs.command("list")
@click.option("--role", type=click.Choice(("verifier", "prover")))
@click.option("--contact", metavar="CONTACT", help="Only with this contact: uuid, DID or name.")
@paged
@pass_session
def list_proofs(session: Session, role: str | None, contact: str | None, limit: int | None) -> None:
    """List presentations. `exchanges` lists requests without an answer yet."""
    uuid = contact_uuid(session.tenant, contact) if contact else None
    _outcomes(session, "presentation", {"role": role, "contact": uuid}, "proofs", limit)


@proofs.command("show")
@click.argument("uuid")
@pass_session
def show_proof(session: Session, uuid: str) -> None:
    """Show what was presented, with each check."""
    found = session.tenant.get(session.path("presentation", uuid))
    session.answer(found, lambda: _outcome(found))


@proofs.command("ask")
@click.argument("contact")
@click.option("--format", "format_", metavar="FORMAT", help="dif, anoncreds or plain.")
@click.option("--attribute", "attributes", multiple=True, metavar="NAME", help="An AnonCreds claim; can be repeated.")
@click.option(
    "--definition", metavar="ID", help="With --attribute: only of this credential definition (uuid or DID URL)."
)
@_beginning
@once
@pass_session
def ask(
    session: Session,
    contact: str,
    format_: str | None,
    attributes: Sequence[str],
    definition: str | None,
    file: BinaryIO | None,
    identity: str | None,
    protocol: str | None,
    comment: str | None,
    wait: bool,
    timeout: float | None,
    key: str,
) -> None:
    """Ask CONTACT for proof: of AnonCreds claims by --attribute, of any other by --file."""
    if bool(attributes) is (file is not None):
        raise Wrong("Give either --attribute or --file.")
    if definition is not None and not attributes:
        raise Wrong("--definition needs --attribute. With --file, put the restrictions into the file.")
    data = _data(file)
    if attributes:
        format_ = format_ or "anoncreds"
        limits = {"restrictions": [{"cred_def_id": _definition(session, definition)}]} if definition else {}
        asked = {name: {"name": name, **limits} for name in attributes}
        data = {"requested_attributes": asked, "requested_predicates": {}}
    members = {"format": format_, "data": data, "from": identity, "protocol": protocol, "comment": comment}
    _begin(session, "proof-request", contact, members, key, wait=wait, timeout=timeout)


def _definition(session: Session, text: str) -> str:
    """Returns the public identifier of a definition."""
    if text.startswith("did:"):
        return text
    return str(session.tenant.get(session.path("credential-definition", text))["credentialDefinitionId"])


@proofs.command("verify")
@click.argument("uuid")
@pass_session
def verify_proof(session: Session, uuid: str) -> None:
    """Check a presentation that you received again, as of now. Exit code 1 unless every check passed."""
    _verified(session, session.path("presentation", uuid))


@click.group("exchanges", cls=Group)
def exchanges() -> None:
    """Runs of the credential and proof protocols: list, show, candidates, accept, reject."""


@exchanges.command("list")
@click.option("--waiting", is_flag=True, help="Only those that wait for your decision.")
@click.option("--contact", metavar="CONTACT", help="Only with this contact: uuid, DID or name.")
@paged
@pass_session
def list_exchanges(session: Session, waiting: bool, contact: str | None, limit: int | None) -> None:
    """List exchanges and their states."""
    names = Names(session.tenant)
    columns = [
        field("STATUS", "status", show.status),
        field("STATE", "state"),
        field("ROLE", "role"),
        Column("WITH", lambda row: names.of(row["contactUuid"]), cut=True),
        field("FORMAT", "format", spare=True),
        field("ERROR", "error", cut=True, spare=True),
        *CREATED,
    ]
    uuid = contact_uuid(session.tenant, contact) if contact else None
    query = {"status": "WAITING" if waiting else None, "contact": uuid}
    session.hits(session.tenant.pages("exchange", query), columns, "exchanges", limit)


@exchanges.command("show")
@click.argument("uuid")
@pass_session
def show_exchange(session: Session, uuid: str) -> None:
    """Show one exchange with all its details."""
    found = session.tenant.get(session.path("exchange", uuid))
    session.answer(found, lambda: show.members(found))


@exchanges.command("candidates")
@click.argument("uuid")
@pass_session
def list_candidates(session: Session, uuid: str) -> None:
    """List your credentials that match each part of a proof request."""
    found = session.tenant.get(f"{session.path('exchange', uuid)}/candidates")
    columns = [
        field("NAME", "name", cut=True),
        field("REQUIRED", "required", lambda value: "yes" if value else "no"),
        Column("CREDENTIALS", lambda row: show.safe(" ".join(row["credentials"])) or "none", cut=True),
    ]
    session.hits(found["candidates"], columns, "candidates")


@exchanges.command("accept")
@click.argument("uuid")
@click.option(
    "--credential",
    "chosen",
    multiple=True,
    metavar="NAME=UUID",
    help="For a proof request: the credential to show for a name in `candidates`. Default: the first of each.",
)
@click.option("-f", "--file", type=click.File("rb"), help="A file with the JSON of `data`, instead of the default.")
@click.option("--comment", metavar="TEXT", help="A text for the partner.")
@pass_session
def accept_exchange(
    session: Session, uuid: str, chosen: Sequence[str], file: BinaryIO | None, comment: str | None
) -> None:
    """Take the next step: request an offered credential, issue a requested one, show what was asked for."""
    service = session.tenant
    named = {name: whole_uuid(service, "credential", value) for name, value in _pairs(chosen, "--credential").items()}
    body = {"credentials": named, "data": _data(file), "comment": comment}
    given = {name: value for name, value in body.items() if value}
    _step(session, f"{session.path('exchange', uuid)}/accept", given)


@exchanges.command("reject")
@click.argument("uuid")
@click.option("--reason", metavar="TEXT", help="A text for the partner.")
@pass_session
def reject_exchange(session: Session, uuid: str, reason: str | None) -> None:
    """End an exchange, and tell the partner."""
    _step(session, f"{session.path('exchange', uuid)}/reject", {"reason": reason} if reason else {})


def _step(session: Session, path: str, body: Mapping[str, Any]) -> None:
    done = session.tenant.post(path, dict(body))
    session.answer(done, lambda: _exchange(done))


@click.group("schemas", cls=Group)
def schemas() -> None:
    """AnonCreds schemas: list, show, new."""


@schemas.command("list")
@paged
@pass_session
def list_schemas(session: Session, limit: int | None) -> None:
    """List published schemas."""
    columns = [
        field("NAME", "name", cut=True),
        field("VERSION", "version"),
        field("ATTRIBUTES", "attributes", _joined, cut=True),
        *CREATED,
    ]
    session.hits(session.tenant.pages("schema", {}), columns, "schemas", limit)


def _joined(value: Any) -> str:
    return show.safe(", ".join(map(str, value or [])))


@schemas.command("show")
@click.argument("uuid")
@pass_session
def show_schema(session: Session, uuid: str) -> None:
    """Show one schema with all its details."""
    _show(session, session.path("schema", uuid))


@schemas.command("new")
@click.argument("name")
@click.argument("version")
@click.argument("attributes", nargs=-1, required=True)
@click.option("--identity", metavar="UUID|DID", help="The issuer. Default: the default identity.")
@once
@pass_session
def new_schema(
    session: Session, name: str, version: str, attributes: Sequence[str], identity: str | None, key: str
) -> None:
    """Publish a schema."""
    body = {"name": name, "version": version, "attributes": list(attributes)}
    made = session.tenant.post("schema", {**body, **({"identityId": identity} if identity else {})}, key=key)
    session.answer(made, lambda: show.members(made))


@click.group("definitions", cls=Group)
def definitions() -> None:
    """AnonCreds credential definitions: list, show, new."""


@definitions.command("list")
@paged
@pass_session
def list_definitions(session: Session, limit: int | None) -> None:
    """List published credential definitions."""
    columns = [
        field("TAG", "tag", cut=True),
        field("ATTRIBUTES", "attributes", _joined, cut=True),
        field("REVOCABLE", "supportRevocation", lambda value: "yes" if value else "no"),
        field("ISSUED", "issuedCredentials"),
        field("SCHEMA", "schemaId", cut=True, spare=True),
        *CREATED,
    ]
    session.hits(session.tenant.pages("credential-definition", {}), columns, "definitions", limit)


@definitions.command("show")
@click.argument("uuid")
@pass_session
def show_definition(session: Session, uuid: str) -> None:
    """Show one credential definition with all its details."""
    _show(session, session.path("credential-definition", uuid))


@definitions.command("new")
@click.argument("schema")
@click.option("--tag", metavar="TEXT", help="Default: default.")
@click.option("--revocable", is_flag=True, help="Its credentials can be revoked.")
@click.option("--max-credentials", type=click.IntRange(1), metavar="COUNT", help="With --revocable: how many.")
@click.option("--identity", metavar="UUID|DID", help="The issuer. Default: the default identity.")
@once
@pass_session
def new_definition(
    session: Session,
    schema: str,
    tag: str | None,
    revocable: bool,
    max_credentials: int | None,
    identity: str | None,
    key: str,
) -> None:
    """Publish a credential definition for SCHEMA (the uuid of yours, or the identifier of any). It takes seconds."""
    body = {
        "schemaId": whole_uuid(session.tenant, "schema", schema),
        "tag": tag,
        "supportRevocation": revocable,
        "maxCredentials": max_credentials,
        "identityId": identity,
    }
    made = session.tenant.post("credential-definition", {name: value for name, value in body.items() if value}, key=key)
    session.answer(made, lambda: show.members(made))


def _show(session: Session, path: str) -> None:
    found = session.tenant.get(path)
    session.answer(found, lambda: show.members(found))
