"""`/credential`: held and issued credentials, and the first message of an exchange of one."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

from tntcore.api.exchange_errors import BEGIN_ERRORS, STEP_ERRORS
from tntcore.api.exchange_shapes import Beginning, ExchangeView, data_of, members_of
from tntcore.api.exchanges import begin
from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.invitations import InvitationView
from tntcore.api.json_schema import Code, Words
from tntcore.api.views import (
    ByConnection,
    ByContact,
    ByExchange,
    Entity,
    JsonObject,
    Page,
    Time,
    Timed,
    Uuid,
    by_contact_or_status,
    entity,
    filters,
    found,
    listing,
)
from tntcore.credentials.wallet import Details, open_details, open_held, seal_details
from tntcore.errors import Problem
from tntcore.exchanges import issuance, revocation
from tntcore.exchanges.problems import as_problems
from tntcore.exchanges.revocation import comment_of
from tntcore.exchanges.run import Run
from tntcore.messaging import times
from tntcore.pipeline.steps import Steps
from tntcore.protocols.revocation_notification import MAX_COMMENT
from tntcore.storage.commit import Unit
from tntcore.storage.records import Credential, Exchange, Presentation
from tntcore.storage.repository import Repository
from tntcore.storage.states import CredentialStatus
from tntcore.tenancy.access import Scope

_DEFAULT = "ld-proof"

CredentialCommand = Literal["offer", "propose", "request", "issue"]
CredentialRole = Literal["issuer", "holder"]


class NewCredential(Beginning, total=False):
    command: Annotated[CredentialCommand, "by default `offer`", Code("command-unsupported")]


class CredentialQuery(Timed, ByContact, ByConnection, ByExchange, total=False):
    status: CredentialStatus
    role: CredentialRole
    format: Annotated[str, "such as `ld-proof`"]


class CheckView(TypedDict):
    """One check. `passed` is null if the check could not be made."""

    name: Annotated[str, Words(examples=["signature"])]
    passed: bool | None
    detail: str
    subject: Annotated[str, "the part that was checked; empty: the whole"]


class NoticeView(TypedDict):
    """An issuer's notice that it revoked a credential. Only the checks tell whether it really did."""

    at: Time
    comment: str


class Revocation(TypedDict, total=False):
    notify: Annotated[
        bool, "whether to tell the holder; by default the preference `notifyRevocation`", Code("flag-invalid")
    ]
    comment: Annotated[str, "for the holder", Words(maxLength=MAX_COMMENT)]


class CredentialView(Entity):
    """A credential that was received or issued. `verified`: every check that its format requires was made and
    passed."""

    status: CredentialStatus
    role: CredentialRole
    format: str
    exchangeUuid: Uuid
    identityUuid: Uuid
    connectionUuid: Uuid
    contactUuid: Uuid
    messageUuid: Uuid
    verified: bool
    checks: list[CheckView]
    summary: JsonObject
    type: Annotated[list[str], "its types, as its issuer names them; of AnonCreds, the name of its schema"]
    subject: Annotated[str | None, "the DID that it is about, if it names one"]
    issuer: Annotated[str | None, "the DID of its issuer"]
    expiresAt: Time | None
    revocationNotice: Annotated[NoticeView | None, "the issuer's notice that it revoked the credential"]


class CredentialDetails(CredentialView):
    """A credential with its original content."""

    credential: Any


_UNKNOWN = "404 credential-unknown"
_OFFER = {
    "command": "offer",
    "to": "did:web:partner.example",
    "format": "ld-proof",
    "data": {
        "credential": {
            "@context": ["https://www.w3.org/2018/credentials/v1", "https://w3id.org/citizenship/v1"],
            "type": ["VerifiableCredential", "PermanentResident"],
            "credentialSubject": {"type": "PermanentResident", "givenName": "Alice"},
        }
    },
}


