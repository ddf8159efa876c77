"""`/invitation`: out-of-band invitations of a tenant."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal, TypedDict, get_args

from tntcore.api.given import read_words
from tntcore.api.http import Body, Call, Response, Route, answer
from tntcore.api.identities import find_identity
from tntcore.api.json_schema import Code, Reads, Words
from tntcore.api.views import (
    Entity,
    JsonObject,
    Page,
    Time,
    Timed,
    Url,
    Uuid,
    UuidOrDid,
    entity,
    found,
    listing,
    text,
)
from tntcore.connections.connection import DidMethod
from tntcore.connections.invitations import Invitations, Wanted, read_content, short_url
from tntcore.errors import Problem
from tntcore.messaging import times
from tntcore.messaging.invitations import InvitationForm, invitation_url, qr_png, qr_svg
from tntcore.protocols.did_exchange import SUPPORTED
from tntcore.storage.records import Identity, Invitation
from tntcore.storage.states import InvitationStatus

_FORMS: tuple[InvitationForm, ...] = get_args(InvitationForm)

# Errors of an invitation that is created or accepted.
INVITATION_ERRORS = (
    "400 invitation-malformed",
    "400 invitation-incomplete",
    "400 invitation-request",
    "400 invitation-service",
    "400 invitation-too-large",
    "400 invitation-type",
    "400 invitation-unsupported",
    "400 invitation-expired",
    "400 invitation-short-url",
    "400 invitation-unreachable",
    "400 public-did-unreachable",
    "400 identity-unsuitable",
    "400 handshake-required",
    "400 did-method-invalid",
    "409 invitation-gone",
    "413 invitation-too-large",
)
WANTED_ERRORS = (
    "400 form-unsupported",
    "400 handshake-protocols-invalid",
    "400 message-invalid",
    "400 requests-invalid",
    "400 flag-invalid",
    "400 time-invalid",
    *INVITATION_ERRORS,
)
HandshakeProtocol = Literal[
    "https://didcomm.org/didexchange/1.1", "https://didcomm.org/didexchange/1.0", "https://didcomm.org/connections/1.0"
]


ConnectionMethod = Annotated[
    DidMethod,
    "method of your DID on the connection, by default what suits its protocol; did:sov: a DID without a method",
    Code("did-method-invalid"),
]


InviterName = Annotated[str, Words(minLength=1, maxLength=200, examples=["Acme"]), Reads(read_words)]
InvitationGoal = Annotated[str, Words(minLength=1, maxLength=1000), Reads(read_words)]


class InvitationWanted(TypedDict, total=False):
    form: Annotated[InvitationForm, "by default `out-of-band/1`", Code("form-unsupported")]
    label: InviterName
    goal: InvitationGoal
    goalCode: InvitationGoal
    handshakeProtocols: Annotated[
        list[HandshakeProtocol],
        "in order of preference; empty: one of `requests` is answered without a handshake",
        Code("handshake-protocols-invalid"),
    ]
    multiUse: Annotated[bool, Code("flag-invalid")]
    expiresAt: Time
    publicDid: Annotated[bool, "whether to name the identity's public DID", Code("flag-invalid")]
    requests: Annotated[list[JsonObject], "messages for the invited partner"]
    didMethod: ConnectionMethod


class NewInvitation(InvitationWanted, total=False):
    identityId: Annotated[UuidOrDid, "uuid or DID; by default the default identity"]


class Qr(TypedDict):
    svg: Url
    png: Url


class InvitationView(Entity):
    """An out-of-band invitation, as JSON, as a URL and as a QR code."""

    status: InvitationStatus
    invitationId: Uuid
    form: InvitationForm
    identityUuid: Uuid
    multiUse: bool
    expiresAt: Time | None
    invitation: JsonObject
    invitationUrl: Annotated[str, "the invitation in a URL: a page for people, JSON for agents"]
    shortUrl: Annotated[Url, "the same page under a short URL, which is what the QR codes show"]
    qr: Qr


_UNKNOWN = "404 invitation-unknown"
# Agents of Connections 1.0 read only documents that come along; those of DIDComm v2 have nowhere to find them.
_UNSUITABLE = {("out-of-band/2", "did:sov"), ("connections/1", "did:peer:2"), ("connections/1", "did:peer:4")}


class InvitationRoutes:
    def __init__(self, invitations: Invitations) -> None:
        self._invitations = invitations
        self.routes = [
            Route(
                "POST",
                "invitation",
                self.create,
                creates=True,
                summary="Invite",
                request=NewInvitation,
                answers={201: InvitationView},
                errors=("404 identity-unknown", *WANTED_ERRORS),
                example={"label": "Acme", "multiUse": False},
            ),
            Route(
                "GET",
                "invitation",
                self.list_,
                summary="List invitations",
                answers={200: Page[InvitationView]},
                query=Timed,
            ),
            Route(
                "GET",
                "invitation/{uuid}",
                self.read,
                summary="Read an invitation",
                answers={200: InvitationView},
                errors=(_UNKNOWN,),
            ),
            Route(
                "DELETE",
                "invitation/{uuid}",
                self.revoke,
                summary="Revoke an invitation",
                answers={204: None},
                errors=(_UNKNOWN, "409 invitation-gone"),
            ),
            Route(
                "GET",
                "invitation/{uuid}/qr.svg",
                self.svg,
                summary="Show an invitation as a QR code",
                answers={200: Body("image/svg+xml")},
                errors=(_UNKNOWN,),
            ),
            Route(
                "GET",
                "invitation/{uuid}/qr.png",
                self.png,
                summary="Show an invitation as a QR code",
                answers={200: Body("image/png")},
                errors=(_UNKNOWN,),
            ),
        ]

    async def create(self, call: Call) -> Response:
        """Creates an invitation. With `handshakeProtocols: []`, one of the `requests` is answered without a handshake.

        Body: `{identityId?, form?, label?, goal?, goalCode?, handshakeProtocols?, multiUse?, expiresAt?, publicDid?,
        requests?}`.
        """
        body = call.body
        identity = await find_identity(call.tenant.records, text(body.get("identityId"), "identityId", maximum=4000))
        wanted = wanted_of(body, identity, call.services.now())
        made = await self._invitations.create(call.tenant, identity, wanted, call.ids)
        return answer(invitation_view(call, made), 201)

    async def list_(self, call: Call) -> Response:
        return await listing(call, Invitation, lambda invitation: invitation_view(call, invitation))

    async def read(self, call: Call) -> Response:
        return answer(invitation_view(call, await found(call.tenant.records, Invitation, call.arguments["uuid"])))

    async def revoke(self, call: Call) -> Response:
        invitation = await found(call.tenant.records, Invitation, call.arguments["uuid"])
        await self._invitations.revoke(call.tenant.at(invitation), invitation)
        return Response(204, content_type="")

    async def svg(self, call: Call) -> Response:
        invitation = await found(call.tenant.records, Invitation, call.arguments["uuid"])
        return Response(200, await asyncio.to_thread(qr_svg, _url(call, invitation)), "image/svg+xml")

    async def png(self, call: Call) -> Response:
        invitation = await found(call.tenant.records, Invitation, call.arguments["uuid"])
        return Response(200, await asyncio.to_thread(qr_png, _url(call, invitation)), "image/png")


def wanted_of(body: dict[str, Any], identity: Identity, now: int) -> Wanted:
    """Reads the members of a new invitation from a request's body. Raises `Problem` 400.

    Args:
        now: milliseconds since 1970.
    """
    form = text(body.get("form"), "form") or _FORMS[0]
    if form not in _FORMS:
        raise Problem(400, "form-unsupported", f"form must be one of {', '.join(_FORMS)}.")
    protocols = body.get("handshakeProtocols")
    protocols = list(SUPPORTED) if protocols is None else protocols
    if not isinstance(protocols, list) or not all(name in SUPPORTED for name in protocols):
        raise Problem(
            400, "handshake-protocols-invalid", f"handshakeProtocols must be a list of some of {', '.join(SUPPORTED)}."
        )
    wanted = Wanted(
        form=form,
        label=text(body.get("label"), "label", maximum=200) or identity.display_name,
        goal=text(body.get("goal"), "goal") or None,
        goal_code=text(body.get("goalCode"), "goalCode") or None,
        handshake_protocols=tuple(protocols),
        multi_use=_flag(body, "multiUse"),
        expires_at=_time(body, "expiresAt", now),
        public_did=_flag(body, "publicDid"),
        requests=tuple(_messages(body)),
        did_method=body.get("didMethod"),
    )
    if (form, wanted.did_method) in _UNSUITABLE:
        raise Problem(400, "did-method-invalid", f"The form {form} does not go with didMethod {wanted.did_method}.")
    if form == "connections/1" and (wanted.public_did or wanted.requests):
        raise Problem(
            400,
            "form-unsupported",
            "This form of invitation has no publicDid and no requests. Use the form out-of-band/1 or out-of-band/2.",
        )
    return wanted


def invitation_view(call: Call, invitation: Invitation) -> dict[str, Any]:
    public_url = call.services.config.public_url
    path = f"{public_url}/api/invitation/{invitation.uuid}"
    content = read_content(call.tenant.records, invitation)
    shown = entity(
        invitation,
        invitationId=invitation.uuid,
        form=invitation.form,
        identityUuid=invitation.identity_uuid,
        multiUse=invitation.multi_use,
        expiresAt=times.iso(invitation.expires_at) if invitation.expires_at else None,
        invitation=content,
        invitationUrl=invitation_url(f"{public_url}/api/i", content),
        shortUrl=short_url(public_url, invitation),
        qr={"svg": f"{path}/qr.svg", "png": f"{path}/qr.png"},
    )
    return {**shown, "status": invitation.status_at(call.services.now())}


def _url(call: Call, invitation: Invitation) -> str:
    return short_url(call.services.config.public_url, invitation)


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    value = body.get("requests", [])
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        raise Problem(400, "requests-invalid", "requests must be a list of messages.")
    return value


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise Problem(400, "flag-invalid", f"{name} must be true or false.")
    return value


def _time(body: dict[str, Any], name: str, now: int) -> int:
    value = text(body.get(name), name)
    try:
        moment = times.read(value) if value else 0
    except ValueError:
        moment = -1
    if moment < 0:
        raise Problem(400, "time-invalid", f"{name} must be a time from 1970 on, such as 2026-01-31T12:00:00Z.")
    if value and moment <= now:
        raise Problem(400, "time-invalid", f"{name} is in the past. Give a time to come, or leave it out.")
    return moment
