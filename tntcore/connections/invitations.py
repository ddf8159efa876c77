"""Our own invitations: making, showing and revoking them."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tntcore.connections.connection import pairwise
from tntcore.connections.first_contact import FORM as FORM_2
from tntcore.dids.document import DidService, Version
from tntcore.errors import Problem
from tntcore.messaging import invitations as rfc434
from tntcore.messaging.compose import is_v2_shaped, prefill_v1, to_v2
from tntcore.messaging.ids import Ids, random_uuid
from tntcore.messaging.message import Message as Plaintext
from tntcore.protocols.did_exchange import SUPPORTED
from tntcore.protocols.sendable import check_type
from tntcore.services import Services
from tntcore.storage.commit import Unit
from tntcore.storage.lookups import Found, LookupKind
from tntcore.storage.records import Identity, Invitation, short_hash
from tntcore.storage.repository import Repository
from tntcore.storage.states import InvitationStatus
from tntcore.strict_json import reread_json, write_json
from tntcore.tenancy.recipients import OTHER_CURVES, KeyPairs
from tntcore.tenancy.tenants import Tenant

FORM_1 = "out-of-band/1"
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

    form: str = FORM_1
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
    """An invitation as its link shows it."""

    invitation: Invitation
    content: dict[str, Any]
    status: InvitationStatus


class Invitations:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def create(self, tenant: Tenant, identity: Identity, wanted: Wanted, ids: Ids) -> Invitation:
        """Makes an invitation with a key of its own, which can be answered from now on. Raises `Problem` 400 or 413.

        Args:
            tenant: of an invitation for a contact, in the shard of the contact.
        """
        _check(wanted, identity)
        now, uuid = self._services.now(), ids.uuid7()
        if wanted.public_did:
            # It is answered at the identity, and what comes there is in the first shard.
            tenant = tenant.shard(0)
        elif not wanted.contact_uuid:
            tenant = await tenant.birthplace(Invitation, uuid, now)
        # Partners of DIDComm v2 answer by a key of a curve that both sides have.
        keys = KeyPairs.generate(*(OTHER_CURVES if wanted.version == "v2" else ()))
        document = pairwise(self._services, keys, wanted.did_method)
        invitation = Invitation(
            uuid=uuid,
            invitation_id=random_uuid(ids.random),
            form=wanted.form,
            identity_uuid=identity.uuid,
            identity_did=identity.did,
            contact_uuid=wanted.contact_uuid,
            multi_use=wanted.multi_use,
            expires_at=wanted.expires_at,
            did=document.id,
            document=dict(document.raw),
            did_method=wanted.did_method,
            created_at=now,
            updated_at=now,
        )
        requests = _requests(wanted, invitation, ids.random)
        if wanted.form == FORM_1 and not wanted.handshake_protocols:
            invitation.threads = [short_hash(Plaintext.read(write_json(request)).thid) for request in requests]
        service = rfc434.inline_service(self._services.config.endpoint, keys.verkey)
        content = _message(wanted, invitation, requests, service)
        invitation.content = tenant.records.seal(write_json(content), _content_of(invitation))
        if len(invitation.content) > _MAX_CONTENT:
            raise Problem(
                413,
                "invitation-too-large",
                f"The invitation is too large. It may have at most {_MAX_CONTENT // 1000} kB.",
            )
        invitation.keys = tenant.records.seal(keys.serialise(), invitation.key)
        await self._announce(tenant, invitation, keys.by_kid(document))
        unit = Unit()
        unit.create(invitation)
        return await tenant.records.make(unit, invitation)

    async def _announce(self, tenant: Tenant, invitation: Invitation, kids: Iterable[str]) -> None:
        """Makes the invitation found, by anybody here, by its uuid, its `@id` and its keys."""
        lookups, owner = self._services.lookups, Found(tenant.uuid, "invitation", invitation.uuid)
        await lookups.add("invitation", invitation.uuid, owner)
        await lookups.add("invitation-id", invitation.invitation_id, owner)
        await asyncio.gather(*(lookups.add("key", kid, owner) for kid in kids))

    async def open(self, invitation_id: str) -> OpenedInvitation | None:
        """Returns an invitation of any tenant here by its random `@id`, as its link shows it; None if there is none, or
        if its tenant is suspended."""
        return await self._opened("invitation-id", invitation_id)

    async def content_of(self, uuid: str) -> dict[str, Any] | None:
        """Returns the content of an invitation of any tenant here, used up neither by an answer nor by its tenant; None
        if there is none, or if its tenant is suspended."""
        opened = await self._opened("invitation", uuid)
        return opened.content if opened and opened.invitation.status == InvitationStatus.ACTIVE else None

    async def _opened(self, kind: LookupKind, name: str) -> OpenedInvitation | None:
        owner = await self._services.lookups.find(kind, name)
        inviter = await self._services.tenants.get(owner.principal) if owner else None
        if owner is None or inviter is None or inviter.is_suspended:
            return None
        invitation = await inviter.records.get(Invitation, owner.uuid)
        if invitation is None:
            return None
        content = read_content(inviter.records, invitation)
        return OpenedInvitation(invitation, content, invitation.status_at(self._services.now()))

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


def _check(wanted: Wanted, identity: Identity) -> None:
    if wanted.public_did and not identity.is_reachable:
        detail = (
            "Messages to this identity's DID do not arrive at this service. Leave publicDid out, or use "
            "another identity."
        )
        raise Problem(400, "public-did-unreachable", detail)
    if wanted.public_did and wanted.form == FORM_1 and not wanted.handshake_protocols:
        raise Problem(
            400,
            "handshake-required",
            "An invitation with publicDid needs a handshake. Give at least one of handshakeProtocols.",
        )


def _message(
    wanted: Wanted, invitation: Invitation, requests: Sequence[Mapping[str, Any]], service: DidService
) -> dict[str, Any]:
    """Returns the invitation message.

    Args:
        requests: complete. service: of the invitation's own key.
    """
    expires_at = wanted.expires_at // 1000 or None
    if wanted.form == "connections/1":
        return rfc434.make_connection_invitation(
            id=invitation.invitation_id, label=wanted.label, service=service, expires_at=expires_at
        )
    goal, goal_code = wanted.goal, wanted.goal_code
    if goal or goal_code:
        # ACA-Py refuses an invitation that has but one of them.
        goal, goal_code = goal or goal_code, goal_code or _GOAL_CODE
    if wanted.form == FORM_2:
        return rfc434.make_invitation_2(
            id=invitation.invitation_id,
            from_did=_did_of(wanted, invitation),
            requests=requests,
            goal=goal,
            goal_code=goal_code,
            expires_at=expires_at,
        )
    return rfc434.make_invitation_1(
        id=invitation.invitation_id,
        services=[invitation.identity_did if wanted.public_did else service],
        requests=requests,
        handshake_protocols=wanted.handshake_protocols,
        label=wanted.label,
        goal=goal,
        goal_code=goal_code,
        expires_at=expires_at,
    )


def _did_of(wanted: Wanted, invitation: Invitation) -> str:
    """Returns the DID that an out-of-band/2 invitation is from."""
    return invitation.identity_did if wanted.public_did else invitation.did


def _requests(wanted: Wanted, invitation: Invitation, random: Callable[[int], bytes]) -> list[dict[str, Any]]:
    """Returns the messages to attach, complete: each on a thread whose parent is the invitation (RFC 0434, "Correlating
    responses"). Raises `Problem` 400 `message-invalid`.
    """
    parent = invitation.invitation_id
    for request in wanted.requests:
        check_type(request)
    if wanted.form == FORM_2:
        from_did, now = _did_of(wanted, invitation), invitation.created_at
        return [_under_2(request, parent, from_did, random, now) for request in wanted.requests]
    return [_under(request, parent, random) for request in wanted.requests] if wanted.form == FORM_1 else []


def _under(request: Mapping[str, Any], invitation_id: str, random: Callable[[int], bytes]) -> dict[str, Any]:
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
    """Like `_under`, in the shape of v2. Its receiver is not known."""
    message_id = random_uuid(random)
    own_id = request.get("id" if is_v2_shaped(request) else "@id")
    filled = prefill_v1(request, thid=str(own_id or message_id), new_id=message_id)
    message = to_v2(filled, from_did=from_did, to_did="", created_time=now // 1000)
    return {**{name: value for name, value in message.items() if name != "to"}, "pthid": invitation_id}