class CredentialRoutes:
    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.routes = [
            Route(
                "POST",
                "credential",
                self.begin,
                creates=True,
                summary="Offer, propose, request or issue a credential",
                request=NewCredential,
                answers={201: ExchangeView | InvitationView, 200: ExchangeView | InvitationView},
                errors=BEGIN_ERRORS,
                example=_OFFER,
            ),
            Route(
                "GET",
                "credential",
                list_,
                summary="List credentials",
                answers={200: Page[CredentialView]},
                query=CredentialQuery,
            ),
            Route(
                "GET",
                "credential/{uuid}",
                read,
                summary="Read a credential",
                answers={200: CredentialDetails},
                errors=(_UNKNOWN,),
            ),
            Route(
                "DELETE",
                "credential/{uuid}",
                delete,
                summary="Delete a credential",
                answers={204: None},
                errors=(_UNKNOWN,),
            ),
            Route(
                "POST",
                "credential/{uuid}/verify",
                self.verify,
                summary="Check a credential again",
                answers={200: CredentialView},
                errors=(_UNKNOWN, "409 own-credential", *STEP_ERRORS),
            ),
            Route(
                "GET",
                "credential/{uuid}/verify",
                self.verify,
                scope=Scope.SEND,
                summary="Check a credential again (as older clients call it)",
                answers={200: CredentialView},
                errors=(_UNKNOWN, "409 own-credential", *STEP_ERRORS),
            ),
            Route(
                "POST",
                "credential/{uuid}/revoke",
                self.revoke,
                summary="Revoke an issued credential",
                request=Revocation,
                bodiless=True,
                answers={200: CredentialView},
                errors=(_UNKNOWN, "409 credential-not-revocable", "409 not-issued-here", *STEP_ERRORS),
            ),
        ]

    async def begin(self, call: Call) -> Response:
        """Sends the first message of a credential exchange, or the next one.

        Body: `{command: "offer" | "propose" | "request" | "issue", from?, to, format?, data?, attributes?, protocol?,
        comment?, ...}`. Give `exchangeUuid` instead of `to` for a step of an exchange in progress, such as a
        counter-proposal. Give `invitation` instead of `to` to send an offer inside an invitation.
        """
        body = call.body
        command = body.get("command", "offer")
        members = members_of(body)
        under_way = "exchangeUuid" in body and "data" not in body
        data = None if under_way and command != "propose" else data_of(body)

        async def step(run: Run) -> None:
            if command == "propose":
                await issuance.propose(run, data or {}, **members)
            elif command == "offer":
                await issuance.offer(run, data, **members)
            elif command == "request":
                await issuance.request(run, data, **members)
            else:
                await issuance.issue(run, data, **members)

        role = "issuer" if command in ("offer", "issue") else "holder"
        return await begin(self._steps, call, body, "issue-credential", role, step, default_format=_DEFAULT)

    async def verify(self, call: Call) -> Response:
        """Makes the checks of the credential again, as of now."""
        credential = await found(call.tenant.records, Credential, call.arguments["uuid"])
        call = call.at(credential)
        records = call.tenant.records
        exchange = await found(records, Exchange, credential.exchange_uuid)
        format_ = self._steps.exchanges.formats_of(records).credentials.named(credential.format)
        with as_problems(exchange):
            held = await open_held(records, credential)
            verification = await format_.verify(held)
        seal_details(records, credential, Details(held.summary, verification))
        return await _changed(call, credential)

    async def revoke(self, call: Call) -> Response:
        """Revokes an issued credential and publishes that. Revoking it again changes nothing. Body: `{notify?,
        comment?}`.

        The holder is told if `notify` is true, or by default if `notifyRevocation` is set in `PRINCIPAL_SETTINGS`.
        """
        wanted, comment = call.body.get("notify"), call.body.get("comment", "")
        credential = await found(call.tenant.records, Credential, call.arguments["uuid"])
        call = call.at(credential)
        records = call.tenant.records
        if credential.role != "issuer":
            raise Problem(
                409, "not-issued-here", "This credential was issued elsewhere. Only its issuer can revoke it."
            )
        exchange = await found(records, Exchange, credential.exchange_uuid)
        format_ = self._steps.exchanges.formats_of(records).credentials.named(credential.format)
        run = await self._steps.exchanges.open(call.tenant, exchange.uuid)
        if wanted and run.connection.state == "abandoned":
            raise Problem(409, "connection-ended", "The connection to the holder was ended. Revoke without notify.")
        held = await open_held(records, credential)
        with as_problems(exchange):
            await format_.revoke(await run.party(), held)
        if wanted is None:
            automatic = await call.tenant.automatic("notifyRevocation", False)
            wanted = automatic and credential.status != CredentialStatus.REVOKED and run.connection.state != "abandoned"
        credential.status = CredentialStatus.REVOKED
        if not wanted:
            return await _changed(call, credential)
        credential.updated_at = call.services.now()
        await self._steps.tell(call.tenant, run, revocation.telling(run, credential, held, comment))
        return answer(credential_view(records, credential))


async def _changed(call: Call, credential: Credential) -> Response:
    records = call.tenant.records
    credential.updated_at = call.services.now()
    unit = Unit()
    unit.change(credential)
    await records.commit(unit)
    return answer(credential_view(records, credential))


async def list_(call: Call) -> Response:
    records, pointed = call.tenant.records, await by_contact_or_status(call, Credential, CredentialStatus.RECEIVED)
    return await listing(
        call, Credential, lambda one: credential_view(records, one), where=filters(call), pointed=pointed
    )


async def read(call: Call) -> Response:
    """Shows a credential with its original content."""
    records = call.tenant.records
    credential = await found(records, Credential, call.arguments["uuid"])
    held = await open_held(records, credential)
    return answer({**credential_view(records, credential), "credential": held.value})


async def delete(call: Call) -> Response:
    credential = await found(call.tenant.records, Credential, call.arguments["uuid"])
    records = call.tenant.at(credential).records
    unit = Unit()
    unit.remove(credential)
    await records.commit(unit)
    await records.delete_body(credential.uuid)
    return Response(204, content_type="")


def credential_view(records: Repository, credential: Credential) -> dict[str, Any]:
    view = outcome_view(records, credential)
    summary, types = view["summary"], view["summary"].get("type")
    return {
        **view,
        "type": [name for name in ([types] if isinstance(types, str) else types or ()) if isinstance(name, str)],
        "subject": _did(summary.get("subject")),
        "issuer": _did(summary.get("issuer")),
        "expiresAt": times.iso(credential.expires_at) if credential.expires_at else None,
        "revocationNotice": {"at": times.iso(credential.noticed_at), "comment": comment_of(records, credential)}
        if credential.noticed_at
        else None,
    }


def _did(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def outcome_view(records: Repository, outcome: Credential | Presentation) -> dict[str, Any]:
    """Returns the members that credentials and presentations have in common."""
    details = open_details(records, outcome)
    return entity(
        outcome,
        role=outcome.role,
        format=outcome.format,
        exchangeUuid=outcome.exchange_uuid,
        identityUuid=outcome.identity_uuid,
        connectionUuid=outcome.connection_uuid,
        contactUuid=outcome.contact_uuid,
        messageUuid=outcome.message_uuid,
        verified=outcome.verified,
        checks=details.checks,
        summary=details.summary,
    )
