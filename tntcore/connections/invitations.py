"""Our own invitations: making, showing and revoking them."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tntcore.connections.connection import pairwise
from tntcore.connections.first_contact import FORM as FORM_2
from tntcore.dids.document import Version
from tntcore.errors import Problem
from tntcore.messaging import invitations as rfc434
from tntcore.messaging.compose import is_v2_shaped, prefill_v1, to_v2
from tntcore.messaging.ids import Ids, random_uuid
from tntcore.messaging.message import Message as Plaintext
from tntcore.protocols.did_exchange import SUPPORTED
from tntcore.services import Services
from tntcore.storage.commit import Unit
from tntcore.storage.lookups import Found
from tntcore.storage.records import Identity, Invitation, short_hash
from tntcore.storage.repository import Repository
from tntcore.storage.states import InvitationStatus
from tntcore.strict_json import reread_json, write_json
from tntcore.tenancy.recipients import OTHER_CURVES, KeyPairs
from tntcore.tenancy.tenants import Tenant

_GOAL_CODE = "aries.rel.build"  # RFC 0519: "Relationship building"
_MAX_CONTENT = 60_000  # sealed bytes; a column holds 64 KiB


@dataclass(frozen=True, slots=True)
class Wanted:
    """The properties of a new invitation.

    Attributes:
        form: `out-of-band/1`, `out-of-band/2` or `connections/1`.
        expires_at: milliseconds since 1970; 0 for never.
        handshake_protocols: of `out-of-band/1`. With none, the invited side answers one of `requests` at once.
        public_did: it names the identity's DID instead of a key of its own, so that a connection can be reused.
        did_method: of our DIDs on its connections; None for what suits the protocol.
        requests: messages to attach, in the shape of v1; for `out-of-band/2`, of either version.
    """

    form: str = "out-of-band/1"
    label: str = ""
    goal: str | None = None
    goal_code: str | None = None
    handshake_protocols: tuple[str, ...] = SUPPORTED
    multi_use: bool = False
    expires_at: int = 0
    contact_uuid: str = ""
    public_did: bool = False
    requests: tuple[Mapping[str, Any], ...] = ()
    did_method: str | None = None

    @property
    def version(self) -> Version:
        """The version of DIDComm that answers use."""
        return "v2" if self.form == FORM_2 else "v1"


@dataclass(frozen=True, slots=True)
class OpenedInvitation:
    """An invitation as whoever has its link sees it."""

    invitation: Invitation
    content: dict[str, Any]
    status: InvitationStatus


class Invitations:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def create(self, tenant: Tenant, identity: Identity, wanted: Wanted, ids: Ids) -> Invitation:
        """Makes an invitation with a key of its own, which can be answered from now on. Raises `Problem` 400 or 413."""
        if wanted.public_did and not identity.is_reachable:
            detail = (
                "Messages to this identity's DID do not arrive at this service. Leave publicDid out, or use "
                "another identity."
            )
            raise Problem(400, "public-did-unreachable", detail)
        services, now = self._services, self._services.now()
        goal, goal_code = wanted.goal, wanted.goal_code
        if goal or goal_code:
            # ACA-Py refuses an invitation that has but one of them.
            goal, goal_code = goal or goal_code, goal_code or _GOAL_CODE
        threads: list[str] = []
        # Partners of DIDComm v2 answer by a key of a curve that both sides have.
        keys = KeyPairs.generate(*(OTHER_CURVES if wanted.version == "v2" else ()))
        document = pairwise(services, keys, wanted.did_method)
        uuid, invitation_id = ids.uuid7(), random_uuid(ids.random)
        service = rfc434.inline_service(services.config.endpoint, keys.verkey)
        expires_at = wanted.expires_at // 1000 or None
        if wanted.form == "connections/1":
            content = rfc434.make_connection_invitation(
                id=invitation_id, label=wanted.label, service=service, expires_at=expires_at
            )
        elif wanted.form == FORM_2:
            from_did = identity.did if wanted.public_did else document.id
            content = rfc434.make_invitation_2(
                id=invitation_id,
                from_did=from_did,
                requests=[_under_2(request, invitation_id, from_did, ids.random, now) for request in wanted.requests],
                goal=goal,
                goal_code=goal_code,
                expires_at=expires_at,
            )
        else:
            requests = [_under(request, invitation_id, ids.random) for request in wanted.requests]
            if not wanted.handshake_protocols:
                if wanted.public_did:
                    raise Problem(
                        400,
                        "handshake-required",
                        "An invitation with publicDid needs a handshake. Give at least one of handshakeProtocols.",
                    )
                threads = [short_hash(Plaintext.read(write_json(request)).thid) for request in requests]
            content = rfc434.make_invitation_1(
                id=invitation_id,
                services=[identity.did if wanted.public_did else service],
                requests=requests,
                handshake_protocols=wanted.handshake_protocols,
                label=wanted.label,
                goal=goal,
                goal_code=goal_code,
                expires_at=expires_at,
            )
        invitation = Invitation(
            uuid=uuid,
            invitation_id=invitation_id,
            form=wanted.form,
            identity_uuid=identity.uuid,
            identity_did=identity.did,
            contact_uuid=wanted.contact_uuid,
            multi_use=wanted.multi_use,
            expires_at=wanted.expires_at,
            did=document.id,
            document=dict(document.raw),
            threads=threads,
            did_method=wanted.did_method,
            created_at=now,
            updated_at=now,
        )
        invitation.content = tenant.records.seal(write_json(content), _content_of(invitation))
        if len(invitation.content) > _MAX_CONTENT:
            raise Problem(
                413,
                "invitation-too-large",
                f"The invitation is too large. It may have at most {_MAX_CONTENT // 1000} kB.",
            )
        invitation.keys = tenant.records.seal(keys.serialise(), invitation.key)
        owner = Found(tenant.uuid, "invitation", uuid)
        await services.lookups.add("invitation", uuid, owner)
        await services.lookups.add("invitation-id", invitation_id, owner)
        await asyncio.gather(*(services.lookups.add("key", kid, owner) for kid in keys.by_kid(document)))
        unit = Unit()
        unit.create(invitation)
        return await tenant.records.make(unit, invitation)

    async def open(self, invitation_id: str) -> OpenedInvitation | None:
        """Returns an invitation of any tenant here by its random `@id`, as whoever has its link sees it; None if there
        is none, or if its tenant is suspended."""
        owner = await self._services.lookups.find("invitation-id", invitation_id)
        inviter = await self._services.tenants.get(owner.principal) if owner else None
        if owner is None or inviter is None or inviter.is_suspended:
            return None
        invitation = await inviter.records.get(Invitation, owner.uuid)
        if invitation is None:
            return None
        content = read_content(inviter.records, invitation)
        return OpenedInvitation(invitation, content, invitation.status_at(self._services.now()))

    async def content_of(self, uuid: str) -> dict[str, Any] | None:
        """Returns the content of an invitation of any tenant here; None if it is unknown."""
        owner = await self._services.lookups.find("invitation", uuid)
        inviter = await self._services.tenants.get(owner.principal) if owner else None
        invitation = await inviter.records.get(Invitation, uuid) if inviter else None
        if inviter is None or invitation is None or invitation.status != InvitationStatus.ACTIVE:
            return None
        return read_content(inviter.records, invitation)

    async def revoke(self, tenant: Tenant, invitation: Invitation) -> None:
        """Revokes the invitation: it can no longer be answered. Connections that it began are kept."""
        unit = Unit()
        unit.merge(
            invitation.key, {"status": InvitationStatus.REVOKED, "updatedAt": self._services.now()}, invitation.etag
        )
        await tenant.records.commit(unit)
        self._services.tenants.forget_recipient(tenant, invitation.uuid)


def short_url(public_url: str, invitation: Invitation) -> str:
    """Returns the URL that shows the invitation (RFC 0434, "URL Shortening"): 22 characters name it."""
    code = urlsafe_b64encode(UUID(invitation.invitation_id).bytes).rstrip(b"=").decode()
    return f"{public_url}/api/i/{code}"


def id_of_code(code: str) -> str:
    """Returns the `@id` of the invitation that a short URL names by its code, or by the id itself; "" if it names
    none."""
    try:
        return str(UUID(bytes=urlsafe_b64decode(code + "==")) if len(code) == 22 else UUID(code))
    except ValueError:
        return ""


def read_content(records: Repository, invitation: Invitation) -> dict[str, Any]:
    """Returns the invitation message itself. `records` are its owner's."""
    content: dict[str, Any] = reread_json(records.open(invitation.content, _content_of(invitation)))
    return content


