"""`/invitation`: out-of-band invitations of a principal."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.identities import find_identity
from tntcore.api.views import entity, found, iso, listing, text
from tntcore.errors import Problem
from tntcore.invitations import Invitations, Wanted, read_content
from tntcore.messaging.invitations import invitation_url, qr_png, qr_svg
from tntcore.protocols.did_exchange import SUPPORTED
from tntcore.records import Identity, Invitation

_FORMS = ("out-of-band/1", "out-of-band/2", "connections/1")


class InvitationRoutes:
    def __init__(self, invitations: Invitations) -> None:
        self._invitations = invitations
        self.routes = [
            Route("POST", "invitation", self.create, creates=True),
            Route("GET", "invitation", self.list_),
            Route("GET", "invitation/{uuid}", self.read),
            Route("DELETE", "invitation/{uuid}", self.revoke),
            Route("GET", "invitation/{uuid}/qr.svg", self.svg),
            Route("GET", "invitation/{uuid}/qr.png", self.png),
        ]

    async def create(self, call: Call) -> Response:
        """`{identityId?, form?, label?, goal?, goalCode?, handshakeProtocols?, multiUse?, expiresAt?,
        publicDid?, requests?}`. With `handshakeProtocols: []` one of the requests is answered without a handshake."""
        body = call.request.object()
        identity = await find_identity(call.tenant.records, text(body.get("identityId"), "identityId", maximum=4000))
        wanted = wanted_of(body, identity)
        return answer(invitation_view(call, await self._invitations.create(call.tenant, identity, wanted)), 201)

    async def list_(self, call: Call) -> Response:
        return await listing(call, Invitation, lambda invitation: invitation_view(call, invitation))

    async def read(self, call: Call) -> Response:
        return answer(invitation_view(call, await found(call.tenant.records, Invitation, call.arguments["uuid"])))

    async def revoke(self, call: Call) -> Response:
        invitation = await found(call.tenant.records, Invitation, call.arguments["uuid"])
        await self._invitations.revoke(call.tenant, invitation)
        return Response(204, content_type="")

    async def svg(self, call: Call) -> Response:
        invitation = await found(call.tenant.records, Invitation, call.arguments["uuid"])
        return Response(200, await asyncio.to_thread(qr_svg, _url(call, invitation)), "image/svg+xml")

    async def png(self, call: Call) -> Response:
        invitation = await found(call.tenant.records, Invitation, call.arguments["uuid"])
        return Response(200, await asyncio.to_thread(qr_png, _url(call, invitation)), "image/png")


def wanted_of(body: dict[str, Any], identity: Identity) -> Wanted:
    """What a request's body says of a new invitation. Raises `Problem` 400."""
    form = text(body.get("form"), "form") or _FORMS[0]
    if form not in _FORMS:
        raise Problem(400, "form-unsupported", f"form has to be one of {', '.join(_FORMS)}.")
    protocols = body.get("handshakeProtocols")
    protocols = list(SUPPORTED) if protocols is None else protocols
    if not isinstance(protocols, list) or not all(name in SUPPORTED for name in protocols):
        raise Problem(400, "handshake-protocols-invalid", f"Choose from {', '.join(SUPPORTED)}.")
    wanted = Wanted(
        form=form,
        label=text(body.get("label"), "label", maximum=200) or identity.display_name,
        goal=text(body.get("goal"), "goal") or None,
        goal_code=text(body.get("goalCode"), "goalCode") or None,
        handshake_protocols=tuple(protocols),
        multi_use=_flag(body, "multiUse"),
        expires_at=_time(body, "expiresAt"),
        public_did=_flag(body, "publicDid"),
        requests=tuple(_messages(body)),
    )
    if form == "connections/1" and (wanted.public_did or wanted.requests):
        raise Problem(400, "form-unsupported", "publicDid and requests are for invitations of out-of-band only.")
    return wanted


def invitation_view(call: Call, invitation: Invitation) -> dict[str, Any]:
    path = f"{call.services.config.public_url}/api/invitation/{invitation.uuid}"
    content = read_content(call.tenant.records, invitation)
    return entity(
        invitation,
        invitationId=invitation.uuid,
        form=invitation.form,
        identityUuid=invitation.identity_uuid,
        multiUse=invitation.multi_use,
        expiresAt=iso(invitation.expires_at) if invitation.expires_at else None,
        invitation=content,
        invitationUrl=invitation_url(call.services.config.public_url, content),
        qr={"svg": f"{path}/qr.svg", "png": f"{path}/qr.png"},
    )


def _url(call: Call, invitation: Invitation) -> str:
    return invitation_url(call.services.config.public_url, read_content(call.tenant.records, invitation))


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    value = body.get("requests", [])
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        raise Problem(400, "requests-invalid", "requests has to be a list of messages.")
    return value


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise Problem(400, "flag-invalid", f"{name} has to be true or false.")
    return value


def _time(body: dict[str, Any], name: str) -> int:
    value = text(body.get(name), name)
    try:
        return round(datetime.fromisoformat(value).timestamp() * 1000) if value else 0
    except ValueError:
        raise Problem(400, "time-invalid", f"{name} has to be a time such as 2026-01-31T12:00:00Z.") from None