def _content_of(invitation: Invitation) -> str:
    return f"{invitation.key}/content"


def _under(request: Mapping[str, Any], invitation_id: str, random: Callable[[int], bytes]) -> dict[str, Any]:
    """Returns a complete message to attach, on a thread whose parent is the invitation (RFC 0434, "Correlating
    responses").

    Raises:
        Problem: 400 `message-invalid`.
    """
    if is_v2_shaped(request):
        raise Problem(
            400,
            "message-invalid",
            "A message in requests has no @type. Messages of an out-of-band/1 invitation need one.",
        )
    message_id = random_uuid(random)
    filled = prefill_v1(request, thid=str(request.get("@id") or message_id), new_id=message_id)
    return {**filled, "~thread": {**filled["~thread"], "pthid": invitation_id}}


def _under_2(
    request: Mapping[str, Any], invitation_id: str, from_did: str, random: Callable[[int], bytes], now: int
) -> dict[str, Any]:
    """Returns a complete message to attach in the shape of v2, like `_under`. Its receiver is not known."""
    message_id = random_uuid(random)
    own_id = request.get("id" if is_v2_shaped(request) else "@id")
    filled = prefill_v1(request, thid=str(own_id or message_id), new_id=message_id)
    message = to_v2(filled, from_did=from_did, to_did="", created_time=now // 1000)
    return {**{name: value for name, value in message.items() if name != "to"}, "pthid": invitation_id}
